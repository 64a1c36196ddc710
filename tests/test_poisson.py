"""Poisson input: against a twin in plain Python, and as a Poisson process."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels import poisson
from tests.test_rng import splitmix, twin_hash

PURPOSE = 32
MASK = 2**64 - 1


def twin_absorb(state: int, word: int) -> int:
    return splitmix((state + (word + 1) * 0x9E3779B97F4A7C15) & MASK)


def twin_exponential(h: int) -> float:
    """The same series in Python's floats."""
    m, e = math.frexp(float((h >> 11) + 1))
    if m < 0.7071067811865476:
        m, e = m * 2.0, e - 1
    s = (m - 1.0) / (m + 1.0)
    z, series = s * s, 1.0 / 21.0
    for odd in range(19, 0, -2):
        series = series * z + 1.0 / odd
    return (53 - e) * 0.6931471805599453 - 2.0 * s * series


def twin_train(seed: int, number: int, neuron: int, rate: float, last: int) -> list[int]:
    """All events of one neuron up to tick ``last``, block by block."""
    bits = 0
    while rate * 2**bits < 2 and bits < 40:
        bits += 1
    key = twin_hash(seed, neuron, number, PURPOSE)
    ticks = []
    for block in range(last // 2**bits + 1):
        place, at, j = twin_absorb(key, block), 0.0, 0
        while True:
            at += twin_exponential(twin_absorb(place, j)) / rate
            j += 1
            if at >= 2**bits:
                break
            ticks.append(block * 2**bits + int(at) + 1)
    return [tick for tick in ticks if tick <= last]


def wheel_of(ids: np.ndarray, lists: int) -> poisson.Wheel:
    target = np.zeros(len(ids), dtype=poisson.TARGET)
    target["id"] = ids
    return poisson.Wheel(
        np.empty(lists, dtype=np.int32), np.empty(len(ids), dtype=np.int32), target, np.zeros(2, dtype=np.int64)
    )


def drawn(
    seed: int, ids: np.ndarray, rates: np.ndarray, first: int, last: int, lists: int = 64
) -> list[tuple[int, int]]:
    """(tick, id) of all events from ``first`` to ``last``, as a wheel gives them; skips ticks that have none."""
    wheel, events = wheel_of(ids, lists), []
    s, number = np.uint64(seed), np.uint64(3)
    poisson.start(s, number, rates, first - 1, wheel)
    tick = first - 1
    while (tick := int(poisson.next_due(wheel, tick))) != -1 and tick <= last:
        poisson.turn(wheel, tick)
        places = np.empty(len(ids), dtype=np.int64)
        places = places[: poisson.due(wheel, tick, places)]
        counts = np.empty(len(places), dtype=np.int64)
        poisson.draw(s, number, rates, wheel, tick, places, counts)
        assert len(places) > 0
        assert counts.min() > 0
        events += [(tick, int(ids[place])) for place in np.repeat(places, counts)]
    return sorted(events)


def train(seed: int, ids: np.ndarray, rates: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """(places, ticks)"""
    head = (np.uint64(seed), np.uint64(3), ids, rates, 1, last)
    none = np.empty(0, dtype=np.int64)
    n = poisson.trains(*head, none, none)
    places, ticks = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    assert poisson.trains(*head, places, ticks) == n
    return places, ticks


@given(st.integers(0, MASK))
def test_an_exponential_is_minus_the_logarithm(h: int) -> None:
    found = poisson.exponential(np.uint64(h))
    assert found == twin_exponential(h)
    assert found == pytest.approx(-math.log(((h >> 11) + 1) / 2**53), rel=1e-14, abs=1e-15)


@given(
    seed=st.integers(0, MASK), rate=st.floats(1e-3, 6.0), first=st.integers(1, 300), lists=st.sampled_from([64, 256])
)
def test_events_equal_the_twin_from_wherever_one_begins(seed: int, rate: float, first: int, lists: int) -> None:
    ids = np.array([3, 77, 2**63 + 5], dtype=np.uint64)
    rates = np.array([rate, 0.0, rate / 7])
    expected = sorted(
        (tick, int(neuron))
        for neuron, r in zip(ids, rates, strict=True)
        if r > 0
        for tick in twin_train(seed, 3, int(neuron), float(r), 700)
    )
    assert drawn(seed, ids, rates, first, 700, lists) == [event for event in expected if event[0] >= first]
    places, ticks = train(seed, ids, rates, 700)
    assert sorted(zip(ticks.tolist(), ids[places].tolist(), strict=True)) == expected


@pytest.mark.parametrize("rate", [0.0031, 0.15, 2.5])
def test_counts_and_gaps_are_those_of_a_poisson_process(rate: float) -> None:
    n, last = 2000, int(400 / rate)
    places, ticks = train(11, np.arange(n, dtype=np.uint64), np.array([rate]), last)
    mean = rate * last
    counts = np.bincount(places, minlength=n)
    assert abs(counts.mean() - mean) < 5 * math.sqrt(mean / n)
    assert abs(counts.var() / mean - 1) < 5 * math.sqrt(2 / n), "the variance of counts is their mean"
    # that neighbours in time are independent: counts of one half say nothing of the other
    half = np.bincount(places[ticks <= last // 2], minlength=n)
    assert abs(np.corrcoef(half, counts - half)[0, 1]) < 5 / math.sqrt(n)
    # nor do counts of one neuron say anything of the next
    assert abs(np.corrcoef(counts[:-1], counts[1:])[0, 1]) < 5 / math.sqrt(n)


def test_gaps_are_exponential() -> None:
    rate = 0.002  # so low that whole ticks hardly matter
    places, ticks = train(5, np.arange(300, dtype=np.uint64), np.array([rate]), 200_000)
    gaps = np.sort(np.concatenate([np.diff(ticks[places == i]) for i in range(300)]) * rate)
    n = len(gaps)
    assert n > 100_000
    distance = np.abs((1 - np.exp(-gaps)) - (np.arange(n) + 0.5) / n).max()
    assert distance < 1.63 / math.sqrt(n) + rate, "Kolmogorov and Smirnov, one per cent"
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.02), "the coefficient of variation is one"


def test_several_events_in_a_tick_have_their_share() -> None:
    places, ticks = train(9, np.arange(500, dtype=np.uint64), np.array([1.5]), 400)
    counts = np.bincount(np.bincount(places * 400 + ticks - 1, minlength=500 * 400))
    expected = np.array([math.exp(-1.5) * 1.5**k / math.factorial(k) for k in range(6)]) * 200_000
    np.testing.assert_allclose(counts[:6], expected, rtol=0.05)


def test_the_length_of_a_block_follows_the_rate() -> None:
    for rate in (0.001, 0.15, 0.5, 0.7, 1.999, 2.0, 900.0, 2.0**-38):
        bits = int(poisson.block_bits(rate))
        assert rate * 2**bits >= 2 or bits == 40
        assert bits == 0 or rate * 2 ** (bits - 1) < 2
    assert [int(poisson.block_bits(r)) for r in (2.0, 1.0, 0.5)] == [0, 1, 2]
    assert all(a <= b for a, b in pairwise(int(poisson.block_bits(r)) for r in (5.0, 1.0, 0.1, 0.01)))


@given(st.integers(0, MASK), st.integers(1, 40), st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_events_drawn_ahead_are_those_drawn_tick_by_tick(seed: int, room: int, lengths: list[int]) -> None:
    """However much is asked for at once, and however little of it has room."""
    ids = np.arange(5, 25, dtype=np.uint64)
    rates = np.linspace(0.0, 1.5, len(ids))
    last = sum(lengths)
    wheel, events = wheel_of(ids, 64), []
    s, number = np.uint64(seed), np.uint64(3)
    poisson.start(s, number, rates, 0, wheel)
    tick, length = 1, iter(lengths)
    stop = next(length)
    while tick <= last:
        poisson.turn(wheel, tick)
        most = max(room, int(poisson.due(wheel, tick, np.empty(0, dtype=np.int64))))
        places, counts = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
        ends = np.zeros(stop - tick + 2, dtype=np.int64)
        ticks = poisson.draw_ahead(s, number, rates, wheel, tick, stop, places, counts, ends)
        assert 1 <= ticks <= stop - tick + 1
        for i in range(ticks):
            part = slice(ends[i], ends[i + 1])
            events += [(tick + i, int(ids[place])) for place in np.repeat(places[part], counts[part])]
        tick += ticks
        if tick > stop:
            stop += next(length, 0)
    assert sorted(events) == drawn(seed, ids, rates, 1, last)
