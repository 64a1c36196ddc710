"""Readings of engrams: what is measured is what is there, the same wherever and however it is looked at."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import STDP, Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.errors import InvalidInput
from engramdb.topology import COLUMNS, Settings, Tracker, trend
from engramdb.topology.clusters import coarse, contracted
from engramdb.topology.energy import energy
from engramdb.topology.probe import Ring
from engramdb.topology.sample import snowball, surroundings
from engramdb.topology.sentinels import sentinels
from tests import graphs

SMALL = Settings(
    patches=2, patch_neurons=200, sample=500, roots=4, clusters="components", sentinels=32, ring=8, refresh_s=0.05
)


def engram_of(path: Path, n: int, edges: graphs.Edges, weights: object = 1.0) -> engramdb.Engram:
    """Of ``n`` neurons with both synapses of every edge."""
    spec = Spec(seed=5, layers=[Layer("a", segments=[n])], projections=[Projection("a", "a", Explicit())])
    e = engramdb.create(path, spec)
    if edges:
        one, other = np.array(edges, dtype=np.uint64).T
        e.connect(np.concatenate([one, other]), np.concatenate([other, one]), weights)
    return e


def void(path: Path, neurons: int = 3000, **options: object) -> engramdb.Engram:
    layer = Layer("v", model="void", segments=[neurons], params={"k_active": 60}, wiring=SmallWorld(k=6, span=8))
    return engramdb.create(path, Spec(seed=2, layers=[layer]), **options)


def learner(path: Path, **options: object) -> engramdb.Engram:
    layer = Layer("c", segments=[600], wiring=SmallWorld(k=6, span=8, weight=(4.0, 8.0)), plasticity=[STDP(w_max=9.0)])
    return engramdb.create(path, Spec(seed=3, layers=[layer]), **options)


# ---- what is measured


@pytest.mark.parametrize(("name", "of", "b1"), graphs.known()[2:], ids=lambda x: x if isinstance(x, str) else "")
def test_b1_of_engrams_of_known_shapes(tmp_path, name, of, b1):
    n, edges = of
    with engram_of(tmp_path / "a.engram", n, edges) as e:
        reading = e.topology(dataclasses.replace(SMALL, patches=8, roots=64))
        whole = graphs.graph(n, edges)
        parts = [whole.shape.components, sum(p.b1 for p in reading.patches)]
        assert (reading.coarse.b1, reading.clusters) == (b1, whole.shape.components)
        assert parts == [len(reading.patches), b1]  # each patch is a component
        assert reading.coarse.shape == whole.shape


def test_synapses_weaker_than_asked_for_do_not_count(tmp_path):
    n, edges = graphs.ring(30)
    weights = np.tile(np.where(np.arange(30) == 7, 0.5, -1.0), 2)
    with engram_of(tmp_path / "a.engram", n, edges, weights) as e:
        for least, b1 in ((0.0, 1), (0.5, 1), (0.6, 0), (1.0, 0)):
            reading = e.topology(dataclasses.replace(SMALL, least=least))
            assert reading.coarse.b1 == reading.b1 == b1
            assert reading.coarse.shape.edges == 30 - (least > 0.5)
            assert reading.sentinels.holes == 0


def test_between_void_neurons_strength_is_the_product_of_w(tmp_path):
    with void(tmp_path / "v.engram", 300) as e:
        e.stimulate(range(40), 1.0)
        e.run(10)
        graph = snowball(e.moment(), np.arange(300, dtype=np.uint64), 300)
        w = e.neurons(graph.ids).fields["W"].astype(np.float64)
        assert (graph.strength == w[graph.u] * w[graph.v]).all()
        assert len(np.unique(graph.strength)) > 10


def test_complexity_is_the_weighted_sum_of_its_parts(tmp_path):
    with void(tmp_path / "v.engram") as e:
        e.stimulate(range(100), 1.0)
        e.run(5)
        reading = e.topology(dataclasses.replace(SMALL, weights=(0.5, 2.0, 0.25)))
    parts = reading.parts
    assert parts.patches == pytest.approx(np.mean([patch.b1 / patch.shape.edges for patch in reading.patches]))
    assert parts.clusters == reading.coarse.b1 / reading.coarse.shape.edges
    assert min(parts.patches, parts.clusters, parts.sentinels) > 0
    assert reading.complexity == pytest.approx(0.5 * parts.patches + 2 * parts.clusters + 0.25 * parts.sentinels)


def test_patches_begin_where_most_changes_and_do_not_repeat_one_another(tmp_path):
    with void(tmp_path / "v.engram") as e:
        e.stimulate([5, 6, 7, 2000, 2001], 1.0)
        e.run(3)
        changing, _ = energy(e.moment(), None)
        reading = e.topology(dataclasses.replace(SMALL, patches=3))
        assert reading.patches[0].seed == changing.ids[np.argmax(changing.value)]
        assert reading.patches[0].energy == changing.value.max()
        first = snowball(e.moment(), np.array([reading.patches[0].seed], dtype=np.uint64), SMALL.patch_neurons)
        assert reading.patches[1].seed not in first.ids.tolist()


# ---- |dW|


def test_void_energy_is_the_change_that_the_next_tick_brings(tmp_path):
    with void(tmp_path / "v.engram") as e:
        e.stimulate(range(0, 3000, 50), 1.0, duration=4)
        e.run(12)
        changing, _ = energy(e.moment(), None)
        before = e.neurons(changing.ids).fields["mu"].astype(np.float32)
        e.run(1)
        after = e.neurons(changing.ids).fields["mu"]
    a = np.float32(1 - 2 ** (-1 / 600))
    value = changing.value.astype(np.float32)
    assert changing.kind == "void"
    assert len(changing.ids) > 20
    assert (changing.value == value).all()
    assert np.allclose(after, before + a * (value - before), rtol=1e-6, atol=0)
    assert changing.mean == pytest.approx(value.mean())


def test_energy_of_rows_is_how_far_they_have_moved_in_a_tick(tmp_path):
    with learner(tmp_path / "c.engram") as e:
        e.stimulate([1, 2, 3], 30.0)
        e.run(1)
        row = e.synapses(2)
        first = energy(e.moment(), None)[0]
        assert first.kind == "rows"
        assert first.of(np.array([2], dtype=np.uint64))[0] == 0  # since birth
        e.set_weight(2, row.targets, row.weights + np.float32(0.5))
        born = energy(e.moment(), None)[0]
        distance = np.sqrt(len(row)) * 0.5
        assert born.of(np.array([2], dtype=np.uint64))[0] == pytest.approx(distance / e.tick)
        assert born.top(1, e.moment()).tolist() == [2]
        _, seen = energy(e.moment(), None)
        e.set_weight(2, row.targets, row.weights + np.float32(0.25))
        moment = dataclasses.replace(e.moment(), tick=e.tick + 4)
        since = energy(moment, seen)[0]
        assert since.of(np.array([2, 9], dtype=np.uint64)) == pytest.approx([distance / 8, 0])
        assert since.mean == pytest.approx(distance / 8 / len(since.ids))


def test_where_nothing_learns_spikes_say_where_something_happens(tmp_path):
    layer = Layer("c", segments=[300], wiring=SmallWorld(k=4, span=8, weight=1.0))
    with engramdb.create(tmp_path / "c.engram", Spec(layers=[layer])) as e:
        assert e.topology(SMALL).energy == "none"
        e.stimulate([7, 200], 30.0)
        e.run(1)
        reading = e.topology(dataclasses.replace(SMALL, patch_neurons=40))
        assert (reading.energy, reading.mean_dw) == ("spikes", 0.0)
        assert {patch.seed for patch in reading.patches} == {7, 200}
        assert reading.probe.neurons == 2


# ---- the same, however it is looked at


@pytest.mark.parametrize("make", [void, learner])
def test_a_reading_is_a_function_of_the_state_alone(tmp_path, make):
    with make(tmp_path / "a.engram") as e:
        e.stimulate(range(50), 30.0, duration=3)
        e.run(40)
        live = e.topology(SMALL)
        assert live == e.topology(SMALL)
        e.snapshot("then")
        e.run(7)
        assert e.topology(SMALL) != live
        assert e.topology(SMALL, at="then") == live
    with engramdb.open(tmp_path / "a.engram", at="then") as e:
        assert e.topology(SMALL) == live
    with engramdb.open(tmp_path / "a.engram", "r+") as e:
        e.restore("then")
        assert e.topology(SMALL) == live


@pytest.mark.parametrize("make", [void, learner])
def test_readings_depend_neither_on_how_a_run_is_cut_nor_on_memory_nor_threads(tmp_path, make):
    def readings(name: str, cuts: list[int], **options: object) -> list[object]:
        tracker, found = Tracker(SMALL, every=12), []
        with make(tmp_path / f"{name}.engram", **options) as e:
            e.stimulate(range(50), 30.0, duration=3)
            e.poisson(range(100), 50.0, 20.0)
            for ticks in cuts:
                found += e.run(ticks, topology=tracker).topology
            spikes = e.top("last_spike", 20).ids if make is learner else e._live.voids["v"].active
        return [*found, spikes.tolist()]

    whole = readings("a", [120])
    assert [reading.tick for reading in whole[:-1]] == list(range(12, 121, 12))
    assert readings("b", [5, 31, 1, 83]) == whole
    assert readings("c", [120], memory="8MiB", threads=2) == whole


def test_measuring_changes_nothing(tmp_path):
    rasters = []
    for topology in (None, Tracker(SMALL, every=7)):
        with learner(tmp_path / f"{topology is None}.engram") as e:
            e.stimulate(range(100), 30.0, duration=3)
            e.poisson(range(100), 50.0, 20.0)
            run = e.run(60, record=("spikes",), topology=topology)
            ids = np.arange(600, dtype=np.uint64)
            rasters.append([*map(np.ndarray.tolist, run.spikes), e._view(rows=True).rows(ids).weight.tolist()])
    assert rasters[0] == rasters[1]


def test_the_coarse_level_is_measured_anew_when_its_time_has_come(tmp_path):
    with void(tmp_path / "v.engram") as e:
        e.stimulate(range(100), 1.0)
        readings = e.run(120, topology=Tracker(SMALL, every=10)).topology  # 0.05 s are 50 ticks
    assert [r.coarse.tick for r in readings] == [10, 10, 10, 10, *[50] * 5, *[100] * 3]
    assert readings[0].coarse is readings[3].coarse


# ---- samples


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    wiring = SmallWorld(k=5, span=6, long_fraction=0.2, weight=(0.5, 1.5))
    ahead = Projection("a", "b", FixedOutdegree(k=3), weight=0.7)
    back = Projection("b", "a", FixedOutdegree(k=2), weight=-0.4)
    layers = [Layer("a", segments=[300, 50], wiring=wiring), Layer("b", segments=[100])]
    spec = Spec(seed=9, layers=layers, projections=[ahead, back])
    with engramdb.create(tmp_path_factory.mktemp("world") / "a.engram", spec) as e:
        yield e


def out(e: engramdb.Engram) -> dict[int, set[int]]:
    ids = [layer << 48 | segment << 32 | i for (layer, segment), size in e.sizes.items() for i in range(size)]
    return {i: set(e.synapses(i).targets.tolist()) for i in ids}


@pytest.mark.parametrize("most", [1, 60, 200, 450, 1000])
def test_a_snowball_grows_ring_by_ring_and_has_all_synapses_inside(world, most):
    near, root = out(world), 17
    graph = snowball(world.moment(), np.array([root], dtype=np.uint64), most)
    reached, ring = {root}, {root}
    while ring and len(reached) < most:
        ring = set().union(*(near[i] for i in ring)) - reached
        if len(reached | ring) > most:
            assert reached < set(graph.ids.tolist()) < reached | ring
            break
        reached |= ring
    assert len(graph) == min(most, len(nx.descendants(nx.DiGraph(near), root) | {root}))
    ids = graph.ids.tolist()
    pairs = {(min(a, b), max(a, b)) for a in ids for b in near[a] & set(ids) if a != b}
    assert {(ids[u], ids[v]) for u, v in zip(graph.u, graph.v, strict=True)} == pairs


def test_surroundings_are_the_ego_nets_together(world):
    centers = np.array([3, 170, 1 << 48 | 9], dtype=np.uint64)
    graph = surroundings(world.moment(), centers, 2)
    egos = [world.ego(int(center), 2) for center in centers]
    assert graph.ids.tolist() == sorted(set().union(*(ego.ids.tolist() for ego in egos)))
    inside = set()
    for ego in egos:
        hops = dict(zip(ego.ids.tolist(), ego.hop.tolist(), strict=True))  # rows of the last ones are not read
        synapses = zip(ego.pre.tolist(), ego.post.tolist(), strict=True)
        inside |= {(min(a, b), max(a, b)) for a, b in synapses if hops[a] < 2}
    found = {(int(graph.ids[u]), int(graph.ids[v])) for u, v in zip(graph.u, graph.v, strict=True)}
    assert inside - {(a, a) for a, _ in inside} <= found  # and what crosses from one to another


class Counting:
    """A view that counts the rows it is asked for."""

    def __init__(self, view: object) -> None:
        self._view, self.rows_read = view, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._view, name)

    def rows(self, ids: np.ndarray) -> object:
        self.rows_read += len(ids)
        return self._view.rows(ids)


def test_what_is_read_does_not_grow_with_the_engram(tmp_path):
    most = SMALL.patches * SMALL.patch_neurons + SMALL.sample + SMALL.sentinels * 3 + SMALL.ring * (1 + 6) + 200
    for exponent in (4, 7, 11):
        segments = [4 * 10**9] * 25 if exponent == 11 else [10**exponent]
        layer = Layer("v", model="void", segments=segments, params={"k_active": 60}, wiring=SmallWorld(k=6, span=8))
        with engramdb.create(tmp_path / f"{exponent}.engram", Spec(seed=2, layers=[layer])) as e:
            e.stimulate(range(100), 1.0)
            e.run(5)
            moment = e.moment()
            counting = Counting(moment.view)
            reading = Tracker(SMALL).read(dataclasses.replace(moment, view=counting))
            assert reading.neurons == 10**exponent
            assert counting.rows_read <= most


# ---- sentinels


@given(st.integers(0, 1 << 63), st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_growth_moves_sentinels_only_to_what_is_new(seed, before, more):
    from engramdb.kernels import sentinel

    keys = np.random.default_rng(seed).integers(0, 1 << 63, 50).astype(np.uint64)
    old, new = np.empty(50, np.int64), np.empty(50, np.int64)
    sentinel.places(keys, before, old)
    sentinel.places(keys, before + more, new)
    assert ((old >= 0) & (old < before)).all()
    assert ((new == old) | ((new >= before) & (new < before + more))).all()
    assert new.tolist() == [place_of(int(key), before + more) for key in keys]


def place_of(key: int, population: int) -> int:
    """The hash as its paper has it."""
    at, following = -1, 0
    while following < population:
        at = following
        key = (key * 2862933555777941757 + 1) % (1 << 64)
        following = int((at + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return at


def test_every_neuron_is_as_likely_a_sentinel(world):
    chosen = world.moment().chosen(45_000, np.uint64(82))
    counts = np.unique(chosen, return_counts=True)[1]
    assert len(counts) == 450
    assert (((counts - 100) ** 2) / 100).sum() < 550  # chi squared, 449 degrees of freedom


def test_sentinels_see_what_is_around_them(world):
    near = out(world)
    seen, wedges = sentinels(world.moment(), 300, None, 0.0)
    closed = holes = 0
    whole = [wedge for wedge in wedges.tolist() if wedge[2] != 2**64 - 1]
    assert all(len(near[b] - {b}) < 2 for b, _, c in wedges.tolist() if c == 2**64 - 1)
    for b, a, c in whole:
        assert {a, c} <= near[b]
        assert len({a, b, c}) == 3
        joined = a in near[c] or c in near[a]
        others = [d for d in near[a] & near[c] if d not in (a, b, c) and d not in near[b] and b not in near[d]]
        closed += joined
        holes += not joined and bool(others)
    n = len(whole)
    assert (seen.wedges, seen.closed, seen.holes, seen.moved) == (n, closed / n, holes / n, 0.0)
    assert min(closed, holes) > 5


def test_a_wedge_stays_until_one_of_its_synapses_goes(tmp_path):
    n, edges = graphs.grid(6, 6)
    with engram_of(tmp_path / "a.engram", n, edges, 2.0) as e:
        seen, before = sentinels(e.moment(), 40, None, 1.0)
        assert (seen.closed, seen.holes > 0.2) == (0.0, True)
        b, a, _ = before[0].tolist()
        far = next(t for t in e.synapses(b).targets.tolist() if t not in before[0].tolist())
        e.set_weight(b, far, 0.5)  # not of the wedge
        assert (sentinels(e.moment(), 40, before, 1.0)[1][0] == before[0]).all()
        e.set_weight(b, a, 0.5)
        after, wedges = sentinels(e.moment(), 40, before, 1.0)
        assert a not in wedges[0].tolist()
        assert after.moved == np.count_nonzero((wedges != before).any(axis=1)) / 40 > 0


def test_neurons_born_later_are_sentinels_and_roots_as_others_are(tmp_path):
    layer = Layer("a", segments=[100], wiring=SmallWorld(k=4, span=6))
    with engramdb.create(tmp_path / "a.engram", Spec(layers=[layer, Layer("b", segments=[100])])) as e:
        before = e.moment().chosen(2000, np.uint64(82))
        e.grow("a", 200)
        after = e.moment().chosen(2000, np.uint64(82))
        same = before == after
        assert 0.45 < same.mean() < 0.55
        assert ((after[~same] >= 100) & (after[~same] < 300)).all()


# ---- clusters and the probe


def caves(count: int, size: int) -> tuple[int, graphs.Edges]:
    """A ring of cliques."""
    edges = [(c * size + a, c * size + b) for c in range(count) for a, b in graphs.clique(size)[1]]
    return count * size, edges + [(c * size, (c + 1) % count * size + 1) for c in range(count)]


def test_communities_are_contracted_to_the_graph_they_form(tmp_path):
    pytest.importorskip("networkit", reason="needs the extra topology")
    n, edges = caves(12, 8)
    with engram_of(tmp_path / "a.engram", n, edges) as e:
        found = coarse(e.moment(), Settings(roots=40, supernodes=12))
        assert (found.sampled.neurons, found.clusters, found.b1) == (96, 12, 1)
        assert (found.shape.neurons, found.shape.edges, found.shape.cycle_rank) == (12, 12, 1)
        assert coarse(e.moment(), Settings(roots=40, supernodes=12)) == found
    with void(tmp_path / "v.engram") as e:
        finer = coarse(e.moment(), Settings(sample=2000, supernodes=150))
        assert finer.clusters < 150 <= finer.shape.neurons
        assert finer.resolution > 1
        assert coarse(e.moment(), Settings(sample=2000, supernodes=150)) == finer


@pytest.mark.slow
def test_communities_are_the_same_in_every_process_and_networkit_is_left_as_it_was():
    networkit = pytest.importorskip("networkit", reason="needs the extra topology")
    code = """
