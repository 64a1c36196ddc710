"""A desk: where one open engram is worked at, by one thread, in the order in which requests came.

Visits are functions of the engram. Those that only read are let in at the ends of ticks while a run goes on; those that
change something end its present slice, are done, and the run goes on. The event loop never waits for the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Protocol, TypeVar

import engramdb
from engramdb import timelimit
from engramdb.engram import Engram
from engramdb.run import Boundary
from engramdb.server.hub import Hub
from engramdb.server.neuron import Found, Lookup, look_up
from engramdb.server.problems import Problem

T = TypeVar("T")
_VISITS_S = 1.0  # of questions at the end of one tick of a run, and the last of them to its end
_log = logging.getLogger("engramdb.server")


class Work(Protocol):
    """Something long that is done in steps, between which visits come in."""

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> float | None:
        """Do a part; None when all is done, else the seconds until the next is due.

        ``let_in(boundary)``, at the end of a tick, says whether the part has to end there.
        """

    def end(self, error: BaseException | None) -> None:
        """It is over; called in the desk's thread. ``error``: why it could not be completed."""


class Visit:
    """A function of the engram, and the future that gets what it returns; ``seconds``: that it may take, or None."""

    __slots__ = ("future", "reads", "seconds", "work")

    def __init__(
        self, work: Callable[[Engram], Any], future: asyncio.Future[Any], reads: bool, seconds: float | None
    ) -> None:
        self.work, self.future, self.reads, self.seconds = work, future, reads, seconds

    def made(self, engram: Engram) -> Any:
        """What it returns; raises TookTooLong."""
        with timelimit.within(None if self.seconds is None else timelimit.Limit.of(self.seconds)):
            return self.work(engram)


