"""A job: something that takes the service longer than a request may last."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engramdb.client.problems import ServiceError, error_of
from engramdb.errors import Unreachable

if TYPE_CHECKING:
    from engramdb.client.transport import Transport

_OVER = frozenset({"done", "failed", "cancelled", "interrupted"})
_FIRST_LOOK, _LAST_LOOK = 0.05, 1.0  # seconds between two looks at it


@dataclass(frozen=True)
class Job:
    """A job as it was when it was last looked at; :meth:`refresh` looks again, :meth:`wait` until it is over.

    ``state``: queued, running, done, failed, cancelled or interrupted. ``percent``: 0 to 100, None where it is not
    known. ``result``: what it gave, if it is done.
    """

    id: str
    kind: str
    engram: str | None
    state: str
    percent: float | None
    message: str
    document: dict[str, Any]
    transport: Transport

    @classmethod
    def of(cls, document: dict[str, Any], transport: Transport) -> Job:
        """What the service says of it."""
        return cls(
            document["id"], document["kind"], document.get("engram"), document["state"], document.get("percent"),
            document.get("message") or "", document, transport,
        )  # fmt: skip

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in _OVER

    @property
    def result(self) -> Any:
        return self.document.get("result")

    def __repr__(self) -> str:
        part = "" if self.percent is None else f" {self.percent:.0f} %"
        return f"<Job {self.id}: {self.kind} of {self.engram}, {self.state}{part}>"

    def refresh(self) -> Job:
        """The job as it is now."""
        return Job.of(self.transport.get(f"/v1/jobs/{self.id}"), self.transport)

    def cancel(self) -> Job:
        """Ask it to end, at the next tick boundary or the next step; :meth:`wait` says when it has."""
        self.transport.delete(f"/v1/jobs/{self.id}")
        return self.refresh()

    def fetch(self, path: str | os.PathLike[str]) -> Path:
        """Write the file that the job left to ``path``, whole or not at all. Raises NotFound, Conflict."""
        target = Path(path)
        self.transport.download(f"/v1/jobs/{self.id}/result", target)
        return target

    def wait(self, timeout: float | None = None, progress: Callable[[Job], None] | None = None) -> Job:
        """The job when it is done. Raises what it failed with, and :class:`ServiceError` where it was cut short.

        ``timeout``: seconds, after which Unreachable is raised; the job goes on. ``progress(job)`` is called at every
        look.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause, job = _FIRST_LOOK, self
        while not job.over:
            if until is not None and time.monotonic() > until:
                raise Unreachable(
                    f"job {job.id} ({job.kind} of {job.engram}) is not over after {timeout:g} s; it goes on"
                )
            time.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)
            job = job.refresh()
            if progress is not None:
                progress(job)
        if job.state == "failed":
            raise error_of(job.document.get("error"))
        if job.state != "done":
            raise ServiceError(f"job {job.id} ({job.kind} of {job.engram}) was {job.state}: {job.message}", job.state)
        return job
