"""Summaries of engrams: exact, in bounded memory, beside a writer."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import engramdb
from engramdb import Bernoulli, FixedOutdegree, Layer, OneToOne, Projection, SmallWorld, Spec
from engramdb.errors import LeafDamaged, NotAnEngram, NotFound
from engramdb.inspect import summarize
from engramdb.inspect.histogram import LinearHistogram, PowerHistogram
from tests.networks import edges_of, ids_of

WEIGHTS = hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(-16384, 16384, width=32))


def two_layers(seed: int = 5) -> Spec:
    """A virtual layer that excites a smaller one whose rows are stored."""
    return Spec(
        seed=seed,
        name="two",
        layers=[
            Layer("exc", segments=[2000, 700], wiring=SmallWorld(k=10, weight=(4.0, 8.0))),
            Layer("inh", segments=[300], params={"tau": 10.0}),
        ],
        projections=[
            Projection("exc", "inh", FixedOutdegree(k=3), weight=2.0, delay_ms=2.0),
            Projection("inh", "exc", Bernoulli(p=0.01), weight=(0.5, 3.0), sign=-1),
        ],
    )


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An engram that has run, and the spikes of its whole life."""
    path = tmp_path_factory.mktemp("inspect") / "two.engram"
    with engramdb.create(path, two_layers()) as engram:
        engram.stimulate(np.arange(500, dtype=np.uint64), 30.0, duration=3)
        spikes = int(engram.run(30).counts.sum())
    return path, spikes


@given(st.lists(hnp.arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 2**40)), max_size=4))
def test_a_power_histogram_counts_every_value_between_its_edges(parts: list[np.ndarray]) -> None:
    histogram = PowerHistogram()
    for part in parts:
        histogram.add(part)
    result = histogram.result()
    values = np.concatenate([np.empty(0, dtype=np.int64), *parts])
    assert sum(result.counts) == values.size
    for low, high, count in zip(result.edges[:-1], result.edges[1:], result.counts, strict=True):
        assert count == np.count_nonzero((values >= low) & (values < high))


