"""Rows in RAM: records of neurons with a history, and an arena of synapses.

A record belongs to a slot. Its row, if loaded, is a stretch of the arena; rows are appended at the arena's end and
moved down when others have been dropped. A synapse is 14 bytes: the target's local id, a code for (projection,
segment, delay), the target's slot as last seen, and the weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.rng import mix64
from engramdb.kernels.slots import (
    ARENA_END,
    FREE_RECORD,
    N_MOVED,
    N_RECORDS,
    N_ROWS,
    NO_SLOT,
    find,
    take,
)

DIRTY, WARM, PINNED, QUEUED, AHEAD, ON_TOP, MIXED, RESOLVED, LEARNED = (np.uint16(1 << bit) for bit in range(9))
MOST_CODES = 1 << 16
NO_CODE = np.int64(-1)
_ASKED_AT_ONCE = 32  # synapses whose targets are looked for


# Records lie in one array of structs, 32 bytes each, so that a spike touches one cache line of its neuron's record.
RECORD = np.dtype(
    [
        ("offset", np.int64),  # where its row begins in the arena; -1 = not loaded
        ("last_spike", np.int64),  # tick
        ("length", np.int32),  # synapses of its row
        ("slot", np.int32),  # whose it is; in a free record -2 - the next free one
        ("spike_count", np.uint32),
        ("delay", np.uint16),  # ticks, the least of all synapses; 0 in an empty row
        # DIRTY: counts not yet in the store; WARM: used since the hand passed; PINNED; QUEUED: its row is being read
        # ahead; AHEAD: its row was, and has not been used; ON_TOP: the counts come on top of what the store has;
        # MIXED: synapses of its row have several delays; RESOLVED: no slot has been freed since the row's cached
        # slots were looked at, so they are right; LEARNED: the weights of its row are not those of the store
        ("flags", np.uint16),
    ],
    align=True,
)


# What delivery reads of a synapse lies together: the target's slot as last seen, and the weight.
LINK = np.dtype([("slot", np.uint32), ("weight", np.float32)])


class Arena(NamedTuple):
    """Arrays over synapses (capacity a)."""

    local: npt.NDArray[np.uint32]
    code: npt.NDArray[np.uint16]
    link: npt.NDArray[Any]  # LINK


class Codes(NamedTuple):
    """What a synapse's code means: arrays over codes.

    The first codes are those of the pairs (projection, segment), with the projection's delay. Where synapses have
    delays of their own, further codes are made as rows with new combinations are installed; when there is none left,
    those that no loaded row uses are taken back.
    """

    prefix: npt.NDArray[np.uint64]  # layer << 48 | segment << 32 of the target
    delay: npt.NDArray[np.int32]  # ticks
    layer: npt.NDArray[np.int32]  # position of the target's layer
    pair: npt.NDArray[np.uint16]  # the code of its (projection, segment)
    of: npt.NDArray[np.uint16]  # (projections, segments) -> the pair's code
    made: npt.NDArray[np.int64]  # (1,) how many codes there are
    table: npt.NDArray[np.uint32]  # code + 1 of the further codes, by pair and delay; open addressing, 0 = empty


@njit(borrows=True, cache=True, nogil=True)
def code_of(codes, pair, delay):
    """The code of (projection, segment) ``pair`` with ``delay`` ticks, made where there is none; NO_CODE at the most.

    ``pair``: the code that ``codes.of`` has.
    """
    if codes.delay[pair] == delay:
        return np.int64(pair)
    mask = np.uint64(codes.table.shape[0] - 1)
    at = mix64(np.uint64(pair) << np.uint64(32) | np.uint64(delay)) & mask
    while codes.table[at] != 0:
        code = np.int64(codes.table[at]) - 1
        if codes.pair[code] == pair and codes.delay[code] == delay:
            return code
        at = (at + np.uint64(1)) & mask
    code = codes.made[0]
    if code >= codes.prefix.shape[0]:
        return NO_CODE
    codes.prefix[code] = codes.prefix[pair]
    codes.delay[code] = delay
    codes.layer[code] = codes.layer[pair]
    codes.pair[code] = pair
    codes.table[at] = np.uint32(code + 1)
    codes.made[0] = code + 1
    return code


@njit(cache=True, nogil=True)
def renumber(slots, arena, codes):
    """Keep the codes of the pairs and those that the arena uses, under new numbers; returns how many they are."""
    made = codes.made[0]
    used = np.zeros(made, dtype=np.bool_)
    number = np.zeros(made, dtype=np.uint16)
    end = slots.counters[ARENA_END]
    for j in range(end):
        used[arena.code[j]] = True
    codes.table[:] = 0
    mask = np.uint64(codes.table.shape[0] - 1)
    n = 0
    for code in range(made):
        pair = codes.pair[code]
        if not used[code] and pair != code:
            continue
        number[code] = n
        codes.prefix[n] = codes.prefix[code]
        codes.delay[n] = codes.delay[code]
        codes.layer[n] = codes.layer[code]
        codes.pair[n] = pair
        if pair != n:
            at = mix64(np.uint64(pair) << np.uint64(32) | np.uint64(codes.delay[n])) & mask
            while codes.table[at] != 0:
                at = (at + np.uint64(1)) & mask
            codes.table[at] = np.uint32(n + 1)
        n += 1
    for j in range(end):
        arena.code[j] = number[arena.code[j]]
    codes.made[0] = n
    return n


@njit(borrows=True, cache=True, nogil=True)
def first_of_delay(arena, codes, lo, hi, delay):
    """The first synapse of the stretch ``lo`` to ``hi`` of a row that takes ``delay`` ticks or more."""
    while lo < hi:
        middle = (lo + hi) >> 1
        if codes.delay[arena.code[middle]] < delay:
            lo = middle + 1
        else:
            hi = middle
    return lo


@njit(borrows=True, cache=True, nogil=True)
def attach(slots, records, targets, flags, spike_count, last_spike):
    """Give each slot of ``targets`` (int64), which have none, a record without a row.

    ``flags``, ``spike_count`` and ``last_spike`` are the same for all of them.
    """
    counters = slots.counters
    for i in range(targets.shape[0]):
        r = counters[FREE_RECORD]
        if r >= 0:
            counters[FREE_RECORD] = -2 - np.int64(records[r].slot)
        else:
            r = counters[N_RECORDS]
            counters[N_RECORDS] = r + 1
        records[r].slot = targets[i]
        records[r].offset = -1
        records[r].length = 0
        records[r].flags = flags
        records[r].spike_count = spike_count
        records[r].last_spike = last_spike
        slots.record[targets[i]] = r


@njit(borrows=True, cache=True, nogil=True)
def add_base(records, which, spike_count, last_spike):
    """Add what the store has (uint32, int64) to those of the records ``which`` (int64) that are ON_TOP of it."""
    for i in range(which.shape[0]):
        r = which[i]
        if records[r].flags & ON_TOP:
            records[r].spike_count += spike_count[i]
            if records[r].last_spike == 0:
                records[r].last_spike = last_spike[i]
            records[r].flags &= ~ON_TOP


@njit(borrows=True, cache=True, nogil=True)
def detach(slots, records, targets):
    """Take records ``targets`` (int64), and their rows, from their slots."""
    counters = slots.counters
    for i in range(targets.shape[0]):
        r = targets[i]
        if records[r].offset >= 0:
            counters[N_ROWS] -= 1
            counters[N_MOVED] += 1
        slots.record[records[r].slot] = -1
        records[r].offset = -1
        records[r].flags = 0
        records[r].slot = -2 - counters[FREE_RECORD]
        counters[FREE_RECORD] = r


@njit(borrows=True, cache=True, nogil=True)
def close_up(slots, records):
    """Move records into the places of free ones, so that those in use are the first N_RECORDS; numbers change."""
    end = 0
    for r in range(slots.counters[N_RECORDS]):
        slot = records[r].slot
        if slot < 0:
            continue
        if r != end:
            records[end] = records[r]
            slots.record[slot] = end
        end += 1
    slots.counters[N_RECORDS] = end
    slots.counters[FREE_RECORD] = -1


@njit(borrows=True, cache=True, nogil=True)
def install(slots, records, arena, codes, held, indptr, projection, target, weight, delay, limit):
    """Append rows to the arena for those slots ``held`` (int64) whose records have none; returns how far it came.

    ``indptr`` int64 (n + 1,), ``projection`` uint16, ``target`` uint64, ``weight`` float32, ``delay`` uint16 (nnz,):
    the rows, sorted by delay; an empty ``delay`` where every synapse has that of its projection. ``limit``: arena
    length not to be passed. Where there are no codes left for a row, -1 minus the number of rows before it.
    """
    counters = slots.counters
    for i in range(held.shape[0]):
        r = slots.record[held[i]]
        if records[r].offset >= 0:
            continue
        lo, hi = indptr[i], indptr[i + 1]
        end = counters[ARENA_END]
        if end + hi - lo > limit:
            return i
        first_delay = np.int32(0)
        last_delay = np.int32(0)
        for j in range(lo, hi):
            segment = np.int64((target[j] >> np.uint64(32)) & np.uint64(0xFFFF))
            code = np.int64(codes.of[projection[j], segment])
            if delay.shape[0]:
                code = code_of(codes, code, np.int32(delay[j]))
                if code == NO_CODE:
                    return -1 - i
            at = end + j - lo
            arena.local[at] = np.uint32(target[j] & np.uint64(0xFFFFFFFF))
            arena.code[at] = code
            arena.link[at].slot = NO_SLOT
            arena.link[at].weight = weight[j]
            last_delay = codes.delay[code]
            if j == lo:
                first_delay = last_delay
        records[r].offset = end
        records[r].length = hi - lo
        records[r].delay = first_delay
        records[r].flags &= ~(MIXED | RESOLVED)
        if first_delay != last_delay:
            records[r].flags |= MIXED
        counters[ARENA_END] = end + hi - lo
        counters[N_ROWS] += 1
    return held.shape[0]


@njit(borrows=True, cache=True, nogil=True)
def choose_rows(slots, records, hand, spare_warm, want, out):
    """Fill ``out`` (int64) with records whose rows are to go: not pinned, and not WARM if ``spare_warm``, until they
    have ``want`` synapses.

    The hand goes round the records once at most, from ``hand`` on, and clears WARM as it passes (second chance).
    Returns (their number, where the hand stands).
    """
    chosen, n = np.int64(0), 0
    made = slots.counters[N_RECORDS]
    for _ in range(made):
        if chosen >= want:
            break
        if hand >= made:
            hand = 0
        r = hand
        hand += 1
        if records[r].slot < 0 or records[r].offset < 0 or records[r].flags & PINNED:
            continue
        if spare_warm and records[r].flags & WARM:
            records[r].flags &= ~WARM
            continue
        chosen += records[r].length
        out[n] = r
        n += 1
    return n, hand


@njit(borrows=True, cache=True, nogil=True)
def drop_rows(slots, records, chosen):
    """Drop the rows of the records ``chosen`` (int64), which the store or the wiring rule can give again.

    Returns (synapses dropped, rows dropped that had been read ahead and were never used).
    """
    dropped, unused = np.int64(0), np.int64(0)
    for i in range(chosen.shape[0]):
        r = chosen[i]
        dropped += records[r].length
        if records[r].flags & AHEAD:
            unused += 1
        records[r].flags &= ~AHEAD
        records[r].offset = -1
        slots.counters[N_ROWS] -= 1
        slots.counters[N_MOVED] += 1
    return dropped, unused


@njit(borrows=True, cache=True, nogil=True)
def compact(slots, records, arena, order):
    """Close the gaps in the arena. ``order``: int64, all records with a loaded row by rising offset."""
    end = 0
    for i in range(order.shape[0]):
        r = order[i]
        offset = records[r].offset
        n = records[r].length
        if offset != end:
            for j in range(n):
                arena.local[end + j] = arena.local[offset + j]
                arena.code[end + j] = arena.code[offset + j]
                arena.link[end + j] = arena.link[offset + j]
            records[r].offset = end
        end += n
    slots.counters[ARENA_END] = end
    slots.counters[N_MOVED] += 1


@njit(borrows=True, cache=True, nogil=True)
def _ask_for_targets(slots, arena, codes, first, last):
    """Ask for what tells which slots the targets of the synapses ``first`` to ``last`` (excluded) have.

    In two rounds, so that the entries of the index come side by side, and then the ids that these lead to.
    """
    index_table, id = slots.index_table, slots.id
    mask = np.uint64(index_table.shape[0] - 1)
    for j in range(first, last):
        cached = arena.link[j].slot
        if cached == NO_SLOT:
            neuron_id = codes.prefix[arena.code[j]] | np.uint64(arena.local[j])
            prefetch(index_table, np.int64(mix64(neuron_id) & mask))
        else:
            prefetch(id, cached)
    for j in range(first, last):
        if arena.link[j].slot == NO_SLOT:
            neuron_id = codes.prefix[arena.code[j]] | np.uint64(arena.local[j])
            entry = index_table[mix64(neuron_id) & mask]
            if entry != 0:
                prefetch(id, np.int64(entry) - 1)


@njit(borrows=True, cache=True, nogil=True)
def resolve(slots, records, arena, codes, r):
    """Make the cached slots of record ``r``'s row right, taking slots for unknown targets; False at a limit."""
    offset = records[r].offset
    end = offset + records[r].length
    for j in range(offset, end):
        if (j - offset) % _ASKED_AT_ONCE == 0:
            _ask_for_targets(slots, arena, codes, j, min(end, j + _ASKED_AT_ONCE))
        code = arena.code[j]
        neuron_id = codes.prefix[code] | np.uint64(arena.local[j])
        cached = arena.link[j].slot
        if cached != NO_SLOT and slots.used[cached] and slots.id[cached] == neuron_id:
            continue
        slot = find(slots, neuron_id)
        if slot < 0:
            slot = take(slots, codes.layer[code], neuron_id)
            if slot < 0:
                return False
        arena.link[j].slot = np.uint32(slot)
    records[r].flags |= RESOLVED
    return True
