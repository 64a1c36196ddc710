"""Jobs: what takes longer than a request should. Each is a file in the service's folder, so that a restart knows it.

A job is *durable* from the answer 202 on, and so is that somebody has cancelled it. After a restart those that can be
done again from the start, or go on from where the engram stands, do so; the others are ``interrupted``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from engramdb.server.answer import dumps
from engramdb.server.names import write_durably
from engramdb.server.problems import Problem, problem_of

STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
OVER = frozenset(STATES[2:])
_THREADS = 2
_KEPT_DAYS = 7.0
_MOST_KEPT = 1000
_MOST_CRASHES = 3  # a job during which the service went down so often is not begun again
_log = logging.getLogger("engramdb.server")


class Cancelled(Exception):
    """Raised in the thread of a job that somebody has cancelled."""


def now() -> str:
    """This moment, RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Job:
    """One job. ``request``: what it does, so that it can be done again; ``version`` rises with every change.

    ``crashes``: how often the service went down while it ran; ``cancel_asked``: by somebody, which a restart knows too;
    ``stopping``: the service stops, and the job goes on with the next one where it can.
    """

    kind: str
    engram: str
    request: dict[str, Any]
    owner: str = ""
    id: str = field(default_factory=lambda: f"{int(time.time() * 1000):011x}{secrets.token_hex(5)}")
    state: str = "queued"
    percent: float | None = 0.0
    message: str = ""
    created: str = field(default_factory=now)
    started: str | None = None
    ended: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    crashes: int = 0
    version: int = 0
    durable: bool = False
    cancel_asked: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def cancellable(self) -> bool:
        """Whether it can be stopped once it runs."""
        return self.kind not in ("growth", "verify", "prune", "index", "compact", "gc")

    @property
    def goes_on(self) -> bool:
        """Whether a restart goes on with it: it can be begun anew, or knows where it was."""
        recorded = self.request.get("record") or self.request.get("to")
        return self.kind in RESUMED and not (self.kind == "ticks" and recorded)

    def document(self) -> dict[str, Any]:
        """As it is shown."""
        shown = ("id", "kind", "engram", "state", "percent", "message", "created", "started", "ended")
        content = {name: getattr(self, name) for name in shown}
        if self.result is not None:
            content["result"] = self.result
        if self.error is not None:
            content["error"] = self.error
        return content

    def kept(self) -> dict[str, Any]:
        """As it is kept."""
        more = {"request": self.request, "owner": self.owner, "crashes": self.crashes}
        return {**self.document(), **more, "cancel": self.cancel_asked.is_set()}

    def tell(self, message: str, done: float, total: float | None) -> None:
        """How far it is; raises :class:`Cancelled` where it is to stop, CancelledError where the service does."""
        if self.cancel_asked.is_set():
            raise Cancelled
        if self.stopping.is_set():
            raise CancelledError
        self.message = message
        self.percent = round(100.0 * min(1.0, done / total), 1) if total else None
        self.version += 1


