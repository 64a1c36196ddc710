"""What drives an engram: stimuli and rewards."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.schemas.api import Reward, Stimulus
from engramdb.server.answer import reply
from engramdb.server.problems import Problem
from engramdb.server.routes.common import EngramName, few, service_of

router = APIRouter(prefix="/v1/engrams/{name}", tags=["stimuli"])


@router.post("/stimuli")
async def stimulate(request: Request, name: EngramName, body: Stimulus) -> Response:
    """Give input. It is journaled, and so durable, when it is answered."""
    service = service_of(request)
    few(body.ids, service.limits.ids, "ids")
    if body.kind == "poisson" and body.rate_hz is None:
        raise Problem(422, "invalid-request", "a Poisson train needs a rate", pointer="/rate_hz")
    if body.kind == "play" and (body.ticks is None or len(body.ticks) != len(body.ids)):
        raise Problem(422, "invalid-request", "play needs a tick for each id", pointer="/ticks")

    def work(engram: Engram) -> dict[str, Any]:
        first = body.at if body.at is not None else engram.tick + 1
        if body.kind == "pulse":
            number = engram.stimulate(body.ids, body.amplitude, at=body.at, duration=body.duration)
        elif body.kind == "poisson":
            number = engram.poisson(body.ids, body.rate_hz, body.amplitude, at=body.at, duration=body.duration)
        else:
            assert body.ticks is not None, "checked above"
            number = engram.play(body.ids, body.ticks, body.amplitude)
            first = min(body.ticks, default=first)
        return {"number": number, "first_tick": first}

    return await reply(request, await service.shelf.write(name, work))


@router.get("/stimuli")
async def stimuli(request: Request, name: EngramName) -> Response:
    """Input that is still to come."""
    found = await service_of(request).shelf.read(name, lambda e: [vars(one) for one in e.stimuli()])
    return await reply(request, {"stimuli": found})


@router.delete("/stimuli/{number}", status_code=204)
async def stop(request: Request, name: EngramName, number: Annotated[int, Path(ge=0, lt=1 << 62)]) -> Response:
    """End a stimulus."""
    await service_of(request).shelf.write(name, lambda e: e.stop_stimuli(number))
    return Response(status_code=204)


@router.post("/rewards")
async def reward(request: Request, name: EngramName, body: Reward) -> Response:
    """Reward what was done up to now."""

    def work(engram: Engram) -> dict[str, Any]:
        engram.reward(body.value)
        return {"tick": engram.tick}

    return await reply(request, await service_of(request).shelf.write(name, work))
