"""A diff of two states of an engram: what it counts, what it leaves alone, and what it costs."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, Explicit, Layer, Projection, SmallWorld, Spec
from engramdb.errors import NotFound
from engramdb.query.synapses import whole_rows
from engramdb.store.diff import ROW
from tests.networks import ids_of, make, specs

Synapse = tuple[int, int, int, int]


def small(**options: object) -> Spec:
    wiring = SmallWorld(k=6, span=20, long_fraction=0.2, weight=(1.0, 5.0))
    other = Layer("other", segments=[50])
    return Spec(
        seed=3,
        layers=[Layer("a", segments=[300], wiring=wiring), other],
        projections=[Projection("a", "other", Explicit())],
    )


@pytest.fixture
def engram(tmp_path: Path) -> Path:
    with make(tmp_path, small()) as e:
        e.snapshot("born")
    return tmp_path / "net.engram"


def network(engram: Engram) -> tuple[dict[int, tuple[bytes, ...]], dict[int, dict[Synapse, float]]]:
    """States of all neurons with a record, and the whole rows of all neurons, virtual ones too."""
    states: dict[int, tuple[bytes, ...]] = {}
    rows: dict[int, dict[Synapse, float]] = {}
    for layer in engram.spec.layers:
        for part in engram._store.scan(layer.index):
            for i, neuron in enumerate(part.ids.tolist()):
                states[neuron] = tuple(part.state[name][i].tobytes() for name in sorted(part.state))
        own = ids_of(engram)
        own = own[own >> np.uint64(48) == layer.index]
        whole = whole_rows(own, engram._store, engram._wiring)
        for i, neuron in enumerate(own.tolist()):
            count: dict[tuple[int, int], int] = defaultdict(int)
            row = rows[neuron] = {}
            for j in range(int(whole.indptr[i]), int(whole.indptr[i + 1])):
                key = int(whole.projection[j]), int(whole.target[j])
                row[neuron, *key, count[key]] = float(whole.weight[j])
                count[key] += 1
    return states, rows


def expected(path: Path, a: int, b: int, layer: int) -> dict[str, object]:
    """Brute force: all rows of all neurons that have a record in one of the two."""
    (states_a, rows_a), (states_b, rows_b) = (_network_at(path, at) for at in (a, b))
    recorded = sorted(n for n in states_a | states_b if n >> 48 == layer)
    one, other = ({k: v for n in recorded for k, v in rows.get(n, {}).items()} for rows in (rows_a, rows_b))
    state = {n for n in recorded if n in states_a and n in states_b and states_a[n] != states_b[n]}
    row = {n for n in recorded if rows_a.get(n, {}) != rows_b.get(n, {})}
    change = [other[key] - one[key] for key in one.keys() & other.keys() if one[key] != other[key]]
    return {
        "added": [n for n in recorded if n not in states_a],
        "removed": [n for n in recorded if n not in states_b],
        "state_changed": sorted(state),
        "row_changed": sorted(row),
        "changed": len([n for n in state | row if n in states_a and n in states_b]),
        "synapses_added": len(other.keys() - one.keys()),
        "synapses_removed": len(one.keys() - other.keys()),
        "weights": sorted(change),
    }


def _network_at(path: Path, at: int) -> tuple[dict[int, tuple[bytes, ...]], dict[int, dict[Synapse, float]]]:
    with engramdb.open(path, at=at) as e:
        return network(e)


@given(spec=specs(largest=60), data=st.data())
def test_a_diff_is_what_comparing_all_rows_says(spec: Spec, data: st.DataObject) -> None:
    """Over runs, changed weights, new synapses, growth and restores; rows may be stored, generated or built."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.engram"
        with make(Path(folder), spec) as e:
            numbers = [e.log()[0].number]
            for _ in range(data.draw(st.integers(1, 4))):
                ids = ids_of(e)
                name = spec.layers[0].name
                own = ids[ids >> np.uint64(48) == spec.layers[0].index]
                some = own[data.draw(st.integers(0, 30)) :: data.draw(st.integers(3, 20))]
                kind = data.draw(st.sampled_from(["run", "weight", "same weight", "connect", "grow", "restore"]))
                if kind == "run":
                    e.stimulate(some, 30.0)
                    e.run(5)
                elif kind in ("weight", "same weight") and len(row := e.synapses(int(some[0]))):
                    e.set_weight(int(some[0]), row.targets, row.weights * np.float32(kind == "same weight"))
                elif kind == "connect":
                    e.connect(some, own[0], 2.5)
                elif kind == "grow":
                    e.grow(name, data.draw(st.integers(1, 9)))
                else:
                    e.restore(data.draw(st.sampled_from(numbers)))
                numbers.append(e.checkpoint().number)
        a, b = data.draw(st.sampled_from(numbers)), data.draw(st.sampled_from(numbers))
        found = engramdb.diff(path, a, b, ids=True)
        for layer in spec.layers:
            one, all_ = found.by_layer[layer.name], expected(path, a, b, layer.index)
            assert one.ids is not None
            for field in ("added", "removed", "state_changed", "row_changed"):
                assert getattr(one.ids, field).tolist() == all_[field]
                assert getattr(one, field) == len(all_[field])  # type: ignore[arg-type]
            for field in ("changed", "synapses_added", "synapses_removed"):
                assert getattr(one, field) == all_[field]
            weights: list[float] = all_["weights"]  # type: ignore[assignment]
            assert one.synapses_reweighted == len(weights)
            if weights:
                assert (one.weights.minimum, one.weights.maximum) == (weights[0], weights[-1])
                assert one.weights.mean == pytest.approx(np.mean(weights), abs=1e-9)
                assert one.weights.std == pytest.approx(np.std(weights), abs=1e-9)
                assert sum(one.weights.histogram.counts) == len(weights)
        assert engramdb.diff(path, a, a).same


