"""What pairs of spikes do to several synapses at once: as NumPy has it, one synapse and one spike after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels.compiled import njit
from engramdb.kernels.pairs import SYNAPSES, TICKS, add_up, follow
from engramdb.kernels.recent import RECENT
from engramdb.kernels.rows import LINK

WINDOW = 20
UNIT = 2.0**-32


@njit()
def _add_up(plus: np.ndarray, rule: int, distances: np.ndarray, at: int, n_open: int, gains: np.ndarray) -> None:
    add_up(plus, rule, distances, at, n_open, gains)


@njit()
def _follow(
    link: np.ndarray, at: int, ages: np.ndarray, row: int, most: int, deep: int, ahead: int, none: int,
    gains: np.ndarray, minus: np.ndarray, rule: int, sign: float, low: float, high: float, by_distance: bool,
) -> bool:  # fmt: skip
    return follow(link, at, ages, row, most, deep, ahead, none, gains, minus, rule, sign, low, high, by_distance)


@given(st.integers(0, 2**32 - 1), st.integers(0, WINDOW + 1), st.sampled_from([2**20, 2**40, 2**58]))
def test_gains_are_added_up_as_numpy_does(seed: int, n_open: int, size: int) -> None:
    random = np.random.default_rng(seed)
    plus = random.integers(-size, size, (2, 2 * WINDOW + 2 + TICKS))
    plus[:, WINDOW + 1 :] = 0
    distances = random.integers(0, WINDOW + 2, 2 * RECENT).astype(np.uint32)
    gains = np.full(WINDOW + 2 + TICKS, np.nan)
    _add_up(plus, 1, distances, RECENT, n_open, gains)
    table = plus[1][distances[RECENT:, None].astype(np.int64) + np.arange(n_open)].sum(axis=0)
    np.testing.assert_array_equal(gains[: n_open + 1], [*(table.astype(np.float64) * UNIT), 0.0])


@given(st.integers(0, 2**32 - 1), st.integers(0, WINDOW), st.sampled_from([1.0, -1.0]), st.booleans())
def test_four_synapses_learn_together_what_each_learns_alone(
    seed: int, ahead: int, sign: float, by_distance: bool
) -> None:
    random = np.random.default_rng(seed)
    low, high, n_open = 0.1, 2.0, int(random.integers(0, ahead + 1))
    link = np.zeros(SYNAPSES + 2, dtype=LINK)
    link["slot"] = random.integers(0, 2**32, len(link), dtype=np.uint32)
    link["weight"] = sign * random.uniform(low, high, len(link))
    ages = np.sort(random.integers(1, 2 * WINDOW, (SYNAPSES + 1, RECENT)).astype(np.uint32), axis=1)
    most, deep = int((ages[1:] <= ahead).sum(axis=1).max()), int((ages[1:] <= WINDOW).sum(axis=1).max())
    gains = random.choice([0.0, 0.01, 0.9], WINDOW + 2) * random.random(WINDOW + 2)
    gains[n_open] = 0.0
    minus = random.integers(0, 2**28, (2, 2 * WINDOW))
    minus[:, WINDOW + 1 :] = 0
    expected = link.copy()
    for j, own_ages in enumerate(ages[1:].astype(np.int64), start=1):
        weight = expected["weight"][j]
        for age in own_ages[::-1]:
            amount = gains[ahead - age] if 0 <= ahead - age < n_open else 0.0
            if amount:
                own = sign * np.float64(weight)
                own += amount * (high - own) if by_distance else amount
                weight = np.float32(sign * min(max(own, low), high))
        amount = float(minus[1][own_ages].sum()) * UNIT
        if amount:
            own = sign * np.float64(weight)
            own -= amount * (own - low) if by_distance else amount
            weight = np.float32(sign * min(max(own, low), high))
        expected["weight"][j] = weight
    arguments = most, deep, ahead, n_open, gains, minus, 1, sign, low, high, by_distance
    before = link.copy()
    assert _follow(link, 1, ages.reshape(-1), 1, *arguments) == (expected != before).any()
    np.testing.assert_array_equal(link, expected)
