"""Running: short runs are answered, long ones become jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.schemas.api import Ticks
from engramdb.server.answer import reply, reply_in_thread
from engramdb.server.jobs import Job
from engramdb.server.names import check_name
from engramdb.server.routes.common import EngramName, service_of
from engramdb.server.routes.jobs import accepted, over_soon, put_and_tell
from engramdb.server.service import Service
from engramdb.server.tickrun import TickRun

router = APIRouter(prefix="/v1/engrams/{name}", tags=["ticks"])


@router.post("/ticks", responses={202: {"description": "A job, whose address is in Location."}})
async def ticks(request: Request, name: EngramName, body: Ticks) -> Response:
    """Run. What takes over a second becomes a job (202); ``Prefer: respond-async`` makes it one at once."""
    service = service_of(request)
    job = Job("ticks", name, body.model_dump(), request.state.owner)
    run = await begin(service, job)
    at_once = "respond-async" in request.headers.get("prefer", "")
    patience = 0.0 if at_once or body.to is not None else service.limits.patience_seconds
    if not await over_soon(service, run, patience):
        return await accepted(request, job)
    large = body.record and job.result["spike_count"] > 1000
    return await (reply_in_thread if large else reply)(request, job.result)


async def begin(service: Service, job: Job) -> TickRun:
    """Put a run on its engram's desk."""
    desk = await service.shelf.desk(job.engram)
    given: dict[str, Any] = job.request
    file: Path | None = None
    if given["to"] is not None:
        check_name(given["to"], "/to")
        service.jobs.add(job)
        folder = await asyncio.to_thread(service.jobs.room, job)
        file = folder / f"{given['to'].removesuffix('.parquet')}.parquet"
    run = TickRun(
        job, service.jobs, ticks=given["ticks"], hz=given["hz"], record=given["record"], file=file,
        most=service.limits.spikes, topology=given.get("topology"),
    )  # fmt: skip
    service.jobs.add(job)
    put_and_tell(service, desk, run)
    return run
