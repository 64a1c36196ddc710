"""The growth cycle and the topology of an engram."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.errors import NotFound
from engramdb.schemas.api import Cycle
from engramdb.server.answer import reply
from engramdb.server.cyclerun import CycleRun, shown
from engramdb.server.jobs import Job
from engramdb.server.problems import Problem
from engramdb.server.routes.common import LIVE, AtQuery, EngramName, ask, service_of
from engramdb.server.routes.jobs import accepted, put_and_tell
from engramdb.server.service import Service

router = APIRouter(prefix="/v1/engrams/{name}", tags=["growth"])


def _status(engram: Engram) -> dict[str, Any]:
    try:
        return shown(engram.cycle.status())
    except NotFound as error:
        raise Problem(404, "no-cycle", str(error)) from None


@router.post("/cycle", status_code=202)
async def run(request: Request, name: EngramName, body: Annotated[Cycle | None, Body()] = None) -> Response:
    """Start a growth cycle, with a layer and what else is set; or, without a layer, go on with the one there is."""
    service = service_of(request)
    service.shelf.no_run(name)
    given = body or Cycle()
    settings = dict(given.model_extra or {})

    def begin_or_resume(engram: Engram) -> None:
        cycle = engram.cycle
        if "layer" in settings:
            cycle.start(**settings)
            return
        if settings:
            raise Problem(422, "invalid-request", "a cycle that is set anew needs its layer", pointer="/layer")
        state = _status(engram)["state"]
        if state not in ("running", "paused"):
            raise Problem(409, "conflict", f"the growth cycle is {state}: begin another, with its layer")
        if state == "paused":
            cycle.resume()

    await service.shelf.write(name, begin_or_resume)
    job = Job("cycle", name, {"ticks": given.ticks, "cycles": given.run_cycles}, request.state.owner)
    await service.jobs.make_durable(service.jobs.add(job))
    await begin(service, job)
    return await accepted(request, job)


async def begin(service: Service, job: Job) -> None:
    """Put it on its engram's desk."""
    desk = await service.shelf.desk(job.engram)
    run = CycleRun(job, service.jobs)
    service.jobs.add(job)
    put_and_tell(service, desk, run)


@router.get("/cycle")
async def cycle(request: Request, name: EngramName) -> Response:
    """Where the growth cycle stands, and why."""
    return await reply(request, await service_of(request).shelf.read(name, _status))


@router.delete("/cycle", status_code=204)
async def stop(request: Request, name: EngramName) -> Response:
    """End the growth cycle; what has grown stays."""

    def work(engram: Engram) -> None:
        _status(engram)
        engram.cycle.stop()

    await service_of(request).shelf.write(name, work)
    return Response(status_code=204)


@router.get("/topology")
async def topology(
    request: Request,
    name: EngramName,
    at: AtQuery = "live",
    patches: Annotated[int, Query(ge=0, le=16)] = 2,
    sample: Annotated[int, Query(ge=3, le=200_000)] = 50_000,
) -> Response:
    """Holes, clusters and complexity, without a pass over the whole."""

    def work(engram: Engram) -> dict[str, Any]:
        from engramdb import topology

        settings = topology.Settings(patches=patches, sample=sample, clusters="components")
        found: dict[str, Any] = engram.topology(settings).as_dict()
        return found

    if at == LIVE:
        service = service_of(request)
        found = await service.shelf.write(name, work, service.limits.query_seconds)
        await service.shelf.tell(name)
        return await reply(request, found)
    return await reply(request, await ask(request, name, at, work))
