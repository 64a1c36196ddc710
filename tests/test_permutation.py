"""Keyed permutations: exact inverses of any size, equal to their twin, unbiased."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels.permutation import permute, unpermute
from tests.wired import (
    MASK,
    U64,
    hashed,
    twin_permute,
)


def test_every_small_domain_is_permuted_and_back() -> None:
    for size in [*range(1, 70), 255, 256, 257, 999]:
        side = U64(math.isqrt(size - 1) + 1)
        for key in (0, 12345, MASK):
            there = [int(permute(U64(x), U64(key), U64(size), side)) for x in range(size)]
            assert sorted(there) == list(range(size))
            assert [int(unpermute(U64(y), U64(key), U64(size), side)) for y in there] == list(range(size))


@given(st.data())
def test_permutations_equal_their_twin_and_invert_at_any_size(data: st.DataObject) -> None:
    size = data.draw(
        st.one_of(st.integers(1, 2**52), st.integers(1, 2**12), st.sampled_from([2**52, 2**52 - 1, 16 * 10**11]))
    )
    x = data.draw(st.integers(0, size - 1))
    key = data.draw(st.integers(0, MASK))
    side = U64(math.isqrt(size - 1) + 1)
    y = int(permute(U64(x), U64(key), U64(size), side))
    assert y == twin_permute(x, key, size) < size
    assert int(unpermute(U64(y), U64(key), U64(size), side)) == x


def test_small_permutations_are_all_but_unbiased() -> None:
    # where the first two elements go, over many keys, in domains so small that six rounds would show a bias
    for size in (3, 5, 6, 9, 17):
        side = U64(math.isqrt(size - 1) + 1)
        counts = np.zeros((size, size), dtype=np.int64)
        for number in range(20_000):
            key = U64(hashed(number))
            first, second = (int(permute(U64(x), key, U64(size), side)) for x in (0, 1))
            counts[first, second] += 1
        pairs = counts[~np.eye(size, dtype=bool)]
        expected = pairs.sum() / len(pairs)
        freedom = len(pairs) - 1
        assert (((pairs - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom) < 5
