"""What each wiring rule promises of its rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engramdb.address import as_ids, pack
from engramdb.errors import InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.kernels.permutation import permute
from engramdb.spec import (
    FixedOutdegree,
    Layer,
    Normal,
    OneToOne,
    Projection,
    Rule,
    SmallWorld,
    Spec,
)
from engramdb.wiring import Rows, Wiring
from tests.wired import (
    U64,
    hashed,
)


def one_layer(rule: Rule, neurons: int, seed: int = 1) -> Rows:
    spec = Spec(seed=seed, layers=[Layer("a", segments=[neurons], wiring=rule)])
    return Wiring(spec, Bundles.initial(spec)).rows(np.arange(neurons, dtype=U64))


def deviation(counts: npt.NDArray[Any]) -> float:
    """Chi-square minus its mean, in standard deviations."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom))


def test_near_targets_of_a_small_world_are_distinct_even_and_never_the_neuron() -> None:
    n, span, k = 20_000, 15, 10
    rows = one_layer(SmallWorld(k=k, long_fraction=0.0, span=span), n)
    target = rows.target.reshape(n, k).astype(np.int64)
    offset = (target - np.arange(n)[:, None] + n // 2) % n - n // 2
    assert np.abs(offset).max() == span
    assert (offset != 0).all()
    assert all(len(set(near)) == k for near in target.tolist())
    for d in range(-span, span + 1):
        if d:
            assert abs((offset == d).mean() * 2 * span - 1) < 0.05
    # which offsets occur together: each pair of the 2 span equally often
    chosen = np.zeros((n, 2 * span + 1))
    chosen[np.arange(n)[:, None], offset + span] = 1
    together = (chosen.T @ chosen)[np.triu_indices(2 * span + 1, 1)]
    together = together[together > 0]
    assert len(together) == math.comb(2 * span, 2)
    assert np.abs(together / (n * math.comb(k, 2) / len(together)) - 1).max() < 0.12
    # incoming synapses spread like those of a random graph: a sum of 2 span draws with probability k / (2 span)
    indegree = np.bincount(target.ravel(), minlength=n)
    assert indegree.mean() == k
    assert abs(indegree.var() / (k * (1 - k / (2 * span))) - 1) < 0.1
    # neighbours do not choose alike
    chosen = np.delete(chosen, span, axis=1)
    assert abs(np.corrcoef(chosen[:-1].ravel(), chosen[1:].ravel())[0, 1]) < 0.01


def test_long_synapses_of_a_small_world_are_as_many_as_asked_and_go_anywhere() -> None:
    n, span, k = 50_000, 50, 12
    rows = one_layer(SmallWorld(k=k, long_fraction=0.2, span=span), n)
    offset = (rows.target.astype(np.int64).reshape(n, k) - np.arange(n)[:, None] + n // 2) % n - n // 2
    long = np.abs(offset) > span
    share = 1 - (2 * span + 1) / n
    assert set(long.sum(axis=1).tolist()) <= {0, 1, 2, 3}
    assert abs(long.sum(axis=1).mean() / (k * 0.2 * share) - 1) < 0.01
    assert deviation(np.bincount((offset[long] + n // 2) * 64 // n, minlength=64)) < 5
    everywhere = rows.target.reshape(n, k)[long].astype(np.int64)
    assert abs(deviation(np.bincount(everywhere * 64 // n, minlength=64))) < 5


@pytest.mark.parametrize("n_pre", [5_000, 20_000, 150_000, 320_000])
def test_in_degrees_of_a_fixed_outdegree_are_those_of_a_random_graph(n_pre: int) -> None:
    n_post, k = 20_000, 6
    spec = Spec(
        seed=5,
        layers=[Layer("pre", segments=[n_pre]), Layer("post", segments=[n_post])],
        projections=[Projection("pre", "post", FixedOutdegree(k=k))],
    )
    rows = Wiring(spec, Bundles.initial(spec)).rows(np.arange(n_pre, dtype=U64))
    position = (rows.target & U64(0xFFFFFFFF)).astype(np.int64)
    assert_spread_like_chance(np.bincount(position, minlength=n_post), n_pre * k)


def test_in_degrees_of_long_synapses_are_those_of_a_random_graph() -> None:
    n, k = 20_000, 6
    rows = one_layer(SmallWorld(k=k, long_fraction=1.0), n)
    assert_spread_like_chance(np.bincount(rows.target.astype(np.int64), minlength=n), n * k)


def assert_spread_like_chance(indegree: npt.NDArray[np.int64], synapses: int) -> None:
    """Mean exactly, variance within -10 % and +4 % of what ``synapses`` independent draws give, and their shape."""
    n = len(indegree)
    mean = synapses / n
    assert indegree.mean() == mean
    assert 0.9 < indegree.var() / (mean * (1 - 1 / n)) < 1.04  # 15/16 is what M of 16 M slots give; +-1 % by chance
    values = np.arange(indegree.max() + 1)
    chance = np.exp(values * math.log(mean) - mean - [math.lgamma(v + 1) for v in values.tolist()])
    seen = np.bincount(indegree) / n
    assert np.abs(np.cumsum(seen) - np.cumsum(chance)).max() < 0.03


def test_targets_of_a_fixed_outdegree_are_uncorrelated() -> None:
    # ordinals and neighbours are independent: no pair of neurons shares more targets than chance gives
    n = 4_000
    slots = 16 * n
    side = U64(math.isqrt(slots - 1) + 1)
    key = [U64(hashed(9, ordinal)) for ordinal in range(2)]
    a, b = ([int(permute(U64(x), key_, U64(slots), side)) % n for x in range(n)] for key_ in key)
    cells = np.array(a) * 16 // n * 16 + np.array(b) * 16 // n
    steps = np.array(a[:-1]) * 16 // n * 16 + np.array(a[1:]) * 16 // n
    for counts in (np.bincount(cells, minlength=256), np.bincount(steps, minlength=256)):
        assert abs(deviation(counts)) < 5
    assert (np.array(a) == np.array(b)).sum() < 8


def test_one_to_one_joins_equal_positions() -> None:
    spec = Spec(
        layers=[Layer("a", segments=[(3, 4), (8, 6)]), Layer("b", segments=[10])],
        projections=[Projection("a", "b", OneToOne(), sign=-1, weight=2.0), Projection("b", "a", OneToOne())],
    )
    bundles = Bundles.initial(spec)
    a = [pack(0, 3, i) for i in range(4)] + [pack(0, 8, i) for i in range(6)]
    b = [pack(1, 0, i) for i in range(10)]
    wiring = Wiring(spec, bundles)
    assert wiring.rows(as_ids(a)).target.tolist() == b
    assert wiring.rows(as_ids(b)).target.tolist() == a
    assert set(wiring.rows(as_ids(a)).weight.tolist()) == {-2.0}
    # grown before its counterpart a neuron has none, grown after it has one
    bundles, _ = bundles.grow(spec, "a", 5)
    bundles, _ = bundles.grow(spec, "b", 7)
    wiring = Wiring(spec, bundles)
    assert wiring.degrees(as_ids([pack(0, 8, 6 + i) for i in range(5)])).tolist() == [0] * 5
    late = as_ids([pack(1, 0, 10 + i) for i in range(7)])
    assert wiring.degrees(late).tolist() == [1] * 5 + [0] * 2
    assert wiring.rows(late).target.tolist() == [pack(0, 8, 6 + i) for i in range(5)]
    with pytest.raises(InvalidInput, match="a can only grow at its end, segment 8"):
        bundles.grow(spec, "a", 1, segment=3)


def test_weights_follow_their_distribution_and_sign() -> None:
    for sign in (None, 1, -1):
        spec = Spec(
            seed=4,
            layers=[Layer("a", segments=[20_000])],
            projections=[Projection("a", "a", FixedOutdegree(k=5), weight=Normal(10.0, 1.0), sign=sign)],
        )
        weight = Wiring(spec, Bundles.initial(spec)).rows(np.arange(20_000, dtype=U64)).weight * (sign or 1)
        assert abs(weight.mean() - 10) < 0.02
        assert abs(weight.std() - 1) < 0.02
        assert 6 <= weight.min() < weight.max() <= 14
        # the weights of one row, and of neighbours, tell nothing about each other
        table = weight.reshape(-1, 5).astype(np.float64)
        assert abs(np.corrcoef(table.ravel()[:-1], table.ravel()[1:])[0, 1]) < 0.02
        assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < 0.02


def test_seeds_and_projections_and_bundles_give_different_rows() -> None:
    rule = FixedOutdegree(k=4)
    base, other = one_layer(rule, 1000, seed=1), one_layer(rule, 1000, seed=2)
    assert (base.target == other.target).mean() < 0.02
    spec = Spec(
        seed=1,
        layers=[Layer("a", segments=[1000])],
        projections=[Projection("a", "a", rule, name=name, delay_ms=d) for name, d in (("x", 1), ("y", 2))],
    )
    rows = Wiring(spec, Bundles.initial(spec)).rows(np.arange(1000, dtype=U64))
    x, y = rows.target.reshape(1000, 2, 4)[:, 0], rows.target.reshape(1000, 2, 4)[:, 1]
    assert (np.sort(x, axis=1) == np.sort(y, axis=1)).mean() < 0.02
