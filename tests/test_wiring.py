"""Virtual rows: against an independent twin, their exact inverse, and their constancy under growth."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engramdb.address import as_ids, pack, unpack
from engramdb.errors import NotFound
from engramdb.growth.bundle import Bundles
from engramdb.kernels import order
from engramdb.spec import (
    FixedOutdegree,
    Layer,
    Normal,
    OneToOne,
    Projection,
    SmallWorld,
    Spec,
)
from engramdb.wiring import Wiring
from tests.wired import (
    MASK,
    U64,
    Synapse,
    all_ids,
    assert_equal_rows,
    growths,
    networks,
    row,
    twin_row,
)


@settings(max_examples=settings().max_examples * 2)
@given(networks(), st.data())
def test_rows_equal_their_twin(network: tuple[Spec, Bundles], data: st.DataObject) -> None:
    spec, bundles = network
    ids = all_ids(bundles)
    picked = ids[data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1, max_size=8))]
    rows = Wiring(spec, bundles).rows(picked)
    for i, neuron_id in enumerate(picked.tolist()):
        assert row(spec, rows, i) == twin_row(spec, bundles, neuron_id)


@given(networks())
def test_rows_are_sorted_and_complete(network: tuple[Spec, Bundles]) -> None:
    spec, bundles = network
    wiring, ids = Wiring(spec, bundles), all_ids(bundles)
    rows = wiring.rows(ids)
    assert (rows.delay is not None) == spec.varying_delays
    delay = spec.ticks_of(rows.projection, rows.delay)
    source = np.repeat(np.arange(len(ids)), np.diff(rows.indptr))
    order = np.lexsort((rows.projection, rows.target, delay, source))
    for column in (source, delay, rows.target, rows.projection):
        np.testing.assert_array_equal(column, column[order])
    assert bundles.exists(rows.target).all()
    np.testing.assert_array_equal(wiring.degrees(ids), np.diff(rows.indptr))
    assert (rows.indptr.dtype, rows.projection.dtype) == (np.int64, np.uint16)
    assert (rows.target.dtype, rows.weight.dtype) == (np.uint64, np.float32)


@given(networks())
def test_sources_are_the_exact_inverse_of_rows(network: tuple[Spec, Bundles]) -> None:
    spec, bundles = network
    wiring, ids = Wiring(spec, bundles), all_ids(bundles)
    rows = wiring.rows(ids)
    pre = np.repeat(ids, np.diff(rows.indptr))
    found = [wiring.sources(int(target)) for target in ids]
    post = np.repeat(ids, [len(part[0]) for part in found])
    ticks = [spec.ticks_of(part[1], part[3]) for part in found]
    inverse = [np.concatenate(column) for column in (*list(zip(*found, strict=True))[:3], ticks)]
    delay = spec.ticks_of(rows.projection, rows.delay)
    forward = np.lexsort((delay, rows.weight, rows.projection, rows.target, pre))
    backward = np.lexsort((inverse[3], inverse[2], inverse[1], post, inverse[0]))
    np.testing.assert_array_equal(delay[forward], inverse[3][backward])
    np.testing.assert_array_equal(pre[forward], inverse[0][backward])
    np.testing.assert_array_equal(rows.target[forward], post[backward])
    np.testing.assert_array_equal(rows.projection[forward], inverse[1][backward])
    np.testing.assert_array_equal(rows.weight[forward], inverse[2][backward])
    for source, projection, *_ in found:
        np.testing.assert_array_equal(np.lexsort((projection, source)), np.arange(len(source)))


@given(networks(), st.data())
def test_growing_changes_no_existing_row(network: tuple[Spec, Bundles], data: st.DataObject) -> None:
    spec, bundles = network
    ids = all_ids(bundles)
    before = Wiring(spec, bundles).rows(ids)
    grown, bundle = data.draw(growths(spec, bundles, 9))
    assert grown.bundles[:-1] == bundles.bundles
    assert grown.domains[: len(bundles.domains)] == bundles.domains
    assert grown.tables[: len(bundles.tables)] == bundles.tables
    wiring = Wiring(spec, Bundles.from_json(grown.to_json()))
    assert_equal_rows(wiring.rows(ids), before)
    new = np.arange(bundle.lo, bundle.hi, dtype=U64) | U64(pack(bundle.layer, bundle.segment, 0))
    assert grown.exists(new).all()
    assert not bundles.exists(new).any()


@given(networks(), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_the_company(network: tuple[Spec, Bundles], random: Any) -> None:
    spec, bundles = network
    wiring, ids = Wiring(spec, bundles), all_ids(bundles)
    together = wiring.rows(ids)
    for i in random.sample(range(len(ids)), 5):
        assert row(spec, wiring.rows(ids[[i, i]]), 1) == row(spec, together, i)
    assert wiring.rows(ids[:0]).indptr.tolist() == [0]


def test_threads_may_share_a_wiring() -> None:
    spec = Spec(seed=3, layers=[Layer("a", segments=[20_000], wiring=SmallWorld(k=12, weight=(0.5, 1.5)))])
    wiring = Wiring(spec, Bundles.initial(spec))
    ids = np.arange(20_000, dtype=U64)
    alone = wiring.rows(ids)
    with ThreadPoolExecutor(2) as pool:
        for rows in pool.map(wiring.rows, [ids] * 8):
            assert_equal_rows(rows, alone)


def test_unknown_ids_are_named() -> None:
    spec = Spec(layers=[Layer("a", index=5, segments=[(2, 10), (4, 2**32)])])
    bundles = Bundles.initial(spec)
    wiring = Wiring(spec, bundles)
    edge = [pack(5, 2, 0), pack(5, 2, 9), pack(5, 4, 0), pack(5, 4, 2**32 - 1)]
    beyond = [0, pack(5, 1, 0), pack(5, 2, 10), pack(5, 3, 0), pack(5, 5, 0), pack(4, 2, 0), pack(6, 2, 0), MASK]
    assert bundles.exists(as_ids(edge)).all()
    assert not bundles.exists(as_ids(beyond)).any()
    assert wiring.degrees(as_ids(edge)).tolist() == [0, 0, 0, 0]
    for neuron_id in beyond:
        name = "/".join(str(part) for part in unpack(neuron_id))
        for ask in (wiring.rows, wiring.degrees):
            with pytest.raises(NotFound, match=f"no neuron {name}: "):
                ask(as_ids([*edge, neuron_id]))
        with pytest.raises(NotFound, match=f"no neuron {name}: "):
            wiring.sources(neuron_id)


def test_rows_of_a_hundred_billion_neurons_and_their_sources() -> None:
    layers = [Layer("far", index=65535, segments=[4_000_000_000] * 25, wiring=SmallWorld(k=12, weight=(0.5, 1.5)))]
    spec = Spec(seed=7, layers=layers, projections=[Projection("far", "far", FixedOutdegree(k=3), name="more")])
    bundles = Bundles.initial(spec)
    wiring = Wiring(spec, bundles)
    ids = as_ids([pack(65535, s, i) for s in (0, 7, 24) for i in (0, 1, 50, 1_999_999_999, 3_999_999_999)])
    rows = wiring.rows(ids)
    for i, neuron_id in enumerate(ids.tolist()):
        assert row(spec, rows, i) == twin_row(spec, bundles, neuron_id)
        for _, target, number, weight in row(spec, rows, i):
            source, projection, weights, _ = wiring.sources(target)
            assert (neuron_id, number, weight) in zip(
                source.tolist(), projection.tolist(), weights.tolist(), strict=True
            )
    assert len(set(unpack(rows.target)[1].tolist())) > 10  # long synapses reach other segments


def test_quantile_tables_of_an_engram_are_its_own() -> None:
    # another mathematics library may table a distribution otherwise; what the bundles hold is what counts
    spec = Spec(seed=1, layers=[Layer("a", segments=[200], wiring=SmallWorld(k=3, weight=Normal(1.0, 0.1)))])
    bundles = Bundles.initial(spec)
    shifted = (np.frombuffer(bundles.tables[0], "<f8") + 1.0).tobytes()
    ids = np.arange(200, dtype=U64)
    rows = Wiring(spec, bundles).rows(ids)
    np.testing.assert_allclose(
        Wiring(spec, replace(bundles, tables=(shifted,))).rows(ids).weight, rows.weight + 1, 1e-6
    )


# ---- frozen for ever: if one of these fails, stored engrams would change

GOLDEN_SPEC = Spec(
    seed=7,
    layers=[
        Layer(
            "exc",
            segments=[(0, 1000), (5, 3_000_000_000)],
            wiring=SmallWorld(k=6, long_fraction=0.4, span=9, weight=(0.5, 1.5)),
        ),
        Layer("inh", index=40000, segments=[40]),
    ],
    projections=[
        Projection("exc", "inh", FixedOutdegree(k=2), weight=2.0, delay_ms=2.0),
        Projection("inh", "exc", FixedOutdegree(k=3), weight=Normal(4.0, 0.5), sign=-1),
        Projection("inh", "inh", OneToOne(), name="self"),
    ],
)
GOLDEN: dict[str, list[Synapse]] = {
    "0/0/0": [
        (1, 1, 0, 0.8968900442123413),
        (1, 4, 0, 0.9175763130187988),
        (1, 9, 0, 0.9869815111160278),
        (1, 21700136025, 0, 1.182044506072998),
        (1, 23534343253, 0, 1.2725058794021606),
        (1, 24474836471, 0, 0.8919452428817749),
        (2, 11258999068426240006, 1, 2.0),
        (2, 11258999068426240026, 1, 2.0),
    ],
    "0/0/999": [
        (1, 990, 0, 0.803016722202301),
        (1, 993, 0, 1.1944173574447632),
        (1, 997, 0, 0.5869860649108887),
        (1, 21474836486, 0, 1.1450968980789185),
        (1, 21594865353, 0, 1.1926475763320923),
        (1, 22822641843, 0, 0.7499963045120239),
        (2, 11258999068426240008, 1, 2.0),
        (2, 11258999068426240036, 1, 2.0),
    ],
    "0/5/2999999999": [
        (1, 1, 0, 0.6210797429084778),
        (1, 7, 0, 0.8336092233657837),
        (1, 8, 0, 1.0813206434249878),
        (1, 22347721095, 0, 0.5326327681541443),
        (1, 23600035762, 0, 1.1039540767669678),
        (1, 24474836475, 0, 1.2233304977416992),
        (2, 11258999068426240003, 1, 2.0),
        (2, 11258999068426240016, 1, 2.0),
    ],
    "40000/0/39": [
        (1, 23178138697, 2, -4.45097541809082),
        (1, 23888677300, 2, -4.1519293785095215),
        (1, 24328576935, 2, -3.9141104221343994),
        (1, 11258999068426240039, 3, 1.0),
    ],
    "40000/0/45": [
        (1, 23482903770, 2, -3.422598361968994),
        (1, 23871615627, 2, -3.8623740673065186),
        (1, 24190671231, 2, -3.3607168197631836),
        (1, 11258999068426240045, 3, 1.0),
    ],
}


@pytest.mark.parametrize("neuron", GOLDEN)
def test_generator_1_is_frozen(neuron: str) -> None:
    bundles, _ = Bundles.initial(GOLDEN_SPEC).grow(GOLDEN_SPEC, "inh", 10, tick=3)
    rows = Wiring(GOLDEN_SPEC, bundles).rows(as_ids(neuron))
    assert row(GOLDEN_SPEC, rows, 0) == GOLDEN[neuron]


@given(seed=st.integers(0, 2**32 - 1), n=st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 97, 300])))
def test_the_synapses_of_a_row_are_sorted_by_delay_and_target_and_keep_their_order(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    delay, projection = random.integers(1, 5, n).astype(np.uint16), random.integers(0, 3, n).astype(np.uint16)
    target, weight = random.integers(0, 9, n).astype(np.uint64), np.arange(n, dtype=np.float32)
    columns = delay, projection, target, weight
    arrays = [np.pad(column, 2, constant_values=7) for column in columns]
    order.sort_row(2, 2 + n, *arrays)
    expected = np.lexsort((target, delay))
    for array, column in zip(arrays, columns, strict=True):
        np.testing.assert_array_equal(array, np.pad(column[expected], 2, constant_values=7))
