"""Growth: more neurons in a layer; with their rows written out it is a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.run import Boundary
from engramdb.schemas.api import Growth
from engramdb.server.answer import reply
from engramdb.server.jobs import Job, Jobs
from engramdb.server.jobwork import JobWork
from engramdb.server.routes.common import EngramName, service_of
from engramdb.server.routes.jobs import accepted, over_soon
from engramdb.server.service import Service

router = APIRouter(prefix="/v1/engrams/{name}", tags=["growth"])


class Growing(JobWork):
    """The work of a desk: one step, since a growth that has begun is completed."""

    def __init__(self, job: Job, jobs: Jobs) -> None:
        super().__init__(job, jobs)
        self._result: dict[str, Any] = {}

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> None:
        """See :class:`~engramdb.server.desk.Work`."""
        job = self.record_of
        given = job.request
        self.jobs.began(job)

        def progress(done: int, neurons: int) -> None:
            job.percent = round(100.0 * done / max(1, neurons), 1)
            job.message = f"{done:,} of {neurons:,} neurons"
            job.version += 1

        bundle = engram.grow(
            given["layer"], given["neurons"], given["k"], materialize=given["materialize"], progress=progress
        )
        self._result = {
            "layer": given["layer"], "segment": bundle.segment, "first": str(bundle.lo), "neurons": bundle.neurons,
            "tick": bundle.born_tick,
        }  # fmt: skip

    def result(self) -> dict[str, Any]:
        """The bundle, once it is there."""
        return self._result


@router.post("/growth", responses={202: {"description": "A job, whose address is in Location."}})
async def grow(request: Request, name: EngramName, body: Growth) -> Response:
    """Add neurons; no existing row changes. What has begun is completed, by the next opening if it must be."""
    service = service_of(request)
    job = Job("growth", name, body.model_dump(), request.state.owner)
    growing = await begin(service, job)
    if not await over_soon(service, growing, service.limits.patience_seconds):
        return await accepted(request, job)
    return await reply(request, job.result)


async def begin(service: Service, job: Job) -> Growing:
    """Put a growth on its engram's desk."""
    desk = await service.shelf.desk(job.engram)
    growing = Growing(job, service.jobs)
    service.jobs.add(job)
    desk.put(growing)
    return growing
