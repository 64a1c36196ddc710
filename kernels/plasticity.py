"""Learning in rows: what the spikes of both ends have done to the weights of synapses, worked out when a row is touched.

Nothing is done when a postsynaptic neuron fires. A row is *settled* when its own next spike arrives, when the window
of its last spike closes, and before anybody reads it: then the postsynaptic spikes since it was last settled act in
the order of time. So no list of incoming synapses is needed, and results do not depend on when a row is settled.

A weight is float32. Whatever one spike does to it is worked out in float64 and rounded once; sums over pairs are
integers in units of 2^-32, so their order is nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.bits import lowest_bit
from engramdb.kernels.compiled import njit
from engramdb.kernels.history import NEVER, first_after, last_before
from engramdb.kernels.memory import prefetch
from engramdb.kernels.slots import EPOCH, NO_SLOT, find

ADDITIVE, MULTIPLICATIVE, HEBBIAN = range(3)  # in ``kind``
LEARNED = np.uint8(1 << 6)  # a flag of records: the weights of its row are not those of the store

_UNIT = 1.0 / 4294967296.0
_AHEAD = 2  # rows
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Rules(NamedTuple):
    """Arrays over learning rules (R), and over the codes of pairs."""

    of_pair: npt.NDArray[np.int16]  # the rule of each pair (projection, segment), -1 = none
    kind: npt.NDArray[np.uint8]  # (R,)
    sign: npt.NDArray[np.float64]  # (R,) weights times this are what the rule moves
    low: npt.NDArray[np.float64]  # (R,) bounds of that
    high: npt.NDArray[np.float64]
    plus: npt.NDArray[np.int64]  # (R, W + 1) by ticks from arrival to postsynaptic spike, in 2^-32
    minus: npt.NDArray[np.int64]  # (R, W + 1) by ticks from postsynaptic spike to arrival
    rate: npt.NDArray[np.float64]  # (R,) of Hebbian learning, in the unit of weights
    scale_to: npt.NDArray[np.float64]  # (R,) what scaling moves the mean of a row to
    scale_rate: npt.NDArray[np.float64]  # (R,) 0 = no scaling


class Clock(NamedTuple):
    """Ticks that rows are settled by."""

    settled: np.int64  # all rows were settled in this tick
    window: np.int64  # the longest time between the two spikes of a pair
    horizon: np.int64  # window and longest delay: so long after its last spike a row is settled for good


class Errors(NamedTuple):
    """Errors that neurons were given, for Hebbian learning: ``ids`` (uint64, sorted), ``values`` (float64)."""

    ids: npt.NDArray[np.uint64]
    values: npt.NDArray[np.float64]


@njit(inline="always")
def _error_of(errors, neuron_id):
    if errors.ids.shape[0] == 0:
        return 1.0
    at = np.searchsorted(errors.ids, neuron_id)
    return errors.values[at] if at < errors.ids.shape[0] and errors.ids[at] == neuron_id else 1.0


@njit(inline="always")
def _grown(weight, amount, kind, sign, low, high):
    """``weight`` (float32) after a postsynaptic spike: ``amount``, int64, sums up the pairs that it closes."""
    own = sign * np.float64(weight)
    step = np.float64(amount) * _UNIT
    own += step * (high - own) if kind == MULTIPLICATIVE else step
    return np.float32(sign * min(max(own, low), high))


@njit(inline="always")
def _shrunk(weight, amount, kind, sign, low, high):
    """``weight`` (float32) after the arrival of a presynaptic spike; ``amount`` as in :func:`_grown`."""
    own = sign * np.float64(weight)
    step = np.float64(amount) * _UNIT
    own -= step * (own - low) if kind == MULTIPLICATIVE else step
    return np.float32(sign * min(max(own, low), high))


@njit(cache=True, nogil=True)
def traced(history, base, words, table, last, delay, begin, end, out):
    """``out[k]`` (int64) = the sum of ``table`` over all pairs of an arrival with a spike in tick ``begin + k``.

    For ticks up to ``end``; ``table`` (int64) by ticks since the arrival. The arrivals are those of the spikes up to
    ``last`` of the slot whose history is at ``base``, ``delay`` ticks later.
    """
    n = end - begin + 1
    for k in range(n):
        out[k] = 0
    window = table.shape[0] - 1
    bits = words * 64
    first = np.int64(history[base]) - (bits - 1)
    oldest = max(begin - window - delay, first)
    w = (oldest - first) >> 6
    word = history[base + 1 + w] & (_ALL << np.uint64((oldest - first) & 63))
    while True:
        while word == 0:
            w += 1
            if w >= words:
                return
            word = history[base + 1 + w]
        spike = first + (w << 6) + lowest_bit(word)
        word &= word - np.uint64(1)
        if spike > last:
            return
        since = begin - delay - spike  # ticks from the arrival to ``begin``
        start = max(np.int64(0), 1 - since)
        for k in range(start, min(n, window - since + 1)):
            out[k] += table[since + k]


@njit(inline="always")
def _settle(
    arena, codes, history, stride, ids, rules, errors, base, lo, hi, last, delay, begin, end, arrival, clock, sums, made,
    turn,
):  # fmt: skip
    """Settle the synapses ``lo`` to ``hi`` of one row and one delay; whether any weight has changed.

    Postsynaptic spikes in ``begin`` to ``end`` act; ``last`` is the last spike that had arrived before. If ``arrival``
    is not zero, it is the tick in which the next one arrives, and acts last. ``sums``: int64 (R, W + 1) and ``made``:
    int64 (R,), where ``turn`` says that the sums of a rule are those of this row.
    """
    words = stride - 1
    bits = words * 64
    oldest = begin if begin <= end else end + 1
    if arrival > 0:
        oldest = min(oldest, arrival - clock.window) if begin <= end else arrival - clock.window
        newest = arrival - 1
    else:
        newest = end
    changed = False
    for j in range(lo, hi):
        rule = rules.of_pair[codes.pair[arena.code[j]]]
        if rule < 0:
            continue
        if arena.link[j].slot == NO_SLOT:
            continue
        slot = np.int64(arena.link[j].slot)
        post = slot * stride
        post_last = np.int64(history[post])
        if post_last < oldest or post_last == 0:
            continue
        kind, sign, low, high = rules.kind[rule], rules.sign[rule], rules.low[rule], rules.high[rule]
        weight = before = arena.link[j].weight
        depression = np.int64(0)
        first = post_last - (bits - 1)
        bottom = max(oldest - first, np.int64(0))
        w = bottom >> 6
        word = history[post + 1 + w] & (_ALL << np.uint64(bottom & 63))
        while True:
            while word == 0 and w + 1 < words:
                w += 1
                word = history[post + 1 + w]
            if word == 0:
                break
            spike = first + (w << 6) + lowest_bit(word)
            word &= word - np.uint64(1)
            if spike > newest:
                break
            if begin <= spike <= end:
                if kind == HEBBIAN:
                    if spike - last - delay < rules.plus.shape[1] and rules.plus[rule, spike - last - delay]:
                        own = sign * np.float64(weight) + rules.rate[rule] * _error_of(errors, ids[slot])
                        weight = np.float32(sign * min(max(own, low), high))
                else:
                    if made[rule] != turn:
                        traced(history, base, words, rules.plus[rule], last, delay, begin, end, sums[rule])
                        made[rule] = turn
                    amount = sums[rule, spike - begin]
                    if amount:
                        weight = _grown(weight, amount, kind, sign, low, high)
            if arrival > 0 and arrival - spike <= clock.window:
                depression += rules.minus[rule, arrival - spike]
        if depression:
            weight = _shrunk(weight, depression, kind, sign, low, high)
        if weight != before:
            arena.link[j].weight = weight
            changed = True
    return changed


@njit(cache=True, nogil=True)
def scale(arena, codes, rules, lo, hi):
    """Move the synapses ``lo`` to ``hi``, which arrive together, towards the mean that each rule wants of them.

    Each rule's, if it scales: all are multiplied by 1 + rate (mean wanted / mean - 1). Whether any weight has changed.
    """
    changed = False
    for rule in range(rules.kind.shape[0]):
        if rules.scale_rate[rule] == 0.0:
            continue
        total = np.int64(0)
        n = 0
        for j in range(lo, hi):
            if rules.of_pair[codes.pair[arena.code[j]]] == rule:
                total += np.int64(np.rint(np.float64(arena.link[j].weight) * 4294967296.0))
                n += 1
        mean = rules.sign[rule] * np.float64(total) * _UNIT / max(n, 1)
        if n == 0 or mean <= 0.0:
            continue
        factor = 1.0 + rules.scale_rate[rule] * (rules.scale_to[rule] / mean - 1.0)
        sign, low, high = rules.sign[rule], rules.low[rule], rules.high[rule]
        for j in range(lo, hi):
            if rules.of_pair[codes.pair[arena.code[j]]] == rule:
                before = arena.link[j].weight
                own = sign * np.float64(before) * factor
                arena.link[j].weight = np.float32(sign * min(max(own, low), high))
                changed = changed or arena.link[j].weight != before
    return changed


@njit(inline="always")
def _ask_ahead(arena, history, stride, offsets, lengths, n):
    """Ask for the histories of the targets of a row that comes soon."""
    if n + 2 * _AHEAD < offsets.shape[0]:
        prefetch(arena.link, offsets[n + 2 * _AHEAD])
        prefetch(arena.link, offsets[n + 2 * _AHEAD] + lengths[n + 2 * _AHEAD] - 1)
    if n + _AHEAD < offsets.shape[0]:
        ahead = offsets[n + _AHEAD]
        for j in range(ahead, ahead + min(lengths[n + _AHEAD], 64)):
            prefetch(history, np.int64(arena.link[j].slot) * stride)


@njit(cache=True, nogil=True)
def arrive(
    record, records, arena, codes, ids, history, stride, rules, errors, clock, fired, delay, left, offsets, lengths, tick,
    kept_slot, kept_first, kept_weight,
):  # fmt: skip
    """Settle the rows over which spikes of the slots ``fired`` arrive in ``tick``, each after its ``delay`` (int32).

    ``offsets`` and ``lengths`` (int64): where the synapses of those that have any lie, as
    :func:`engramdb.kernels.deliver.gather` found them, in the same order; ``left`` (int64, rising): places in ``fired``
    that were left out. Targets have slots. What they were before goes to ``kept_slot`` (int64), ``kept_first`` (int64,
    their place in the row), both of the length of ``offsets``, and ``kept_weight`` (float32, as many as synapses).
    """
    words = stride - 1
    sums = np.zeros((rules.kind.shape[0], clock.window + 1), dtype=np.int64)
    made = np.full(rules.kind.shape[0], -1, dtype=np.int64)
    scales = False
    for rule in range(rules.kind.shape[0]):
        scales = scales or rules.scale_rate[rule] != 0.0
    n = 0
    n_left = 0
    kept = 0
    for i in range(fired.shape[0]):
        if n_left < left.shape[0] and left[n_left] == i:
            n_left += 1
            continue
        if n == offsets.shape[0]:
            break
        r = record[fired[i]]
        lo = offsets[n]
        own = records[r].offset
        if not own <= lo < own + records[r].length or codes.delay[arena.code[lo]] != delay[i]:
            continue  # no synapse of its row takes so long
        _ask_ahead(arena, history, stride, offsets, lengths, n)
        hi = lo + lengths[n]
        kept_slot[n] = fired[i]
        kept_first[n] = lo - own
        for j in range(lo, hi):
            kept_weight[kept] = arena.link[j].weight
            kept += 1
        base = fired[i] * stride
        spike = tick - np.int64(delay[i])
        last = last_before(history, base, words, spike)
        begin, end = np.int64(0), np.int64(-1)
        if last != NEVER and spike - last <= clock.horizon:
            begin = max(last + delay[i], clock.settled + 1)
            end = min(tick - 1, last + delay[i] + clock.window)
        changed = _settle(
            arena, codes, history, stride, ids, rules, errors, base, lo, hi, last, np.int64(delay[i]), begin, end, tick,
            clock, sums, made, n,
        )  # fmt: skip
        if scales:
            changed = scale(arena, codes, rules, lo, hi) or changed
        if changed:
            records[r].flags |= LEARNED
        n += 1


@njit(cache=True, nogil=True)
def _find_targets(slots, records, arena, codes, r):
    """Make the cached slots of record ``r``'s row right where targets have one, and NO_SLOT where they have none."""
    for j in range(records[r].offset, records[r].offset + records[r].length):
        neuron_id = codes.prefix[arena.code[j]] | np.uint64(arena.local[j])
        cached = arena.link[j].slot
        if cached == NO_SLOT or not slots.used[cached] or slots.id[cached] != neuron_id:
            slot = find(slots, neuron_id)
            arena.link[j].slot = np.uint32(slot) if slot >= 0 else NO_SLOT


