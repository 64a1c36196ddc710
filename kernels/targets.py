"""Targets of stored rows as steps, and back."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.steps import LANES, ZEROS, mark, stride

_ONE, _LANES = np.uint64(1), np.uint64(LANES)
# places of steps of 0 that are kept before their targets are put there: what was written is near
_MANY = np.uint64(240)
PLACES = int(_MANY) + 2 * LANES


@njit(cache=True, nogil=True)
def measure(ids, indptr, target, reach, step, far):
    """The opposite of :func:`walk`: fill ``step`` (int8 to int64) and the beginning of ``far`` (uint64), both (nnz,).

    A ``target`` (uint64, (nnz,)) more than ``reach`` away from its source is far, and so is one whose step would be 0.
    Returns how many are.
    """
    found = np.uint64(0)
    for i in range(np.uint64(ids.shape[0])):
        walked = np.int64(0)
        j = np.uint64(indptr[i])
        stop = np.uint64(indptr[i + _ONE])
        while j < stop:
            offset = np.int64(target[j] - ids[i])
            is_near = -reach <= offset <= reach and offset != walked
            step[j] = offset - walked if is_near else 0
            walked = offset if is_near else walked
            far[found] = target[j]
            found += np.uint64(not is_near)
            j += _ONE
    return np.int64(found)


@njit(cache=True, nogil=True)
def add_up(degree, indptr):
    """Fill ``indptr`` (int64, (n + 1,)): where the row of each neuron begins, and where the last one ends.

    ``degree``: uint32, (n,).
    """
    total = np.int64(0)
    indptr[0] = 0
    for i in range(degree.shape[0]):
        total += np.int64(degree[i])
        indptr[i + 1] = total


@njit(borrows=True, cache=True, nogil=True)
def walk(ids, indptr, step, far, place, target):
    """Fill ``target`` (uint64, (nnz,)): each row walks from its source on by ``step``; a step of 0 stays, and its
    target is the next of ``far``.

    ``ids``: uint64, (n,); ``indptr``: int64, (n + 1,), non-decreasing from 0 to nnz; ``step``: int8 to int64, (nnz,);
    ``far``: uint64; ``place``: int64, (PLACES,), is overwritten. All sums are modulo 2^64. Returns how many steps are
    0: if they are not as many as ``far``, ``target`` means nothing.
    """
    # this loop was most of what decoding a leaf took: eight steps at a time, no branch on the step
    rows, synapses = np.uint64(ids.shape[0]), np.uint64(step.shape[0])
    zeros = np.uint64(0)
    end = np.uint64(0)
    for i in range(rows):
        at = ids[i]
        j, stop = np.uint64(indptr[i]), np.uint64(indptr[i + _ONE])
        while j < stop:
            if j + _LANES <= synapses:
                # beyond the row, what is written is the next one's to write
                at, found = stride(step, j, at, target)
                left = stop - j
                if left < _LANES:
                    found &= (_ONE << left) - _ONE
                end = mark(ZEROS, found, j, place, end)
                j += _LANES
            else:
                at += np.uint64(np.int64(step[j]))
                target[j] = at
                place[end] = j
                end += np.uint64(step[j] == 0)
                j += _ONE
            if end > _MANY:
                _reach_far(place, end, far, zeros, target)
                zeros += end
                end = np.uint64(0)
    _reach_far(place, end, far, zeros, target)
    return np.int64(zeros + end)


@njit(borrows=True, cache=True, nogil=True)
def _reach_far(place, count, far, begin, target):
    """Put the far targets from ``begin`` on in the first ``count`` of ``place``, as long as there are any."""
    have = np.uint64(far.shape[0])
    if begin < have:
        for k in range(min(count, have - begin)):
            target[place[k]] = far[begin + k]
