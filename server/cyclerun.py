"""A growth cycle as the work of a desk: it runs to the tick of each step, in slices between which others come in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from engramdb.engram import Engram
from engramdb.growth.status import Status
from engramdb.run import Boundary
from engramdb.server.jobs import Cancelled, Job, Jobs
from engramdb.server.jobwork import JobWork

_SLICE_S = 1.0


class CycleRun(JobWork):
    """Until the cycle is done, or so many ``ticks`` or ``cycles`` are over; cancelled, the cycle is paused."""

    def __init__(self, job: Job, jobs: Jobs) -> None:
        super().__init__(job, jobs)
        self._begun = False
        self._result: dict[str, Any] = {}

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> float | None:
        """See :class:`~engramdb.server.desk.Work`."""
        job, cycle = self.record_of, engram.cycle
        given = job.request
        if not self._begun:
            self._begun = True
            given.setdefault("first", engram.tick)
            given.setdefault("before", len(cycle.status().history))
            with contextlib.suppress(Cancelled):  # the cycle has been started all the same, and is paused below
                self.jobs.began(job)
        status = cycle.status()
        job.message = status.why
        job.version += 1
        self._result = shown(status)
        if job.cancel_asked.is_set():
            pause(engram)
            self._result = shown(cycle.status())
            raise Cancelled
        last = None if given["ticks"] is None else given["first"] + given["ticks"]
        done = given["cycles"] is not None and len(status.history) >= given["before"] + given["cycles"]
        if status.state != "running" or done or (last is not None and engram.tick >= last):
            return None
        to = status.due if last is None else min(status.due, last)
        if engram.tick < to:
            ends = time.monotonic() + _SLICE_S
            engram.run(
                to - engram.tick,
                between=lambda b: let_in(b) or job.cancel_asked.is_set() or time.monotonic() > ends,
            )
        if engram.tick >= status.due:
            cycle.step()
        return 0.0

    def result(self) -> dict[str, Any]:
        """Where the cycle stands."""
        return self._result


def pause(engram: Engram) -> None:
    """Pause the growth cycle, if it goes on."""
    if engram.cycle.status().state == "running":
        engram.cycle.pause()


def shown(status: Status) -> dict[str, Any]:
    """A status as JSON has it."""
    content = {**vars(status), "gates": status.gates._asdict(), "settings": asdict(status.settings)}
    content["history"] = [vars(summary) for summary in status.history]
    content["readings"] = [read._asdict() for read in status.readings]
    content |= {name: getattr(status, name)._asdict() for name in ("counts", "totals")}
    return content
