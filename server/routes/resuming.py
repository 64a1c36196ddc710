"""Jobs that an earlier service did not get done: each is put back to where it is worked on."""

from __future__ import annotations

import asyncio

from engramdb.server import cyclerun
from engramdb.server.jobs import Job
from engramdb.server.routes import cycle, exchange, growth, ticks, upkeep
from engramdb.server.service import Service


async def resume(service: Service, job: Job) -> None:
    """Go on with a job. Raises what opening its engram does."""
    if job.cancel_asked.is_set():  # before the service went down: nothing of it is begun any more
        await service.shelf.write(job.engram, cyclerun.pause)
        await asyncio.to_thread(service.jobs.keep, job)
    elif job.kind == "ticks":
        await ticks.begin(service, job)
    elif job.kind == "cycle":
        await cycle.begin(service, job)
    elif job.kind == "growth":
        await growth.begin(service, job)
    elif job.kind == "import":
        exchange.begin_import(service, job)
    elif job.kind == "export":
        exchange.begin_export(service, job)
    elif job.kind == "verify":
        exchange.begin_verify(service, job)
    else:
        await upkeep.begin(service, job)
