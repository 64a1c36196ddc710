"""Work of a desk that is done in one step, in which nothing else is done with the engram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engramdb.engram import Engram
from engramdb.run import Boundary
from engramdb.server.jobs import Job, Jobs
from engramdb.server.jobwork import JobWork

Do = Callable[[Engram, Job], dict[str, Any]]
"""Does what a job asks for; what it came to."""


class OneStep(JobWork):
    """A job whose whole work is ``do``."""

    def __init__(self, job: Job, jobs: Jobs, do: Do) -> None:
        super().__init__(job, jobs)
        self._do = do
        self._result: dict[str, Any] = {}

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> None:
        """See :class:`~engramdb.server.desk.Work`."""
        self.jobs.began(self.record_of)
        self._result = self._do(engram, self.record_of)

    def result(self) -> dict[str, Any]:
        """What it came to, once it is done."""
        return self._result


def counting(job: Job, what: str) -> Callable[[int, int], None]:
    """Tells a job how far it is, in ``what`` it counts."""

    def progress(done: int, total: int) -> None:
        job.percent = round(100.0 * done / max(1, total), 1)
        job.message = f"{done:,} of {total:,} {what}"
        job.version += 1

    return progress
