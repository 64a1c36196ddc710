"""What the processor and the memory can do at best: the least work of a tick, for benchmarks to compare with."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch


@njit(cache=True, nogil=True)
def fetch_rows(order, length, slot, weight, ahead):
    """Read the rows ``order`` (int64), ``length`` entries each, of ``slot`` and ``weight`` (both uint32); their sum.

    Rows are asked for ``ahead`` rows before they are read, so that their loads overlap. Nothing else is done with them.
    """
    total = np.uint32(0)
    n = order.shape[0]
    for i in range(n):
        if i + ahead < n:
            first = order[i + ahead] * length
            prefetch(slot, first)
            prefetch(weight, first)
            prefetch(slot, first + length - 1)
            prefetch(weight, first + length - 1)
        first = order[i] * length
        for j in range(first, first + length):
            total += slot[j] + weight[j]
    return total


@njit(cache=True, nogil=True)
def sweep(u, refractory, total, bias):
    """Read and write the state of all slots once: ``u``, ``bias`` float32, ``refractory`` int32, ``total`` int64."""
    for i in range(u.shape[0]):
        u[i] = u[i] * np.float32(0.5) + bias[i]
        refractory[i] = refractory[i] ^ np.int32(1)
        total[i] = -total[i]
