from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import engramdb
from engramdb import (
    Bernoulli,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Layer,
    OneToOne,
    Projection,
    SmallWorld,
    Spec,
    Uniform,
)
from engramdb.address import pack
from engramdb.build import build, write_out
from engramdb.bulk import bulk_write
from engramdb.distribution import resolved
from engramdb.growth.bundle import Bundles
from engramdb.interchange.sorter import Edges
from engramdb.kernels import build as kernel
from engramdb.kernels import rng
from engramdb.store import STORED, Store
from engramdb.wiring import Wiring
from tests.edgelists import rows_of
from tests.networks import ids_of
from tests.simulator import narrowed

Row = tuple[int, int, int, float]  # pre, post, projection, weight


def built(path: Path, spec: Spec, **options: object) -> list[Row]:
    """All stored synapses of a new engram of ``spec``, in stored order."""
    bundles = Bundles.initial(spec)
    Store.create(path, spec, bundles)
    with Store.open(path, "r+") as store:
        build(store, spec, bundles, **options)  # type: ignore[arg-type]
        store.commit_state(0, {}, bundles)
    return rows_of(path)


def neurons_stored(path: Path) -> list[int]:
    with Store.open(path) as store:
        found = list(store.scan())
    assert all((records.row_kind == STORED).all() for records in found)
    assert all(not column.any() for records in found for column in records.state.values())
    return [neuron for records in found for neuron in records.ids.tolist()]


def domain(layer: Layer) -> list[int]:
    """All ids of a layer, in order."""
    return [pack(layer.index, segment, local) for segment, size in layer.domain for local in range(size)]


def fraction(seed: int, neuron: int, projection: int, purpose: np.uint64, ordinal: int) -> tuple[int, float]:
    """A draw as uint64 and as a fraction of 1."""
    state = rng.hash_u64(np.uint64(seed), np.uint64(neuron), np.uint64(projection), purpose)
    h = int(rng.absorb(np.uint64(state), np.uint64(ordinal)))
    return h, (h >> 11) / 2**53


def twin_rows(spec: Spec, number: int) -> list[Row]:
    """Plain Python's idea of a built projection."""
    projection = spec.all_projections[number]
    rule, weights = projection.rule, resolved(projection.weight)
    sources, targets = (domain(spec.layer(name)) for name in (projection.pre, projection.post))
    rows: list[Row] = []

    def weight(neuron: int, ordinal: int) -> float:
        drawn = weights.sample(fraction(spec.seed, neuron, number, rng.BUILT_WEIGHT, ordinal)[1])
        return float(narrowed(float(np.float32(projection.sign or 1) * np.float32(drawn)), spec.layer(projection.pre)))

    if isinstance(rule, FixedIndegree):
        for target, ordinal in itertools.product(targets, range(rule.k)):
            h, _ = fraction(spec.seed, target, number, rng.BUILT_TARGET, ordinal)
            rows.append((sources[h * len(sources) >> 64], target, number, weight(target, ordinal)))
    if isinstance(rule, Bernoulli) and rule.p > 0:
        for source in sources:
            position = -1
            for ordinal in itertools.count():
                u = 1 - fraction(spec.seed, source, number, rng.BUILT_TARGET, ordinal)[1]
                passed_over = math.log(u) / math.log1p(-rule.p) if rule.p < 1 else 0
                if passed_over >= len(targets):
                    break
                position += 1 + int(passed_over)
                if position >= len(targets):
                    break
                rows.append((source, targets[position], number, weight(source, ordinal)))
    return rows


