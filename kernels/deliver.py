"""Delivery of spikes: the rows of neurons that fired add their weights to the input of their targets.

Weights become integers in units of 2^-32 mV, rounded half to even, and add in any order: the sum never depends on
the order of rows, on the number of threads or on what is in RAM.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch, prefetch_to_write
from engramdb.kernels.rows import AHEAD, DIRTY, MIXED, RESOLVED, WARM, first_of_delay, resolve
from engramdb.kernels.slots import BLOCK_SHIFT

UNIT = 4294967296.0  # of the fixed-point sums, per mV
_MOST_TARGETS_AHEAD = 64  # the rest of a long row would be evicted again before its turn
_SOON = 4  # rows
_PIECE, _WAITING = 128, 64  # synapses
RING = 256  # at least as many as both
_RECORDS_AHEAD = 24
NEAR_BLOCKS = 512  # whose sums the caches next to the processor hold
_AHEAD = 6  # rows; beyond about that many the loads in flight no longer overlap better


@njit(borrows=True, cache=True, nogil=True)
def rowless(slots, records, fired, out):
    """Fill ``out`` (int64) with those of the slots ``fired`` whose row is not loaded.

    Returns (their number, how many of the other rows had been read ahead and are used for the first time).
    """
    n, first_used = 0, 0
    for i in range(fired.shape[0]):
        r = slots.record[fired[i]]
        if r < 0 or records[r].offset < 0:
            out[n] = fired[i]
            n += 1
        elif records[r].flags & AHEAD:
            records[r].flags &= ~AHEAD
            first_used += 1
    return n, first_used


@njit(borrows=True, cache=True, nogil=True)
def _stretch(records, arena, codes, r, delay):
    """``(lo, hi, following)``: the synapses of record ``r``'s row that take ``delay`` ticks, and its next longer delay.

    ``following`` is 0 where there is none. Not to be called for rows whose only delay it is, which are most: a call
    counts references to all arrays of the tuples, and that takes longer than all else.
    """
    row_delay = np.int32(records[r].delay)
    lo = records[r].offset
    hi = lo + records[r].length
    if not records[r].flags & MIXED:
        return lo, lo, row_delay if row_delay > delay else np.int32(0)
    end_of_row = hi
    lo = first_of_delay(arena, codes, lo, end_of_row, delay)
    hi = lo
    while hi < end_of_row and codes.delay[arena.code[hi]] == delay:
        hi += 1
    return lo, hi, codes.delay[arena.code[hi]] if hi < end_of_row else np.int32(0)


@njit(borrows=True, cache=True, nogil=True)
def _ask_for_codes(record, records, arena, slot):
    """Ask for the codes of the row of ``slot``: where its synapses have several delays, they say where one begins."""
    r = record[slot]
    if r >= 0 and records[r].offset >= 0 and records[r].flags & MIXED:
        prefetch(arena.code, records[r].offset)


@njit(borrows=True, cache=True, nogil=True)
def gather(slots, records, arena, codes, fired, delay, start, offsets, lengths, count, following):
    """Where the synapses lie that spikes of the slots ``fired[start:]`` use, each at its ``delay`` (int32) in ticks.

    Fills ``offsets`` and ``lengths`` (int64) from ``count[0]`` on, which it advances, and resolves rows whose cached
    slots may be wrong; fills ``following`` (int32): the next longer delay in each row, 0 where there is none.
    Returns how far it came: less than the end where a slot could not be taken.
    """
    record = slots.record
    several = codes.made[0] > 1
    n = count[0]
    end = fired.shape[0]
    for i in range(start, end):
        if i + 2 * _RECORDS_AHEAD < end:
            prefetch(record, fired[i + 2 * _RECORDS_AHEAD])
            prefetch(records, record[fired[i + _RECORDS_AHEAD]])
            if several:
                _ask_for_codes(record, records, arena, fired[i + _SOON])
        r = record[fired[i]]
        lo = records[r].offset
        hi = lo + records[r].length
        following[i] = 0
        if records[r].delay != delay[i] or records[r].flags & MIXED:
            lo, hi, following[i] = _stretch(records, arena, codes, r, delay[i])
        if hi == lo:
            continue
        if not records[r].flags & RESOLVED and not resolve(slots, records, arena, codes, r):
            count[0] = n
            return i
        records[r].flags |= WARM
        offsets[n] = lo
        lengths[n] = hi - lo
        n += 1
    count[0] = n
    return end


@njit(borrows=True, cache=True, nogil=True)
def gather_ready(record, records, arena, codes, fired, delay, offsets, lengths, following, left):
    """As :func:`gather`, of the rows that are loaded and resolved.

    ``record``: that of the slots. The places in ``fired`` of the others go to ``left`` (int64). It changes nothing that
    another thread with other slots could look at. Returns how many stretches there are, and how many are left.
    """
    several = codes.made[0] > 1
    n = 0
    n_left = 0
    end = fired.shape[0]
    for i in range(end):
        if i + 2 * _RECORDS_AHEAD < end:
            prefetch(record, fired[i + 2 * _RECORDS_AHEAD])
            prefetch(records, record[fired[i + _RECORDS_AHEAD]])
            if several:
                _ask_for_codes(record, records, arena, fired[i + _SOON])
        r = record[fired[i]]
        if r < 0 or records[r].offset < 0 or not records[r].flags & RESOLVED:
            left[n_left] = i
            n_left += 1
            continue
        lo = records[r].offset
        hi = lo + records[r].length
        following[i] = 0
        if records[r].delay != delay[i] or records[r].flags & MIXED:
            lo, hi, following[i] = _stretch(records, arena, codes, r, delay[i])
        if hi > lo:
            records[r].flags |= WARM
            offsets[n] = lo
            lengths[n] = hi - lo
            n += 1
    return n, n_left


@njit(borrows=True, cache=True, nogil=True)
def _sleepers(block_awake):
    """How many blocks are not awake: where none is, no synapse has to look whether it wakes one."""
    n = 0
    for block in range(block_awake.shape[0]):
        n += block_awake[block] == 0
    return n


@njit(borrows=True, cache=True, nogil=True)
def deliver(offsets, lengths, link, total, block_awake, far):
    """Add the weights of the stretches ``offsets``, ``lengths`` (int64) of the arena to ``total`` (int64, by slot).

    ``block_awake``: of the blocks in use. Returns how many synapses they are.

    Rows lie anywhere in the arena and their targets anywhere in ``total``, so nearly every access would wait for
    memory: rows are asked for 2 * _AHEAD rows before their turn, and the targets of a row _AHEAD rows before, where
    these lie ``far``: where there are more than the nearest cache has room for.
    """
    events = 0
    n = offsets.shape[0]
    some_sleep = _sleepers(block_awake) > 0
    for i in range(n):
        if i + 2 * _AHEAD < n:
            ahead = offsets[i + 2 * _AHEAD]
            prefetch(link, ahead)
            prefetch(link, ahead + lengths[i + 2 * _AHEAD] - 1)
        if far and i + _AHEAD < n:
            ahead = offsets[i + _AHEAD]
            for j in range(ahead, ahead + min(lengths[i + _AHEAD], _MOST_TARGETS_AHEAD)):
                prefetch(total, link[j].slot)
        offset = offsets[i]
        for j in range(offset, offset + lengths[i]):
            slot = link[j].slot
            total[slot] += np.int64(np.rint(np.float64(link[j].weight) * UNIT))
            # most are awake: to look is cheaper than to write
            if some_sleep and not block_awake[slot >> np.uint32(BLOCK_SHIFT)]:
                block_awake[slot >> np.uint32(BLOCK_SHIFT)] = 1
        events += lengths[i]
    return events


@njit(borrows=True, cache=True, nogil=True)
def deliver_apart(offsets, lengths, link, plus, minus, block_awake, far):
    """As :func:`deliver`, with negative weights added to ``minus`` and the others to ``plus`` (int64, by slot)."""
    events = 0
    n = offsets.shape[0]
    some_sleep = _sleepers(block_awake) > 0
    for i in range(n):
        if i + 2 * _AHEAD < n:
            ahead = offsets[i + 2 * _AHEAD]
            prefetch(link, ahead)
            prefetch(link, ahead + lengths[i + 2 * _AHEAD] - 1)
        if far and i + _AHEAD < n:
            ahead = offsets[i + _AHEAD]
            for j in range(ahead, ahead + min(lengths[i + _AHEAD], _MOST_TARGETS_AHEAD)):
                prefetch(minus if link[j].weight < 0 else plus, link[j].slot)
        offset = offsets[i]
        for j in range(offset, offset + lengths[i]):
            slot = link[j].slot
            amount = np.int64(np.rint(np.float64(link[j].weight) * UNIT))
            if amount < 0:
                minus[slot] += amount
            else:
                plus[slot] += amount
            # most are awake: to look is cheaper than to write
            if some_sleep and not block_awake[slot >> np.uint32(BLOCK_SHIFT)]:
                block_awake[slot >> np.uint32(BLOCK_SHIFT)] = 1
        events += lengths[i]
    return events


@njit(inline="always")
def _add_links(links, begin, end, mask, plus, minus, block_awake):
    """Add the weights of ``links[k & mask]`` (LINK) to the sums of their slots, for k from begin to end (excluded)."""
    apart = minus.shape[0] > 0
    for k in range(begin, end):
        slot = links[k & mask].slot
        amount = np.int64(np.rint(np.float64(links[k & mask].weight) * UNIT))
        if apart and amount < 0:
            minus[slot] += amount
        else:
            plus[slot] += amount
        if not block_awake[slot >> np.uint32(BLOCK_SHIFT)]:
            block_awake[slot >> np.uint32(BLOCK_SHIFT)] = 1


@njit(borrows=True, cache=True, nogil=True)
def deliver_own(offsets, lengths, link, plus, minus, block_awake, first, last, ring, outbox):
    """As :func:`deliver`, of those synapses whose targets are the slots ``first`` to ``last`` (excluded; uint32).

    The others go to ``outbox`` (LINK), which has room for all and one more; returns how many those are. So several
    threads add to the same sums, each to its own. ``minus``: where negative weights go, (0,) if they go to ``plus``.
    ``ring``: LINK (RING,), for those that wait until what was asked for has come.
    """
    n_out = 0
    n_own = done = np.int64(0)
    span = last - first
    n = offsets.shape[0]
    for i in range(n):
        if i + 2 * _AHEAD < n:
            ahead = offsets[i + 2 * _AHEAD]
            prefetch(link, ahead)
            prefetch(link, ahead + lengths[i + 2 * _AHEAD] - 1)
        end = offsets[i] + lengths[i]
        for begin in range(offsets[i], end, _PIECE):
            before = n_own
            for j in range(begin, min(end, begin + _PIECE)):
                # whose it is cannot be guessed: it is written to both, and counts in one
                mine = np.uint32(link[j].slot - first) < span
                ring[n_own & (RING - 1)] = link[j]
                outbox[n_out] = link[j]
                n_own += mine
                n_out += not mine
            for k in range(before, n_own):
                prefetch_to_write(plus, ring[k & (RING - 1)].slot)
            prefetch_to_write(outbox, n_out + 64)
            prefetch_to_write(outbox, n_out + 72)
            if n_own - done > _WAITING:
                _add_links(ring, done, n_own - _WAITING, RING - 1, plus, minus, block_awake)
                done = n_own - _WAITING
    _add_links(ring, done, n_own, RING - 1, plus, minus, block_awake)
    return n_out


@njit(borrows=True, cache=True, nogil=True)
def add_outbox(outbox, plus, minus, block_awake, first, last):
    """Add what other threads left in ``outbox`` (LINK) for the slots ``first`` to ``last`` (excluded; uint32)."""
    span = last - first
    n = outbox.shape[0]
    for k in range(n):
        if k + _WAITING < n:
            prefetch(plus, outbox[k + _WAITING].slot)
        if np.uint32(outbox[k].slot - first) < span:
            _add_links(outbox, k, k + 1, -1, plus, minus, block_awake)


@njit(borrows=True, cache=True, nogil=True)
def fire(record, records, fired, tick, delay, offsets, lengths, left, missing):
    """Count the spike of each slot of ``fired`` (int64) in its record; slots without one go to ``missing`` (int64).

    ``record``: that of the slots. Where a row is loaded and resolved, and all its synapses take ``delay`` ticks,
    ``offsets`` and ``lengths`` (int64) say where they lie: when the spike arrives, the record need not be looked at
    again if nothing has been moved. The other slots go to ``left`` (int64), in order.
    Returns how many stretches there are, how many slots are left, and how many are missing.
    """
    n = 0
    n_left = 0
    n_missing = 0
    end = fired.shape[0]
    for i in range(end):
        if i + 2 * _RECORDS_AHEAD < end:
            prefetch(record, fired[i + 2 * _RECORDS_AHEAD])
            prefetch(records, record[fired[i + _RECORDS_AHEAD]])
        slot = fired[i]
        r = record[slot]
        left[n_left] = slot
        if r < 0:
            missing[n_missing] = slot
            n_missing += 1
            n_left += 1
            continue
        offset, length, flags = records[r].offset, records[r].length, records[r].flags
        resolved = flags & (RESOLVED | MIXED) == RESOLVED and records[r].delay == delay
        ready = offset >= 0 and (resolved or length == 0)
        records[r].spike_count += np.uint32(1)
        records[r].last_spike = tick
        records[r].flags = flags | DIRTY | WARM
        offsets[n] = offset
        lengths[n] = length
        n += ready and length > 0
        n_left += not ready
    return n, n_left, n_missing