def test_quantiles_of_weight_changes_are_as_close_as_they_say(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    with make(tmp_path, small()) as e:
        e.connect(np.repeat(np.arange(200), 50), np.tile(np.arange(50) | 1 << 48, 200), 0.0)
        e.checkpoint()
        e.snapshot("zero")
        changes = np.sort(random.normal(1.0, 3.0, 10_000).astype(np.float32))
        e.connect(np.repeat(np.arange(200), 50), np.tile(np.arange(50) | 1 << 48, 200), random.permutation(changes))
        weights = e.diff("zero").by_layer["a"].weights
    largest = float(np.abs(changes).max())
    assert weights.count == 10_000
    for fraction, value in weights.quantiles.items():
        assert value == pytest.approx(np.quantile(changes, fraction), abs=1.5 * largest / 2048 + 0.02)


def test_a_row_written_out_as_its_rule_gives_it_is_no_difference(engram: Path) -> None:
    with engramdb.open(engram, "r+") as e:
        row = e.synapses(5)
        e.set_weight(5, row.targets, row.weights)
        found = e.diff("born").by_layer["a"]
        assert (found.added, found.row_changed) == (1, 0)
        assert (found.synapses_added, found.synapses_removed, found.synapses_reweighted) == (0, 0, 0)
        e.set_weight(5, row.targets[0], 9.0)
        found = e.diff("born").by_layer["a"]
        assert (found.added, found.row_changed, found.synapses_reweighted) == (1, 1, 1)
        assert found.weights.maximum == pytest.approx(9.0 - row.weights[0])


def test_what_is_in_flight_is_compared_too(engram: Path) -> None:
    with engramdb.open(engram, "r+") as e:
        e.stimulate(range(10), 3.0)
        e.stimulate(range(20), 3.0, at=50)
        e.run(1)
        found = e.diff("born")
        flight = found.in_flight
        assert (flight.charged, flight.woken, flight.settled, flight.recharged) == ((0, 10), 10, 0, 0)
        assert flight.stimuli == (0, 20)
        assert found.after.tick - found.before.tick == 1
        assert "charged_u" in flight.differing
        assert not found.same
        assert found.by_layer["a"].same
        e.snapshot("charged")
        e.run(2)
        flight = e.diff("charged").in_flight
        assert (flight.charged, flight.woken, flight.recharged) == ((10, 10), 0, 10)
        assert engramdb.diff(engram, "charged", "born").in_flight.settled == 10


def test_growth_is_told_in_neurons_that_are_declared(engram: Path) -> None:
    with engramdb.open(engram, "r+") as e:
        e.grow("a", 40, k=4)
        e.snapshot("four")
        e.restore("born")
        e.grow("a", 25, k=8)
        e.stimulate([310], 30.0)
        e.run(2)
        e.snapshot("eight")
    grown = engramdb.diff(engram, "born", "four").by_layer["a"]
    assert (grown.born, grown.unborn, grown.rewired) == (40, 0, 0)
    apart = engramdb.diff(engram, "four", "eight", ids=True).by_layer["a"]
    assert (apart.born, apart.unborn, apart.rewired) == (0, 15, 25)
    assert apart.ids is not None
    assert 310 in apart.ids.row_changed
    with engramdb.open(engram, at="four") as four, engramdb.open(engram, at="eight") as eight:
        assert len(four.synapses(310)) == 4
        assert len(eight.synapses(310)) == 8


def test_snapshots_branches_and_commits_can_be_named(engram: Path) -> None:
    with engramdb.open(engram, "r+") as e:
        e.branch("what-if", "born")
        e.connect([1, 2], [1 << 48, 1 << 48 | 1], 2.0)
        first = e.checkpoint().number
    with engramdb.open(engram, "r+", branch="what-if") as e:
        e.connect([1], [1 << 48], 3.0)
    found = engramdb.diff(engram, "main", "what-if")
    assert (found.before.commit, found.before.name, found.after.name) == (first, "main", "what-if")
    one = found.by_layer["a"]
    assert (one.removed, one.row_changed, one.synapses_removed, one.synapses_reweighted) == (1, 2, 1, 1)
    assert engramdb.diff(engram, first, "born", layer="a").by_layer.keys() == {"a"}
    with pytest.raises(NotFound, match=r'no snapshot "nowhere".*branches: main, what-if'):
        engramdb.diff(engram, "born", "nowhere")
    with pytest.raises(NotFound, match="no commit 99"):
        engramdb.diff(engram, "born", 99)
    with pytest.raises(NotFound, match='no layer "nothing"'):
        engramdb.diff(engram, "born", "main", layer="nothing")


def test_changes_are_streamed_by_id(engram: Path) -> None:
    with engramdb.open(engram, "r+") as e:
        e.connect(range(0, 300, 7), [1 << 48], 2.0)
        found = e.diff("born")
    parts = list(found.changes("a"))
    ids = np.concatenate([part.ids for part in parts])
    assert ids.tolist() == list(range(0, 300, 7))
    assert all((part.what & ROW).all() for part in parts)
    assert list(found.changes("other")) == []
