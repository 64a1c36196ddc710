"""Partners drawn by the rules that are built when an engram is created.

Every draw is a function of (seed, projection, neuron, ordinal), so that neither order nor batches can matter. A
*domain* is a list of segments laid end to end: ``start`` (uint64, increasing from 0) is the position of each one's
neuron 0 and ``base`` (uint64) its id; a position numbers the domain's neurons from 0.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.rng import absorb, hash_u64, sample, unit, whole_ticks

_LOW_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_SERIES = np.array([1.0 / (2 * k + 1) for k in range(12, -1, -1)])


@njit(cache=True, nogil=True)
def below_wide(h, n):
    """A uint64 in 0..n-1 from a uint64: the upper half of their 128-bit product; any 1 <= n < 2^64."""
    low = (h & _LOW_MASK) * (n & _LOW_MASK)
    mixed = (h >> _HALF) * (n & _LOW_MASK) + (low >> _HALF)
    other = (h & _LOW_MASK) * (n >> _HALF) + (mixed & _LOW_MASK)
    return (h >> _HALF) * (n >> _HALF) + (mixed >> _HALF) + (other >> _HALF)


@njit(cache=True, nogil=True)
def negative_log(u):
    """-ln(u) for a float64 in (0, 1], within 2 units in the last place, the same bits on every machine.

    u = m 2^e with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh((m - 1) / (m + 1)) by its series.
    """
    doublings = 0
    while u < _SQRT_HALF:
        u *= 2.0
        doublings += 1
    s = (u - 1.0) / (u + 1.0)
    square = s * s
    total = 0.0
    for k in range(_SERIES.shape[0]):
        total = total * square + _SERIES[k]
    return doublings * _LN2 - 2.0 * s * total


@njit(cache=True, nogil=True)
def neuron_at(position, start, base):
    """The id (uint64) at a position of a domain."""
    segment = np.searchsorted(start, position, side="right") - 1
    return base[segment] + (position - start[segment])


@njit(cache=True, nogil=True)
def draw_sources(
    seed, projection, purposes, targets, k, size, start, base, table, factor, ticks, pre, post, weight, delay
):
    """FixedIndegree: the sources of ``targets`` (uint64, (n,)), each drawn from all ``size`` neurons of the domain.

    Fills ``pre``, ``post`` (uint64), ``weight`` (float32) and ``delay`` (uint16), each (n k,). ``purposes``: of the
    partner, of the weight, which is drawn from the quantile ``table`` (float64) and multiplied by ``factor`` (float32),
    and of the delay, which is drawn from ``ticks`` (float64) and rounded; no delays where ``delay`` is empty.
    """
    at = 0
    for i in range(targets.shape[0]):
        partner = hash_u64(seed, targets[i], projection, purposes[0])
        value = hash_u64(seed, targets[i], projection, purposes[1])
        travel = hash_u64(seed, targets[i], projection, purposes[2])
        for ordinal in range(k):
            position = below_wide(absorb(partner, np.uint64(ordinal)), size)
            pre[at] = neuron_at(position, start, base)
            post[at] = targets[i]
            weight[at] = factor * sample(table, 0, table.shape[0], unit(absorb(value, np.uint64(ordinal))))
            if delay.shape[0]:
                delay[at] = whole_ticks(ticks, 0, ticks.shape[0], unit(absorb(travel, np.uint64(ordinal))))
            at += 1


@njit(cache=True, nogil=True)
def draw_targets(
    seed, projection, purposes, sources, done, begin, step, size, start, base, table, factor, ticks,
    pre, post, weight, delay,
):  # fmt: skip
    """Bernoulli: the targets of ``sources`` (uint64), each of ``size`` neurons with the same probability p.

    The distance from one target to the next is geometric (Batagelj & Brandes 2005, "Efficient generation of large
    random networks"), so time follows synapses, not pairs; ``step`` = -1 / ln(1 - p). Fills ``pre``, ``post``,
    ``weight`` and ``delay`` (see above) from the source numbered ``begin`` on, until they are full. ``done``: int64
    (2,), ordinal and position where that source's row goes on. Returns ``(next, filled)``: the source to go on with
    (``done`` says where), and how many synapses there are.
    """
    at = 0
    for i in range(begin, sources.shape[0]):
        partner = hash_u64(seed, sources[i], projection, purposes[0])
        value = hash_u64(seed, sources[i], projection, purposes[1])
        travel = hash_u64(seed, sources[i], projection, purposes[2])
        ordinal, position = done[0], done[1]
        done[0] = done[1] = 0
        while True:
            # 1 - unit lies in (0, 1]; the gap is the number of neurons passed over
            gap = negative_log(1.0 - unit(absorb(partner, np.uint64(ordinal)))) * step
            if gap >= np.float64(np.int64(size) - position):
                break
            if at == pre.shape[0]:
                done[0], done[1] = ordinal, position
                return i, at
            position += np.int64(gap)
            pre[at] = sources[i]
            post[at] = neuron_at(np.uint64(position), start, base)
            weight[at] = factor * sample(table, 0, table.shape[0], unit(absorb(value, np.uint64(ordinal))))
            if delay.shape[0]:
                delay[at] = whole_ticks(ticks, 0, ticks.shape[0], unit(absorb(travel, np.uint64(ordinal))))
            at += 1
            ordinal += 1
            position += 1
    return sources.shape[0], at
