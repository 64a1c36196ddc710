"""Fixed random neurons of a population that grows, and fixed random pairs of their neighbours."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.rng import absorb

_FACTOR = np.uint64(2862933555777941757)
_ONE = np.uint64(1)
_2_31 = np.float64(1 << 31)
NOBODY = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True)
def places(keys, population, out):
    """``out[i]`` (int64) = a place in 0..population-1 for ``keys[i]`` (uint64), each as likely as any other.

    Where the population grows from n to m, a share of (m - n)/m of the keys moves, each to one of the new places; the
    others stay: a jump consistent hash (Lamping & Veach 2014, "A fast, minimal memory, consistent hash algorithm").
    """
    for i in range(keys.shape[0]):
        key = keys[i]
        at, following = np.int64(-1), np.int64(0)
        while following < population:
            at = following
            key = key * _FACTOR + _ONE
            following = np.int64(np.float64(at + 1) * (_2_31 / np.float64((key >> np.uint64(33)) + _ONE)))
        out[i] = at


@njit(cache=True, nogil=True)
def wedges(center, indptr, target, key, ends):
    """Two distinct targets of each row, other than its ``center`` (uint64): those of the smallest random numbers.

    ``indptr`` int64, ``target`` uint64: the rows. The numbers are a function of ``key`` (uint64), center and target:
    the same two come out as long as the row has both. ``ends``: uint64 (n, 2); NOBODY where a row has too few.
    """
    for i in range(center.shape[0]):
        own = absorb(key, center[i])
        least, second = NOBODY, NOBODY
        ends[i, 0] = ends[i, 1] = NOBODY
        for k in range(indptr[i], indptr[i + 1]):
            other = target[k]
            if other == center[i] or other == ends[i, 0] or other == ends[i, 1]:
                continue
            drawn = absorb(own, other)
            if drawn < least:
                second, ends[i, 1] = least, ends[i, 0]
                least, ends[i, 0] = drawn, other
            elif drawn < second:
                second, ends[i, 1] = drawn, other
