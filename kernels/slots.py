"""Slots: a neuron's place in RAM, its index by id, and its coming and going.

Slots lie in blocks of ``BLOCK``; all neurons of a block belong to one layer, so a block is stepped by one model, and
a block in which nobody is awake is skipped. A free slot is at rest, and refractory for ever: no step changes it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.rng import mix64

BLOCK = 64
BLOCK_SHIFT = 6
NO_SLOT = np.uint32(0xFFFFFFFF)
_AHEAD = 16

# flags in ``used``, ``block_flags`` and ``layer_flags``
USED = np.uint8(1)
RESTLESS = np.uint8(2)  # never at rest, whatever its fields are; of a block: somebody in it
FRESH = np.uint8(4)  # its columns of ``param`` are still to be filled; of a block: somebody's in it
_FREE = np.int32(-1)  # refractory ticks of a free slot: no step changes them

# places in ``counters``
N_BLOCKS, N_USED, BLOCK_LIMIT, INDEX_LIMIT, FREE_BLOCK, EPOCH, N_RECORDS, FREE_RECORD, ARENA_END, N_ROWS = range(10)
N_FRESH = 10  # slots taken since the last were filled; some may have been freed again
N_MOVED = 11  # times that rows in the arena were dropped or moved, or slots freed
N_COUNTERS = 12


class Slots(NamedTuple):
    """Arrays over slots (capacity c), blocks (c / BLOCK), the index (a power of two) and layers (L)."""

    id: npt.NDArray[np.uint64]  # (c,)
    used: npt.NDArray[np.uint8]  # (c,) flags; 0 = free
    u: npt.NDArray[np.float32]  # (c,) the first field of its model, relative to rest
    refractory: npt.NDArray[np.int32]  # (c,) ticks left; -1 in a free slot
    input: npt.NDArray[np.int64]  # (c,) sums of input in 2^-32 of the model's unit of weights
    inhibition: npt.NDArray[np.int64]  # (c,) the same for negative weights alone; (0,) where no model sums them apart
    record: npt.NDArray[np.int32]  # (c,) its record, -1 = none; in a free slot the next free one
    aux: npt.NDArray[np.float32]  # (c / BLOCK, most fields beyond u, BLOCK), relative to rest
    param: npt.NDArray[np.float32]  # (c / BLOCK, most constants by neuron, BLOCK); undefined in a free slot
    block_layer: npt.NDArray[np.int32]  # (c / BLOCK,) position of the layer; -1 = in no use
    block_awake: npt.NDArray[np.uint8]  # (c / BLOCK,)
    block_flags: npt.NDArray[np.uint8]  # (c / BLOCK,) flags of those in it
    layer_flags: npt.NDArray[np.uint8]  # (L,) flags of a slot just taken, USED included
    index_table: npt.NDArray[np.uint32]  # slot + 1, 0 = empty; open addressing, linear probing
    free_slot: npt.NDArray[np.int64]  # (L,) first free slot of the layer, -1 = none
    counters: npt.NDArray[np.int64]  # (N_COUNTERS,)


@njit(borrows=True, cache=True, nogil=True)
def find(slots, neuron_id):
    """The slot of ``neuron_id`` (uint64), or -1."""
    mask = np.uint64(slots.index_table.shape[0] - 1)
    at = mix64(neuron_id) & mask
    while True:
        entry = slots.index_table[at]
        if entry == 0:
            return np.int64(-1)
        slot = np.int64(entry) - 1
        if slots.id[slot] == neuron_id:
            return slot
        at = (at + np.uint64(1)) & mask


@njit(borrows=True, cache=True, nogil=True)
def enter(slots, slot):
    """Put ``slot`` into the index under its id, which must not be there."""
    mask = np.uint64(slots.index_table.shape[0] - 1)
    at = mix64(slots.id[slot]) & mask
    while slots.index_table[at] != 0:
        at = (at + np.uint64(1)) & mask
    slots.index_table[at] = np.uint32(slot + 1)


@njit(borrows=True, cache=True, nogil=True)
def take(slots, layer, neuron_id):
    """A new slot at rest for ``neuron_id`` of the layer at position ``layer``; -1 where a limit is reached."""
    counters = slots.counters
    if counters[N_USED] >= counters[INDEX_LIMIT]:
        return np.int64(-1)
    slot = slots.free_slot[layer]
    if slot < 0:
        block = counters[FREE_BLOCK]
        if block >= 0:
            counters[FREE_BLOCK] = slots.record[block << BLOCK_SHIFT]
        elif counters[N_BLOCKS] < counters[BLOCK_LIMIT]:
            block = counters[N_BLOCKS]
            counters[N_BLOCKS] = block + 1
        else:
            return np.int64(-1)
        slots.block_layer[block] = layer
        slots.block_awake[block] = 0
        slots.block_flags[block] = 0
        first = block << BLOCK_SHIFT
        for s in range(first, first + BLOCK):
            slots.used[s] = 0
            slots.refractory[s] = _FREE
            slots.record[s] = s + 1
        slots.record[first + BLOCK - 1] = -1
        slot = first
    slots.free_slot[layer] = slots.record[slot]
    slots.id[slot] = neuron_id
    flags = slots.layer_flags[layer]
    slots.used[slot] = flags
    slots.refractory[slot] = 0  # its fields are zero: it was freed at rest
    slots.record[slot] = -1
    slots.block_flags[slot >> BLOCK_SHIFT] |= flags
    counters[N_FRESH] += (flags & FRESH) != 0
    enter(slots, slot)
    counters[N_USED] += 1
    return slot


@njit(borrows=True, cache=True, nogil=True)
def find_many(slots, ids, out):
    """``out[i]`` (int64) = slot of ``ids[i]`` (uint64), or -1."""
    index_table, id = slots.index_table, slots.id
    mask = np.uint64(index_table.shape[0] - 1)
    n = ids.shape[0]
    for i in range(n + 2 * _AHEAD):
        if i < n:
            prefetch(index_table, np.int64(mix64(ids[i]) & mask))
        soon = i - _AHEAD
        if 0 <= soon < n:
            entry = index_table[mix64(ids[soon]) & mask]
            if entry != 0:
                prefetch(id, np.int64(entry) - 1)
        now = soon - _AHEAD
        if now >= 0:
            out[now] = find(slots, ids[now])


@njit(borrows=True, cache=True, nogil=True)
def take_many(slots, layers, ids, start, out):
    """Slots of ``ids[start:]``, taken where there are none; returns how far it came before a limit.

    ``layers``: int32, position of each id's layer. ``out``: int64, filled as far as it came.
    """
    for i in range(start, ids.shape[0]):
        slot = find(slots, ids[i])
        if slot < 0:
            slot = take(slots, layers[i], ids[i])
            if slot < 0:
                return i
        out[i] = slot
    return ids.shape[0]


@njit(borrows=True, cache=True, nogil=True)
def reindex(slots):
    """Fill an empty index from the used slots."""
    stop = slots.counters[N_BLOCKS] << BLOCK_SHIFT
    enter_all(slots.index_table, slots.id, slots.used, np.int64(0), stop)


@njit(borrows=True, cache=True, nogil=True)
def enter_all(index_table, id, used, start, stop):
    """Put the used slots ``start`` to ``stop`` (excluded) into the index, where none of them is yet."""
    mask = np.uint64(index_table.shape[0] - 1)
    for slot in range(start, stop):
        ahead = slot + _AHEAD
        if ahead < stop and used[ahead]:
            prefetch(index_table, np.int64(mix64(id[ahead]) & mask))
        if used[slot]:
            at = mix64(id[slot]) & mask
            while index_table[at] != 0:
                at = (at + np.uint64(1)) & mask
            index_table[at] = np.uint32(slot + 1)


@njit(borrows=True, cache=True, nogil=True)
def place(slots, layer, ids, u, aux, refractory):
    """Give ``ids`` of the layer at position ``layer``, none of which has a slot, new blocks and the state given.

    ``u``: float32 (n,), ``aux``: float32 (fields beyond u, n), ``refractory``: int32 (n,). The caller has seen to it
    that blocks and index suffice.
    """
    counters = slots.counters
    # as locals: a loop that takes arrays out of the tuple counts references each time round
    id, used, record, first_field, fields, left = (
        slots.id, slots.used, slots.record, slots.u, slots.aux, slots.refractory,
    )  # fmt: skip
    flags = slots.layer_flags[layer]
    n = ids.shape[0]
    first = counters[N_BLOCKS] << BLOCK_SHIFT
    blocks = (n + BLOCK - 1) >> BLOCK_SHIFT
    for block in range(counters[N_BLOCKS], counters[N_BLOCKS] + blocks):
        slots.block_layer[block] = layer
        slots.block_awake[block] = 1
        slots.block_flags[block] = flags
    for i in range(n):
        slot = first + i
        id[slot] = ids[i]
        used[slot] = flags
        first_field[slot] = u[i]
        for k in range(aux.shape[0]):
            fields[slot >> BLOCK_SHIFT, k, slot & (BLOCK - 1)] = aux[k, i]
        left[slot] = refractory[i]
        record[slot] = -1
    for slot in range(first + n, first + (blocks << BLOCK_SHIFT)):
        used[slot] = 0
        left[slot] = _FREE
        record[slot] = slots.free_slot[layer]
        slots.free_slot[layer] = slot
    counters[N_BLOCKS] += blocks
    counters[N_USED] += n
    counters[N_FRESH] += n if flags & FRESH else 0
    enter_all(slots.index_table, id, used, first, first + n)


@njit(borrows=True, cache=True, nogil=True)
def fresh(slots, layer, out):
    """Fill ``out`` (int64) with the slots of the layer at position ``layer`` that are FRESH; returns their number."""
    n = 0
    for block in range(slots.counters[N_BLOCKS]):
        if slots.block_layer[block] != layer or not slots.block_flags[block] & FRESH:
            continue
        for slot in range(block << BLOCK_SHIFT, (block + 1) << BLOCK_SHIFT):
            if slots.used[slot] & FRESH:
                out[n] = slot
                n += 1
    return n


@njit(borrows=True, cache=True, nogil=True)
def fill(slots, held, values, restless):
    """Give the FRESH slots ``held`` (int64, (n,)) their columns of ``param``: ``values``, float32 (constants, n).

    ``restless``: bool (n,), who never rests. They are FRESH no longer; their blocks count as FRESH until
    :func:`filled`.
    """
    for i in range(held.shape[0]):
        block, lane = held[i] >> BLOCK_SHIFT, held[i] & (BLOCK - 1)
        for k in range(values.shape[0]):
            slots.param[block, k, lane] = values[k, i]
        slots.used[held[i]] &= ~(FRESH | RESTLESS)
        if restless[i]:
            slots.used[held[i]] |= RESTLESS
            slots.block_flags[block] |= RESTLESS
            slots.block_awake[block] = 1


@njit(borrows=True, cache=True, nogil=True)
def filled(slots):
    """No slot is FRESH any more."""
    for block in range(slots.counters[N_BLOCKS]):
        slots.block_flags[block] &= ~FRESH
    slots.counters[N_FRESH] = 0


@njit(borrows=True, cache=True, nogil=True)
def at_rest(used, u, aux, refractory, slot):
    """Whether stepping would never change the state of ``slot``, which is in use; arrays as in :class:`Slots`."""
    resting = u[slot] == 0 and refractory[slot] == 0 and not used[slot] & RESTLESS
    for k in range(aux.shape[1]):
        resting = resting and aux[slot >> BLOCK_SHIFT, k, slot & (BLOCK - 1)] == 0
    return resting


@njit(borrows=True, cache=True, nogil=True)
def release(slots, keep):
    """Free every slot that is exactly at rest, has no record, awaits no input and is not in ``keep``.

    ``keep``: sorted int64 slots. Rebuilds the free lists, gives wholly free blocks back (and lowers N_BLOCKS past the
    last one in use), empties and refills the index, begins a new epoch; returns how many slots it freed.
    """
    counters = slots.counters
    # as locals: a loop that takes arrays out of the tuple counts references each time round
    used, u, aux, refractory, record, input, inhibition = (
        slots.used, slots.u, slots.aux, slots.refractory, slots.record, slots.input, slots.inhibition,
    )  # fmt: skip
    apart = inhibition.shape[0] > 0
    slots.free_slot[:] = -1
    freed = 0
    next_kept = 0
    blocks = 0  # up to the last one in use
    for block in range(counters[N_BLOCKS]):
        layer = slots.block_layer[block]
        first = block << BLOCK_SHIFT
        taken = 0
        for slot in range(first, first + BLOCK):
            while next_kept < keep.shape[0] and keep[next_kept] < slot:
                next_kept += 1
            if layer < 0 or not used[slot]:
                continue
            kept = next_kept < keep.shape[0] and keep[next_kept] == slot
            resting = record[slot] < 0 and at_rest(used, u, aux, refractory, slot)
            resting = resting and input[slot] == 0 and (not apart or inhibition[slot] == 0)
            if resting and not kept:
                used[slot] = 0
                refractory[slot] = _FREE
                freed += 1
            else:
                taken += 1
        if taken == 0:
            slots.block_layer[block] = -1
            slots.block_awake[block] = 0
        else:
            blocks = block + 1
            for slot in range(first + BLOCK - 1, first - 1, -1):
                if not slots.used[slot]:
                    slots.record[slot] = slots.free_slot[layer]
                    slots.free_slot[layer] = slot
    counters[N_BLOCKS] = blocks
    counters[FREE_BLOCK] = -1
    for block in range(blocks - 1, -1, -1):
        if slots.block_layer[block] < 0:
            slots.record[block << BLOCK_SHIFT] = counters[FREE_BLOCK]
            counters[FREE_BLOCK] = block
    counters[N_USED] -= freed
    counters[EPOCH] += 1
    counters[N_MOVED] += 1
    slots.index_table[:] = 0
    reindex(slots)
    return freed


@njit(borrows=True, cache=True, nogil=True)
def awake_slots(slots, out):
    """Fill ``out`` (int64) with the slots whose state is not exactly that of rest; returns their number."""
    used, u, aux, refractory = slots.used, slots.u, slots.aux, slots.refractory
    block_layer, block_awake = slots.block_layer, slots.block_awake
    n = 0
    for block in range(slots.counters[N_BLOCKS]):
        if block_layer[block] < 0 or not block_awake[block]:
            continue
        for slot in range(block << BLOCK_SHIFT, (block + 1) << BLOCK_SHIFT):
            if used[slot] and not at_rest(used, u, aux, refractory, slot):
                if n < out.shape[0]:
                    out[n] = slot
                n += 1
    return n


@njit(borrows=True, cache=True, nogil=True)
def add_input(slots, targets, amplitudes):
    """Add ``amplitudes`` (int64, in 2^-32 of the unit) to the input of slots ``targets`` (int64); wake their blocks."""
    apart = slots.inhibition.shape[0] > 0
    for i in range(targets.shape[0]):
        if apart and amplitudes[i] < 0:
            slots.inhibition[targets[i]] += amplitudes[i]
        else:
            slots.input[targets[i]] += amplitudes[i]
        slots.block_awake[targets[i] >> BLOCK_SHIFT] = 1


@njit(borrows=True, cache=True, nogil=True)
def clear_input(slots):
    """Forget all pending input: a tick that could not be completed is taken back."""
    stop = slots.counters[N_BLOCKS] << BLOCK_SHIFT
    slots.input[:stop] = 0
    slots.inhibition[:stop] = 0  # of none, where there are none