class Jobs:
    """All jobs. Methods are for the event loop, but those that say otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "jobs"
        self.results = folder / "results"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.results.mkdir(mode=0o700, exist_ok=True)
        self._jobs: dict[str, Job] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="job")
        self._working: set[Future[None]] = set()
        self._changing = threading.Lock()  # held while a state changes: who cancels and who begins may meet
        self._keeping = threading.Lock()
        self._closed = False
        self.closing = threading.Event()

    # ---- looking

    def get(self, job_id: str) -> Job:
        """Raises a problem where there is none."""
        job = self._jobs.get(job_id)
        if job is None:
            raise Problem(404, "not-found", f'there is no job "{job_id[:80]}", or not any more')
        return job

    def all(self, engram: str | None = None) -> list[Job]:
        """The newest first."""
        found = [job for job in list(self._jobs.values()) if engram is None or job.engram == engram]
        return sorted(found, key=lambda job: job.id, reverse=True)

    def counted(self) -> dict[str, int]:
        """How many there are in each state."""
        counts = dict.fromkeys(STATES, 0)
        for job in self._jobs.values():
            counts[job.state] += 1
        return counts

    # ---- making and ending

    def add(self, job: Job) -> Job:
        """Know a job from now on; it is not durable yet."""
        self._jobs[job.id] = job
        return job

    def forget(self, job: Job) -> None:
        """A job that was answered before it became one."""
        if not job.durable:
            self._jobs.pop(job.id, None)

    async def make_durable(self, job: Job) -> None:
        """After this a restart knows it."""
        job.durable = True
        await asyncio.to_thread(self.keep, job)

    def keep(self, job: Job) -> None:
        """Write a durable job down. For any thread but the event loop's."""
        if job.durable:
            with self._keeping:
                if self._jobs.get(job.id) is job and not self._closed:  # else it was forgotten, or is another service's
                    write_durably(self.folder / f"{job.id}.json", dumps(job.kept()))

    def began(self, job: Job) -> None:
        """Raises :class:`Cancelled` where somebody has cancelled it before. For any thread but the event loop's."""
        with self._changing:
            if job.cancel_asked.is_set():
                raise Cancelled
            job.state, job.started = "running", job.started or now()
            job.version += 1
        self.keep(job)

    def left(self, job: Job, result: Any, error: BaseException | None) -> None:
        """Its work is over, or was stopped with the service and is to go on. For any thread but the event loop's."""
        if isinstance(error, CancelledError) and job.goes_on and not job.cancel_asked.is_set():
            self._put_back(job)
        else:
            self.ended(job, result, error)

    def _put_back(self, job: Job) -> None:
        """The next start goes on with it. That the service was stopped is no crash: the file does not say running."""
        with self._changing:
            if job.state in OVER:
                return
            job.state = "queued"
            job.version += 1
        self.keep(job)

    def ended(self, job: Job, result: Any = None, error: BaseException | None = None) -> None:
        """For any thread but the event loop's. A job that is over already stays as it is."""
        with self._changing:
            if job.state in OVER:
                return
            if error is None:
                job.state, job.percent, job.result, job.message = "done", 100.0, result, "done"
            elif isinstance(error, Cancelled) or (isinstance(error, CancelledError) and job.cancel_asked.is_set()):
                job.state, job.message, job.result = "cancelled", "cancelled", result
            elif isinstance(error, CancelledError):
                job.state, job.message, job.result = "interrupted", "the service stopped", result
                job.error = Problem(503, "interrupted", "the service stopped meanwhile").document()
            else:
                problem = problem_of(error, str(self.folder.parent.parent))
                if problem.slug == "internal":
                    _log.error("job %s failed", job.id, exc_info=error)
                job.state, job.error, job.message, job.result = "failed", problem.document(), problem.detail, result
            job.ended = now()
            job.version += 1
        self.keep(job)

    def start(self, job: Job, work: Callable[[Job], Any]) -> asyncio.Future[None]:
        """Do ``work`` in one of the threads; it returns the result."""

        def run() -> None:
            if self.closing.is_set():
                return  # it stays queued, and the next start does it
            result: Any = None
            failed: BaseException | None = None
            try:
                self.began(job)
                result = work(job)
            except BaseException as error:  # noqa: BLE001 - it is what the job came to
                failed = error
            self.left(job, result, failed)

        working = self._pool.submit(run)
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return asyncio.wrap_future(working)

    async def cancel(self, job: Job) -> None:
        """Have a job stop: one that waits is cancelled now. Durable on return; raises a problem where it cannot."""
        with self._changing:
            if job.state in OVER:
                return
            if not job.cancellable and job.state == "running":
                raise Problem(409, "not-cancellable", f"a job of kind {job.kind} cannot be stopped half-way")
            job.cancel_asked.set()
            waited = job.state == "queued"
            if waited:
                job.state, job.message, job.ended = "cancelled", "cancelled", now()
            job.version += 1
        await self.make_durable(job)
        if waited:
            await asyncio.to_thread(self._clear, job.id)

    async def remove(self, job: Job) -> None:
        """Forget a job that is over, and its files."""
        self._jobs.pop(job.id, None)
        await asyncio.to_thread(self._unlink, job.id)

    def _unlink(self, job_id: str) -> None:
        with self._keeping:
            (self.folder / f"{job_id}.json").unlink(missing_ok=True)
        self._clear(job_id)

    def _clear(self, job_id: str) -> None:
        """What was received for it, or written by it, is of no use any more."""
        shutil.rmtree(self.results / job_id, ignore_errors=True)

    def room(self, job: Job) -> Path:
        """A folder for a job's files, which go when it does. For any thread but the event loop's."""
        folder = self.results / job.id
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    # ---- restarts

    def load(self) -> list[Job]:
        """What the files know; returns those that are to be begun again. Looks at the disk.

        Among these are cycles that somebody had cancelled: over, but the engram's cycle may still have to be paused,
        and only then :meth:`keep` is due.
        """
        again = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                content = orjson.loads(path.read_bytes())
            except (ValueError, OSError):
                _log.warning("%s is no job, and is left alone", path.name)
                continue
            names = ("id", "kind", "engram", "state", "percent", "message", "created", "started", "ended", "request",
                     "owner")  # fmt: skip
            job = Job(
                **{name: content[name] for name in names}, result=content.get("result"), error=content.get("error"),
                crashes=content.get("crashes", 0),
            )  # fmt: skip
            job.durable = True
            self._jobs[job.id] = job
            if job.state in OVER:
                continue
            if content.get("cancel"):
                job.cancel_asked.set()
                job.state, job.message, job.ended = "cancelled", "cancelled", now()
                if job.kind == "cycle":
                    again.append(job)
                else:
                    self.keep(job)
                    self._clear(job.id)
                continue
            crashed = job.state == "running"
            job.crashes += crashed
            if not crashed or (job.goes_on and job.crashes < _MOST_CRASHES):
                job.state = "queued"
                again.append(job)
                if crashed:
                    self.keep(job)
            else:
                why = "the service stopped while it ran"
                if job.goes_on:
                    why = f"the service went down {job.crashes} times while it ran: it is not begun again"
                elif job.kind == "growth":
                    why += "; what had been begun is completed when the engram is opened: look at its size"
                job.state, job.message, job.ended = "interrupted", why, now()
                job.error = Problem(503, "interrupted", why).document()
                self.keep(job)
        self.prune()
        for folder in self.results.iterdir():  # of bodies that were not received whole, too
            if folder.name not in self._jobs:
                shutil.rmtree(folder, ignore_errors=True)
        return again

    def prune(self) -> None:
        """Forget jobs that have been over for long, with their files. Looks at the disk."""
        oldest = time.time() - _KEPT_DAYS * 86400
        over = [job for job in self.all() if job.state in OVER]
        for place, job in enumerate(over):
            if place >= _MOST_KEPT or int(job.id[:11], 16) / 1000 < oldest:
                self._jobs.pop(job.id, None)
                self._unlink(job.id)

    def close(self, seconds: float) -> bool:
        """Stop what goes on; what can be begun again will be. Whether all threads have ended within ``seconds``."""
        self.closing.set()
        for job in list(self._jobs.values()):
            if job.kind not in ("cycle", "ticks", "growth"):
                job.stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        _, late = wait(list(self._working), timeout=seconds)
        for job in list(self._jobs.values()):
            if job.state == "running":  # in a thread that does not come back in time, here or at a desk
                self.left(job, None, CancelledError())
        with self._keeping:
            self._closed = True
        return not late


RESUMED = frozenset({"cycle", "ticks", "export", "import", "verify"})
"""Kinds that go on after a restart, but runs that record: what was in memory is gone."""
