"""A growth cycle as the work of a desk: it runs to the tick of each step, in slices between which others come in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import asdict
from typing import Any

from engramdb.engram import Engram
from engramdb.run import Boundary
from engramdb.server.jobs import Cancelled, Job, Jobs

_SLICE_S = 1.0


class CycleRun:
    """Until the cycle is done, or so many ``ticks`` or ``cycles`` are over; cancelled, the cycle is paused."""

    def __init__(self, job: Job, jobs: Jobs) -> None:
        self._job, self._jobs = job, jobs
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._result: dict[str, Any] = {}
        self.over: asyncio.Future[None] = self._loop.create_future()

    @property
    def job(self) -> str:
        """The id of its job."""
        return self._job.id

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> float | None:
        """See :class:`~engramdb.server.desk.Work`."""
        job, cycle = self._job, cycle_of(engram)
        given = job.request
        if not self._begun:
            self._begun = True
            given.setdefault("first", engram.tick)
            given.setdefault("before", len(cycle.status().history))
            self._jobs.began(job)
        status = cycle.status()
        job.message = status.why
        job.version += 1
        self._result = shown(status)
        if job.cancel_asked.is_set():
            if status.state == "running":
                self._result = shown(cycle.pause())
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

    def end(self, error: BaseException | None) -> None:
        """See :class:`~engramdb.server.desk.Work`."""
        if isinstance(error, CancelledError) and self._job.durable:
            self._job.state = "queued"
            self._jobs.keep(self._job)
        else:
            self._jobs.ended(self._job, self._result, error)
        self._loop.call_soon_threadsafe(self._set_over)

    def _set_over(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


def cycle_of(engram: Engram) -> Any:
    """Its growth cycle."""
    return engram.cycle


def shown(status: Any) -> dict[str, Any]:
    """A status as JSON has it."""
    content = {**vars(status), "gates": status.gates._asdict(), "settings": asdict(status.settings)}
    content["history"] = [vars(summary) for summary in status.history]
    content["readings"] = [read._asdict() for read in status.readings]
    content |= {name: getattr(status, name)._asdict() for name in ("counts", "totals")}
    return content
