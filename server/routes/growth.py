"""Growth: more neurons in a layer; with their rows written out it is a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.run import Boundary
from engramdb.schemas.api import Growth
from engramdb.server.answer import reply
from engramdb.server.jobs import Cancelled, Job, Jobs
from engramdb.server.problems import problem_of
from engramdb.server.routes.common import EngramName, service_of
from engramdb.server.routes.jobs import accepted
from engramdb.server.service import Service

router = APIRouter(prefix="/v1/engrams/{name}", tags=["growth"])


class Growing:
    """The work of a desk: one step, since a growth that has begun is completed."""

    def __init__(self, job: Job, jobs: Jobs) -> None:
        self._job, self._jobs = job, jobs
        self._loop = asyncio.get_running_loop()
        self._result: dict[str, Any] = {}
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.failed: BaseException | None = None

    @property
    def job(self) -> str:
        """The id of its job."""
        return self._job.id

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> None:
        """See :class:`~engramdb.server.desk.Work`."""
        if self._job.cancel_asked.is_set():
            raise Cancelled
        given = self._job.request
        self._jobs.began(self._job)

        def progress(done: int, neurons: int) -> None:
            self._job.percent = round(100.0 * done / max(1, neurons), 1)
            self._job.message = f"{done:,} of {neurons:,} neurons"
            self._job.version += 1

        bundle = engram.grow(
            given["layer"], given["neurons"], given["k"], materialize=given["materialize"], progress=progress
        )
        self._result = {
            "layer": given["layer"], "segment": bundle.segment, "first": str(bundle.lo), "neurons": bundle.neurons,
            "tick": bundle.born_tick,
        }  # fmt: skip

    def end(self, error: BaseException | None) -> None:
        """See :class:`~engramdb.server.desk.Work`."""
        self.failed = error
        self._jobs.ended(self._job, self._result, error)
        self._loop.call_soon_threadsafe(self._set_over)

    def _set_over(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


@router.post("/growth", responses={202: {"description": "A job, whose address is in Location."}})
async def grow(request: Request, name: EngramName, body: Growth) -> Response:
    """Add neurons; no existing row changes. What has begun is completed, by the next opening if it must be."""
    service = service_of(request)
    job = Job("growth", name, body.model_dump(), request.state.owner, cancellable=False)
    growing = await begin(service, job)
    done, _ = await asyncio.wait([growing.over], timeout=service.limits.patience_seconds)
    if not done:
        await service.jobs.make_durable(job)
        return await accepted(request, job)
    service.jobs.forget(job)
    if growing.failed is not None:
        raise problem_of(growing.failed, str(service.root.path))
    return await reply(request, job.result)


async def begin(service: Service, job: Job) -> Growing:
    """Put a growth on its engram's desk."""
    desk = await service.shelf.desk(job.engram)
    growing = Growing(job, service.jobs)
    service.jobs.add(job)
    desk.put(growing)
    return growing
