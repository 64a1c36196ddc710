"""Arrivals: what has happened to the synapses of a row since it was last settled, when its own next spike arrives.

Nearly all learning is done here, so the row of a neuron whose synapses learn by one rule of pairs is gone through
without a branch: from the last spikes of both ends, four synapses at a time, see :mod:`engramdb.kernels.pairs`. Where
somebody has fired more often than there is room for there, or rules differ, synapses are settled one by one.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.bits import choose
from engramdb.kernels.compiled import njit
from engramdb.kernels.history import NEVER, last_before
from engramdb.kernels.memory import prefetch
from engramdb.kernels.pairs import SYNAPSES, add_up, follow
from engramdb.kernels.plasticity import (
    ELIGIBLE,
    HEBBIAN,
    MULTIPLICATIVE,
    UNIT,
    after_arrival,
    after_spike,
    arrivals_of,
    by_bits,
    error_of,
)
from engramdb.kernels.recent import RECENT, ages_of_row, younger
from engramdb.kernels.recent import ages as ages_of
from engramdb.kernels.rows import LEARNED

_AHEAD = 8  # rows


@njit(inline="always")
def _ask_ahead(link, code, several_codes, recent, offsets, lengths, n):
    """Ask for a row that comes later, and for the last spikes of the targets of one that comes soon."""
    if n + 2 * _AHEAD < offsets.shape[0]:
        ahead = offsets[n + 2 * _AHEAD]
        prefetch(link, ahead)
        prefetch(link, ahead + lengths[n + 2 * _AHEAD] - 1)
        if several_codes:
            prefetch(code, ahead)
    if n + _AHEAD < offsets.shape[0]:
        ahead = offsets[n + _AHEAD]
        for j in range(ahead, ahead + min(lengths[n + _AHEAD], 64)):
            prefetch(recent, np.int64(link[j].slot) * RECENT)


@njit(inline="always")
def _ask_for_sources(record, records, fired, i):
    """Ask for the records of slots that come after ``fired[i]``."""
    if i + 2 * _AHEAD < fired.shape[0]:
        prefetch(record, fired[i + 2 * _AHEAD])
    if i + _AHEAD < fired.shape[0]:
        ahead = record[fired[i + _AHEAD]]
        if ahead >= 0:
            prefetch(records, ahead)


@njit(borrows=True, cache=True, nogil=True)
def sources(
    record, records, arena, codes, traces, fired, delays, left, offsets, lengths, slot, first, weight, trace
):  # fmt: skip
    """Whose the stretches ``offsets``, ``lengths`` (int64) of the arena are, over which spikes of ``fired`` arrive.

    Each after its delay (int32). They are as :func:`engramdb.kernels.deliver.gather` found them, in the order of
    ``fired``; ``left`` (int64, rising): places there that were left out. Fills ``slot`` and ``first`` (int64), the
    slot and the place in its row by stretch, and ``weight`` and, where there are any ``traces`` (TRACE, by synapse of
    the arena), ``trace`` with what their synapses are now, end to end.
    """
    link, code, code_delay = arena.link, arena.code, codes.delay
    n = 0
    n_left = 0
    kept = 0
    for i in range(fired.shape[0]):
        _ask_for_sources(record, records, fired, i)
        if n_left < left.shape[0] and left[n_left] == i:
            n_left += 1
            continue
        if n == offsets.shape[0]:
            break
        r = record[fired[i]]
        lo = offsets[n]
        own = records[r].offset
        if not own <= lo < own + records[r].length or code_delay[code[lo]] != delays[i]:
            continue  # no synapse of its row takes so long
        slot[n] = fired[i]
        first[n] = lo - own
        for j in range(lo, lo + lengths[n]):
            weight[kept] = link[j].weight
            if trace.shape[0]:
                trace[kept] = traces[j]
            kept += 1
        n += 1


@njit(inline="always")
def _follow(link, lo, hi, ages, most, deep, ahead, gains, n_open, minus, rules, rule):
    """Let the open spikes of each target act on its synapse, and then the arrival. Whether any weight has changed.

    ``ages``: of the last spikes of the targets, of which the open ones are among the first ``most``, and those that
    the arrival makes pairs with among the first ``deep``. ``gains``
    (float64): what a spike adds, by ticks since the first of the ``n_open`` open ones, which is ``ahead`` ticks ago; 0
    behind the last. Without a branch: how many spikes are open is different for every synapse.
    """
    sign, low, high = rules.sign[rule], rules.low[rule], rules.high[rule]
    by_distance = rules.kind[rule] == MULTIPLICATIVE
    # unsigned, and of 64 bits: what mixes signs is worked out in float64
    row, none, begin = np.uint64(rule), np.uint64(n_open), np.uint64(ahead)
    changed = False
    whole = (hi - lo) // SYNAPSES * SYNAPSES
    for j in range(0, whole, SYNAPSES):
        changed |= follow(
            link, lo + j, ages, j, most, deep, np.int64(ahead), n_open, gains, minus, np.int64(rule), sign, low, high,
            by_distance,
        )  # fmt: skip
    for j in range(np.uint64(whole), np.uint64(hi - lo)):
        first = j * np.uint64(RECENT)
        depression = np.int64(0)
        for k in range(np.uint64(RECENT)):
            depression += minus[row, np.uint64(ages[first + k])]
        before = link[np.uint64(lo) + j].weight
        own = sign * np.float64(before)
        for k in range(np.uint64(most)):
            age = np.uint64(ages[first + np.uint64(most) - np.uint64(1) - k])
            amount = gains[min(begin - age, none)]
            step = amount * (high - own) if by_distance else amount
            after = np.float64(np.float32(min(max(own + step, low), high)))
            own = choose(amount != 0.0, after, own)
        amount = np.float64(depression) * UNIT
        step = amount * (own - low) if by_distance else amount
        after = np.float64(np.float32(min(max(own - step, low), high)))
        own = choose(amount != 0.0, after, own)
        weight = np.float32(sign * own)
        link[np.uint64(lo) + j].weight = weight
        changed |= weight != before
    return changed


@njit(borrows=True, cache=True, nogil=True)
def arrive(
    record, records, arena, codes, ids, history, recent, stride, rules, errors, clock, pre, offsets, lengths, tick,
    kept, arrivals, gains, ages,
):  # fmt: skip
    """Settle the stretches ``offsets``, ``lengths`` (int64) of rows over which spikes arrive in ``tick``.

    ``pre`` (int64): whose each is. Targets have slots. ``kept`` (float32): empty, or filled with what the weights were
    before, end to end. For its own use: ``arrivals`` (int64, twice the window and 2 more), ``gains`` (float64, TICKS
    more than that), and ``ages`` (uint32, RECENT for each synapse of the longest stretch, and twice more).
    """
    # as locals: a loop that takes arrays out of the tuple counts references each time round
    link, code, pair, code_delay, of_pair = arena.link, arena.code, codes.pair, codes.delay, rules.of_pair
    plus, minus, kinds, signs, lows, highs = rules.plus, rules.minus, rules.kind, rules.sign, rules.low, rules.high
    window, settled = clock.window, clock.settled
    words = stride - 1
    beyond = np.uint32(clock.horizon + 1)  # no spike of such an age matters
    now = np.uint32(tick)
    own_row = ages.shape[0] // RECENT - 1
    all_row = own_row - 1
    done = 0
    several_codes, keeps = codes.made[0] > 1, kept.shape[0] > 0
    for n in range(pre.shape[0]):
        _ask_ahead(link, code, several_codes, recent, offsets, lengths, n)
        _ask_for_sources(record, records, pre, n)
        if n + _AHEAD < pre.shape[0]:
            prefetch(recent, pre[n + _AHEAD] * RECENT)
        lo = offsets[n]
        hi = lo + lengths[n]
        first_code = code[lo] if several_codes else np.uint16(0)
        delay = np.int64(code_delay[first_code])
        # the spike before the one that arrives; of those that fire so often that there is no room for it, from the bits
        farthest = np.uint32(clock.horizon + delay + 1)
        ages_of(recent, pre[n], now, farthest, ages, own_row)
        later = younger(ages, own_row, np.uint32(delay))
        last = tick - np.int64(ages[own_row * RECENT + min(later, RECENT - 1)])
        if later == RECENT:
            last = last_before(history, pre[n] * stride, words, tick - delay)
        begin, end = max(last + delay, settled + 1), min(tick - 1, last + delay + window)
        if last == NEVER or tick - delay - last > clock.horizon or begin > end:
            begin, end = tick, tick - 1
        # how long before ``begin`` spikes arrived: of those that arrive later it is a huge unsigned number
        ages_of(recent, pre[n], np.uint32(begin - delay), np.uint32(window + 1), ages, own_row)
        back = np.uint32(max(tick - begin, window))
        ahead, over = np.uint32(tick - begin), np.uint32(tick - end)
        # first what needs no decision, so that the loads of all synapses are under way together
        own = of_pair[pair[first_code]]
        alike, crowded = own >= 0, ages[own_row * RECENT + RECENT - 1] <= np.uint32(window)
        if several_codes:
            for j in range(lo, hi):
                alike &= of_pair[pair[code[j]]] == own
        ages_of_row(recent, link, lo, hi - lo, now, beyond, ages, all_row)
        crowded |= ages[all_row * RECENT + RECENT - 1] <= back
        most, deep = younger(ages, all_row, ahead), younger(ages, all_row, np.uint32(window))
        if keeps:
            for j in range(lo, hi):
                kept[done + j - lo] = link[j].weight
        done += hi - lo
        changed = False
        if alike and not crowded and kinds[own] <= MULTIPLICATIVE:
            n_open = end - begin + 1
            add_up(plus, np.int64(own), ages, own_row * RECENT, n_open, gains)
            changed = _follow(link, lo, hi, ages, most, deep, ahead, gains, n_open, minus, rules, own)
            if changed:
                records[record[pre[n]]].flags |= LEARNED
            continue
        n_arrivals = 0
        if begin <= end:
            n_arrivals = arrivals_of(history, pre[n] * stride, words, last, delay, begin - window, arrivals)
        for j in range(lo, hi):
            rule = of_pair[pair[code[j]]]
            if rule < 0:
                continue
            kind = kinds[rule]
            if kind == ELIGIBLE:
                continue
            weight = before = link[j].weight
            slot, at = np.int64(link[j].slot), (j - lo) * RECENT
            if ages[at + RECENT - 1] <= back:  # more spikes than there is room for
                error = error_of(errors, ids[slot])
                weight = by_bits(
                    weight, rule, rules, history, slot * stride, words, error, arrivals, n_arrivals, begin, end, tick,
                    window,
                )  # fmt: skip
            else:
                sign, low, high = signs[rule], lows[rule], highs[rule]
                for k in range(younger(ages, j - lo, ahead) - 1, -1, -1):
                    age = ages[at + k]
                    if age >= over:
                        gain = rules.rate[rule] * error_of(errors, ids[slot]) if kind == HEBBIAN else 0.0
                        weight = after_spike(
                            weight, tick - np.int64(age), plus, rule, kind, sign, low, high, gain, arrivals, n_arrivals
                        )
                depression = np.int64(0)
                for k in range(RECENT):
                    depression += minus[rule, ages[at + k]]
                if depression:
                    weight = after_arrival(weight, depression, kind, sign, low, high)
            if weight != before:
                link[j].weight = weight
                changed = True
        if changed:
            records[record[pre[n]]].flags |= LEARNED
