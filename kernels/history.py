"""Spike histories: for each slot the ticks in which it fired of late, as bits.

An array of uint64 has ``stride`` words for each slot: the tick of its last spike (0 = none yet), and then bits, oldest
first: the very last one is the last spike, the one before it the tick before. So nothing has to be done while nobody
fires, and what is older than the bits reach is forgotten by being shifted out.

Beside it lie the ticks of each slot's last spikes, see ``recent``.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.bits import highest_bit, lowest_bit
from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.recent import RECENT, push
from engramdb.kernels.slots import BLOCK_SHIFT

_WORD = np.int64(64)
_LAST_BIT = np.uint64(1 << 63)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_AHEAD = 8
NEVER = np.int64(-1)
_LONG_AGO = np.uint32(1 << 31)


@njit(borrows=True, cache=True, nogil=True)
def fire(history, recent, stride, fired, tick, block_layer, wanted):
    """Note that the slots ``fired`` (int64) fired in ``tick``, those of layers ``wanted`` (uint8, by position)."""
    words = stride - 1
    end = fired.shape[0]
    for i in range(end):
        if i + _AHEAD < end:
            prefetch(history, fired[i + _AHEAD] * stride)
            prefetch(recent, fired[i + _AHEAD] * RECENT)
        if wanted[block_layer[fired[i] >> BLOCK_SHIFT]]:
            base, at = fired[i] * stride, fired[i] * RECENT
            if tick - np.int64(history[base]) > words * _WORD or history[base] == 0:
                for k in range(RECENT):
                    recent[at + k] = np.uint32(tick) - _LONG_AGO
            note(history, base, words, tick)
            push(recent, fired[i], np.uint32(tick))


@njit(borrows=True, cache=True, nogil=True)
def last_in(history, stride, fired, tick, out):
    """Fill ``out`` (int64) with those of the slots ``fired`` (int64) whose last spike was in ``tick``; how many."""
    n = 0
    end = fired.shape[0]
    for i in range(end):
        if i + _AHEAD < end:
            prefetch(history, fired[i + _AHEAD] * stride)
        out[n] = fired[i]
        n += np.int64(history[fired[i] * stride]) == tick
    return n


@njit(borrows=True, cache=True, nogil=True)
def refresh(history, recent, stride, used, since, tick):
    """Put the last spikes of the first ``used`` slots that have not fired ``since`` that tick far from ``tick`` again.

    To be called long before 2^32 ticks have passed: then they would look as if they had just been.
    """
    for slot in range(used):
        if np.int64(history[slot * stride]) < since:
            for k in range(RECENT):
                recent[slot * RECENT + k] = np.uint32(tick) - _LONG_AGO


@njit(borrows=True, cache=True, nogil=True)
def note(history, base, words, tick):
    """Note a spike in ``tick``, later than all that are noted, in the ``words`` behind ``history[base]``."""
    gap = tick - np.int64(history[base])
    whole = min(gap >> 6, words)
    part = np.uint64(gap & 63)
    rest = np.uint64(63) - part
    # two shifts: by 64 at once is undefined
    first = base + 1 + whole
    for w in range(words - whole - 1):
        history[base + 1 + w] = (history[first + w] >> part) | ((history[first + w + 1] << np.uint64(1)) << rest)
    if whole < words:
        history[base + words - whole] = history[base + words] >> part
    for w in range(words - whole, words):
        history[base + 1 + w] = np.uint64(0)
    history[base + words] |= _LAST_BIT
    history[base] = np.uint64(tick)


@njit(borrows=True, cache=True, nogil=True)
def last_before(history, base, words, tick):
    """The tick of the last spike before ``tick``; NEVER where none is known."""
    first = np.int64(history[base]) - (words * _WORD - 1)  # the tick of the oldest bit
    top = min(tick - 1 - first, words * _WORD - 1)
    if top < 0:
        return NEVER
    w = top >> 6
    word = history[base + 1 + w] & (_ALL >> np.uint64(63 - (top & 63)))
    while word == 0:
        w -= 1
        if w < 0:
            return NEVER
        word = history[base + 1 + w]
    return first + (w << 6) + highest_bit(word)


@njit(borrows=True, cache=True, nogil=True)
def first_after(history, base, words, tick):
    """The tick of the first spike after ``tick``; NEVER where there is none."""
    last = np.int64(history[base])
    first = last - (words * _WORD - 1)
    if last <= tick or last == 0:
        return NEVER
    bottom = max(tick + 1 - first, np.int64(0))
    w = bottom >> 6
    word = history[base + 1 + w] & (_ALL << np.uint64(bottom & 63))
    while word == 0:
        w += 1
        word = history[base + 1 + w]
    return first + (w << 6) + lowest_bit(word)


@njit(borrows=True, cache=True, nogil=True)
def spikes_of(history, stride, slots, since, ticks, places):
    """Fill ``ticks`` and ``places`` (int64; places in ``slots``, int64) with all spikes in ``since`` and later.

    Returns how many there are; where they are more than there is room, only that.
    """
    words = stride - 1
    n = 0
    for i in range(slots.shape[0]):
        base = slots[i] * stride
        first = np.int64(history[base]) - (words * _WORD - 1)
        for w in range(words):
            word = history[base + 1 + w]
            while word:
                at = first + (w << 6) + lowest_bit(word)
                word &= word - np.uint64(1)
                if at >= since:
                    if n < ticks.shape[0]:
                        ticks[n] = at
                        places[n] = i
                    n += 1
    return n
