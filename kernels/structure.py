"""Drawing by weight in constant time."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.rng import absorb, below, unit


@njit(cache=True, nogil=True)
def alias_table(weight, share, other):
    """Prepare draws by ``weight`` (float64 (n,), none negative, not all 0): the alias method (Walker 1974, Vose 1991).

    Of place i a draw keeps i in ``share[i]`` (float64) of all cases, and takes ``other[i]`` (int64) in the rest.
    """
    n = weight.shape[0]
    total = 0.0
    for i in range(n):
        total += weight[i]
    small = np.empty(n, dtype=np.int64)
    large = np.empty(n, dtype=np.int64)
    n_small, n_large = 0, 0
    for i in range(n):
        share[i] = weight[i] * n / total
        other[i] = i
        if share[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        i, j = small[n_small], large[n_large - 1]
        other[i] = j
        share[j] -= 1.0 - share[i]
        if share[j] < 1.0:
            n_large -= 1
            small[n_small] = j
            n_small += 1
    for k in range(n_small):  # what rounding left over
        share[small[k]] = 1.0


@njit(cache=True, nogil=True)
def alias_draws(share, other, key, out):
    """``out[i]`` (int64) = the place drawn by the hash of ``key`` (uint64) and i from an :func:`alias_table`."""
    n = np.uint64(share.shape[0])
    for i in range(out.shape[0]):
        h = absorb(key, np.uint64(i))
        place = np.int64(below(h, n))
        out[i] = place if unit(absorb(h, np.uint64(0))) < share[place] else other[place]
