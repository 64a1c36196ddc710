"""Void neurons: growth and decay of those that are active, and to whom activity spreads; see ``engramdb.models.void``.

All arithmetic is float32, each operation rounded by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.rng import absorb, mix64
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT

# 32 bytes: a neighbour is looked at with one line of the cache
ENTRY = np.dtype([
    ("id", np.uint64), ("W", np.float32), ("mu", np.float32), ("var", np.float32), ("prev_W", np.float32),
    ("da", np.float32), ("do", np.float32),  # of the tick in which they were worked out last
])  # fmt: skip
IDLE, DUE, LISTED = np.uint8(0), np.uint8(1), np.uint8(2)  # in ``mark``: DUE in the next active set, and listed once
_AHEAD = 8  # rows
_NEAR = 1 << 18  # entries whose marks the caches next to the processor hold
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_2_23 = np.float32(2.0**-23)


class Voids(NamedTuple):
    """Void neurons in RAM, n of c entries in use."""

    entry: npt.NDArray[np.void]  # (c,) ENTRY
    active: npt.NDArray[np.uint8]  # (c,) whether it is in the active set of the tick
    mark: npt.NDArray[np.uint8]  # (c,)
    stimulus: npt.NDArray[np.float32]  # (c,) of the tick
    offset: npt.NDArray[np.int64]  # (c,) of its row in ``near``, -1 = not loaded
    length: npt.NDArray[np.int32]  # (c,)
    near: npt.NDArray[np.int32]  # entries of the targets of rows, end to end
    table: npt.NDArray[np.uint32]  # index: entry + 1, 0 = empty; open addressing


class Rates(NamedTuple):
    """What a tick is worked out with; float32 but for the last."""

    alpha: np.float32
    beta: np.float32
    noise: np.float32
    modulation: np.float32  # m
    affinity_cost: np.float32
    key: np.uint64  # of the noise of the tick


def block(u, _fields, refractory, _input, _constant, fires):
    """The step of a block of slots: what has arrived was read before, and a slot keeps nothing of it."""
    for i in range(BLOCK):
        u[i] = _ZERO if refractory[i] == 0 else u[i]
        fires[i] = np.int32(0)


@njit(cache=True, nogil=True)
def find_many(voids, ids, out):
    """``out[i]`` (int32) = the entry of ``ids[i]`` (uint64), or -1."""
    mask = np.uint64(voids.table.shape[0] - 1)
    for i in range(ids.shape[0]):
        at = mix64(ids[i]) & mask
        out[i] = -1
        while voids.table[at] != 0:
            if voids.entry[voids.table[at] - 1]["id"] == ids[i]:
                out[i] = voids.table[at] - 1
                break
            at = (at + np.uint64(1)) & mask


@njit(cache=True, nogil=True)
def enter(voids, first, last):
    """Put entries ``first`` (included) to ``last`` (excluded) into the index under their ids."""
    mask = np.uint64(voids.table.shape[0] - 1)
    for i in range(first, last):
        at = mix64(voids.entry[i]["id"]) & mask
        while voids.table[at] != 0:
            at = (at + np.uint64(1)) & mask
        voids.table[at] = np.uint32(i + 1)


@njit(cache=True, nogil=True)
def stimulated(slots, layer, held, amount):
    """Slots (int64) of the layer at position ``layer`` to which something has arrived, and how much (int64, 2^-32).

    Returns how many there are; they are written as far as there is room.
    """
    n = 0
    for b in range(slots.counters[0]):
        if slots.block_layer[b] != layer or not slots.block_awake[b]:
            continue
        for slot in range(b << BLOCK_SHIFT, (b + 1) << BLOCK_SHIFT):
            total = slots.input[slot]
            if slots.inhibition.shape[0] > 0:
                total += slots.inhibition[slot]
            if total != 0:
                if n < held.shape[0]:
                    held[n] = slot
                    amount[n] = total
                n += 1
    return n


@njit(inline="always")
def _growth(w, neuron_id, rates):
    """da of a neuron with ``w``."""
    rise = rates.alpha * w * (_ONE - w)
    if rates.noise != 0:
        drawn = absorb(rates.key, neuron_id)
        rise = rise + (np.float32(drawn >> np.uint64(40)) * _2_23 - _ONE) * rates.noise
    return rise * rates.modulation


@njit(inline="always")
def _decay(w, rates):
    """do of a neuron with ``w``."""
    return -(rates.beta * w) * rates.modulation


@njit(cache=True, nogil=True)
def terms(w, ids, rates, da, do):
    """Fill ``da`` and ``do`` with growth and decay of neurons ``ids`` (uint64) with ``w``; all others float32, (n,)."""
    for i in range(w.shape[0]):
        da[i] = _growth(w[i], ids[i], rates)
        do[i] = _decay(w[i], rates)


@njit(cache=True, nogil=True)
def drive(voids, members, rates, gate, first, last, new_w, change):
    """Growth, decay and the new W of ``members[first:last]`` (int32); W itself is left for those who spread.

    ``gate``: float32, g. Fills ``new_w`` and ``change`` (float32, (n,)) with the new W and |dW|. Returns the greatest
    |dW|, and the greatest |W - 0.99 prev_W|.
    """
    greatest, farthest = _ZERO, _ZERO
    for i in range(first, last):
        one = voids.entry[members[i]]
        w = one["W"]
        da = _growth(w, one["id"], rates)
        do = _decay(w, rates)
        one["da"] = da
        one["do"] = do
        delta = gate * (da + do)
        after = min(max(w + delta, _ZERO), _ONE)
        new_w[i] = after
        change[i] = abs(delta)
        greatest = max(greatest, change[i])
        farthest = max(farthest, abs(after - np.float32(0.99) * one["prev_W"]))
    return greatest, farthest


@njit(cache=True, nogil=True)
def retain(voids, members, change, theta, out, drive):
    """Mark the ``members`` that stay: whose ``change`` is ``theta`` (float32) or more, and the stimulated.

    Lists them in ``out`` (int32), with their drives (float32); returns how many.
    """
    n = 0
    for i in range(members.shape[0]):
        e = members[i]
        if change[i] >= theta or voids.stimulus[e] != 0:
            voids.mark[e] = LISTED
            out[n] = e
            drive[n] = max(voids.entry[e]["da"], _ZERO) + voids.stimulus[e]
            n += 1
    return n


@njit(cache=True, nogil=True)
def spread(voids, sources, first, last, rates, out, drive):
    """Mark the out-neighbours of ``sources[first:last]`` (int32, rows loaded) whose affinity to them is positive.

    Those not marked before are listed in ``out`` (int32), with their drives (float32); returns how many. Threads may do
    parts of it at once: then some are listed twice.
    """
    n = 0
    # where the caches hold the marks, to look at a neighbour twice takes longer than to wait for some
    far = voids.mark.shape[0] > _NEAR
    for i in range(first, last):
        if i + 3 * _AHEAD < last:
            prefetch(voids.near, voids.offset[sources[i + 3 * _AHEAD]])
        if far and i + 2 * _AHEAD < last:
            row = voids.offset[sources[i + 2 * _AHEAD]]
            for k in range(row, row + voids.length[sources[i + 2 * _AHEAD]]):
                prefetch(voids.mark, voids.near[k])
        if far and i + _AHEAD < last:
            row = voids.offset[sources[i + _AHEAD]]
            for k in range(row, row + voids.length[sources[i + _AHEAD]]):
                if voids.mark[voids.near[k]] == IDLE:
                    prefetch(voids.entry, voids.near[k])
        e = sources[i]
        da, do = voids.entry[e]["da"], voids.entry[e]["do"]
        if da <= 0:
            continue  # what it could share is nothing
        begin = voids.offset[e]
        for k in range(begin, begin + voids.length[e]):
            j = voids.near[k]
            if voids.mark[j] != IDLE:
                continue
            other = voids.entry[j]
            if voids.active[j]:
                da_j, do_j = other["da"], other["do"]
            else:
                da_j = _growth(other["W"], other["id"], rates)
                do_j = _decay(other["W"], rates)
            if da_j > 0 and da * da_j - rates.affinity_cost * abs(do - do_j) > 0:
                voids.mark[j] = DUE
                out[n] = j
                drive[n] = da_j + voids.stimulus[j]
                n += 1
    return n


@njit(cache=True, nogil=True)
def loaded(voids, sources):
    """``(how many of the sources (int32) have their rows loaded, neighbours in those rows)``."""
    n, neighbours = 0, 0
    for i in range(sources.shape[0]):
        if voids.offset[sources[i]] >= 0:
            n += 1
            neighbours += voids.length[sources[i]]
    return n, neighbours


@njit(cache=True, nogil=True)
def ordered(entries):
    """Whether ``entries`` (int32) increase."""
    falls = 0
    for i in range(1, entries.shape[0]):
        falls += entries[i] <= entries[i - 1]
    return falls == 0


@njit(cache=True, nogil=True)
def each_once(voids, found, drive):
    """Move those of ``found`` (int32) that are DUE to its front, each once, with their drives; returns how many."""
    n = 0
    for i in range(found.shape[0]):
        if voids.mark[found[i]] == DUE:
            voids.mark[found[i]] = LISTED
            found[n] = found[i]
            drive[n] = drive[i]
            n += 1
    return n


@njit(cache=True, nogil=True)
def rank(values, k, low):
    """The ``k``-th largest of ``values`` (float32, finite), 1 <= k <= n, by two passes over the halves of their bits.

    ``low``: int64 (65536,), to count in.
    """
    answer = np.uint32(0)
    bits = values.view(np.uint32)
    for half in range(2):
        low[:] = 0
        for i in range(bits.shape[0]):
            # of positive numbers the bits are in order; those of negative ones are turned round
            word = ~bits[i] if bits[i] >> np.uint32(31) else bits[i] | np.uint32(0x80000000)
            if half == 0:
                low[word >> np.uint32(16)] += 1
            elif word >> np.uint32(16) == answer >> np.uint32(16):
                low[word & np.uint32(0xFFFF)] += 1
        at = 65535
        while low[at] < k:
            k -= low[at]
            at -= 1
        answer |= np.uint32(at) << np.uint32(16 * (1 - half))
    return answer


@njit(cache=True, nogil=True)
def choose(values, least, out):
    """``out[i]`` (uint8) = 2 where ``values[i]`` lies above the number of the ordered bits ``least``, 1 where it is it.

    Returns how many lie above.
    """
    above = 0
    bits = values.view(np.uint32)
    for i in range(bits.shape[0]):
        word = ~bits[i] if bits[i] >> np.uint32(31) else bits[i] | np.uint32(0x80000000)
        out[i] = np.uint8(word > least) + np.uint8(word >= least)
        above += word > least
    return above


@njit(cache=True, nogil=True)
def part_with(voids, candidates, drive, side, kept, kept_drive):
    """Fill ``kept`` and ``kept_drive`` with the ``candidates`` whose ``side`` is not 0; take the mark of the others."""
    n = 0
    for i in range(candidates.shape[0]):
        if side[i]:
            kept[n] = candidates[i]
            kept_drive[n] = drive[i]
            n += 1
        else:
            voids.mark[candidates[i]] = IDLE


@njit(cache=True, nogil=True)
def clear(voids, members, listed):
    """End a tick: nobody of ``members`` is active or stimulated, nobody of ``listed`` (both int32) marked any more."""
    for i in range(members.shape[0]):
        voids.active[members[i]] = 0
        voids.stimulus[members[i]] = 0
    for i in range(listed.shape[0]):
        voids.mark[listed[i]] = IDLE


@njit(cache=True, nogil=True)
def foreseen(ids, w, rates, gate, out):
    """``out[i]`` (float32) = the |dW| of neuron ``ids[i]`` (uint64) with ``w[i]`` (float32) in the tick of ``rates``.

    ``gate``: float32, g. The same bits as :func:`drive` gives in that tick to those who are active in it.
    """
    for i in range(ids.shape[0]):
        out[i] = abs(gate * (_growth(w[i], ids[i], rates) + _decay(w[i], rates)))