@given(st.lists(WEIGHTS, max_size=5), st.randoms(use_true_random=False))
def test_a_linear_histogram_counts_every_value_whatever_the_order(parts: list[np.ndarray], random: object) -> None:
    histogram, shuffled = LinearHistogram(), LinearHistogram()
    for part in parts:
        histogram.add(part)
    order = list(range(len(parts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for place in order:
        shuffled.add(parts[place])
    result = histogram.result()
    assert result == shuffled.result()
    assert len(result.counts) <= 24
    values = np.concatenate([np.empty(0, dtype=np.float32), *parts])
    # values nearer to zero than 2^-40 mV share the bin next to it
    assert sum(result.counts) == values.size
    for low, high, count in zip(result.edges[:-1], result.edges[1:], result.counts, strict=True):
        assert count == np.count_nonzero((values >= low) & (values < high))


def test_a_summary_agrees_with_what_the_engram_says_of_every_neuron(driven: tuple[Path, int]) -> None:
    path, spikes = driven
    summary = summarize(path)
    with engramdb.open(path) as engram:
        ids = ids_of(engram)
        pre, _, weight, _ = edges_of(engram)
        neurons = engram.neurons(ids)
        log = engram.log()
    counts = neurons.fields["spike_count"]
    assert (summary.tick, summary.commit, summary.declared) == (30, log[0].number, len(ids))
    assert [commit.number for commit in summary.commits] == [commit.number for commit in log]
    assert sum(layer.spikes for layer in summary.layers) == counts.sum() == spikes
    for layer in summary.layers:
        own = ids >> np.uint64(48) == layer.index
        stored_synapses = pre >> np.uint64(48) == layer.index
        assert layer.declared == own.sum()
        assert layer.most_spikes == counts[own].max()
        assert layer.spiked == np.count_nonzero(counts[own])
        assert layer.last_spike == neurons.fields["last_spike"][own].max()
        assert layer.generated_rows + layer.stored_rows == layer.records
        if layer.name == "inh":
            assert (layer.stored_rows, layer.stored_synapses) == (300, stored_synapses.sum())
            assert layer.generated_degree == 0
            assert layer.weights.mean == pytest.approx(weight[stored_synapses].mean(dtype=np.float64), rel=1e-9)
            assert layer.weights.minimum == weight[stored_synapses].min()
            assert layer.weights.maximum == weight[stored_synapses].max()
            assert sum(layer.weights.histogram.counts) == layer.stored_synapses
            assert layer.parameters == {"tau": 10.0}
            degrees = neurons.out_degree[own]
            assert layer.out_degree.mean == pytest.approx(degrees.mean())
            assert (layer.out_degree.minimum, layer.out_degree.maximum) == (degrees.min(), degrees.max())
        else:
            assert (layer.stored_rows, layer.stored_synapses, layer.weights.mean) == (0, 0, None)
            assert layer.generated_degree == 13
            assert layer.records == np.count_nonzero(counts[own])
            assert layer.segments == 2
    assert [projection.stored_synapses for projection in summary.projections] == [
        0,
        0,
        summary.layers[1].stored_synapses,
    ]
    assert [projection.delay_ticks for projection in summary.projections] == [1, 2, 1]


def test_charged_neurons_and_spikes_in_flight_are_those_of_the_commit(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "a.engram", two_layers()) as engram:
        engram.stimulate("0/0/7", 30.0)
        engram.run(1)
        engram.checkpoint()
        fired = summarize(engram)
        engram.stimulate("0/0/9", 1.0)
        engram.run(40)
    assert (fired.charged, fired.in_flight, fired.records) == (1, 1, 301)
    assert (summarize(tmp_path / "a.engram").in_flight, fired.tick) == (0, 1)


def test_degrees_of_generated_rows_follow_their_bundle_and_one_to_one_partners(tmp_path: Path) -> None:
    spec = Spec(
        layers=[
            Layer("a", segments=[500], wiring=SmallWorld(k=10, weight=20.0)),
            Layer("b", segments=[300, 200]),
        ],
        projections=[Projection("b", "a", OneToOne(), weight=1.0)],
    )
    path = tmp_path / "grown.engram"
    with engramdb.create(path, spec) as engram:
        engram.grow("a", 100, k=4)
        engram.grow("b", 50)  # at positions 500..549, where a now has neurons
        engram.grow("b", 150)  # a third of these has partners
        engram.stimulate(ids_of(engram), 30.0)
        engram.run(2)
        expected = engram.neurons(ids_of(engram)).out_degree
    summary = summarize(path)
    a, b = summary.layers
    assert a.records + b.records == len(expected) == 1300
    assert (a.out_degree.minimum, a.out_degree.maximum) == (4, 10)
    assert a.out_degree.mean == pytest.approx(expected[:600].mean())
    assert b.out_degree.mean == pytest.approx(expected[600:].mean())
    assert a.generated_degree == pytest.approx(expected[:600].mean())
    assert b.generated_degree == pytest.approx(expected[600:].mean())


def test_a_snapshot_is_summarized_as_it_was_and_beside_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with engramdb.create(path, two_layers()) as engram:
        engram.stimulate("0/0/7", 30.0, duration=2)
        engram.run(5)
        engram.snapshot("early")
        before = summarize(path, at="early")
        engram.run(20)
        engram.checkpoint()
        now = summarize(path)
        again = summarize(path, at="early")
    assert before.layers == again.layers
    assert (before.tick, before.charged, before.in_flight) == (again.tick, again.charged, again.in_flight)
    assert (again.tick, now.tick) == (5, 25)
    assert [snapshot.name for snapshot in now.snapshots] == ["early"]
    with engramdb.open(path, at="early") as reader:
        assert summarize(reader).layers == before.layers


def test_what_only_the_journal_has_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with engramdb.create(path, two_layers()) as engram:
        before = summarize(path)
        engram.stimulate("0/0/7", 30.0)
        engram.run(5)
        during = summarize(path)
    after = summarize(path)
    assert (before.journaled, before.journaled_tick) == (0, 0)
    assert (during.tick, during.journaled, during.journaled_tick) == (0, 2, 5)
    assert (after.tick, after.journaled, after.journaled_tick) == (5, 0, 5)


def test_storage_adds_up_to_the_files_there_are(driven: tuple[Path, int]) -> None:
    path, _ = driven
    storage = summarize(path).storage
    assert storage.total == storage.catalog + storage.packs + storage.journal + storage.other
    assert storage.packs == sum(file.stat().st_size for file in (path / "packs").iterdir())
    assert storage.journal == sum(file.stat().st_size for file in (path / "journal").iterdir())
    assert 0 < storage.leaves <= storage.packs
    assert storage.bytes_per_record == pytest.approx(storage.leaves / summarize(path).records)


def test_a_summary_is_plain_data_for_json(driven: tuple[Path, int]) -> None:
    document = summarize(driven[0]).as_dict()
    assert json.loads(json.dumps(document))["layers"][1]["parameters"] == {"tau": 10.0}
    assert document["seed"] == "5"


def test_what_is_not_there_is_refused(tmp_path: Path, driven: tuple[Path, int]) -> None:
    with pytest.raises(NotAnEngram):
        summarize(tmp_path / "nothing.engram")
    with pytest.raises(NotFound, match="no snapshot"):
        summarize(driven[0], at="nothing")


def test_a_damaged_leaf_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with engramdb.create(path, two_layers()):
        pass
    pack = max((path / "packs").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    with pytest.raises(LeafDamaged, match=pack.name):
        summarize(path)


def test_memory_does_not_grow_with_the_engram(tmp_path: Path) -> None:
    path = tmp_path / "wide.engram"
    layer = Layer("a", segments=[60_000], wiring=SmallWorld(k=40, weight=(0.0, 1.0)), materialize=True)
    engramdb.create(path, Spec(layers=[layer])).close()
    tracemalloc.start()
    try:
        summary = summarize(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert summary.layers[0].stored_synapses == 60_000 * 40
    assert peak < summary.layers[0].stored_synapses * 14 / 2  # bytes of the synapses alone