import engramdb, sys, tempfile, networkit
from engramdb import Layer, SmallWorld, Spec
from engramdb.topology import Settings
networkit.setNumberOfThreads(2)
layer = Layer("a", segments=[20_000], wiring=SmallWorld(k=8, span=20, weight=(0.5, 1.5)))
with tempfile.TemporaryDirectory() as folder, engramdb.create(folder + "/a.engram", Spec(layers=[layer])) as e:
    reading = e.topology(Settings(sample=4000, patches=0, supernodes=400))
assert networkit.getMaxNumberOfThreads() == 2
print(reading.coarse)
"""
    said = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            for _ in range(2)}  # fmt: skip
    assert len(said) == 1
    assert "resolution" in said.pop()
    assert networkit


@given(st.integers(0, 1 << 32))
def test_clusters_are_joined_as_strongly_as_their_members(seed):
    random = np.random.default_rng(seed)
    n, m = 20, 60
    edges = [(int(a), int(b)) for a, b in random.integers(0, n, (m, 2)) if a != b]
    graph = graphs.graph(n, edges, random.uniform(0.1, 1.0, len(edges)))
    cluster = np.unique(random.integers(0, 6, n), return_inverse=True)[1].astype(np.int64)
    whole = contracted(graph, cluster)
    matrix = np.zeros((len(whole), len(whole)))
    for u, v, strength in zip(cluster[graph.u], cluster[graph.v], graph.strength, strict=True):
        if u != v:
            matrix[min(u, v), max(u, v)] += strength
    assert np.allclose(whole.strength, matrix[whole.u, whole.v])
    assert len(whole.u) == np.count_nonzero(matrix)


def test_the_ring_keeps_the_latest_each_once():
    ring = Ring(4)
    for ids, held in (([1, 2], [1, 2]), ([3, 1], [3, 1, 2]), ([7, 8, 9], [7, 8, 9, 3]), ([], [7, 8, 9, 3])):
        ring.push(np.array(ids, dtype=np.uint64))
        assert ring.ids.tolist() == held


def test_the_probe_looks_around_those_that_changed_most(tmp_path):
    with void(tmp_path / "v.engram") as e:
        e.stimulate(range(100), 1.0)
        e.run(4)
        moment = e.moment()
        changing, _ = energy(moment, None)
        top = changing.top(8, moment)
        reading = e.topology(SMALL)
        around = surroundings(moment, top, 2)
        assert reading.probe.shape == around.shape
        assert reading.probe.mean_dw == pytest.approx(np.sort(changing.value)[-8:].mean())
        assert reading.probe.strength == pytest.approx(around.strength.mean())


# ---- records of it


def test_readings_of_a_run_make_a_trend_and_go_into_a_file(tmp_path):
    with void(tmp_path / "v.engram") as e:
        e.stimulate(range(100), 1.0)
        told = []
        run = e.run(30, topology=Tracker(SMALL, every=10), progress=lambda *a: told.append(a))
        assert run.stats["topology"] == run.topology[-1].row()
        table = trend(run.topology)
        assert list(table) == list(COLUMNS)
        assert table["tick"].tolist() == [10, 20, 30]
        assert table["complexity"].tolist() == [reading.complexity for reading in run.topology]
        e.snapshot("then")
        streamed = e.run(30, topology=Tracker(SMALL, every=10), to=tmp_path / "trend.parquet")
        e.restore("then")
        again = e.run(30, record=("sie",), topology=Tracker(SMALL, every=10), to=tmp_path / "both")
        e.restore("then")
        kept = e.run(30, topology=Tracker(SMALL, every=10))
    assert streamed.topology == again.topology == ()
    found = pq.read_table(tmp_path / "trend.parquet").to_pydict()
    assert found == {name: values.tolist() for name, values in trend(kept.topology).items()}
    assert pq.read_table(tmp_path / "both" / "topology.parquet").to_pydict() == found
    assert pq.read_table(tmp_path / "both" / "sie.parquet").num_rows == 30


def test_a_reading_as_plain_values_is_json(tmp_path):
    n, edges = graphs.ring(12)
    with engram_of(tmp_path / "a.engram", n, edges) as e:
        reading = e.topology(SMALL)
    plain = json.loads(json.dumps(reading.as_dict()))
    assert plain["patches"][0]["shape"]["cycle_rank"] == 1
    assert plain["complexity"] == reading.complexity
    assert isinstance(plain["patches"][0]["seed"], str)


def test_lifetimes_of_holes_come_with_the_patches(tmp_path):
    pytest.importorskip("ripser", reason="needs the extra topology")
    n, edges = graphs.ring(10)
    with engram_of(tmp_path / "a.engram", n, edges, 0.5) as e:
        (patch,) = e.topology(dataclasses.replace(SMALL, persistence=True)).patches
        assert patch.bars.tolist() == [[2.0, np.inf]]
        e.set_weight(0, 1, 0.0)
        e.set_weight(1, 0, 0.0)
        with pytest.raises(InvalidInput, match="give least= above 0"):
            e.topology(dataclasses.replace(SMALL, persistence=True))


def test_without_networkit_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "networkit", None)
    n, edges = graphs.ring(12)
    with engram_of(tmp_path / "a.engram", n, edges) as e:
        with pytest.raises(InvalidInput) as error:
            e.topology()
        assert str(error.value) == (
            "networkit is not installed: pip install 'engramdb[topology]', or pip install networkit, "
            'or measure with clusters="components"'
        )
        assert e.topology(SMALL).b1 == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"patches": -1}, "patches=-1: give a whole number from 0"),
        ({"sample": 2.5}, "sample=2.5: give a whole number"),
        ({"clusters": "cliques"}, 'clusters="cliques": expected'),
        ({"refresh_s": 0.0}, "refresh_s=0.0: give a number of seconds above 0"),
        ({"least": float("nan")}, "least=nan: give a strength"),
        ({"weights": (1.0, 1.0)}, "give three numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(InvalidInput, match="topology: ") as error:
        Settings(**wrong)
    assert said in str(error.value)


def test_a_run_refuses_readings_every_zero_ticks(tmp_path):
    n, edges = graphs.ring(12)
    with engram_of(tmp_path / "a.engram", n, edges) as e, pytest.raises(InvalidInput, match="every=0"):
        e.run(10, topology=0)
