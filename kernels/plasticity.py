"""Learning in rows: what spikes of both ends have done to the weights of synapses, worked out when a row is touched.

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

from engramdb.kernels.bits import choose, lowest_bit
from engramdb.kernels.compiled import njit
from engramdb.kernels.history import NEVER, first_after, last_before
from engramdb.kernels.memory import prefetch
from engramdb.kernels.pairs import SYNAPSES, TICKS, add_up, follow
from engramdb.kernels.recent import RECENT
from engramdb.kernels.recent import ages as slot_ages
from engramdb.kernels.rows import LEARNED, RESOLVED
from engramdb.kernels.slots import NO_SLOT, find

ADDITIVE, MULTIPLICATIVE, HEBBIAN, ELIGIBLE = range(4)  # in ``kind``; the last is engramdb.kernels.re_vgsp's

_UNIT = 1.0 / 4294967296.0
_AHEAD = 8  # rows
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Rules(NamedTuple):
    """Arrays over learning rules (R), and over the codes of pairs."""

    of_pair: npt.NDArray[np.int16]  # the rule of each pair (projection, segment), -1 = none
    kind: npt.NDArray[np.uint8]  # (R,)
    sign: npt.NDArray[np.float64]  # (R,) weights times this are what the rule moves
    low: npt.NDArray[np.float64]  # (R,) bounds of that
    high: npt.NDArray[np.float64]
    plus: npt.NDArray[np.int64]  # (R, 2 W + 2 + TICKS) by ticks from arrival to postsynaptic spike, in 2^-32; 0 beyond W
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
def _error_of(errors, neuron_id):
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
def _after_spike(weight, spike, plus, rule, kind, sign, low, high, gain, arrivals, n):
    """``weight`` (float32) after a postsynaptic ``spike``, with ``n`` ``arrivals`` (int64) before it.

    ``gain``: what Hebbian learning adds, in the unit of weights.
    """
    amount = np.int64(0)
    for k in range(n):
        amount += plus[rule, np.uint64(spike - arrivals[k])]
    if amount == 0:
        return weight
    own = sign * np.float64(weight)
    step = np.float64(amount) * _UNIT
    if kind == MULTIPLICATIVE:
        step *= high - own
    elif kind == HEBBIAN:
        step = gain
    return np.float32(sign * min(max(own + step, low), high))


@njit(inline="always")
def _after_arrival(weight, amount, kind, sign, low, high):
    """``weight`` (float32) after an arrival; ``amount`` (int64) sums up the pairs that it closes."""
    own = sign * np.float64(weight)
    step = np.float64(amount) * _UNIT
    if kind == MULTIPLICATIVE:
        step *= own - low
    return np.float32(sign * min(max(own - step, low), high))


@njit(borrows=True, cache=True, nogil=True)
def _by_bits(weight, rule, rules, history, post, words, error, arrivals, n, begin, end, arrival, window):
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
            weight = _after_spike(weight, spike, plus, rule, kind, sign, low, high, gain, arrivals, n)
        if arrival > 0 and arrival - spike <= window:
            depression += minus[rule, arrival - spike]
    return _after_arrival(weight, depression, kind, sign, low, high) if depression else weight


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
            mean = sign * np.float64(total) * _UNIT / max(n, 1)
            if n == 0 or mean <= 0.0:
                continue
            factor = 1.0 + rules.scale_rate[rule] * (rules.scale_to[rule] / mean - 1.0)
            for j in range(offsets[i], offsets[i] + lengths[i]):
                if of_pair[pair[code[j]]] == rule:
                    own = sign * np.float64(link[j].weight) * factor
                    link[j].weight = np.float32(sign * min(max(own, low), high))
            records[record[pre[i]]].flags |= LEARNED


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
def _follow(link, lo, hi, ages, most, ahead, gains, n_open, minus, rules, rule):
    """Let the open spikes of each target act on its synapse, and then the arrival. Whether any weight has changed.

    ``ages``: of the last spikes of the targets, of which the open ones are among the first ``most``. ``gains``
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
            link, lo + j, ages, j, np.int64(most), np.int64(ahead), np.int64(n_open), gains, minus, np.int64(rule),
            sign, low, high, by_distance,
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
        amount = np.float64(depression) * _UNIT
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
    kept, arrivals, gains, ages, spikes,
):  # fmt: skip
    """Settle the stretches ``offsets``, ``lengths`` (int64) of rows over which spikes arrive in ``tick``.

    ``pre`` (int64): whose each is. Targets have slots. ``kept`` (float32): empty, or filled with what the weights were
    before, end to end. For its own use: ``arrivals`` and ``gains`` (int64, twice the window and 2 more), and for the
    synapses of the longest stretch ``ages`` (uint32, RECENT for each) and ``spikes`` (uint32).
    """
    # as locals: a loop that takes arrays out of the tuple counts references each time round
    link, code, pair, code_delay, of_pair = arena.link, arena.code, codes.pair, codes.delay, rules.of_pair
    plus, minus, kinds, signs, lows, highs = rules.plus, rules.minus, rules.kind, rules.sign, rules.low, rules.high
    window, settled = clock.window, clock.settled
    words = stride - 1
    beyond = np.uint32(clock.horizon + 1)  # no spike of such an age matters
    now = np.uint32(tick)
    own_row = ages.shape[0] // RECENT - 1
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
        later = np.int64(slot_ages(recent, pre[n], now, farthest, ages, own_row, np.uint32(delay)))
        last = tick - np.int64(ages[own_row * RECENT + min(later, RECENT - 1)])
        if later == RECENT:
            last = last_before(history, pre[n] * stride, words, tick - delay)
        begin, end = max(last + delay, settled + 1), min(tick - 1, last + delay + window)
        if last == NEVER or tick - delay - last > clock.horizon or begin > end:
            begin, end = tick, tick - 1
        # how long before ``begin`` spikes arrived: of those that arrive later it is a huge unsigned number
        slot_ages(recent, pre[n], np.uint32(begin - delay), np.uint32(window + 1), ages, own_row, np.uint32(0))
        back = np.uint32(max(tick - begin, window))
        ahead, over = np.uint32(tick - begin), np.uint32(tick - end)
        # first what needs no decision, so that the loads of all synapses are under way together
        own = of_pair[pair[first_code]]
        alike, crowded = own >= 0, ages[own_row * RECENT + RECENT - 1] <= np.uint32(window)
        most = np.uint32(0)
        if several_codes:
            for j in range(lo, hi):
                alike &= of_pair[pair[code[j]]] == own
        for j in range(lo, hi):
            several = slot_ages(recent, np.int64(link[j].slot), now, beyond, ages, j - lo, ahead)
            crowded |= ages[(j - lo) * RECENT + RECENT - 1] <= back
            most = max(most, several)
            spikes[j - lo] = several
            if keeps:
                kept[done + j - lo] = link[j].weight
        done += hi - lo
        changed = False
        if alike and not crowded and kinds[own] <= MULTIPLICATIVE:
            n_open = end - begin + 1
            add_up(plus, np.int64(own), ages, own_row * RECENT, n_open, gains)
            changed = _follow(link, lo, hi, ages, most, ahead, gains, n_open, minus, rules, own)
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
                error = _error_of(errors, ids[slot])
                weight = _by_bits(
                    weight, rule, rules, history, slot * stride, words, error, arrivals, n_arrivals, begin, end, tick,
                    window,
                )  # fmt: skip
            else:
                sign, low, high = signs[rule], lows[rule], highs[rule]
                for k in range(np.int64(spikes[j - lo]) - 1, -1, -1):
                    age = ages[at + k]
                    if age >= over:
                        gain = rules.rate[rule] * _error_of(errors, ids[slot]) if kind == HEBBIAN else 0.0
                        weight = _after_spike(
                            weight, tick - np.int64(age), plus, rule, kind, sign, low, high, gain, arrivals, n_arrivals
                        )
                depression = np.int64(0)
                for k in range(RECENT):
                    depression += minus[rule, ages[at + k]]
                if depression:
                    weight = _after_arrival(weight, depression, kind, sign, low, high)
            if weight != before:
                link[j].weight = weight
                changed = True
        if changed:
            records[record[pre[n]]].flags |= LEARNED


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
                    error = _error_of(errors, slots.id[slot])
                    weight = _by_bits(
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
