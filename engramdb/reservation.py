"""Address space reserved at once, memory taken as it is touched and given back on request."""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

# Without it a large reservation is refused, and so is a fork of a process that has some. Python names it from 3.13 on.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
_HUGE_FROM_BYTES = 4 << 20  # smaller arrays would waste more in whole huge pages than their fewer TLB misses win


class Reservation:
    """A zeroed array of ``length`` values of ``dtype`` whose untouched pages cost no memory.

    It never moves, so it grows without a copy. ``trim(n)`` gives the pages wholly behind the first ``n`` values back
    to the system; what is read there later is zero again. ``huge``: pages may be huge where the array is large; not for
    what is touched here and there.
    """

    def __init__(self, length: int, dtype: npt.DTypeLike, *, huge: bool = True) -> None:
        dtype = np.dtype(dtype)
        size = max(length * dtype.itemsize, mmap.PAGESIZE)
        if hasattr(mmap, "MAP_ANONYMOUS"):
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
            self._map = mmap.mmap(-1, size, flags=flags)
        else:  # Windows commits lazily by itself
            self._map = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE") and size >= _HUGE_FROM_BYTES:
            self._map.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        self.array: npt.NDArray[Any] = np.frombuffer(self._map, dtype=dtype, count=length)

    def trim(self, keep: int) -> None:
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        start = -(-keep * self.array.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        if start < len(self._map):
            self._map.madvise(mmap.MADV_DONTNEED, start, len(self._map) - start)
