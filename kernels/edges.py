"""Sorting edges by (pre, delay, post, projection): all four in one uint64 key, a radix sort and merges of that.

A *space* is the list of segments that ids may lie in, increasing: ``upper`` is the upper half of a segment's ids (layer
and segment), ``start`` the number of its neuron 0 when all its neurons are numbered through from 0 (both uint64,
(segments,)). Numbers take fewer bits than ids and sort the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit

_HALF = np.uint64(32)
_LOW_MASK = np.uint64(0xFFFFFFFF)
_DIGIT_BITS = 11  # 2,048 places to write to at once: what the caches and the TLB still hold
_DIGIT_MASK = np.uint64((1 << _DIGIT_BITS) - 1)


class Layout(NamedTuple):
    """How a key is made: pre | delay | post | projection, each so many bits wide; the module says what spaces are."""

    pre_upper: npt.NDArray[np.uint64]
    pre_start: npt.NDArray[np.uint64]
    post_upper: npt.NDArray[np.uint64]
    post_start: npt.NDArray[np.uint64]
    delay_place: npt.NDArray[np.uint64]  # by projection: place of its delay among all that occur
    least_delay: np.uint64  # ticks; where edges have delays of their own, they count from it
    delay_bits: np.uint64
    post_bits: np.uint64
    projection_bits: np.uint64


@njit(cache=True, nogil=True)
def encode_edges(pre, post, projection, delay, layout, key):
    """``key[i]`` (uint64) orders edges as (pre, delay, post, projection) does, all (n,).

    ``pre``, ``post`` uint64, ``projection``, ``delay`` uint16; no delays where every edge has that of its projection.
    """
    own = delay.shape[0] > 0
    pre_at = post_at = 0
    for i in range(pre.shape[0]):
        upper = pre[i] >> _HALF
        if layout.pre_upper[pre_at] != upper:
            pre_at = np.searchsorted(layout.pre_upper, upper)
        k = layout.pre_start[pre_at] + (pre[i] & _LOW_MASK)
        place = np.uint64(delay[i]) - layout.least_delay if own else layout.delay_place[projection[i]]
        k = (k << layout.delay_bits) | place
        upper = post[i] >> _HALF
        if layout.post_upper[post_at] != upper:
            post_at = np.searchsorted(layout.post_upper, upper)
        k = (k << layout.post_bits) | (layout.post_start[post_at] + (post[i] & _LOW_MASK))
        key[i] = (k << layout.projection_bits) | np.uint64(projection[i])


@njit(cache=True, nogil=True)
def decode_edges(key, layout, pre, post, projection, delay):
    """The inverse of :func:`encode_edges`: fills ``pre``, ``post`` and ``projection``, and ``delay`` if not empty."""
    own = delay.shape[0] > 0
    delay_mask = (np.uint64(1) << layout.delay_bits) - np.uint64(1)
    one = np.uint64(1)
    projection_mask = (one << layout.projection_bits) - one
    post_mask = (one << layout.post_bits) - one
    pre_shift = layout.projection_bits + layout.post_bits + layout.delay_bits
    pre_at = post_at = 0
    for i in range(key.shape[0]):
        k = key[i]
        projection[i] = np.uint16(k & projection_mask)
        number = (k >> layout.projection_bits) & post_mask
        post_at = _segment_of(number, layout.post_start, post_at)
        post[i] = (layout.post_upper[post_at] << _HALF) | (number - layout.post_start[post_at])
        if own:
            place = (k >> (layout.projection_bits + layout.post_bits)) & delay_mask
            delay[i] = np.uint16(layout.least_delay + place)
        number = k >> pre_shift
        pre_at = _segment_of(number, layout.pre_start, pre_at)
        pre[i] = (layout.pre_upper[pre_at] << _HALF) | (number - layout.pre_start[pre_at])


@njit(cache=True, nogil=True)
def _segment_of(number, start, guess):
    last = start.shape[0] - 1
    if number >= start[guess] and (guess == last or number < start[guess + 1]):
        return guess
    return np.searchsorted(start, number, side="right") - 1


@njit(cache=True, nogil=True)
def sort_keys(key, weight, spare_key, spare_weight, bits):
    """Sort ``key`` (uint64, below 2^bits) and with it ``weight`` (float32), stably; the spare ones are as long.

    Returns whether the sorted ones are the spare ones.
    """
    n = key.shape[0]
    passes = (bits + _DIGIT_BITS - 1) // _DIGIT_BITS
    counts = np.zeros((passes, 1 << _DIGIT_BITS), np.int64)
    for i in range(n):
        k = key[i]
        for digit in range(passes):
            counts[digit, k & _DIGIT_MASK] += 1
            k >>= np.uint64(_DIGIT_BITS)
    swapped = False
    for digit in range(passes):
        shift = np.uint64(digit * _DIGIT_BITS)
        place = counts[digit]
        if n and place[(key[0] >> shift) & _DIGIT_MASK] == n:
            continue  # the same digit everywhere
        before = 0
        for d in range(place.shape[0]):
            here = place[d]
            place[d] = before
            before += here
        for i in range(n):
            d = (key[i] >> shift) & _DIGIT_MASK
            at = place[d]
            place[d] = at + 1
            spare_key[at] = key[i]
            spare_weight[at] = weight[i]
        key, spare_key = spare_key, key
        weight, spare_weight = spare_weight, weight
        swapped = not swapped
    return swapped


@njit(cache=True, nogil=True)
def merge_sorted(key, weight, other_key, other_weight, out_key, out_weight):
    """Merge two sorted lists of keys (uint64) with their weights (float32) into one as long as both."""
    i, j = np.uint64(0), np.uint64(0)  # unsigned: no negative index to look out for
    n, m = np.uint64(key.shape[0]), np.uint64(other_key.shape[0])
    one = np.uint64(1)
    for at in range(out_key.shape[0]):
        if j == m or (i < n and key[i] <= other_key[j]):
            out_key[at] = key[i]
            out_weight[at] = weight[i]
            i += one
        else:
            out_key[at] = other_key[j]
            out_weight[at] = other_weight[j]
            j += one


@njit(cache=True, nogil=True)
def settle_equal(key, weight, add):
    """Put the weights of equal keys (next to each other) in increasing order; with ``add`` replace them by their sum.

    A sum is taken in float64, smallest first, and rounded once, so that it does not depend on the order in which the
    edges came. Returns how many entries of ``key`` and ``weight`` are left, in front.
    """
    n = key.shape[0]
    kept = 0
    i = 0
    while i < n:
        stop = i + 1
        while stop < n and key[stop] == key[i]:
            stop += 1
        if stop - i == 2:
            if weight[i] > weight[i + 1]:
                weight[i], weight[i + 1] = weight[i + 1], weight[i]
        elif stop - i > 2:
            weight[i:stop] = np.sort(weight[i:stop])
        if add:
            total = np.float64(0.0)
            for j in range(i, stop):
                total += np.float64(weight[j])
            key[kept] = key[i]
            weight[kept] = np.float32(total)
            kept += 1
        i = stop
    return kept if add else n