def in_order(spec: Spec, rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[0], spec.delays[row[2]], row[1], row[2], row[3]))


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Two layers in scattered segments, with up to four projections of every rule, some materialized."""
    segments = st.lists(st.integers(1, 40), min_size=1, max_size=3)
    scattered, dense = ([(step * i + 7, size) for i, size in enumerate(draw(segments))] for step in (3, 1))
    layers = [
        Layer("a", index=2, segments=scattered, materialize=draw(st.booleans()), weights="float16"),
        Layer("b", index=65535, segments=dense, weights="int8", weight_step=0.03),
    ]
    rules = st.one_of(
        st.builds(FixedIndegree, st.just(1)),
        st.builds(Bernoulli, st.sampled_from([0.0, 1e-9, 0.1, 0.5, 1.0])),
        st.builds(FixedOutdegree, st.just(1)),
        st.just(Explicit()),
    )
    ends = st.sampled_from(["a", "b"])
    made = st.builds(
        Projection,
        ends,
        ends,
        rules,
        weight=st.sampled_from([1.0, (0.5, 2.0)]),
        delay_ms=st.sampled_from([1.0, 2.0]),
        sign=st.sampled_from([None, -1]),
    )
    projections = draw(st.lists(made, min_size=1, max_size=4, unique_by=lambda p: (p.pre, p.post)))
    return Spec(seed=draw(st.integers(0, 2**64 - 1)), layers=layers, projections=projections)


@given(spec=specs())
def test_rows_hold_all_projections_of_a_neuron_in_order(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("built") / "net.engram"
    rows = built(path, spec)
    bundles = Bundles.initial(spec)
    wiring = Wiring(spec, bundles)
    expected: list[Row] = []
    stored: list[int] = []
    for layer in spec.layers:
        own = [n for n, p in enumerate(spec.all_projections) if p.pre == layer.name]
        has_built = any(isinstance(spec.all_projections[n].rule, (FixedIndegree, Bernoulli)) for n in own)
        if not has_built and not layer.materialize:
            continue
        ids = np.array(domain(layer), dtype=np.uint64)
        stored += ids.tolist()
        virtual = wiring.rows(ids)
        pre = np.repeat(ids, np.diff(virtual.indptr))
        columns = (pre, virtual.target, virtual.projection, virtual.weight)
        expected += zip(*(column.tolist() for column in columns), strict=True)
        expected += [row for number in own for row in twin_rows(spec, number)]
    assert rows == in_order(spec, expected)
    assert neurons_stored(path) == sorted(stored)


def test_the_memory_never_matters(tmp_path: Path) -> None:
    spec = Spec(
        seed=4,
        layers=[Layer("a", segments=[300, 200], wiring=SmallWorld(k=4, span=5)), Layer("b", segments=[400])],
        projections=[
            Projection("a", "b", FixedIndegree(k=9), weight=Uniform(0, 1)),
            Projection("a", "a", Bernoulli(p=0.05)),
        ],
    )
    assert built(tmp_path / "small.engram", spec, memory_bytes=1 << 10) == built(tmp_path / "large.engram", spec)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.engram", "small.engram"]


def test_each_target_has_its_indegree_and_sources_are_spread_evenly(tmp_path: Path) -> None:
    spec = Spec(
        seed=1,
        layers=[Layer("a", segments=[60, 40]), Layer("b", segments=[1000])],
        projections=[Projection("a", "b", FixedIndegree(k=20))],
    )
    rows = built(tmp_path / "net.engram", spec)
    _, per_target = np.unique([post for _, post, _, _ in rows], return_counts=True)
    assert per_target.tolist() == [20] * 1000
    sources, per_source = np.unique([pre for pre, _, _, _ in rows], return_counts=True)
    assert sources.tolist() == domain(spec.layers[0])
    chi_square = ((per_source - 200) ** 2 / 200).sum()
    assert 50 < chi_square < 160  # 99 degrees of freedom
    pairs = {(pre, post) for pre, post, _, _ in rows}
    assert len(pairs) < len(rows), "of 20 draws from 100, some repeat"


def test_bernoulli_joins_each_pair_once_with_its_probability(tmp_path: Path) -> None:
    spec = Spec(seed=1, layers=[Layer("a", segments=[300, 200], wiring=Bernoulli(p=0.04))])
    rows = built(tmp_path / "net.engram", spec)
    pairs = [(pre, post) for pre, post, _, _ in rows]
    assert len(set(pairs)) == len(pairs)
    mean, sd = 500 * 500 * 0.04, (500 * 500 * 0.04 * 0.96) ** 0.5
    assert abs(len(pairs) - mean) < 4 * sd
    assert 5 < sum(pre == post for pre, post in pairs) < 40, "a neuron is joined with itself as with any other"
    _, per_target = np.unique([post for _, post in pairs], return_counts=True)
    assert abs(per_target.std() - (500 * 0.04 * 0.96) ** 0.5) < 0.6


def test_a_huge_layer_with_a_tiny_probability_costs_what_its_synapses_cost(tmp_path: Path) -> None:
    spec = Spec(
        seed=1,
        layers=[Layer("few", segments=[2000]), Layer("many", segments=[2**32, 2**32])],
        projections=[Projection("few", "many", Bernoulli(p=1e-9))],
    )
    rows = built(tmp_path / "net.engram", spec)
    assert abs(len(rows) - 2000 * 2**33 * 1e-9) < 4 * (2000 * 2**33 * 1e-9) ** 0.5
    segments = np.array([post >> 32 & 0xFFFF for _, post, _, _ in rows])
    assert 0.47 < segments.mean() < 0.53


def test_a_materialized_layer_holds_the_rows_that_its_rule_generates(tmp_path: Path) -> None:
    wiring = SmallWorld(k=6, span=9, weight=(0.5, 1.5))
    layer = Layer("a", segments=[100, 60], wiring=wiring)
    with engramdb.create(tmp_path / "virtual.engram", Spec(seed=3, layers=[layer])) as e:
        expected = [e.synapses(neuron) for neuron in ids_of(e)]
        assert e.neuron("0/1/59").state == "virtual"
    with engramdb.create(tmp_path / "built.engram", Spec(seed=3, layers=[replace(layer, materialize=True)])) as e:
        assert e.neuron("0/1/59").state == "dormant"
        for neuron, row in zip(ids_of(e), expected, strict=True):
            np.testing.assert_array_equal(e.synapses(neuron).targets, row.targets)
            np.testing.assert_array_equal(e.synapses(neuron).weights, row.weights)


def test_bundles_grown_later_are_written_alone_and_by_virtual_rules_only(tmp_path: Path) -> None:
    spec = Spec(
        seed=3,
        layers=[Layer("a", segments=[100], wiring=SmallWorld(k=6, span=9))],
        projections=[Projection("a", "a", Bernoulli(p=0.1))],
    )
    before = built(tmp_path / "net.engram", spec)
    with Store.open(tmp_path / "net.engram", "r+") as store:
        grown, bundle = store.bundles.grow(spec, "a", 50, materialized=True)
        commits: list[int] = []
        write_out(store, spec, grown, bundle, commit=commits.append)
        assert commits == [50]
        store.commit_state(0, {}, grown.written(bundle.number, 50))
    rows = rows_of(tmp_path / "net.engram")
    assert rows[: len(before)] == before
    added = rows[len(before) :]
    assert {pre for pre, _, _, _ in added} == set(range(100, 150))
    assert [projection for _, _, projection, _ in added] == [0] * 300


def test_a_spec_with_one_to_one_and_explicit_projections_stores_nothing(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[10], wiring=OneToOne())], projections=[Projection("a", "a", Explicit())])
    assert built(tmp_path / "net.engram", spec) == []
    assert neurons_stored(tmp_path / "net.engram") == []


# ---- writing in bulk


@given(data=st.data())
def test_bulk_writing_stores_every_row_and_every_neuron_asked_for(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = Spec(
        layers=[Layer("a", segments=[50, 50]), Layer("b", index=40000, segments=[50])],
        projections=[Projection(*ends, Explicit()) for ends in itertools.product("ab", "ab")],
    )
    everyone = [neuron for layer in spec.layers for neuron in domain(layer)]
    some = st.lists(st.sampled_from(everyone), unique=True).map(sorted)
    sources, others = data.draw(some), data.draw(some)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows: list[Row] = []
    for source in sources:
        for target in sorted(random.choice(np.array(everyone, dtype=np.uint64), random.integers(1, 9)).tolist()):
            rows.append((source, target, 2 * (source >> 48 > 0) + (target >> 48 > 0), float(random.integers(9))))
    cuts = data.draw(st.lists(st.sampled_from([0, *sources]), max_size=4).map(sorted))
    groups = np.split(np.arange(len(rows)), np.searchsorted([row[0] for row in rows], cuts) if rows else [])
    dtypes = np.uint64, np.uint64, np.uint16, np.float32
    batches = []
    for group in groups:
        columns = zip(*(rows[i] for i in group), strict=True) if len(group) else [()] * 4
        pre, post, projection, weight = (np.array(list(c), dtype=d) for c, d in zip(columns, dtypes, strict=True))
        batches.append(Edges(pre, post, weight, projection))
    pieces = np.array_split(np.array(others, dtype=np.uint64), data.draw(st.integers(1, 5)))
    path = tmp_path_factory.mktemp("bulk") / "net.engram"
    Store.create(path, spec, Bundles.initial(spec))
    told: list[int] = []
    with Store.open(path, "r+") as store:
        written = bulk_write(store, batches, neurons=pieces, progress=lambda _, done, __: told.append(done))
        store.commit_state(0, {}, store.bundles)
    assert rows_of(path) == rows
    assert neurons_stored(path) == sorted({*sources, *others})
    assert written == len(rows)
    assert told == sorted(told)
    assert not told or told[-1] == len(rows)


# ---- kernels


@given(st.floats(2.0**-53, 1.0))
@example(1.0)
@example(2.0**-53)
@example(0.5)
def test_the_logarithm_is_right_to_two_units_in_the_last_place(u: float) -> None:
    assert abs(kernel.negative_log(u) + math.log(u)) <= 2 * math.ulp(math.log(u))


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
@example(2**64 - 1, 2**64 - 1)
def test_a_draw_below_any_number_is_the_upper_half_of_the_product(h: int, n: int) -> None:
    assert int(kernel.below_wide(np.uint64(h), np.uint64(n))) == h * n >> 64
