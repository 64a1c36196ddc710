"""Jobs: how far they are, stopping them, and what they left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from engramdb.server.answer import dumps, reply
from engramdb.server.cyclerun import CycleRun
from engramdb.server.desk import Desk
from engramdb.server.jobs import OVER, Cancelled, Job
from engramdb.server.jobwork import JobWork
from engramdb.server.onestep import Do, OneStep
from engramdb.server.problems import Problem, problem_of
from engramdb.server.routes.common import service_of
from engramdb.server.service import Service
from engramdb.server.tickrun import TickRun

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_LOOK_S = 0.2
_HEARTBEAT_S = 15.0


async def accepted(request: Request, job: Job) -> Response:
    """202, and where to look."""
    return await reply(request, job.document(), status=202, headers={"Location": f"/v1/jobs/{job.id}"})


async def over_soon(service: Service, work: JobWork, patience: float) -> bool:
    """Whether it is over within so many seconds: then it is no job any more, else it is durable from now on.

    Raises the problem that ended it.
    """
    done, _ = await asyncio.wait([work.over], timeout=patience)
    if not done or isinstance(work.failed, Cancelled):  # somebody has seen the job, and cancelled it
        await service.jobs.make_durable(work.record_of)
        return False
    service.jobs.forget(work.record_of)
    if work.failed is not None:
        raise problem_of(work.failed, str(service.root.path))
    return True


async def begin_step(service: Service, job: Job, do: Do) -> OneStep:
    """Put work of one step on its engram's desk."""
    desk = await service.shelf.desk(job.engram)
    work = OneStep(job, service.jobs, do)
    service.jobs.add(job)
    desk.put(work)
    return work


async def done_soon(request: Request, job: Job, do: Do) -> Response:
    """What work of one step came to, or 202 where that takes a while."""
    service = service_of(request)
    work = await begin_step(service, job, do)
    if not await over_soon(service, work, service.limits.patience_seconds):
        return await accepted(request, job)
    return await reply(request, job.result)


def put_and_tell(service: Service, desk: Desk, work: CycleRun | TickRun) -> None:
    """Have it done, and tell listeners when it begins and when it is over."""
    desk.put(work)

    async def tell() -> None:
        await work.over
        await service.shelf.tell(desk.name)

    service.background(service.shelf.tell(desk.name))
    service.background(tell())


@router.get("")
async def jobs(
    request: Request,
    engram: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """All jobs, the newest first; without what they resulted in where that is large."""
    found = [job.document() for job in service_of(request).jobs.all(engram)[:limit]]
    for document in found:
        if isinstance(document.get("result"), dict):
            document["result"] = {k: v for k, v in document["result"].items() if k not in ("spikes", "counts", "rates")}
    return await reply(request, {"jobs": found})


@router.get("/{job_id}")
async def job(request: Request, job_id: str) -> Response:
    """One job."""
    return await reply(request, service_of(request).jobs.get(job_id).document())


@router.delete("/{job_id}", status_code=202, responses={204: {"description": "It was over, and is forgotten."}})
async def cancel(request: Request, job_id: str) -> Response:
    """Stop a job (202), or forget one that is over, with its files (204). A job that waits is cancelled at once."""
    service = service_of(request)
    found = service.jobs.get(job_id)
    if found.state in OVER:
        await service.jobs.remove(found)
        return Response(status_code=204)
    await service.jobs.cancel(found)
    desk = service.shelf.desks.get(found.engram)
    if desk is not None:
        desk.wake()
    return await reply(request, found.document(), status=202)


@router.get("/{job_id}/result", response_class=FileResponse)
async def result(request: Request, job_id: str) -> Response:
    """The file that a job wrote."""
    service = service_of(request)
    found = service.jobs.get(job_id)
    if found.state != "done":
        raise Problem(409, "conflict", f"the job is {found.state}; its result is there when it is done")
    return await file_of(service, found)


async def file_of(service: Service, job: Job) -> Response:
    """What a job left, streamed."""

    def files() -> list[Path]:
        folder = service.jobs.results / job.id
        return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []

    left = await asyncio.to_thread(files)
    if not left:
        raise Problem(404, "not-found", "the job left no file, or it is not kept any more")
    return FileResponse(left[0], media_type="application/octet-stream", filename=left[0].name)


@router.get("/{job_id}/events")
async def events(request: Request, job_id: str) -> StreamingResponse:
    """A job, whenever it changes, as server-sent events; the last one when it is over."""
    service = service_of(request)
    service.jobs.get(job_id)
    return StreamingResponse(_events(service, job_id), media_type="text/event-stream")


async def _events(service: Service, job_id: str) -> AsyncIterator[bytes]:
    seen, silent = -1, 0.0
    while True:
        try:
            found = service.jobs.get(job_id)
        except Problem:
            break
        if found.version != seen:
            seen, silent = found.version, 0.0
            yield b"event: job\ndata: " + dumps(found.document()) + b"\n\n"
        elif silent >= _HEARTBEAT_S:
            silent = 0.0
            yield b": still there\n\n"
        if found.state in OVER or service.closing.is_set():
            break
        await asyncio.sleep(_LOOK_S)
        silent += _LOOK_S
    yield b"event: bye\ndata: {}\n\n"
