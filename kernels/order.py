"""Sorting the synapses of a row by target: stable, and quick for the dozen that a row usually has."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit

SHORT = 32  # longer stretches are cheaper to sort by merging
_PLACE_BITS, _PLACE_MASK = np.uint64(8), np.uint64(0xFF)
_KEPT_BITS = np.uint64(56)


@njit(cache=True, nogil=True)
def insertion_sort(start, stop, projection, target, weight):
    """Sort a stretch of three arrays by ``target``; equal ones keep their order."""
    for i in range(start + 1, stop):
        j = i
        moving_target, moving_weight, moving_projection = target[i], weight[i], projection[i]
        while j > start and target[j - 1] > moving_target:
            target[j] = target[j - 1]
            weight[j] = weight[j - 1]
            projection[j] = projection[j - 1]
            j -= 1
        target[j] = moving_target
        weight[j] = moving_weight
        projection[j] = moving_projection


@njit(cache=True, nogil=True)
def merge_runs(low, middle, high, p, t, w, p_out, t_out, w_out):
    """Merge the stretches low..middle and middle..high of (p, t, w), each sorted by t, into the other arrays."""
    left, right = low, middle
    for at in range(low, high):
        if left < middle and (right >= high or t[left] <= t[right]):
            take = left
            left += 1
        else:
            take = right
            right += 1
        p_out[at], t_out[at], w_out[at] = p[take], t[take], w[take]


@njit(cache=True, nogil=True)
def sort_keys(start, stop, target, weight, keys, moving):
    """Sort a stretch of at most SHORT of two arrays by ``target``, ids of one layer; equal ones keep their order.

    What moves is one integer of target and place. ``keys`` (uint64) and ``moving`` (float32) have room for SHORT.
    """
    if start == stop:
        return
    upper = target[start] >> _KEPT_BITS << _KEPT_BITS
    for i in range(stop - start):
        key = target[start + i] << _PLACE_BITS | np.uint64(i)  # without the upper bits of the layer
        moving[i] = weight[start + i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key
    for i in range(stop - start):
        target[start + i] = keys[i] >> _PLACE_BITS | upper
        weight[start + i] = moving[keys[i] & _PLACE_MASK]


@njit(inline="always")
def _comes_after(delay, target, one, other):
    """Whether the synapse at ``one`` comes behind the one at ``other``, in order of (delay, target)."""
    return delay[one] > delay[other] or (delay[one] == delay[other] and target[one] > target[other])


@njit(cache=True, nogil=True)
def sort_row(start, stop, delay, projection, target, weight):
    """Sort a stretch of four arrays by (``delay``, ``target``); equal ones keep their order."""
    if stop - start <= SHORT:
        for i in range(start + 1, stop):
            j = i
            moving_delay, moving_target = delay[i], target[i]
            moving_weight, moving_projection = weight[i], projection[i]
            while j > start and (
                delay[j - 1] > moving_delay or (delay[j - 1] == moving_delay and target[j - 1] > moving_target)
            ):
                delay[j], target[j] = delay[j - 1], target[j - 1]
                weight[j], projection[j] = weight[j - 1], projection[j - 1]
                j -= 1
            delay[j], target[j] = moving_delay, moving_target
            weight[j], projection[j] = moving_weight, moving_projection
        return
    # np.argsort, and indexing by what it gives, would take twice as long to compile as all that calls this
    n = stop - start
    order, other = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    for low in range(0, n, SHORT):
        for i in range(low, min(low + SHORT, n)):
            j = i
            while j > low and _comes_after(delay, target, start + order[j - 1], start + i):
                order[j] = order[j - 1]
                j -= 1
            order[j] = i
    width = SHORT
    while width < n:
        for low in range(0, n, 2 * width):
            left, right = low, min(low + width, n)
            middle, high = right, min(low + 2 * width, n)
            for at in range(low, high):
                from_right = left >= middle or (
                    right < high and _comes_after(delay, target, start + order[left], start + order[right])
                )
                if from_right:
                    other[at] = order[right]
                    right += 1
                else:
                    other[at] = order[left]
                    left += 1
        order, other = other, order
        width *= 2
    d, p = np.empty_like(delay[:n]), np.empty_like(projection[:n])
    t, w = np.empty_like(target[:n]), np.empty_like(weight[:n])
    for i in range(n):
        d[i], p[i], t[i], w[i] = delay[start + i], projection[start + i], target[start + i], weight[start + i]
    for i in range(n):
        place = order[i]
        delay[start + i], projection[start + i], target[start + i], weight[start + i] = (
            d[place], p[place], t[place], w[place],
        )  # fmt: skip


@njit(cache=True, nogil=True)
def sort_by_target(start, stop, projection, target, weight):
    """Sort a stretch of three arrays by ``target``; equal ones keep their order (projection, then ordinal)."""
    if stop - start <= SHORT:
        insertion_sort(start, stop, projection, target, weight)
        return
    n = stop - start
    p, t, w = projection[start:stop], target[start:stop], weight[start:stop]
    p_other, t_other, w_other = np.empty_like(p), np.empty_like(t), np.empty_like(w)
    for low in range(0, n, SHORT):
        insertion_sort(low, min(low + SHORT, n), p, t, w)
    width = SHORT
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            merge_runs(low, middle, high, p, t, w, p_other, t_other, w_other)
        p, p_other, t, t_other, w, w_other = p_other, p, t_other, t, w_other, w
        width *= 2
    for i in range(n):
        projection[start + i], target[start + i], weight[start + i] = p[i], t[i], w[i]
