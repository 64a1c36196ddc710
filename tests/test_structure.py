"""What growth decides about synapses: on small samples, with twins in plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.errors import InvalidInput
from engramdb.growth.events import MOST_EVENTS, Events
from engramdb.growth.pairs import Pairs
from engramdb.growth.progress import Counts, Progress, Shape, dumped, loaded
from engramdb.growth.settings import Settings
from engramdb.growth.timers import Timers
from engramdb.growth.walk import stored_rows
from engramdb.kernels import rng, structure
from engramdb.kernels import void as void_kernel
from engramdb.topology import Graph
from tests.bulknursery import cycling
from tests.networks import ids_of


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(any))
def test_an_alias_table_gives_each_place_its_share(weight: list[float]) -> None:
    share, other = np.empty(len(weight)), np.empty(len(weight), dtype=np.int64)
    structure.alias_table(np.array(weight), share, other)
    assert ((share >= 0) & (share <= 1 + 1e-9)).all()
    chance = np.bincount(other, 1 - share, len(weight)) + share
    np.testing.assert_allclose(chance / len(weight), np.array(weight) / sum(weight), atol=1e-9)


def test_draws_follow_the_table_and_only_their_key() -> None:
    share, other = np.array([0.25, 1.0, 0.5]), np.array([1, 1, 0])
    drawn = np.empty(6000, dtype=np.int64)
    structure.alias_draws(share, other, np.uint64(9), drawn)
    expected = []
    for i in range(6000):
        h = rng.absorb(np.uint64(9), np.uint64(i))
        place = int(rng.below(np.uint64(h), np.uint64(3)))
        expected.append(place if rng.unit(np.uint64(rng.absorb(np.uint64(h), np.uint64(0)))) < share[place]
                        else other[place])  # fmt: skip
    assert drawn.tolist() == expected
    np.testing.assert_allclose(np.bincount(drawn) / 6000, [0.25, 0.5833, 0.1667], atol=0.03)


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_counted_as_a_search_counts_them(n: int, edges: list[tuple[int, int]]) -> None:
    edges = [(a % n, b % n) for a, b in edges]
    names = list(range(n))
    for a, b in edges:
        names = [names[a] if name == names[b] else name for name in names]
    a, b = (np.array([edge[i] for edge in edges], dtype=np.uint64) for i in range(2))
    assert Graph.of(np.arange(n, dtype=np.uint64), a, b, np.ones(len(edges))).components == len(set(names))


def test_growth_and_decay_are_those_of_the_next_tick() -> None:
    w = np.linspace(0, 1, 9, dtype=np.float32)
    ids = np.arange(9, dtype=np.uint64)
    f = np.float32
    rates = void_kernel.Rates(f(0.25), f(0.1), f(0.02), f(1.25), f(0.1), np.uint64(77))
    da, do = np.empty(9, np.float32), np.empty(9, np.float32)
    void_kernel.terms(w, ids, rates, da, do)
    noise = np.array([f(rng.absorb(np.uint64(77), i) >> 40) * f(2.0**-23) - f(1) for i in ids], dtype=np.float32)
    np.testing.assert_array_equal(da, (f(0.25) * w * (f(1) - w) + noise * f(0.02)) * f(1.25))
    np.testing.assert_array_equal(do, -(f(0.1) * w) * f(1.25))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.booleans()), max_size=120), st.integers(1, 40))
def test_timers_are_kept_of_pairs_that_stay_weak(looks: list[tuple[int, int, bool]], most: int) -> None:
    """A dict of pairs is the twin: whole rows are looked at, and what was not found weak loses its timer."""
    timers, twin = Timers.none(), dict[tuple[int, int], int]()
    for tick, (pre, width, _) in enumerate(looks):
        first, last = pre, pre + width
        weak = sorted({(a, b) for a, b, yes in looks[tick:] if yes and first <= a <= last})
        columns = (np.array([pair[i] for pair in weak], dtype=np.uint64) for i in range(2))
        own = timers.looked_at(first, last, *columns, tick)
        timers, untimed = timers.replaced(first, last, own, most)
        before = {pair: since for pair, since in twin.items() if first <= pair[0] <= last}
        others = {pair: since for pair, since in twin.items() if pair not in before}
        now = {pair: before.get(pair, tick) for pair in weak}
        room = max(0, most - len(others))
        assert untimed == max(0, len(now) - room)
        twin = dict(sorted({**others, **dict(list(now.items())[:room])}.items()))
        assert list(zip(timers.pre.tolist(), timers.post.tolist(), strict=True)) == list(twin)
        assert timers.since.tolist() == list(twin.values())


def test_the_walk_passes_every_stored_row_once_whatever_the_leaves(tmp_path: Path) -> None:
    spec = Spec(
        seed=2,
        layers=[Layer("other", segments=[5]), Layer("a", segments=[300, 40], wiring=SmallWorld(k=4, span=9))],
    )
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        ids = ids_of(e)[5:]
        e.connect(ids[::3], ids[1], 2.0)
        e.run(5)
        e.checkpoint()
        e.connect(ids[1::7], ids[2], 2.0)
        e.prune(1.5)  # leaves the new ones only, of rows that are stored
        expected = np.union1d(ids[::3], ids[1::7])
        for most in (1, 7, 1000):
            passed, cursor = [], 0
            while True:
                some = stored_rows(e._store, 1, cursor, most)
                assert len(some.ids) <= most
                passed += some.ids.tolist()
                cursor = some.cursor
                if some.lapped:
                    break
            assert passed == expected.tolist()
        assert set(np.unique(some.weight)) == {2.0}


def test_pruning_takes_what_is_weak_from_stored_rows_alone(tmp_path: Path) -> None:
    wiring = SmallWorld(k=10, span=9, weight=(0.0, 2.0))
    layers = [Layer("a", segments=[400], wiring=wiring), Layer("b", segments=[50], wiring=wiring, materialize=True)]
    path = tmp_path / "net.engram"
    with engramdb.create(path, Spec(seed=4, layers=layers)) as e:
        b = ids_of(e)[400:]
        weak = sum(int((e.synapses(i).weights < 0.5).sum()) for i in b.tolist())
        assert e.prune(0.5, layer="b") == weak > 0
        assert e.neurons(b).out_degree.sum() == 500 - weak
        assert e.neurons(range(400)).out_degree.sum() == 4000
        assert (e.prune(0.5), e.prune(0.0)) == (0, 0)
        before = {i: e.synapses(i) for i in (3, int(b[7]))}
        e.stimulate(range(0, 400, 3), 20.0, duration=10)
        e.poisson(b, rate_hz=200.0, amplitude=20.0)
        e.run(5)
        assert e.prune(0.7) > 0
        twin = e.run(20, record=("spikes",)).spikes
        for i, row in before.items():
            kept = row.weights >= (0.7 if i in b else 0.0)
            np.testing.assert_array_equal(e.synapses(i).targets, row.targets[kept])
        e._shut()  # as if killed: the journal prunes again
    with engramdb.open(path, "r+") as e:
        assert (e.tick, e.prune(0.7)) == (25, 0)
        again = e.run(5, record=("spikes",)).spikes
        assert len(twin[0]) > len(again[0]) > 0
        for below in (-1, float("nan"), "much"):
            with pytest.raises(InvalidInput, match="give a weight in mV"):
                e.prune(below)
    assert engramdb.verify(path).ok


def test_weights_of_void_layers_are_not_pruned_by(tmp_path: Path) -> None:
    cycling(tmp_path / "net.engram", "void")
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert e.prune(100.0) == 0
        with pytest.raises(InvalidInput, match="weights mean nothing"):
            e.prune(100.0, layer="v")


@pytest.mark.parametrize("materialize", [False, True])
def test_a_bundle_gets_inbound_synapses_from_older_neurons(tmp_path: Path, materialize: bool) -> None:
    wiring = SmallWorld(k=6, span=9, weight=(1.0, 2.0))
    path = tmp_path / "net.engram"
    with engramdb.create(path, Spec(seed=8, layers=[Layer("a", segments=[300, 100], wiring=wiring)])) as e:
        older = ids_of(e)
        before = e.neurons(older).out_degree
        bundle = e.grow("a", 200, inbound=150, materialize=materialize)
        new = np.setdiff1d(ids_of(e), older)
        assert len(new) == bundle.neurons
        more = e.neurons(older).out_degree - before
        assert more.min() >= 0
        assert 145 <= more.sum() <= 150  # a pair may be drawn twice
        assert (more > 0).sum() > 100
        for source in older[more > 0].tolist():
            row = e.synapses(source)
            added = np.isin(row.targets, new)
            assert added.sum() == more[np.searchsorted(older, source)]
            assert ((row.weights[added] >= 1.0) & (row.weights[added] <= 2.0)).all()
        assert (e.neurons(new).out_degree == 6).all()
        rows = {i: e.synapses(i).targets.tolist() for i in older.tolist()}
        e._shut()
    with engramdb.open(path, "r+") as e:
        assert {i: e.synapses(i).targets.tolist() for i in older.tolist()} == rows
        for wrong in (-1, 1.5, 1 << 21, True):
            with pytest.raises(InvalidInput, match="inbound="):
                e.grow("a", 10, inbound=wrong)
    alone = Spec(seed=8, layers=[Layer("a", segments=[30])])
    with (
        engramdb.create(tmp_path / "one.engram", alone) as e,
        pytest.raises(InvalidInput, match='no projection joins layer "a" to itself'),
    ):
        e.grow("a", 10, inbound=1)


def test_connected_pairs_of_several_synapses_go_whole(tmp_path: Path) -> None:
    """Synapses of two projections share a pair; a pair is weak only where all of them are."""
    spec = Spec(
        seed=1,
        layers=[Layer("a", segments=[20])],
        projections=[
            Projection("a", "a", Explicit(), weight=1.0, name="first"),
            Projection("a", "a", FixedOutdegree(k=3), weight=0.2, name="second"),
        ],
    )
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        e.connect(range(20), 5, 3.0)  # and whatever leads there already
        e.cycle.start(
            layer="a", first="optimize", every=1, window=2, patience=9, optimize=9, below=1.0, persist=3, island=1,
            cycles=1, searches=0, gauge="probe",
        )  # fmt: skip
        e.run(1)
        e.cycle.run()
        for source in range(20):
            row = e.synapses(source)
            assert set(row.targets.tolist()) == {5}
            assert (row.weights == 3.0).all()


def settings(**more: object) -> Settings:
    return Settings("a", bundle=1000, every=10, window=4, patience=200, optimize=50, flat_w=0.1, **more)  # type: ignore[arg-type]


def test_gates_open_when_all_readings_are_flat_over_the_window() -> None:
    at = Progress.started(settings(), 0).has_grown(1000, 0)
    for tick, level in zip(range(10, 60, 10), (0.9, 0.6, 0.5, 0.5, 0.5), strict=True):
        at = at.has_read(tick, level, Shape(3, 100), 0)
        assert at.gates.open == (tick == 50), tick
        assert at.moved_on(tick)[0].phase == ("optimize" if tick == 50 else "stabilize")
    assert "B1 drifts by 0 <= 0.1" in at.why
    assert "mean W drifts by 0.0909 <= 0.1" in at.why
    uneasy = at.has_read(60, 0.5, Shape(9, 100), 0)
    assert not uneasy.gates.open
    assert uneasy.moved_on(60)[0].phase == "stabilize"
    assert uneasy.moved_on(200)[0].phase == "optimize", "patience ends"
    assert "not stable, but patience ended after 200 ticks" in uneasy.moved_on(200)[0].why


@pytest.mark.parametrize(("stable", "converged", "factor"), [(40, True, 1.5), (120, True, 1.35), (200, False, 1.2)])
def test_the_faster_it_was_stable_the_larger_the_next_bundle(stable: int, converged: bool, factor: float) -> None:
    at = Progress.started(settings(growth="adaptive", most_bundle=1400), 0).has_grown(1000, 0)
    for tick in range(10, stable + 1, 10):
        at = at.has_read(tick, 0.5 if converged else float(tick), Shape(3 if tick > stable - 40 else tick, 9), 0)
        at, _ = at.moved_on(tick)
    assert (at.phase, at.stable, at.converged) == ("optimize", stable, converged)
    at = at.has_read(stable + 50, 0.5, Shape(3, 9), 0).has_changed(Counts(5, 3, 1), (7,))
    at, summary = at.moved_on(stable + 50)
    assert summary is not None
    assert (summary.pruned, summary.promoted, summary.bridged, summary.converged) == (5, 3, 1, converged)
    assert (at.phase, at.cycle, at.due, at.owed) == ("grow", 2, stable + 50, 1)
    assert at.bundle == min(1400, round(1000 * factor))
    assert loaded(dumped(at, (summary,))) == (at, (summary,))


def test_only_the_latest_events_are_kept_one_by_one() -> None:
    n = 40_000
    pairs = Pairs(*(np.arange(n).astype(t) for t in (np.uint64, np.uint64, np.float32, np.int64, np.float32)))
    events = Events.none()
    for tick in range(3):
        events = events.and_then(Events.of_pairs(tick, [(pairs, None)]))
    assert len(events) == MOST_EVENTS
    assert events.tick[-1] == 2
    assert events.tick[0] == 1
