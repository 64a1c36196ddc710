"""Random numbers as functions: against an independent twin in plain Python and NumPy, and their quality."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from engramdb.distribution import Constant, LogNormal, Normal, Uniform
from engramdb.kernels import rng

MASK = 2**64 - 1
words = st.integers(0, MASK)
U64 = np.uint64


def splitmix(z: int) -> int:
    """The finalizer of SplitMix64 as its reference program has it."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def twin_hash(*parts: int) -> int:
    state = 0x456E6772616D4442
    for part in parts:
        state = splitmix((state + (part + 1) * 0x9E3779B97F4A7C15) & MASK)
    return state


def kernel_hash(*parts: int) -> int:
    return int(rng.hash_u64(*(U64(part) for part in parts)))


def hashes(seed: int, ids: npt.NDArray[np.uint64], b: int = 0, c: int = 0) -> npt.NDArray[np.uint64]:
    out = np.empty(len(ids), dtype=np.uint64)
    rng.fill_hashes(U64(seed), ids, U64(b), U64(c), out)
    return out


def test_the_finalizer_gives_the_published_stream() -> None:
    # first outputs of SplitMix64 from state 0, as in the generators of the JDK and of Vigna
    stream = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    found = [int(rng.mix64(U64((i + 1) * 0x9E3779B97F4A7C15 & MASK))) for i in range(4)]
    assert found == stream


@given(words, words, words, words)
def test_hash_equals_its_twin(seed: int, a: int, b: int, c: int) -> None:
    assert kernel_hash(seed, a, b, c) == twin_hash(seed, a, b, c)
    assert hashes(seed, np.array([a], dtype=np.uint64), b, c).tolist() == [twin_hash(seed, a, b, c)]


def test_hash_is_frozen() -> None:
    assert kernel_hash(0, 0, 0, 0) == 0xEE4ECE539F913A5E
    assert kernel_hash(7, 2**63, 3, 4) == 0x5C855A78626DCFA2


@given(words)
def test_unit_is_below_one(h: int) -> None:
    u = float(rng.unit(U64(h)))
    assert u == (h >> 11) / 2**53
    assert 0 <= u < 1


@given(words, st.integers(1, 2**32 - 1))
def test_below_stays_below(h: int, n: int) -> None:
    assert int(rng.below(U64(h), U64(n))) == ((h >> 32) * n) >> 32 < n


def _pearson_statistic(counts: npt.NDArray[np.int64]) -> float:
    """Chi-square minus its mean, in standard deviations."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom))


def _by_id(i: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return hashes(1, i)


def _by_high_id(i: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return hashes(1, i << U64(32))


def _by_seed(i: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.array([kernel_hash(int(seed), 1, 2, 3) for seed in i], dtype=np.uint64)


def _by_purpose(i: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.array([kernel_hash(1, 2, 3, int(c)) for c in i], dtype=np.uint64)


def test_hashes_of_successive_arguments_are_uniform_and_uncorrelated() -> None:
    cases: list[tuple[Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.uint64]], int]] = [
        (_by_id, 200_000),
        (_by_high_id, 200_000),
        (_by_seed, 20_000),
        (_by_purpose, 20_000),
    ]
    for hashed, n in cases:
        h = hashed(np.arange(n, dtype=np.uint64))
        for shift in (0, 20, 52):
            cells = ((h >> U64(shift)) & U64(255)).astype(np.int64)
            assert abs(_pearson_statistic(np.bincount(cells, minlength=256))) < 5
        u = (h >> U64(11)) * 2.0**-53
        pairs = (u[:-1] * 16).astype(np.int64) * 16 + (u[1:] * 16).astype(np.int64)
        assert abs(_pearson_statistic(np.bincount(pairs, minlength=256))) < 5


def test_one_changed_bit_changes_half_the_hash() -> None:
    ids = np.arange(20_000, dtype=np.uint64)
    base = hashes(3, ids)
    for bit in (0, 1, 31, 32, 47, 63):
        changed = base ^ hashes(3, ids ^ (U64(1) << U64(bit)))
        flips = np.unpackbits(changed.view(np.uint8)).reshape(len(ids), 64).mean(axis=0)
        assert np.abs(flips - 0.5).max() < 0.02


distributions = st.one_of(
    st.floats(-100, 100).map(Constant),
    st.tuples(st.floats(-100, 100), st.floats(0, 100)).map(lambda t: Uniform(t[0], t[0] + t[1])),
    st.tuples(st.floats(-100, 100), st.floats(0, 100)).map(lambda t: Normal(*t)),
    st.tuples(st.floats(-5, 5), st.floats(0, 2)).map(lambda t: LogNormal(*t)),
)


@settings(max_examples=30)
@given(distributions, st.lists(words, min_size=1, max_size=50))
def test_sampling_equals_its_twin_and_stays_within_bounds(
    distribution: Constant | Uniform | Normal | LogNormal, h: list[int]
) -> None:
    out = np.empty(len(h), dtype=np.float32)
    rng.fill_samples(distribution.table(), np.array(h, dtype=np.uint64), out)
    u = np.array([(x >> 11) / 2**53 for x in h])
    assert out.tolist() == distribution.sample(u).tolist()
    low, high = distribution.bounds()
    assert np.float32(low) <= out.min() <= out.max() <= np.float32(high)


def test_samples_have_the_moments_of_their_distribution() -> None:
    u = (hashes(9, np.arange(400_000, dtype=np.uint64)) >> U64(11)) * 2.0**-53
    normal = Normal(3.0, 2.0).sample(u).astype(float)
    assert abs(normal.mean() - 3.0) < 0.02
    assert abs(normal.std() - 2.0) < 0.02
    assert abs((np.abs(normal - 3.0) < 2.0).mean() - 0.6827) < 0.005
    log_normal = np.log(LogNormal(0.5, 0.25).sample(u).astype(float))
    assert abs(log_normal.mean() - 0.5) < 0.005
    assert abs(log_normal.std() - 0.25) < 0.005
    uniform = Uniform(-1.0, 2.0).sample(u).astype(float)
    assert abs(uniform.mean() - 0.5) < 0.01
    assert Constant(1.5).sample(u[:3]).tolist() == [1.5] * 3
