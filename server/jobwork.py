"""A job as the work of a desk: what ends it, and who waits for that."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from engramdb.server.jobs import OVER, Job, Jobs


class JobWork:
    """``over`` is set in the event loop when the job is over or put back; ``failed``: why it could not be completed."""

    def __init__(self, job: Job, jobs: Jobs) -> None:
        self.record_of, self.jobs = job, jobs
        self.failed: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    @property
    def job(self) -> str:
        """The id of its job."""
        return self.record_of.id

    def result(self) -> dict[str, Any]:
        """What has come of it up to now."""
        raise NotImplementedError

    def end(self, error: BaseException | None) -> None:
        """See :class:`~engramdb.server.desk.Work`."""
        job = self.record_of
        self.failed = error
        if job.state not in OVER:  # else it was cancelled while it waited, and nothing has come of it
            self.jobs.left(job, self.result(), error)
        with contextlib.suppress(RuntimeError):  # the loop has gone, and with it who waits
            self._loop.call_soon_threadsafe(self._set_over)

    def _set_over(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
