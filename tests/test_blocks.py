"""What is done with a block of slots as vectors, beside the same in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from engramdb.kernels import blocks
from engramdb.kernels.slots import BLOCK

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="vectors exist only in what is compiled")

seeds = st.integers(0, 2**32)
places = st.integers(0, 3)


@njit
def run_to_float(sums, first, out, at):
    return blocks.to_float(sums, first, out, at)


@njit
def run_clear(sums, first):
    blocks.clear(sums, first)


@njit
def run_copy(source, first, target, at):
    blocks.copy(source, first, target, at)


@njit
def run_nonzero(values, first):
    return blocks.nonzero(values, first)


@njit
def run_reaching(values, first, least):
    return blocks.reaching(values, first, least)


@njit
def run_count_down(ticks, at, fires, fresh, begin):
    return blocks.count_down(ticks, at, fires, fresh, begin)


def bits(flags: np.ndarray) -> int:
    return sum(1 << int(i) for i in np.flatnonzero(flags))


@given(seeds, places, places, st.sampled_from([1, 20, 40, 50, 51, 52, 62]))
@settings(max_examples=60)
def test_sums_become_the_nearest_float32(seed: int, first: int, at: int, width: int) -> None:
    random = np.random.default_rng(seed)
    sums = random.integers(-(1 << width), 1 << width, BLOCK + 4, endpoint=True)
    out = np.full(BLOCK + 4, 7.0, dtype=np.float32)
    fits = run_to_float(sums, np.uint64(first), out, np.uint64(at))
    taken = sums[first : first + BLOCK]
    assert fits == bool(((taken >= -(1 << 51)) & (taken < 1 << 51)).all())
    if fits:
        expected = (taken.astype(np.float64) / 2.0**32).astype(np.float32)
        np.testing.assert_array_equal(out[at : at + BLOCK], expected)
    assert (np.delete(out, np.s_[at : at + BLOCK]) == 7).all()
    run_clear(sums, np.uint64(first))
    assert not sums[first : first + BLOCK].any()


@given(seeds, places, places)
@settings(max_examples=30)
def test_blocks_are_copied_bit_by_bit(seed: int, first: int, at: int) -> None:
    source = np.random.default_rng(seed).integers(0, 1 << 32, BLOCK + 4, dtype=np.uint32).view(np.float32)
    target = np.zeros(BLOCK + 4, dtype=np.float32)
    run_copy(source, np.uint64(first), target, np.uint64(at))
    expected = source[first : first + BLOCK].view(np.uint32)
    np.testing.assert_array_equal(target[at : at + BLOCK].view(np.uint32), expected)
    assert not np.delete(target, np.s_[at : at + BLOCK]).any()


@given(seeds, places, st.sampled_from([np.float32, np.int32]))
@settings(max_examples=40)
def test_who_is_not_zero_is_told_by_bits(seed: int, first: int, dtype: type) -> None:
    values = np.random.default_rng(seed).choice(np.array([0, -0.0, 0, 1, -3, 0.5], dtype=dtype), BLOCK + 4)
    assert run_nonzero(values, np.uint64(first)) == bits(values[first : first + BLOCK] != 0)


@given(seeds, places, places)
@settings(max_examples=40)
def test_refractory_ticks_are_counted_down_or_begun_anew(seed: int, at: int, begin: int) -> None:
    random = np.random.default_rng(seed)
    ticks = random.integers(-1, 4, BLOCK + 4, dtype=np.int32)
    fires = random.integers(0, 2, BLOCK, dtype=np.int32)
    fresh = random.integers(0, 5, BLOCK + 4).astype(np.float32)
    before = ticks.copy()
    left = run_count_down(ticks, np.uint64(at), fires, fresh, np.uint64(begin))
    taken = before[at : at + BLOCK]
    expected = np.where(fires, fresh[begin : begin + BLOCK].astype(np.int32), taken - (taken > 0))
    np.testing.assert_array_equal(ticks[at : at + BLOCK], expected)
    np.testing.assert_array_equal(np.delete(ticks, np.s_[at : at + BLOCK]), np.delete(before, np.s_[at : at + BLOCK]))
    assert left == bits(expected > 0)


@given(seeds, places)
def test_who_reaches_a_value(seed: int, first: int) -> None:
    random = np.random.default_rng(seed)
    values = random.choice(np.array([-1.0, -0.0, 0.0, 0.5, 1.0, np.inf, np.nan], np.float32), BLOCK + 4)
    least = random.choice(np.array([-0.5, 0.0, 0.5, np.nan], np.float32), BLOCK)
    assert run_reaching(values, np.uint64(first), least) == bits(values[first : first + BLOCK] >= least)
