"""Readers: questions about snapshots, branches and commits, in a few threads of their own that disturb no writer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import engramdb
from engramdb import timelimit
from engramdb.engram import Engram
from engramdb.server.limits import MEBI, Limits
from engramdb.server.problems import Problem, problem_of
from engramdb.store import Store

T = TypeVar("T")
_KEPT = 4  # commits that stay open for the next question


class Readers:
    """``memory``: bytes that one commit's questions may keep."""

    def __init__(self, limits: Limits, *, memory: int = 128 * MEBI) -> None:
        self._limits, self._memory = limits, memory
        self._pool = ThreadPoolExecutor(limits.readers, thread_name_prefix="reader")
        self._waiting = 0
        self._working: set[Future[Any]] = set()
        self._open: dict[tuple[Path, int], tuple[Engram, threading.Lock]] = {}
        self._opening = threading.Lock()

    async def do(self, work: Callable[[], T], *, seconds: float | None = None) -> T:
        """What ``work`` returns, in one of the threads; a problem where all are taken, or after ``seconds``."""
        if self._waiting >= self._limits.waiting:
            raise Problem(
                429, "too-many-requests", "all readers are at work; ask again later", headers={"Retry-After": "1"}
            )
        limit = timelimit.Limit.of(self._limits.query_seconds if seconds is None else seconds)

        def limited() -> T:
            with timelimit.within(limit):  # nobody waits for the answer any more: the thread is for the next
                return work()

        self._waiting += 1
        working = self._pool.submit(limited)
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        future = asyncio.wrap_future(working)
        future.add_done_callback(self._left)
        try:
            return await asyncio.wait_for(asyncio.shield(future), limit.seconds)
        except TimeoutError:
            future.cancel()
            raise problem_of(limit.over()) from None

    def _left(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # it may be that nobody waits any more

    async def at(self, path: Path, ref: str | int, work: Callable[[Engram], T]) -> T:
        """What ``work`` returns of the engram at ``path`` as of a commit, which stays open for the next question."""

        def ask() -> T:
            engram, lock = self._opened(path, commit_of(path, ref))
            with lock:
                return work(engram)

        return await self.do(ask)

    def _opened(self, path: Path, commit: int) -> tuple[Engram, threading.Lock]:
        with self._opening:
            key = (path, commit)
            found = self._open.pop(key, None)
            if found is None or found[0].closed:
                found = engramdb.open(path, at=commit, memory=self._memory), threading.Lock()
            self._open[key] = found
            for old in list(self._open)[:-_KEPT]:
                engram, lock = self._open[old]
                if lock.acquire(blocking=False):  # somebody else is reading it: the next one closes it
                    del self._open[old]
                    engram.close()
                    lock.release()
            return found

    def forget(self, path: Path) -> None:
        """Close what is open of an engram that goes away."""
        with self._opening:
            for key in [key for key in self._open if key[0] == path]:
                engram, lock = self._open.pop(key)
                with lock:
                    engram.close()

    def close(self, seconds: float) -> bool:
        """Whether all questions were over within so many ``seconds``; those that are not change nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        _, late = wait(list(self._working), timeout=seconds)
        if not late:
            for engram, _ in self._open.values():
                engram.close()
            self._open.clear()
        return not late


def commit_of(path: Path, ref: str | int) -> int:
    """The number of the commit that a snapshot, a branch or a number means."""
    with contextlib.closing(Store.open(path, cache_bytes=0)) as store:
        return store.resolve(number_or_name(ref))


def number_or_name(ref: str | int) -> str | int:
    """``ref`` as the engram takes it: digits are the number of a commit, since no name is made of them alone."""
    return int(ref) if isinstance(ref, str) and ref.isascii() and ref.isdigit() and len(ref) < 19 else ref
