"""Learning in rows: what spikes of both ends have done to the weights of synapses, worked out when a row is touched.

Nothing is done when a postsynaptic neuron fires. A row is *settled* when its own next spike arrives, when the window
of its last spike closes, and before anybody reads it: then the postsynaptic spikes since it was last settled act in
the order of time. So no list of incoming synapses is needed, and results do not depend on when a row is settled.

What happens when a spike arrives is in :mod:`engramdb.kernels.arrival`.

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
from engramdb.kernels.rows import LEARNED, RESOLVED
from engramdb.kernels.slots import NO_SLOT, find

ADDITIVE, MULTIPLICATIVE, HEBBIAN, ELIGIBLE = range(4)  # in ``kind``; the last is engramdb.kernels.re_vgsp's

UNIT = 1.0 / 4294967296.0
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Rules(NamedTuple):
    """Arrays over learning rules (R), and over the codes of pairs."""

    of_pair: npt.NDArray[np.int16]  # the rule of each pair (projection, segment), -1 = none
    kind: npt.NDArray[np.uint8]  # (R,)
    sign: npt.NDArray[np.float64]  # (R,) weights times this are what the rule moves
    low: npt.NDArray[np.float64]  # (R,) bounds of that
    high: npt.NDArray[np.float64]
    plus: npt.NDArray[np.int64]  # (R, 2 W + 2 + TICKS) by ticks from arrival to spike, in 2^-32; 0 beyond W
    minus: npt.NDArray[np.int64]  # (R, horizon + 2) by ticks from postsynaptic spike to arrival; the same
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
def error_of(errors, neuron_id):
    """The error of a neuron; 1 where it was given none."""
    if errors.ids.shape[0] == 0:
        return 1.0
    at = np.searchsorted(errors.ids, neuron_id)
    return errors.values[at] if at < errors.ids.shape[0] and errors.ids[at] == neuron_id else 1.0


@njit(inline="always")
def arrivals_of(history, base, words, last, delay, since, out):
    """Fill ``out`` (int64) with the arrivals, ``since`` or later, of the spikes up to ``last``; returns how many."""
    first = np.int64(history[base]) - (words * 64 - 1)
    oldest = max(since - delay, first)
    w = (oldest - first) >> 6
    word = history[base + 1 + w] & (_ALL << np.uint64((oldest - first) & 63))
    n = 0
    while True:
        while word == 0 and w + 1 < words:
            w += 1
            word = history[base + 1 + w]
        spike = first + (w << 6) + lowest_bit(word)
        if word == 0 or spike > last:
            break
        word &= word - np.uint64(1)
        out[n] = spike + delay
        n += 1
    return n


@njit(inline="always")
def after_spike(weight, spike, plus, rule, kind, sign, low, high, gain, arrivals, n):
    """``weight`` (float32) after a postsynaptic ``spike``, with ``n`` ``arrivals`` (int64) before it.

    ``gain``: what Hebbian learning adds, in the unit of weights.
    """
    amount = np.int64(0)
    for k in range(n):
        amount += plus[rule, np.uint64(spike - arrivals[k])]
    if amount == 0:
        return weight
    own = sign * np.float64(weight)
    step = np.float64(amount) * UNIT
    if kind == MULTIPLICATIVE:
        step *= high - own
    elif kind == HEBBIAN:
        step = gain
    return np.float32(sign * min(max(own + step, low), high))


@njit(inline="always")
def after_arrival(weight, amount, kind, sign, low, high):
    """``weight`` (float32) after an arrival; ``amount`` (int64) sums up the pairs that it closes."""
    own = sign * np.float64(weight)
    step = np.float64(amount) * UNIT
    if kind == MULTIPLICATIVE:
        step *= own - low
    return np.float32(sign * min(max(own - step, low), high))


@njit(borrows=True, cache=True, nogil=True)
def by_bits(weight, rule, rules, history, post, words, error, arrivals, n, begin, end, arrival, window):
    """``weight`` after the spikes ``begin`` to ``end`` of the target whose history is at ``post``, and the ``arrival``.

    ``arrival`` is the tick of one that acts last, or 0. For any number of spikes.
    """
    kind, sign, low, high = rules.kind[rule], rules.sign[rule], rules.low[rule], rules.high[rule]
    plus, minus, gain = rules.plus, rules.minus, rules.rate[rule] * error
    newest = arrival - 1 if arrival > 0 else end
    oldest = arrival - window if arrival > 0 else begin
    if begin <= end:
        oldest = min(oldest, begin)
    first = np.int64(history[post]) - (words * 64 - 1)
    bottom = max(oldest - first, np.int64(0))
    w = bottom >> 6
    if w >= words or history[post] == 0:
        return weight
    depression = np.int64(0)
    word = history[post + 1 + w] & (_ALL << np.uint64(bottom & 63))
    while True:
        while word == 0 and w + 1 < words:
            w += 1
            word = history[post + 1 + w]
        spike = first + (w << 6) + lowest_bit(word)
        if word == 0 or spike > newest:
            break
        word &= word - np.uint64(1)
        if begin <= spike <= end:
            weight = after_spike(weight, spike, plus, rule, kind, sign, low, high, gain, arrivals, n)
        if arrival > 0 and arrival - spike <= window:
            depression += minus[rule, arrival - spike]
    return after_arrival(weight, depression, kind, sign, low, high) if depression else weight


@njit(borrows=True, cache=True, nogil=True)
def scale(record, records, arena, codes, rules, pre, offsets, lengths):
    """Move the stretches ``offsets``, ``lengths`` of the rows of ``pre`` (int64) towards the mean that is wanted.

    The synapses of a stretch arrive together; those of each rule that scales are multiplied by
    1 + rate (mean wanted / mean - 1).
    """
    link, code, pair, of_pair = arena.link, arena.code, codes.pair, rules.of_pair
    for rule in range(rules.kind.shape[0]):
        if rules.scale_rate[rule] == 0.0:
            continue
        sign, low, high = rules.sign[rule], rules.low[rule], rules.high[rule]
        for i in range(pre.shape[0]):
            total = np.int64(0)
            n = 0
            for j in range(offsets[i], offsets[i] + lengths[i]):
                if of_pair[pair[code[j]]] == rule:
                    total += np.int64(np.rint(np.float64(link[j].weight) * 4294967296.0))
                    n += 1
            mean = sign * np.float64(total) * UNIT / max(n, 1)
            if n == 0 or mean <= 0.0:
                continue
            factor = 1.0 + rules.scale_rate[rule] * (rules.scale_to[rule] / mean - 1.0)
            for j in range(offsets[i], offsets[i] + lengths[i]):
                if of_pair[pair[code[j]]] == rule:
                    own = sign * np.float64(link[j].weight) * factor
                    link[j].weight = np.float32(sign * min(max(own, low), high))
            records[record[pre[i]]].flags |= LEARNED


@njit(borrows=True, cache=True, nogil=True)
def find_targets(slots, records, arena, codes, r):
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
    arrivals = np.empty(2 * clock.window + 2, dtype=np.int64)
    for i in range(held.shape[0]):
        r = slots.record[held[i]]
        base = held[i] * stride
        if not records[r].flags & RESOLVED:
            find_targets(slots, records, arena, codes, r)
        lo = records[r].offset
        stop = lo + records[r].length
        while lo < stop:
            delay = np.int64(codes.delay[arena.code[lo]])
            hi = lo + 1
            while hi < stop and codes.delay[arena.code[hi]] == delay:
                hi += 1
            begin, end = open_ticks(history, base, words, delay, clock, tick, closing)
            if begin <= end:
                last = last_before(history, base, words, tick - delay + 1)
                n = arrivals_of(history, base, words, last, delay, begin - clock.window, arrivals)
                for j in range(lo, hi):
                    rule = rules.of_pair[codes.pair[arena.code[j]]]
                    slot = np.int64(arena.link[j].slot)
                    if rule < 0 or rules.kind[rule] == ELIGIBLE or arena.link[j].slot == NO_SLOT:
                        continue
                    before = arena.link[j].weight
                    error = error_of(errors, slots.id[slot])
                    weight = by_bits(
                        before, rule, rules, history, slot * stride, words, error, arrivals, n, begin, end, np.int64(0),
                        clock.window,
                    )  # fmt: skip
                    if weight != before:
                        arena.link[j].weight = weight
                        records[r].flags |= LEARNED
            lo = hi


@njit(borrows=True, cache=True, nogil=True)
def open_ticks(history, base, words, delay, clock, tick, closing):
    """The first and the last tick whose spikes have still to act on what takes ``delay`` ticks; first > last: none."""
    last = last_before(history, base, words, tick - delay + 1)
    if last == NEVER:
        return np.int64(1), np.int64(0)
    following = first_after(history, base, words, last)
    if following == NEVER and not closing and tick - last >= clock.horizon:
        return np.int64(1), np.int64(0)
    if following != NEVER and following - last > clock.horizon:
        return np.int64(1), np.int64(0)
    return max(last + delay, clock.settled + 1), min(tick, last + delay + clock.window)
