"""Targets of stored rows as steps, and back."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit

_ONE, _TWO, _THREE, _FOUR = (np.uint64(n) for n in (1, 2, 3, 4))


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


@njit(cache=True, nogil=True)
def walk(ids, indptr, step, far, place, target):
    """Fill ``target`` (uint64, (nnz,)): each row walks from its source on by ``step``; a step of 0 stays, and its
    target is the next of ``far``.

    ``ids``: uint64, (n,); ``indptr``: int64, (n + 1,), non-decreasing from 0 to nnz; ``step``: int8 to int64, (nnz,);
    ``far``: uint64, as long as ``step`` has zeros; ``place``: int64, one longer, is overwritten. All sums are modulo
    2^64.
    """
    # unsigned indices, no branch on the step, four at a time: this loop is most of what decoding a leaf takes
    zeros = np.uint64(0)
    for i in range(np.uint64(ids.shape[0])):
        at = ids[i]
        j = np.uint64(indptr[i])
        stop = np.uint64(indptr[i + _ONE])
        while j + _FOUR <= stop:
            a, b, c, d = (
                np.int64(step[j]),
                np.int64(step[j + _ONE]),
                np.int64(step[j + _TWO]),
                np.int64(step[j + _THREE]),
            )
            target[j] = at + np.uint64(a)
            target[j + _ONE] = target[j] + np.uint64(b)
            target[j + _TWO] = target[j + _ONE] + np.uint64(c)
            at = target[j + _TWO] + np.uint64(d)
            target[j + _THREE] = at
            place[zeros] = j
            zeros += np.uint64(a == 0)
            place[zeros] = j + _ONE
            zeros += np.uint64(b == 0)
            place[zeros] = j + _TWO
            zeros += np.uint64(c == 0)
            place[zeros] = j + _THREE
            zeros += np.uint64(d == 0)
            j += _FOUR
        while j < stop:
            s = np.int64(step[j])
            at += np.uint64(s)
            target[j] = at
            place[zeros] = j
            zeros += np.uint64(s == 0)
            j += _ONE
    for i in range(zeros):
        target[place[i]] = far[i]
