"""The calendar of spikes under way: which rows are due in which tick.

An entry is a slot that fired, and the delay of the synapses for whose sake it is due. The entries of a tick are a
linked list; entries that are done with are used again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit
from engramdb.kernels.rows import MIXED, first_of_delay
from engramdb.kernels.slots import BLOCK_SHIFT

NO_ENTRY = np.int32(-1)
FREE, MADE, IN_USE = range(3)  # places in ``counters``: the first free entry, entries ever used, entries in use


class Calendar(NamedTuple):
    """Arrays over entries (capacity c), and over ticks modulo a power of two greater than the longest delay."""

    slot: npt.NDArray[np.int32]  # (c,)
    delay: npt.NDArray[np.int32]  # (c,) ticks; the spike was that long before the tick in which the entry is due
    next: npt.NDArray[np.int32]  # (c,) of the same tick, or the next free one
    head: npt.NDArray[np.int32]  # (ticks,) first entry of each, NO_ENTRY = none
    due: npt.NDArray[np.int64]  # (ticks,) entries of each
    counters: npt.NDArray[np.int64]  # (3,)


def empty(longest_delay: int, capacity: int) -> Calendar:
    """A calendar for delays up to ``longest_delay`` ticks with room for ``capacity`` entries."""
    ticks = 1 << longest_delay.bit_length()
    slot, delay, following = (np.empty(capacity, dtype=np.int32) for _ in range(3))
    head, due = np.full(ticks, NO_ENTRY, dtype=np.int32), np.zeros(ticks, dtype=np.int64)
    return Calendar(slot, delay, following, head, due, np.array([NO_ENTRY, 0, 0], dtype=np.int64))


def grown(calendar: Calendar, capacity: int) -> Calendar:
    """The same calendar with room for ``capacity`` entries."""
    more = np.empty(capacity - len(calendar.slot), dtype=np.int32)
    arrays = calendar.slot, calendar.delay, calendar.next
    slot, delay, following = (np.concatenate([kept, more]) for kept in arrays)
    return calendar._replace(slot=slot, delay=delay, next=following)


def clear(calendar: Calendar) -> None:
    """Take out everything."""
    calendar.head[:] = NO_ENTRY
    calendar.due[:] = 0
    calendar.counters[:] = NO_ENTRY, 0, 0


@njit(borrows=True, cache=True, nogil=True)
def enter(calendar, slot, delay, tick):
    """Make ``slot`` due in ``tick`` for its synapses of ``delay`` ticks; there is room."""
    counters = calendar.counters
    entry = counters[FREE]
    if entry >= 0:
        counters[FREE] = calendar.next[entry]
    else:
        entry = counters[MADE]
        counters[MADE] = entry + 1
    counters[IN_USE] += 1
    at = tick & (calendar.head.shape[0] - 1)
    calendar.slot[entry] = slot
    calendar.delay[entry] = delay
    calendar.next[entry] = calendar.head[at]
    calendar.head[at] = entry
    calendar.due[at] += 1


@njit(borrows=True, cache=True, nogil=True)
def schedule(calendar, slots, records, arena, codes, held, tick, since, least, longest):
    """Enter the slots ``held`` (int64), which fired in ``tick``, for their first delay of at least ``since`` ticks.

    That of the row where it is loaded; otherwise the first that ``least`` and ``longest`` (int32, by position of the
    layer) allow. Slots without such a delay are left out.
    """
    for i in range(held.shape[0]):
        slot = held[i]
        r = slots.record[slot]
        delay = np.int32(0)
        if r >= 0 and records[r].offset >= 0:
            first = np.int32(records[r].delay)
            if first >= since:
                delay = first
            elif records[r].flags & MIXED:
                stop = records[r].offset + records[r].length
                at = first_of_delay(arena, codes, records[r].offset, stop, since)
                if at < stop:
                    delay = codes.delay[arena.code[at]]
        else:
            layer = slots.block_layer[slot >> BLOCK_SHIFT]
            earliest = max(least[layer], np.int32(since))
            if earliest <= longest[layer]:
                delay = earliest
        if delay > 0:
            enter(calendar, slot, delay, tick + delay)


@njit(borrows=True, cache=True, nogil=True)
def postpone(calendar, held, delay, following, tick):
    """Enter the slots ``held`` (int64), due in ``tick`` for ``delay`` (int32), for ``following``; 0 = none."""
    for i in range(held.shape[0]):
        if following[i] > 0:
            enter(calendar, held[i], following[i], tick - delay[i] + following[i])


@njit(borrows=True, cache=True, nogil=True)
def peek(calendar, tick, held):
    """Fill ``held`` (int64) with the slots due in ``tick``, which stay in."""
    entry = np.int64(calendar.head[tick & (calendar.head.shape[0] - 1)])
    n = 0
    while entry >= 0:
        held[n] = calendar.slot[entry]
        n += 1
        entry = np.int64(calendar.next[entry])


@njit(borrows=True, cache=True, nogil=True)
def take(calendar, tick, held, delay):
    """Take out all entries of ``tick``: ``held`` (int64) and ``delay`` (int32) have room for them."""
    counters = calendar.counters
    at = tick & (calendar.head.shape[0] - 1)
    entry = np.int64(calendar.head[at])
    n = 0
    while entry >= 0:
        held[n] = calendar.slot[entry]
        delay[n] = calendar.delay[entry]
        n += 1
        following = np.int64(calendar.next[entry])
        calendar.next[entry] = counters[FREE]
        counters[FREE] = entry
        entry = following
    counters[IN_USE] -= n
    calendar.head[at] = NO_ENTRY
    calendar.due[at] = 0
