"""How fast the machine is at the moment: a fixed piece of work, timed just before and after what is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

_VALUES = 1 << 22  # 32 MiB, more than a core's share of the caches
_GATHERED = 200_000
_FIRST = 31


def processor_seconds(work: Callable[[], object]) -> float:
    """What this thread takes for ``work``."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


class Speed:
    """Processor time as it would be if the machine kept the speed it had when this was made.

    A virtual machine's speed changes by half within minutes, with what its neighbours do to clock, caches and memory.
    Reading scattered words of an array slows down as ticks do: of what the same tick takes from minute to minute, the
    medians of nine blocks, it takes away about half. It cannot take away more, since ticks differ in what slows them.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._values = rng.random(_VALUES)
        self._places = rng.integers(0, _VALUES, _GATHERED)
        self._usual = statistics.median(self._seconds() for _ in range(_FIRST))

    def _seconds(self) -> float:
        return processor_seconds(lambda: self._values[self._places].sum())

    def timed(self, work: Callable[[], object], warm: Callable[[], object]) -> float:
        """Seconds of ``work`` after ``warm``, which fills the caches again and does not count; at the usual speed."""
        before = self._seconds()
        warm()
        took = processor_seconds(work)
        return took * 2 * self._usual / (before + self._seconds())
