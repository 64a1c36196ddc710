"""Parameters that neurons are given of their own: stored with them, and followed whatever is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, SmallWorld, Spec
from engramdb.errors import InvalidInput, InvalidSpec
from tests.modeltwin import ModelTwin, assert_same_fields, model_twin_of
from tests.networks import make


def spec_of(neurons: int = 800, weight: tuple[float, float] = (2.0, 7.0), long_fraction: float = 0.2) -> Spec:
    layer = Layer(
        "a", segments=[neurons], params={"bias": (0.0, 6.0)}, columns=["bias", "tau", "v_threshold", "refractory"],
        wiring=SmallWorld(k=8, long_fraction=long_fraction, span=12, weight=weight),
    )  # fmt: skip
    return Spec(seed=2, layers=[layer, Layer("plain", segments=[50])])


def give(e: Engram, seed: int = 0) -> np.ndarray:
    """Own parameters for every third neuron of layer 0, in no order."""
    random = np.random.default_rng(seed)
    ids = random.permutation(np.arange(0, e.sizes[0, 0], 3)).astype(np.uint64)
    n = len(ids)
    assert e.set_parameters(ids, bias=random.uniform(-3, 11, n), tau=random.uniform(4, 40, n)) == n
    assert e.set_parameters(ids[: n // 2], refractory=random.integers(0, 5, n // 2), v_threshold=-58.5) == n // 2
    return ids


def drive(e: Engram, twin: ModelTwin, seed: int) -> None:
    places = np.random.default_rng(seed).choice(500, 60, replace=False) + seed * 300
    e.stimulate(places, 14.0, duration=2)
    twin.stimulate(places, np.full(60, np.float32(14)), e.tick + 1, 2)


def run_both(e: Engram, twin: ModelTwin, ticks: int) -> int:
    run, expected = e.run(ticks, record=("spikes",)), twin.run(ticks)
    np.testing.assert_array_equal(run.spikes[0], expected[0])
    np.testing.assert_array_equal(run.spikes[1], expected[1])
    assert_same_fields(e, twin)
    return len(run.spikes[0])


@pytest.mark.parametrize("memory", [1 << 28, 170_000])
def test_neurons_follow_their_own_parameters_in_any_memory(memory: int, tmp_path: Path) -> None:
    with make(tmp_path, spec_of(4000, (1.0, 4.5), 0.0), memory=memory) as e:
        ids = give(e)
        twin = model_twin_of(e)
        assert e.neuron(int(ids[0])).state == "dormant", "who was given parameters has a record"
        spikes = 0
        for seed in range(4):
            drive(e, twin, seed)
            spikes += run_both(e, twin, 40)
        assert spikes > 400
        if memory < 1 << 20:
            assert e.stats()["evictions"] > 0
        e._shut()  # a crash
    with engramdb.open(tmp_path / "net.engram", "r+", memory=memory) as e:
        assert_same_fields(e, twin)
        drive(e, twin, 6)
        run_both(e, twin, 40)
        e.snapshot("here")
        e.compact()
    assert not engramdb.verify(tmp_path / "net.engram").problems
    with engramdb.open(tmp_path / "net.engram", at="here") as e:
        assert_same_fields(e, twin)
        assert e.parameters([int(ids[0])])["refractory"][0] in range(5)


def test_parameters_change_while_neurons_are_charged_and_are_taken_back(tmp_path: Path) -> None:
    with make(tmp_path, spec_of()) as e:
        drawn = e.parameters(np.arange(800))["bias"]
        twin = model_twin_of(e)
        drive(e, twin, 1)
        run_both(e, twin, 5)
        e.set_parameters(range(800), bias=2.0, tau=9.0)
        twin.parts[0].constants["bias"] = np.full(800, np.float32(2))
        twin.parts[0].constants["decay"] = np.full(800, np.float32(np.exp(-1 / 9)))
        run_both(e, twin, 30)
        rest = e.neuron(799).fields["v"] - e.neuron(799).fields["u"]
        assert rest == pytest.approx(-68.0)
        e.set_parameters(range(800), bias=np.nan, tau=np.nan)
        np.testing.assert_array_equal(e.parameters(np.arange(800))["bias"], drawn)
        assert set(e.parameters(np.arange(800))["tau"]) == {20.0}


def test_records_that_come_to_be_later_have_no_parameters_of_their_own(tmp_path: Path) -> None:
    """By a spike, a new synapse, growing, or after a checkpoint behind."""
    with make(tmp_path, spec_of(weight=(0.5, 1.0))) as e:
        give(e)
        e.connect(1, 2, 3.0)
        e.connect(3, 1, 3.0)
        e.stimulate([4, 5, 6], 30.0)
        e.run(2)
        e.checkpoint(wait=False)
        e.stimulate([7, 8, 9], 30.0)
        e.run(2)
        e.checkpoint(wait=False)
        assert e.neuron(7).fields["spike_count"] == 1
        e.grow("a", 100, materialize=True)
        found = e.parameters([1, 4, 7, 850])
        assert (found["tau"] == 20).all()
        assert e.parameters([3])["tau"][0] != 20
        twin = model_twin_of(e)
        twin.tick = e.tick
        twin.left = e.neurons(twin.ids).fields["refractory"].astype(np.int64)
        for name in ("spike_count", "last_spike"):
            setattr(twin, name, e.neurons(twin.ids).fields[name].copy())
        twin.fired_at = {tick: twin.last_spike == tick for tick in range(e.tick - 1, e.tick + 1)}
        run_both(e, twin, 20)
        # forgetting spares those with parameters of their own
        before = np.array(e.neurons(range(12)).state)
        e.run(400)
        gone = e.forget(range(12))
        after = np.array(e.neurons(range(12)).state)
        assert 0 < gone <= 8
        assert (after[[0, 3, 6, 9]] == "dormant").all(), (before, after)
    assert not engramdb.verify(tmp_path / "net.engram").problems


def test_commits_that_differ_by_parameters_differ(tmp_path: Path) -> None:
    with make(tmp_path, spec_of()) as e:
        ids = give(e)
        e.snapshot("one")
        e.set_parameters(ids[:5], tau=7.0)
        assert e.diff("one").by_layer["a"].state_changed == 5
        e.restore("one")
        assert (e.parameters(ids[:5])["tau"] != 7).all()


def test_zarr_shows_them_with_their_units(tmp_path: Path) -> None:
    import zarr

    with make(tmp_path, spec_of()) as e:
        ids = np.sort(give(e))
        array = zarr.open_group(e.zarr(), mode="r")["a/0/param.tau"]
        assert array.attrs["units"] == "ms"
        np.testing.assert_array_equal(array[:], e.parameters(ids)["tau"])


def test_neurons_made_restless_in_a_materialized_layer_wake_up(tmp_path: Path) -> None:
    layer = Layer("a", segments=[200], columns=["bias"], materialize=True, wiring=FixedOutdegree(k=2, weight=0.1))
    with make(tmp_path, Spec(seed=3, layers=[layer])) as e:
        assert len(e.run(50, record=("spikes",)).spikes[0]) == 0
        e.set_parameters(range(0, 200, 4), bias=20.0)
        assert len(np.unique(e.run(60, record=("spikes",)).spikes[1])) == 50
        e._shut()
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert len(np.unique(e.run(60, record=("spikes",)).spikes[1])) == 50
        e.set_parameters(range(0, 200, 4), bias=np.nan)
        e.run(500)
        assert e.stats()["charged"] == 0


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    with make(tmp_path, spec_of()) as e:
        for ids, values, words in (
            ([1], {"v_reset": -60.0}, 'layer "a" keeps no v_reset'),
            ([1 << 48], {"tau": 9.0}, 'layer "plain" keeps no tau'),
            ([1, 2], {"tau": [1.0, -5.0]}, "tau of neuron 0/0/2: -5 is outside"),
            ([1], {"refractory": 1.5}, "refractory of neuron 0/0/1: 1.5 ms is no whole number"),
            ([1], {"v_threshold": -80.0}, "v_threshold of neuron 0/0/1: must lie above v_rest"),
            ([1, 2], {"bias": [1.0, 15.0]}, "neuron 0/0/2 would never rest"),
            ([1, 2], {"bias": [1.0, 2.0, 3.0]}, "expected a number or 2 numbers"),
            ([1, 1], {"bias": 1.0}, "given twice"),
        ):
            with pytest.raises(InvalidInput, match=words) as caught:
                e.set_parameters(ids, **values)
            assert "\n" not in str(caught.value)
        assert e.neuron(1).state == "virtual"
    for columns, words in ((["taw"], 'did you mean "tau"'), (["tau", "tau"], "twice"), (5, "must be a list")):
        with pytest.raises(InvalidSpec, match=words):
            Spec(layers=[Layer("a", segments=[1], columns=columns)])  # type: ignore[arg-type]
    spec = spec_of()
    assert Spec.from_json(spec.to_json()) == spec
