"""Receptive vectors: what an input is to each, and what each learns of it; see ``engramdb.models.dense_lif``.

``w``: (n, D), float32, uint16 (bits of float16) or int8 (whole numbers of the layer's step), each row read once.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.lanes import BLOCK, LANES, add_scaled, add_scaled_where, dot
from engramdb.kernels.rng import absorb, hash_u64, sample, unit
from engramdb.kernels.slots import BLOCK_SHIFT

_TO_FIXED = 4294967296.0
_MOST_STEPS = 127.0


@njit(cache=True, nogil=True)
def forward(w, x, step, first, last, out):
    """``out[k, i]`` (float32) = ``step`` * <w[i], x[k]> for rows ``first`` (included) to ``last`` (excluded).

    ``x``: float32 (m, D); ``step``: float32, 1 where weights are floats.
    """
    for i in range(first, last):
        for k in range(x.shape[0]):
            out[k, i] = step * dot(w, i, x, k)


@njit(cache=True, nogil=True)
def forward_sparse(w, ids, x, seed, purpose, dimension, first, last, out):
    """As :func:`forward`, where row i has weights ``w[i]`` (float32, (S,)) only at S of the ``dimension`` places.

    Summed in order. The places are a function of (seed, id): one in each of S stretches of equal length.
    """
    width = w.shape[1]
    for i in range(first, last):
        drawn = hash_u64(seed, ids[i], np.uint64(0), purpose)
        for k in range(x.shape[0]):
            total = np.float32(0.0)
            for s in range(width):
                total += w[i, s] * x[k, place(drawn, s, width, dimension)]
            out[k, i] = total


@njit(cache=True, nogil=True)
def place(drawn, s, width, dimension):
    """The ``s``-th of the ``width`` places (int64) of a neuron whose hash is ``drawn``; they increase with s."""
    begin = s * dimension // width
    length = np.uint64((s + 1) * dimension // width - begin)
    return begin + np.int64(((absorb(drawn, np.uint64(s)) >> np.uint64(32)) * length) >> np.uint64(32))


@njit(cache=True, nogil=True)
def places(ids, seed, purpose, dimension, out):
    """``out[i]`` (int64, (S,)) = the places at which neuron ``ids[i]`` has weights."""
    for i in range(ids.shape[0]):
        drawn = hash_u64(seed, ids[i], np.uint64(0), purpose)
        for s in range(out.shape[1]):
            out[i, s] = place(drawn, s, out.shape[1], dimension)


@njit(cache=True, nogil=True)
def learn(w, rows, factor, x, first, last, norm):
    """``w[rows[i]] += factor[i] * x[0]`` (float32 products and sums); ``norm[i]`` (float32) = length of what changed.

    ``rows``: int64, distinct; of them ``first`` (included) to ``last`` (excluded). ``w``: float32 or float16 bits.
    """
    for i in range(first, last):
        norm[i] = np.sqrt(add_scaled(w, rows[i], rows[min(i + 1, last - 1)], factor[i], x))


@njit(cache=True, nogil=True)
def blocks_shown(x, shown, n):
    """Fill ``shown`` (int64, (LANES / BLOCK, D / LANES)) and ``n`` (int64) with the blocks in which ``x[0]`` is not 0.

    By where they are in their LANES, see :func:`engramdb.kernels.lanes.add_scaled_where`. Returns how many there are.
    """
    n[:] = 0
    for begin in range(0, x.shape[1] // LANES * LANES, BLOCK):
        given = 0
        for j in range(begin, begin + BLOCK):
            given += x[0, j] != 0
        group = begin % LANES // BLOCK
        shown[group, n[group]] = begin
        n[group] += given > 0
    return n.sum()


@njit(cache=True, nogil=True)
def learn_where(w, rows, factor, x, shown, n, first, last, norm):
    """As :func:`learn`, for an ``x`` that is 0 nearly everywhere: there ``w`` is left as it is, the sign of a 0 too.

    ``shown``, ``n``: see :func:`blocks_shown`.
    """
    for i in range(first, last):
        norm[i] = np.sqrt(add_scaled_where(w, rows[i], rows[min(i + 1, last - 1)], factor[i], x, shown, n))


@njit(cache=True, nogil=True)
def learn_sparse(w, ids, rows, factor, x, seed, purpose, dimension, first, last, norm):
    """As :func:`learn` for the weights that sparse rows have; ``ids``: of all rows of ``w``."""
    width = w.shape[1]
    for i in range(first, last):
        row = rows[i]
        drawn = hash_u64(seed, ids[row], np.uint64(0), purpose)
        total = np.float32(0.0)
        for s in range(width):
            before = w[row, s]
            w[row, s] = before + factor[i] * x[0, place(drawn, s, width, dimension)]
            change = w[row, s] - before
            total += change * change
        norm[i] = np.sqrt(total)


@njit(cache=True, nogil=True)
def learn_int8(w, ids, rows, factor, step, x, seed, update, purpose, first, last, norm):
    """As :func:`learn` for whole numbers of ``step``: what is between two of them is rounded by chance.

    Up with the probability that makes the mean right (Gupta et al. 2015), by a random number of (seed, id, ``update``,
    place): rounded to the nearest, changes of less than half a step would all be lost. Held within -127..127.
    """
    places = np.flatnonzero(x[0])
    shown = x[0, places]
    for i in range(first, last):
        row = rows[i]
        drawn = hash_u64(seed, ids[row], update, purpose)
        total = np.float32(0.0)
        for k in range(places.shape[0]):
            j = places[k]
            before = np.float64(w[row, j])
            wanted = before + np.float64(factor[i] * shown[k]) / step
            after = np.floor(wanted + unit(absorb(drawn, np.uint64(j))))
            after = min(max(after, -_MOST_STEPS), _MOST_STEPS)
            w[row, j] = np.int8(after)
            change = np.float32((after - before) * step)
            total += change * change
        norm[i] = np.sqrt(total)


@njit(cache=True, nogil=True)
def add_currents(slots, held, current):
    """Add ``current`` (float32, in the unit of input) to the input of slots ``held`` (int64) where it is not zero."""
    sums = slots.input
    minus = slots.inhibition if slots.inhibition.shape[0] > 0 else sums
    for i in range(current.shape[0]):
        if current[i] != 0:
            slot = held[i]
            amount = np.int64(np.rint(np.float64(current[i]) * _TO_FIXED))
            if amount < 0:
                minus[slot] += amount
            else:
                sums[slot] += amount
            slots.block_awake[slot >> BLOCK_SHIFT] = 1


@njit(cache=True, nogil=True)
def all_held(held, current):
    """Whether everybody whose ``current`` (float32) is not zero has a slot in ``held`` (int64)."""
    missing = 0
    for i in range(current.shape[0]):
        missing += current[i] != 0 and held[i] < 0
    return missing == 0


@njit(cache=True, nogil=True)
def draw(ids, seed, purpose, table, out):
    """``out[i, j]`` (float32) = the quantile ``table`` (float64) at a random number of (seed, ``ids[i]``, j)."""
    for i in range(ids.shape[0]):
        drawn = hash_u64(seed, ids[i], np.uint64(0), purpose)
        for j in range(out.shape[1]):
            out[i, j] = sample(table, 0, table.shape[0], unit(absorb(drawn, np.uint64(j))))
