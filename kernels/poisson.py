"""Poisson input: each target has a process of its own, and who is due is found without looking at the others.

Time is cut into blocks of 2^b ticks, where b depends on the rate alone and makes two to four events a block likely
(one tick a block where the rate is higher). In each block the gaps between events are drawn anew, exponential and keyed
by (seed, number of the stimulus, id, block, ordinal); what reaches beyond the block is dropped. A Poisson process has
no memory, so this is exactly one, and a restored engram finds the place of every target from a few draws.

The next event of each target waits in a wheel: a list for each of the coming ticks, and one for all that come later.
Work is a few draws for each event, and none for targets that are not due.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.rng import POISSON, absorb, hash_u64

BASE, LATER = range(2)  # places in ``counters``: tick of the first list, first target that comes later
MOST_BITS = 40  # of the length of a block
LEAST_RATE = 2.0**-38  # events a tick; less would need longer blocks
MOST_RATE = 1000.0
_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_NOBODY = np.int32(-1)
_FIRST = np.uint64(0)
_AHEAD = 8


# One target: its id; its next event by tick, by place in its block (ticks), and by how many gaps of the block have been
# drawn. One record, because each is a cache miss.
TARGET = np.dtype([("id", np.uint64), ("tick", np.int64), ("at", np.float64), ("drawn", np.uint64)])


class Wheel(NamedTuple):
    """Where the processes of n targets stand."""

    head: npt.NDArray[np.int32]  # (w,) first target of the list of tick base + i; -1 = none
    link: npt.NDArray[np.int32]  # (n,) the next in its list; apart from the rest, because lists are walked in no order
    target: npt.NDArray[np.void]  # (n,) TARGET
    counters: npt.NDArray[np.int64]  # (2,)


@njit(borrows=True, cache=True, nogil=True)
def exponential(h):
    """An exponential variate of mean 1 (float64, 0 to 36.7) from a uint64: -log of the upper 53 bits plus one.

    The logarithm is a power series in plain arithmetic, the same bits on every machine; a mathematics library is not.
    """
    m, e = math.frexp(np.float64((h >> np.uint64(11)) + np.uint64(1)))
    if m < _SQRT_HALF:
        m = m * 2.0
        e = e - 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1.0 / 21.0
    series = series * z + 1.0 / 19.0
    series = series * z + 1.0 / 17.0
    series = series * z + 1.0 / 15.0
    series = series * z + 1.0 / 13.0
    series = series * z + 1.0 / 11.0
    series = series * z + 1.0 / 9.0
    series = series * z + 1.0 / 7.0
    series = series * z + 1.0 / 5.0
    series = series * z + 1.0 / 3.0
    series = series * z + 1.0
    return np.float64(53 - e) * _LN2 - 2.0 * s * series


@njit(borrows=True, cache=True, nogil=True)
def block_bits(rate):
    """The binary logarithm of a block's length in ticks, 0 to MOST_BITS: the least with two events expected."""
    _, e = math.frexp(rate)
    return min(max(np.int64(2 - e), np.int64(0)), np.int64(MOST_BITS))


@njit(borrows=True, cache=True, nogil=True)
def following(key, rate, bits, block, at, drawn):
    """``(block, at, drawn)`` of the next event after ``at`` in ``block``, of which ``drawn`` gaps are drawn."""
    length = np.float64(np.int64(1) << bits)
    at += exponential(absorb(absorb(key, np.uint64(block)), drawn)) / rate
    drawn += np.uint64(1)
    while at >= length:
        block += 1
        at = exponential(absorb(absorb(key, np.uint64(block)), _FIRST)) / rate
        drawn = np.uint64(1)
    return block, at, drawn


@njit(borrows=True, cache=True, nogil=True)
def first_after(key, rate, bits, tick):
    """``(block, at, drawn)`` of the first event after ``tick`` (int64, not negative)."""
    block = tick >> bits
    block, at, drawn = following(key, rate, bits, block, 0.0, _FIRST)
    while (block << bits) + np.int64(at) < tick:
        block, at, drawn = following(key, rate, bits, block, at, drawn)
    return block, at, drawn


@njit(borrows=True, cache=True, nogil=True)
def _enter(wheel, i, tick):
    place = tick - wheel.counters[BASE]
    if place < wheel.head.shape[0]:
        wheel.link[i] = wheel.head[place]
        wheel.head[place] = i
    else:
        wheel.link[i] = np.int32(wheel.counters[LATER])
        wheel.counters[LATER] = i


@njit(borrows=True, cache=True, nogil=True)
def start(seed, number, rates, tick, wheel):
    """Put every target of a positive rate where its first event after ``tick`` is due; their ids are set.

    ``seed``, ``number``: uint64. ``rates``: float64 (n,) or (1,), events a tick.
    """
    wheel.head[:] = _NOBODY
    wheel.counters[BASE] = tick + 1
    wheel.counters[LATER] = -1
    for i in range(wheel.target.shape[0]):
        rate = rates[i] if rates.shape[0] > 1 else rates[0]
        if rate > 0.0:
            target = wheel.target[i]
            key = hash_u64(seed, target.id, number, POISSON)
            bits = block_bits(rate)
            block, at, drawn = first_after(key, rate, bits, tick)
            target.tick = (block << bits) + np.int64(at) + 1
            target.at = at
            target.drawn = drawn
            _enter(wheel, np.int32(i), target.tick)


