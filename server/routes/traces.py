"""Memory traces: sets of neurons with a name, what two of them share, and how one drifts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.query.trace import Trace
from engramdb.schemas import api
from engramdb.server.answer import reply
from engramdb.server.readers import number_or_name
from engramdb.server.routes.common import LIVE, AtQuery, EngramName, ask, few, service_of

router = APIRouter(prefix="/v1/engrams/{name}", tags=["traces"])


def _shown(trace: Trace, *, members: bool = False) -> dict[str, Any]:
    ids = {"ids": [str(neuron) for neuron in trace.ids.tolist()]} if members else {}
    return {"name": trace.name, "neurons": len(trace), "tick": trace.tick, "created": trace.created, **ids}


@router.post("/traces", status_code=201)
async def imprint(request: Request, name: EngramName, body: api.NewTrace) -> Response:
    """Name a set of neurons. Durable when it is answered."""
    service = service_of(request)
    few(body.ids, service.limits.ids, "ids")

    def work(engram: Engram) -> dict[str, Any]:
        return _shown(engram.imprint(body.name, body.ids, replace=body.replace))

    return await reply(request, await service.shelf.write(name, work), status=201)


@router.get("/traces")
async def traces(request: Request, name: EngramName, at: AtQuery = "live", members: bool = False) -> Response:
    """All traces, by name; with their ``members`` where these are asked for."""

    def work(engram: Engram) -> list[dict[str, Any]]:
        return [_shown(one, members=members) for one in engram.traces()]

    return await reply(request, {"traces": await ask(request, name, at, work)})


@router.get("/traces/{trace:path}")
async def one_trace(request: Request, name: EngramName, trace: str, at: AtQuery = "live") -> Response:
    """One trace: the ids of its members, sorted, the tick it was imprinted in, and when that was."""
    found = await ask(request, name, at, lambda engram: _shown(engram.trace(trace), members=True))
    return await reply(request, found)


@router.delete("/traces/{trace:path}", status_code=204)
async def forget(request: Request, name: EngramName, trace: str) -> Response:
    """Take the name of a trace away; its neurons stay as they are."""
    await service_of(request).shelf.write(name, lambda e: e.forget_trace(trace))
    return Response(status_code=204)


async def overlap(request: Request, name: str, body: api.Overlap) -> Response:
    """The question of that name: counts, Jaccard's overlap, and ids where they are asked for."""

    def work(engram: Engram) -> dict[str, Any]:
        a, b = engram.trace(body.a), engram.trace(body.b)
        sets = {"intersection": a & b, "union": a | b, "difference": a - b}
        counts = {which: len(ids) for which, ids in sets.items()}
        chosen = {} if body.ids is None else {"ids": [str(neuron) for neuron in sets[body.ids].tolist()]}
        return {"a": a.name, "b": b.name, "overlap": a.overlap(b), **counts, **chosen, "at": body.at}

    return await reply(request, await ask(request, name, body.at, work))


async def drift(request: Request, name: str, body: api.Drift) -> Response:
    """The question of that name."""
    service = service_of(request)
    few(body.cue or [], service.limits.ids, "cue")
    before, after = (None if at == LIVE else number_or_name(at) for at in (body.before, body.after))

    def work(engram: Engram) -> dict[str, Any]:
        found = engram.drift(
            body.trace, before, after, cue_ids=body.cue, ticks=body.ticks, amplitude=body.amplitude,
            duration=body.duration, least_spikes=body.least_spikes,
        )  # fmt: skip
        return {**asdict(found), "before": body.before, "after": body.after}

    # as a recall does, it has another engine look at the store of the present: between two slices of a run
    if LIVE in (body.before, body.after):
        return await reply(request, await service.shelf.write(name, work, service.limits.query_seconds))
    return await reply(request, await ask(request, name, body.after, work))
