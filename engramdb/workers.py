"""Threads that run kernels side by side; kernels release the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Workers:
    """``threads`` ways to run a kernel; one of them is the calling thread."""

    # a part shorter than this costs more to hand to another thread than to do
    least_rows = 256
    least_blocks = 256

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="engramdb") if threads > 1 else None

    def each(self, work: Callable[[int, int, int], Any], length: int, least: int = 1) -> list[Any]:
        """``[work(part, start, stop), ...]`` over ``range(length)`` cut into one part a thread, in order.

        Fewer parts are made where a part would be shorter than ``least``.
        """
        parts = max(1, min(self.threads, length // least))
        if self._pool is None or parts == 1:
            return [work(0, 0, length)]
        bounds: Sequence[int] = [length * p // parts for p in range(parts + 1)]
        others = [self._pool.submit(work, p, bounds[p], bounds[p + 1]) for p in range(1, parts)]
        first = work(0, bounds[0], bounds[1])
        return [first, *(other.result() for other in others)]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
