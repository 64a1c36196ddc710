"""Questions: select, count, top, ego, path, recall, drift and overlap, of the present or of any commit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.address import format_id
from engramdb.engram import Engram
from engramdb.errors import InvalidInput
from engramdb.schemas import api
from engramdb.server import cursor as cursors
from engramdb.server.answer import ARROW, JSON, NDJSON, Table, chosen, reply, reply_in_thread
from engramdb.server.keys import Key
from engramdb.server.neuron import one
from engramdb.server.problems import Problem, problem_of
from engramdb.server.routes import traces
from engramdb.server.routes.common import LIVE, EngramName, ask, few, pinned, service_of, within

router = APIRouter(prefix="/v1/engrams/{name}", tags=["queries"])


@router.post("/query")
async def query(request: Request, name: EngramName, body: api.Query) -> Response:
    """Ask; the body names the question, ``Accept`` the form of tables. What is no table is JSON."""
    # before anything is done: a recall that is kept changes the engram
    chosen(request, (JSON, NDJSON, ARROW) if isinstance(body, (api.Select, api.Top, api.Ego)) else (JSON,))
    try:
        return await _answer(request, name, body)
    except InvalidInput as error:
        raise _pointed(problem_of(error, str(service_of(request).root.path)), body) from None


def _pointed(problem: Problem, body: api.Query) -> Problem:
    """The problem, with a pointer to the field with whose name what it says begins."""
    detail = problem.detail
    if isinstance(body, api.Top):  # what a selection calls its order
        detail = re.sub(r"^order(?=[:,])", "field", detail)
    named = re.match(r"(\w+)(?=[:=,])", detail)
    if named is None or named[1] not in type(body).model_fields:
        return problem
    return problem.pointing(f"/{named[1]}", detail)


async def _answer(request: Request, name: str, body: api.Query) -> Response:
    if isinstance(body, api.Select):
        return await _select(request, name, body)
    if isinstance(body, api.Top):
        return await _top(request, name, body)
    if isinstance(body, api.Count):
        count = body
        n = await ask(request, name, body.at, lambda e: e.count(count.layer, count.where))
        return await reply(request, {"count": n, "at": body.at})
    if isinstance(body, api.Ego):
        return await _ego(request, name, body)
    if isinstance(body, api.Path):
        return await _path(request, name, body)
    if isinstance(body, api.Drift):
        return await traces.drift(request, name, body)
    if isinstance(body, api.Overlap):
        return await traces.overlap(request, name, body)
    return await _recall(request, name, body)


async def _select(request: Request, name: str, body: api.Select) -> Response:
    within(body.limit, service_of(request).limits.page, "limit")
    question = [body.layer, body.where, body.columns, body.order, str(body.at)]
    if body.cursor is None:
        at, inner = await pinned(request, name, body.at), None
    else:
        given = cursors.read(body.cursor, "select")
        if given["question"] != question:
            raise Problem(422, "invalid-request", "the cursor is of another question", pointer="/cursor")
        at, inner = given["at"], given["inner"]

    def work(engram: Engram) -> Any:
        try:
            return engram.select(body.layer, body.where, body.columns, body.order, body.limit, inner)
        except InvalidInput as error:
            if inner is not None and at == LIVE and "cursor" in str(error):
                raise Problem(
                    410, "stale-cursor", "the engram has moved on since the first page; begin again, or ask a snapshot"
                ) from None
            raise

    found = await ask(request, name, at, work)
    following = None
    if found.cursor is not None:
        following = cursors.written({"kind": "select", "question": question, "at": at, "inner": found.cursor})
    return await reply(request, Table("rows", found.columns, {"cursor": following, "at": at}))


async def _top(request: Request, name: str, body: api.Top) -> Response:
    within(body.n, service_of(request).limits.page, "n")

    def work(engram: Engram) -> dict[str, Any]:
        found = engram.top(body.field, body.n, layer=body.layer, where=body.where, smallest=body.smallest)
        columns: dict[str, Any] = {"id": found.ids, found.field: found.values}
        if engram.has_labels:
            columns["label"] = engram.labels(found.ids)
        return columns

    return await reply(request, Table("rows", await ask(request, name, body.at, work), {"at": body.at}))


async def _ego(request: Request, name: str, body: api.Ego) -> Response:
    within(body.limit, service_of(request).limits.ids, "limit")

    kind = chosen(request)

    def work(engram: Engram) -> dict[str, Any]:
        found = engram.ego(one(engram, str(body.id)), body.hops, body.limit, body.direction)
        labels = engram.labels(found.ids) if engram.has_labels else None
        names = np.array([projection.name for projection in engram.spec.all_projections], dtype=object)
        neurons: dict[str, Any] = {
            "id": found.ids, "text": [format_id(neuron) for neuron in found.ids.tolist()], "hops": found.hop,
            **({"label": labels} if labels else {}),
        }  # fmt: skip
        synapses: dict[str, Any] = {
            "pre": found.pre, "post": found.post, "weight": found.weight,
            "delay_ms": found.delay * engram.spec.dt_ms, "projection": names[found.projection].tolist(),
        }  # fmt: skip
        tables = {"neurons": neurons, "synapses": synapses}
        beside = {"center": str(found.center), "truncated": found.truncated, "at": body.at}
        if kind == JSON:
            return beside | {name: list(Table(name, columns, {}).rows()) for name, columns in tables.items()}
        return beside | {"table": Table(body.table, tables[body.table], {})}

    found = await ask(request, name, body.at, work)
    if kind == JSON:
        return await reply_in_thread(request, found)
    return await reply(request, found["table"], headers={"X-Truncated": str(found["truncated"]).lower()})


async def _path(request: Request, name: str, body: api.Path) -> Response:
    within(body.limit, service_of(request).limits.walk, "limit")

    def work(engram: Engram) -> dict[str, Any]:
        a, b = one(engram, str(body.a)), one(engram, str(body.b))
        found = engram.path(a, b, body.by, full=body.full, limit=body.limit)
        return {
            "ids": [str(neuron) for neuron in found.ids.tolist()],
            "text": [format_id(neuron) for neuron in found.ids.tolist()],
            "labels": engram.labels(found.ids) if engram.has_labels else None,
            "weights": found.weights,
            "hops": found.hops,
            "strength": found.strength,
            "visited": found.visited,
            "at": body.at,
        }

    return await reply(request, await ask(request, name, body.at, work))


async def _recall(request: Request, name: str, body: api.Recall) -> Response:
    service = service_of(request)
    few(body.cue, service.limits.ids, "cue")
    key: Key | None = getattr(request.state, "key", None)
    if body.keep and key is not None and not key.reaches("write"):
        raise Problem(
            403, "forbidden", f'keep needs a key of scope write; "{key.name}" has {key.scope}', pointer="/keep"
        )
    if body.keep and body.at != LIVE:
        raise Problem(
            422, "invalid-request", "the past cannot be changed: restore it, or make a branch", pointer="/keep"
        )

    def work(engram: Engram) -> dict[str, Any]:
        found = engram.recall(
            body.cue, body.ticks, amplitude=body.amplitude, duration=body.duration, least_spikes=body.least_spikes,
            present=body.present, keep=body.keep,
        )  # fmt: skip
        return {
            "cue": [str(neuron) for neuron in found.cue.tolist()],
            "ticks": found.ticks,
            "active": [str(neuron) for neuron in found.active[: service.limits.ids].tolist()],
            "spike_count": found.spike_count[: service.limits.ids],
            "spikes": int(found.counts.sum()),
            "counts": np.asarray(found.counts),
            "traces": [vars(match) for match in found.traces],
            "best": None if found.best is None else found.best.name,
            "kept": found.kept,
            "at": body.at,
        }

    # of the present it is the desk's own work, between two slices: another engine looks at the same store
    if body.at == LIVE:
        seconds = None if body.keep else service.limits.query_seconds
        found = await service.shelf.write(name, work, seconds)
    else:
        found = await ask(request, name, body.at, work)
    return await reply(request, found)