class Desk:
    """One engram, open to write, and its thread. Made in the event loop; ``close`` checkpoints."""

    def __init__(
        self, name: str, path: Path, *, branch: str, memory: int, threads: int, durability: str, waiting: int, hub: Hub
    ) -> None:
        self.name, self.path, self.branch, self.memory, self.hub = name, path, branch, memory, hub
        self.ticks = 0
        self.stats: dict[str, Any] = {}
        self.used_at = time.monotonic()
        self._threads, self._durability = threads, durability
        self._most_waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._visits: deque[Visit | Lookup] = deque()
        self._works: deque[Work] = deque()
        self._wake = threading.Event()
        self._closing = self._leaving = False
        self._engram: Engram | None = None
        self._stats_at = 0.0
        self._done: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        self._over = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"desk {name}", daemon=True)
        self._thread.start()

    # ---- in the event loop

    @property
    def busy(self) -> bool:
        """Whether somebody waits, runs or listens."""
        return bool(self._visits or self._works or self.hub.listeners)

    @property
    def running(self) -> Work | None:
        """The work that is being done."""
        return self._works[0] if self._works else None

    @property
    def held_up(self) -> bool:
        """Whether its thread opens, compiles or computes something, of which nothing is lost where it ends there."""
        return not self._leaving and (self._engram is None or self._durability != "checkpoint")

    @property
    def open(self) -> bool:
        """Whether it takes visits."""
        return not self._closing

    async def read(self, work: Callable[[Engram], T], seconds: float | None = None) -> T:
        """What ``work`` returns, at the next end of a tick. It must change nothing, and be done within ``seconds``."""
        return await self._enter(work, True, seconds)

    async def write(self, work: Callable[[Engram], T], seconds: float | None = None) -> T:
        """What ``work`` returns, in its turn, between two slices of a run. ``seconds``: for a question, which has to be
        asked there."""
        return await self._enter(work, False, seconds)

    async def look_up(self, neuron: str) -> bytes:
        """One neuron as JSON; all that wait are looked up together."""
        self._check()
        future = self._loop.create_future()
        self._visits.append(Lookup(neuron, future))
        if not self._wake.is_set():
            self._wake.set()
        found: Found = await future
        return found.json()

    async def _enter(self, work: Callable[[Engram], T], reads: bool, seconds: float | None) -> T:
        self._check()
        future: asyncio.Future[T] = self._loop.create_future()
        self._visits.append(Visit(work, future, reads, seconds))
        self._wake.set()
        return await future

    def put(self, work: Work) -> None:
        """Have something long done, behind what is being done."""
        self._check()
        self._works.append(work)
        self._wake.set()

    def wake(self) -> None:
        """Something that the thread looks at has changed."""
        self._wake.set()

    def _check(self) -> None:
        self.used_at = time.monotonic()
        if self._closing:
            raise Problem(503, "closing", f'"{self.name}" is being closed; ask again', headers={"Retry-After": "1"})
        if len(self._visits) >= self._most_waiting:
            raise Problem(
                429, "too-many-requests", f'{len(self._visits)} requests wait for "{self.name}"; ask again later',
                headers={"Retry-After": "1"},
            )  # fmt: skip

    async def close(self) -> None:
        """Let visits that have come be done, stop what is long at the end of a tick, checkpoint and let go."""
        self._closing = True
        self._wake.set()
        await asyncio.shield(self._over)

    # ---- in the thread

    def _run(self) -> None:
        error: BaseException | None = None
        due: float | None = None
        try:
            while True:
                if not self._visits and not self._closing:
                    wait = None if not self._works else max(0.0, (due or 0.0) - time.monotonic())
                    if wait is None or wait > 0:
                        self._wake.wait(wait)
                self._wake.clear()
                self._serve(until_write=False)
                if self._closing:
                    break
                if self._works and (due is None or time.monotonic() >= due):
                    due = self._step()
        except BaseException as fault:  # noqa: BLE001 - nothing may leave those who wait without an answer
            error = fault
            _log.exception("the desk of %s broke down", self.name)
        self._closing = True
        self._give_up(error)

    def _step(self) -> float | None:
        work = self._works[0]
        failed: BaseException | None = None
        try:
            wait = work.step(self._opened(), self._let_in)
        except BaseException as error:  # noqa: BLE001 - it goes to whoever wants the result
            wait, failed = None, error
        if wait is not None:
            return time.monotonic() + wait if wait > 0 else None
        self._works.popleft()
        self._end(work, failed)
        self._show(now=True)
        self._flush()
        return None

    def _end(self, work: Work, error: BaseException | None) -> None:
        try:
            work.end(error)
        except Exception:  # noqa: BLE001 - the next one has its turn all the same
            _log.exception("what came of a run of %s could not be kept", self.name)

    def _opened(self) -> Engram:
        """The engram; opened anew where a command that failed half-way has closed it."""
        if self._engram is None or self._engram.closed:
            self._engram = None
            self._engram = engramdb.open(
                self.path, "r+", branch=self.branch, memory=self.memory, threads=self._threads,
                durability=self._durability,
            )  # fmt: skip
        return self._engram

    def _let_in(self, boundary: Boundary) -> bool:
        """The end of a tick in a run: tell of it, answer who only reads; whether the slice must end here."""
        self.ticks += len(boundary.counts)
        self._show()
        if self._engram is not None:
            self.hub.tell(boundary, self.stats, self._engram)
        if self._visits:
            self._serve(until_write=True)
        # those who came meanwhile and only read wait for the next end of a tick: a new run costs more than a visit
        visit = self._visits[0] if self._visits else None
        return self._closing or (isinstance(visit, Visit) and not visit.reads)

    def _serve(self, *, until_write: bool) -> None:
        visits = self._visits
        ends = time.monotonic() + _VISITS_S
        while visits:
            if until_write and time.monotonic() > ends:  # long questions in a row: the others after another tick
                break
            visit = visits[0]
            if isinstance(visit, Lookup):
                self._look_up(self._lookups())
                continue
            if until_write and not visit.reads:
                break
            visits.popleft()
            if visit.future.cancelled():  # who asked has gone, and was told that it was not done
                continue
            try:
                self._done.append((visit.future, visit.made(self._opened()), None))
            except BaseException as error:  # noqa: BLE001 - it is the answer
                self._done.append((visit.future, None, error))
            if not visit.reads:
                self._show(now=True)
                self._flush()
        self._flush()

    def _lookups(self) -> list[Lookup]:
        """All that wait at the head."""
        together = []
        while self._visits and isinstance(first := self._visits[0], Lookup):
            together.append(first)
            self._visits.popleft()
        return together

    def _look_up(self, lookups: list[Lookup]) -> None:
        try:
            answers: list[Any] = look_up(self._opened(), [lookup.neuron for lookup in lookups])
        except BaseException as error:  # noqa: BLE001 - it is the answer
            answers = [error] * len(lookups)
        for lookup, answer in zip(lookups, answers, strict=True):
            failed = answer if isinstance(answer, BaseException) else None
            self._done.append((lookup.future, answer, failed))

    def _show(self, *, now: bool = False) -> None:
        """Renew what others see of the engram, ten times a second."""
        moment = time.monotonic()
        if (now or moment - self._stats_at > 0.1) and self._engram is not None and not self._engram.closed:
            self._stats_at = moment
            self.stats = self._engram.stats()

    def _flush(self) -> None:
        if self._done:
            done, self._done = self._done, []
            with contextlib.suppress(RuntimeError):  # the loop has gone, which did not wait for what is computed here
                self._loop.call_soon_threadsafe(_resolve, done)

    def _give_up(self, error: BaseException | None) -> None:
        reason = error or Problem(
            503, "closing", f'"{self.name}" is being closed; ask again', headers={"Retry-After": "1"}
        )
        self._leaving = True
        while self._works:
            self._end(self._works.popleft(), CancelledError("the service closed the engram"))
        try:
            if self._engram is not None:
                self._engram.close()
        except BaseException as fault:  # noqa: BLE001 - the journal has every acknowledged command
            _log.error("%s could not be closed: %s", self.name, fault)
        self._done += [(visit.future, None, reason) for visit in self._visits]
        self._visits.clear()
        self._flush()
        self._done.append((self._over, None, None))
        self._flush()


def _resolve(done: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in done:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