@njit(cache=True, nogil=True)
def settle(
    slots, records, arena, codes, history, stride, rules, errors, clock, held, tick, closing
):  # fmt: skip
    """Settle the rows of the slots ``held`` (int64), which are loaded, up to ``tick``.

    ``closing``: the windows of their last spikes close; otherwise rows whose windows have closed were settled before.
    A target without a slot has fired too long ago to matter.
    """
    words = stride - 1
    epoch = slots.counters[EPOCH]
    sums = np.zeros((rules.kind.shape[0], clock.window + 1), dtype=np.int64)
    made = np.full(rules.kind.shape[0], -1, dtype=np.int64)
    turn = 0
    for i in range(held.shape[0]):
        r = slots.record[held[i]]
        base = held[i] * stride
        if records[r].epoch != epoch:
            _find_targets(slots, records, arena, codes, r)
        lo = records[r].offset
        stop = lo + records[r].length
        while lo < stop:
            delay = np.int64(codes.delay[arena.code[lo]])
            hi = lo + 1
            while hi < stop and codes.delay[arena.code[hi]] == delay:
                hi += 1
            last = last_before(history, base, words, tick - delay + 1)
            if last != NEVER:
                following = first_after(history, base, words, last)
                if following != NEVER:
                    is_open = following - last <= clock.horizon
                else:
                    is_open = closing or tick - last < clock.horizon
                begin = max(last + delay, clock.settled + 1)
                end = min(tick, last + delay + clock.window)
                if is_open and begin <= end and _settle(
                    arena, codes, history, stride, slots.id, rules, errors, base, lo, hi, last, delay, begin, end,
                    np.int64(0), clock, sums, made, turn,
                ):  # fmt: skip
                    records[r].flags |= LEARNED
            turn += 1
            lo = hi


@njit(cache=True, nogil=True)
def would_drop(records, made, hand, pinned, warm, spare_warm, want, out):
    """Fill ``out`` (int64) with the records that :func:`engramdb.kernels.rows.drop_rows` would drop the rows of.

    Only those whose row is LEARNED; returns their number. ``made``: records in use, ``pinned`` and ``warm``: the flags.
    """
    dropped, n = np.int64(0), 0
    for _ in range(made):
        if dropped >= want:
            break
        if hand >= made:
            hand = 0
        r = hand
        hand += 1
        if records[r].slot < 0 or records[r].offset < 0 or records[r].flags & pinned:
            continue
        if spare_warm and records[r].flags & warm:
            continue
        dropped += records[r].length
        if records[r].flags & LEARNED:
            out[n] = r
            n += 1
    return n
