"""What the processor and the memory can do at best: the least work of a tick, for benchmarks to compare with."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch


@njit(cache=True, nogil=True)
def add_rows(order, length, target, total, ahead):
    """Read the rows ``order`` (int64), ``length`` entries each, of ``target`` (int64), and add 1 at each in ``total``.

    Rows are asked for 2 * ``ahead`` rows before their turn and what they add to ``ahead`` rows before, so that loads
    overlap. Nothing else is done. ``total``: int64.
    """
    n = order.shape[0]
    for i in range(n):
        if i + 2 * ahead < n:
            first = order[i + 2 * ahead] * length
            prefetch(target, first)
            prefetch(target, first + length - 1)
        if i + ahead < n:
            first = order[i + ahead] * length
            for j in range(first, first + length):
                prefetch(total, target[j])
        first = order[i] * length
        for j in range(first, first + length):
            total[target[j]] += 1


@njit(cache=True, nogil=True)
def sweep(u, refractory, total, bias):
    """Read and write the state of all slots once: ``u``, ``bias`` float32, ``refractory`` int32, ``total`` int64."""
    for i in range(u.shape[0]):
        u[i] = u[i] * np.float32(0.5) + bias[i]
        refractory[i] = refractory[i] ^ np.int32(1)
        total[i] = -total[i]
