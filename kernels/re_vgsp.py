"""Eligibility of synapses and what rewards make of it; see ``engramdb.learning.re_vgsp`` for the equations.

What happens to all synapses of a rule at once, the end of an interval and a reward, is an *outcome* in a list. A
synapse knows how many of them it has met; it meets the others when its row is touched, each in its place between the
pairs of spikes. So it has the very numbers that it would have had if all were looked at in every tick.

An eligibility is kept as of the beginning of the interval: within one it does not decay, and what is added later counts
for more by what the others have decayed. Each step is worked out in float64 and rounded to float32 once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.bits import lowest_bit
from engramdb.kernels.compiled import njit
from engramdb.kernels.history import NEVER, last_before
from engramdb.kernels.plasticity import ELIGIBLE, arrivals_of, find_targets, open_ticks
from engramdb.kernels.rows import LEARNED, RESOLVED
from engramdb.kernels.slots import NO_SLOT

# What is kept of a synapse: its eligibility, and how many outcomes of its rule it has met.
TRACE = np.dtype([("eligibility", np.float32), ("outcomes", np.uint32)])
INTERVAL, REWARD = range(2)  # in ``kind``: the end of intervals, or a reward
NEGLIGIBLE = np.float32(2.0**-24)  # an eligibility below it is none when an interval ends
PHASE_BITS = 20

_UNIT = 1.0 / 4294967296.0
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Outcomes(NamedTuple):
    """Arrays over rules (R), and over the outcomes of each (R, most); those of other rules are empty."""

    tick: npt.NDArray[np.int64]  # (R, most) behind which it comes
    kind: npt.NDArray[np.uint8]
    value: npt.NDArray[np.float64]  # of a reward: eta(R)
    intervals: npt.NDArray[np.int64]  # how many end, one after the other
    gamma: npt.NDArray[np.float64]  # in force before it
    start: npt.NDArray[np.int64]  # the last tick before the interval in force before it
    n: npt.NDArray[np.int64]  # (R,) how many there are
    gamma_now: npt.NDArray[np.float64]  # (R,) behind all of them
    start_now: npt.NDArray[np.int64]
    ticks: npt.NDArray[np.int64]  # (R,) of an interval
    decay: npt.NDArray[np.float64]  # (R,) lambda
    phase: npt.NDArray[np.int64]  # (R, horizon + 1) (1 + cos) / 2 by ticks between the spikes, in 2^-20


@njit(borrows=True, cache=True, nogil=True)
def power(base, exponent):
    """``base`` (float64) to the ``exponent`` (int64, 0 or more), by squares: the same on every machine."""
    out = 1.0
    while exponent > 0:
        if exponent & 1:
            out *= base
        base *= base
        exponent >>= 1
    return out


@njit(borrows=True, cache=True, nogil=True)
def meet(outcomes, rule, sign, low, high, weight, eligibility, met, before):
    """``(weight, eligibility, met)`` when all outcomes behind ticks earlier than ``before`` have been met."""
    while met < outcomes.n[rule] and outcomes.tick[rule, met] < before:
        if eligibility != 0:
            gamma = outcomes.gamma[rule, met]
            if outcomes.kind[rule, met] == INTERVAL:
                factor = power(gamma, outcomes.ticks[rule])
                for _ in range(outcomes.intervals[rule, met]):
                    eligibility = np.float32(np.float64(eligibility) * factor)
                    if abs(eligibility) < NEGLIGIBLE:
                        eligibility = np.float32(0.0)
                        break
            else:
                rate = outcomes.value[rule, met]
                passed = outcomes.tick[rule, met] - outcomes.start[rule, met]
                present = np.float64(eligibility) * power(gamma, passed)
                own = sign * np.float64(weight)
                own += rate * present - outcomes.decay[rule] * abs(rate) * own
                weight = np.float32(sign * min(max(own, low), high))
        met += 1
    return weight, eligibility, met


@njit(borrows=True, cache=True, nogil=True)
def _added(outcomes, rule, eligibility, met, amount, tick):
    """The eligibility after pairs that sum up to ``amount`` (int64, 2^-32) have acted in ``tick``."""
    if amount == 0:
        return eligibility
    if met < outcomes.n[rule]:
        gamma, start = outcomes.gamma[rule, met], outcomes.start[rule, met]
    else:
        gamma, start = outcomes.gamma_now[rule], outcomes.start_now[rule]
    return np.float32(np.float64(eligibility) + np.float64(amount) * _UNIT / power(gamma, tick - start))


@njit(borrows=True, cache=True, nogil=True)
def _settle(
    link, trace, j, rules, outcomes, rule, history, post, words, arrivals, n, delay, begin, end, arrival, before, window
):  # fmt: skip
    """Let synapse ``j`` meet what has happened before the tick ``before``; whether anything of it has changed.

    Postsynaptic spikes in ``begin`` to ``end`` act, then, if it is not 0, the ``arrival``; ``post``: where the target's
    history is, negative where it has none.
    """
    sign, low, high = rules.sign[rule], rules.low[rule], rules.high[rule]
    plus, minus, phase = rules.plus, rules.minus, outcomes.phase
    weight = weight_before = link[j].weight
    eligibility = eligibility_before = trace[j].eligibility
    met = met_before = np.int64(trace[j].outcomes)
    depression = np.int64(0)
    newest = arrival - 1 if arrival > 0 else end
    oldest = arrival - window if arrival > 0 else begin
    if begin <= end:
        oldest = min(oldest, begin)
    if post >= 0 and np.int64(history[post]) >= oldest and history[post] != 0:
        first = np.int64(history[post]) - (words * 64 - 1)
        bottom = max(oldest - first, np.int64(0))
        w = bottom >> 6
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
                amount = np.int64(0)
                for k in range(n):
                    apart = spike - arrivals[k]
                    if apart <= window:
                        amount += (plus[rule, apart] * phase[rule, apart + delay]) >> PHASE_BITS
                weight, eligibility, met = meet(outcomes, rule, sign, low, high, weight, eligibility, met, spike)
                eligibility = _added(outcomes, rule, eligibility, met, amount, spike)
            if arrival > 0 and arrival - spike <= window:
                depression += (minus[rule, arrival - spike] * phase[rule, abs(arrival - delay - spike)]) >> PHASE_BITS
    weight, eligibility, met = meet(outcomes, rule, sign, low, high, weight, eligibility, met, before)
    if arrival > 0:
        eligibility = _added(outcomes, rule, eligibility, met, -depression, arrival)
    if weight != weight_before:
        link[j].weight = weight
    if eligibility != eligibility_before or met != met_before:
        trace[j].eligibility = eligibility
        trace[j].outcomes = np.uint32(met if eligibility != 0 else outcomes.n[rule])
    return weight != weight_before


@njit(cache=True, nogil=True)
def arrive(
    record, records, arena, codes, trace, history, stride, rules, clock, outcomes, pre, offsets, lengths, tick
):  # fmt: skip
    """Settle stretches of rows over which spikes arrive, as :func:`engramdb.kernels.plasticity.arrive` does."""
    link, code, pair, of_pair = arena.link, arena.code, codes.pair, rules.of_pair
    words = stride - 1
    arrivals = np.empty(2 * clock.window + 2, dtype=np.int64)
    for i in range(pre.shape[0]):
        lo = offsets[i]
        delay = np.int64(codes.delay[code[lo]])
        base = pre[i] * stride
        last = last_before(history, base, words, tick - delay)
        begin, end, n = tick, tick - 1, 0
        if last != NEVER and tick - delay - last <= clock.horizon:
            begin = max(last + delay, clock.settled + 1)
            end = min(tick - 1, last + delay + clock.window)
            if begin <= end:
                n = arrivals_of(history, base, words, last, delay, begin - clock.window, arrivals)
        changed = False
        for j in range(lo, lo + lengths[i]):
            rule = of_pair[pair[code[j]]]
            if rule >= 0 and rules.kind[rule] == ELIGIBLE:
                post = np.int64(link[j].slot) * stride
                changed |= _settle(
                    link, trace, j, rules, outcomes, rule, history, post, words, arrivals, n, delay, begin, end, tick,
                    tick, clock.window,
                )  # fmt: skip
        if changed:
            records[record[pre[i]]].flags |= LEARNED


@njit(cache=True, nogil=True)
def settle(
    slots, records, arena, codes, trace, history, stride, rules, clock, outcomes, held, tick, closing
):  # fmt: skip
    """Settle whole rows up to ``tick``, as :func:`engramdb.kernels.plasticity.settle` does."""
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
            n = 0
            if begin <= end:
                last = last_before(history, base, words, tick - delay + 1)
                n = arrivals_of(history, base, words, last, delay, begin - clock.window, arrivals)
            for j in range(lo, hi):
                rule = rules.of_pair[codes.pair[arena.code[j]]]
                if rule < 0 or rules.kind[rule] != ELIGIBLE:
                    continue
                slot = arena.link[j].slot
                post = np.int64(-1) if slot == NO_SLOT else np.int64(slot) * stride
                if _settle(
                    arena.link, trace, j, rules, outcomes, rule, history, post, words, arrivals, n, delay, begin, end,
                    np.int64(0), tick + 1, clock.window,
                ):  # fmt: skip
                    records[r].flags |= LEARNED
            lo = hi


@njit(borrows=True, cache=True, nogil=True)
def eligible(records, made, trace, out):
    """Fill ``out`` (int64) with the records, of ``made``, whose row is loaded and has any eligibility; their number."""
    n = 0
    for r in range(made):
        if records[r].slot < 0 or records[r].offset < 0:
            continue
        for j in range(records[r].offset, records[r].offset + records[r].length):
            if trace[j].eligibility != 0:
                out[n] = r
                n += 1
                break
    return n


@njit(borrows=True, cache=True, nogil=True)
def move(trace, before, after, lengths):
    """Move stretches of ``trace`` down, from ``before`` to ``after`` (int64, both rising)."""
    for i in range(before.shape[0]):
        if before[i] != after[i]:
            for j in range(lengths[i]):
                trace[after[i] + j] = trace[before[i] + j]
