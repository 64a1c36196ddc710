"""Memory traces: sets of neurons with a name."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.schemas.api import NewTrace
from engramdb.server.answer import reply
from engramdb.server.routes.common import AtQuery, EngramName, ask, few, service_of

router = APIRouter(prefix="/v1/engrams/{name}", tags=["traces"])


@router.post("/traces", status_code=201)
async def imprint(request: Request, name: EngramName, body: NewTrace) -> Response:
    """Name a set of neurons. Durable when it is answered."""
    service = service_of(request)
    few(body.ids, service.limits.ids, "ids")

    def work(engram: Engram) -> dict[str, Any]:
        made = engram.imprint(body.name, body.ids, replace=body.replace)
        return {"name": made.name, "neurons": len(made), "tick": made.tick, "created": made.created}

    return await reply(request, await service.shelf.write(name, work), status=201)


@router.get("/traces")
async def traces(request: Request, name: EngramName, at: AtQuery = "live", members: bool = False) -> Response:
    """All traces, by name; with their ``members`` where these are asked for."""

    def work(engram: Engram) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "neurons": len(t), "tick": t.tick, "created": t.created}
            | ({"ids": [str(neuron) for neuron in t.ids.tolist()]} if members else {})
            for t in engram.traces()
        ]

    return await reply(request, {"traces": await ask(request, name, at, work)})


@router.delete("/traces/{trace:path}", status_code=204)
async def forget(request: Request, name: EngramName, trace: str) -> Response:
    """Take the name of a trace away; its neurons stay as they are."""
    await service_of(request).shelf.write(name, lambda e: e.forget_trace(trace))
    return Response(status_code=204)
