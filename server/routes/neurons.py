"""Neurons and their synapses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.schemas.api import ManyNeurons, NewSynapses
from engramdb.server import cursor as cursors
from engramdb.server.answer import Table, reply
from engramdb.server.neuron import one, rows
from engramdb.server.problems import Problem
from engramdb.server.routes.common import AtQuery, EngramName, ask, few, pinned, service_of, within

router = APIRouter(prefix="/v1/engrams/{name}", tags=["neurons"])


@router.post("/neurons:batch")
async def batch(request: Request, name: EngramName, body: ManyNeurons) -> Response:
    """Many neurons, in the order asked for."""
    few(body.ids, service_of(request).limits.ids, "ids")

    def work(engram: Engram) -> list[dict[str, Any]]:
        return rows(engram, engram.resolve(body.ids), fields=body.fields)

    found = await ask(request, name, body.at, work)
    columns: dict[str, Any] = {
        "id": np.array([int(row["id"]) for row in found], dtype=np.uint64),
        **{key: [row[key] for row in found] for key in ("text", "layer", "state")},
        "label": [row.get("label") for row in found],
        "fields": [row["fields"] for row in found],
        "out_degree": [row["out_degree"] for row in found],
    }
    return await reply(request, Table("neurons", columns, {"at": body.at}))


@router.get("/neurons/{neuron:path}/synapses")
async def synapses(
    request: Request,
    name: EngramName,
    neuron: str,
    direction: Literal["out", "in"] = "out",
    limit: Annotated[int, Query(ge=1)] = 1000,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
    at: AtQuery = "live",
) -> Response:
    """The synapses that a neuron sends (``out``) or receives (``in``), by delay and then by the other end."""
    within(limit, service_of(request).limits.page, "limit")
    first, expected, where = 0, None, await pinned(request, name, at)
    if cursor is not None:
        given = cursors.read(cursor, "synapses")
        if (given["neuron"], given["direction"], given["asked"]) != (neuron, direction, at):
            raise Problem(422, "invalid-request", "the cursor is of another question", pointer="/cursor")
        first, expected, where = given["first"], given["of"], given["at"]

    def work(engram: Engram) -> tuple[dict[str, Any], int]:
        found = engram.synapses(one(engram, neuron), direction)
        part = slice(first, first + limit)
        columns = {
            "pre": found.sources[part],
            "post": found.targets[part],
            "weight": found.weights[part],
            "delay_ms": found.delays[part] * engram.spec.dt_ms,
            "projection": found.projections[part],
        }
        if engram.has_labels:
            columns["label"] = engram.labels(found.partners[part])
        return columns, len(found)

    columns, total = await ask(request, name, where, work)
    if expected is not None and expected != total:
        raise Problem(410, "stale-cursor", "the row has changed since the first page; begin again, or ask a snapshot")
    following = None
    if first + limit < total:
        following = cursors.written({
            "kind": "synapses", "neuron": neuron, "direction": direction, "asked": at, "at": where,
            "first": first + limit, "of": total,
        })  # fmt: skip
    return await reply(request, Table("synapses", columns, {"cursor": following, "total": total}))


@router.post("/synapses")
async def connect(request: Request, name: EngramName, body: NewSynapses) -> Response:
    """Make synapses, or give existing ones a weight. Durable when it is answered."""
    service = service_of(request)
    few(body.pre, service.limits.ids, "pre")
    few(body.post, service.limits.ids, "post")
    if not body.create and body.delay_ms is not None:
        raise Problem(422, "invalid-request", "delays are given to synapses that are made", pointer="/delay_ms")

    def work(engram: Engram) -> int:
        if body.create:
            return engram.connect(body.pre, body.post, body.weight, body.delay_ms)
        return engram.set_weight(body.pre, body.post, body.weight)

    return await reply(request, {"synapses": await service.shelf.write(name, work)})


@router.get("/neurons/{neuron:path}")
async def neuron(
    request: Request,
    name: EngramName,
    neuron: str,
    at: AtQuery = "live",
    fields: Annotated[str | None, Query(description="Only these, with commas.", max_length=1000)] = None,
) -> Response:
    """One neuron: its state, its fields, its out-degree."""
    wanted = None if fields is None else fields.split(",")

    def work(engram: Engram) -> dict[str, Any]:
        try:
            return rows(engram, np.array([one(engram, neuron)], dtype=np.uint64), fields=wanted)[0]
        except Problem as problem:
            raise problem.pointing(None) from None  # there is no body to point into

    found = await ask(request, name, at, work)
    return await reply(request, found)
