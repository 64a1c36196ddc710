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


@njit(cache=True, nogil=True)
def read(words, first, last):
    """Read ``words[first:last]`` (uint64) once, in order; returns their exclusive or."""
    part = words[first:last]  # a slice: an index that could be negative keeps the loop from running on vectors
    mixed = np.uint64(0)
    for i in range(part.shape[0]):
        mixed ^= part[i]
    return mixed


@njit(cache=True, nogil=True)
def change_rows(words, rows, first, last):
    """Read and write ``words[rows[i]]`` (uint64 (n, d), rows int64) for i from ``first`` to ``last`` (excluded)."""
    for i in range(first, last):
        row = words[rows[i]]
        for j in range(row.shape[0]):
            row[j] = row[j] ^ np.uint64(1)


@njit(cache=True, nogil=True)
def gather(order, length, near, entry, total):
    """Look at ``length`` neighbours of each of ``order`` (int64): a word of each one's ``entry`` (float32 (n, 8)).

    ``near``: int32, rows of ``length`` end to end; ``total``: float32 (1,), their sum.
    """
    found = np.float32(0.0)
    n = order.shape[0]
    for i in range(n):
        if i + 16 < n:
            prefetch(near, order[i + 16] * length)
        first = order[i] * length
        for k in range(first, first + length):
            found += entry[near[k], 2]
    total[0] = found


@njit(cache=True, nogil=True)
def change_entries(order, entry):
    """Read and write the whole ``entry`` (float32 (n, 8)) of each of ``order`` (int64), and nothing else."""
    for i in range(order.shape[0]):
        for k in range(8):
            entry[order[i], k] = entry[order[i], k] * np.float32(0.5)