@njit(borrows=True, cache=True, nogil=True)
def turn(wheel, tick):
    """Move the wheel on until it has a list for ``tick``; all its lists before that tick must be empty."""
    lists = wheel.head.shape[0]
    if tick < wheel.counters[BASE] + lists:
        return
    wheel.counters[BASE] += (tick - wheel.counters[BASE]) // lists * lists
    waiting = np.int32(wheel.counters[LATER])
    wheel.counters[LATER] = -1
    while waiting >= 0:
        i = waiting
        waiting = wheel.link[i]
        _enter(wheel, i, wheel.target[i].tick)


@njit(borrows=True, cache=True, nogil=True)
def due(wheel, tick, places):
    """Fill ``places`` (int64) with the targets that have an event in ``tick``, for which the wheel has a list.

    Returns how many there are, also where the array is too short.
    """
    n = 0
    i = wheel.head[tick - wheel.counters[BASE]]
    while i >= 0:
        if n < places.shape[0]:
            places[n] = i
        n += 1
        i = wheel.link[i]
    return n


@njit(borrows=True, cache=True, nogil=True)
def draw(seed, number, rates, wheel, tick, places, events):
    """Take the targets ``places``, all that are due in ``tick``: how many ``events`` (int64) each has in it."""
    wheel.head[tick - wheel.counters[BASE]] = _NOBODY
    n = places.shape[0]
    for k in range(n):
        if k + _AHEAD < n:
            prefetch(wheel.target, places[k + _AHEAD])
        i = places[k]
        target = wheel.target[i]
        rate = rates[i] if rates.shape[0] > 1 else rates[0]
        key = hash_u64(seed, target.id, number, POISSON)
        bits = block_bits(rate)
        block, at, drawn = (tick - 1) >> bits, target.at, target.drawn
        count = 0
        reached = tick
        while reached == tick:
            count += 1
            block, at, drawn = following(key, rate, bits, block, at, drawn)
            reached = (block << bits) + np.int64(at) + 1
        events[k] = count
        target.tick = reached
        target.at = at
        target.drawn = drawn
        _enter(wheel, np.int32(i), reached)


@njit(borrows=True, cache=True, nogil=True)
def draw_ahead(seed, number, rates, wheel, first, last, places, events, ends):
    """Draw all events of the ticks ``first`` to ``last``, for as many of them as ``places`` and ``events`` have room.

    As :func:`due` and :func:`draw` fill them, tick after tick; ``ends[i]`` to ``ends[i + 1]`` (int64, zeros, one more
    than there are ticks) are of tick first + i. Returns how many ticks were drawn.
    """
    n = 0
    for tick in range(first, last + 1):
        turn(wheel, tick)
        more = due(wheel, tick, places[n:])
        if n + more > places.shape[0]:
            return tick - first
        draw(seed, number, rates, wheel, tick, places[n : n + more], events[n : n + more])
        n += more
        ends[tick - first + 1] = n
    return last + 1 - first


@njit(borrows=True, cache=True, nogil=True)
def next_due(wheel, tick):
    """The first tick after ``tick`` in which anybody is due; -1 where nobody ever is."""
    for place in range(max(tick + 1 - wheel.counters[BASE], 0), wheel.head.shape[0]):
        if wheel.head[place] >= 0:
            return wheel.counters[BASE] + place
    first = np.int64(-1)
    i = np.int32(wheel.counters[LATER])
    while i >= 0:
        if first < 0 or wheel.target[i].tick < first:
            first = wheel.target[i].tick
        i = wheel.link[i]
    return first


@njit(borrows=True, cache=True, nogil=True)
def trains(seed, number, ids, rates, first, last, places, ticks):
    """Write out all events of the ticks ``first`` to ``last``; returns how many, also where the arrays are too short.

    ``places``: int64, in ``ids``; ``ticks``: int64; by place and tick.
    """
    n = 0
    for i in range(ids.shape[0]):
        rate = rates[i] if rates.shape[0] > 1 else rates[0]
        if rate <= 0.0:
            continue
        key = hash_u64(seed, ids[i], number, POISSON)
        bits = block_bits(rate)
        block, at, drawn = first_after(key, rate, bits, first - 1)
        tick = (block << bits) + np.int64(at) + 1
        while tick <= last:
            if n < ticks.shape[0]:
                places[n] = i
                ticks[n] = tick
            n += 1
            block, at, drawn = following(key, rate, bits, block, at, drawn)
            tick = (block << bits) + np.int64(at) + 1
    return n
