"""The engine against its NumPy twin, spike for spike and bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import FixedOutdegree, Layer, SmallWorld, Spec
from engramdb.errors import BudgetExceeded, InvalidInput, NotFound, ReadOnly
from tests.networks import assert_same_state, ids_of, make, specs, twin_of


@given(spec=specs(), data=st.data())
def test_every_spike_and_every_bit_of_state_equals_the_twin(spec: Spec, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, make(Path(folder), spec) as e:
        twin = twin_of(e)
        places = st.lists(st.integers(0, len(twin.ids) - 1), min_size=1, max_size=30)
        for _ in range(data.draw(st.integers(1, 3))):
            driven = np.array(data.draw(places))
            amplitude = np.float32(data.draw(st.sampled_from([4.0, 15.0, 20.0, -3.0])))
            later, duration = data.draw(st.integers(1, 10)), data.draw(st.integers(1, 4))
            e.stimulate(twin.ids[driven], amplitude, at=e.tick + later, duration=duration)
            twin.stimulate(driven, np.full(len(driven), amplitude), twin.tick + later, duration)
            ticks = data.draw(st.integers(1, 25))
            run = e.run(ticks, record=("spikes",))
            expected = twin.run(ticks)
            np.testing.assert_array_equal(run.spikes[0], expected[0])
            np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert_same_state(e, twin)


def test_a_network_of_thousands_driven_hard_equals_the_twin(tmp_path: Path) -> None:
    spec = Spec(
        seed=5, layers=[Layer("a", segments=[4000], wiring=SmallWorld(k=12, long_fraction=0.1, weight=(3.0, 9.0)))]
    )
    with make(tmp_path, spec) as e:
        twin = twin_of(e)
        for _ in range(4):
            driven = np.random.default_rng(e.tick).choice(4000, 400, replace=False)
            e.stimulate(twin.ids[driven], 16.0)
            twin.stimulate(driven, np.full(400, np.float32(16)), twin.tick + 1)
            run = e.run(30, record=("spikes",))
            expected = twin.run(30)
            np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert len(run.spikes[1]) > 1000, "the network must be busy for this test to mean anything"
        assert_same_state(e, twin)


def test_neurons_biased_over_threshold_fire_for_ever_from_their_initial_potential(tmp_path: Path) -> None:
    layer = Layer(
        "a", segments=[700], params={"bias": (12.0, 30.0), "v_init": (-70.0, -55.0)},
        wiring=FixedOutdegree(k=5, weight=0.2), materialize=True,
    )  # fmt: skip
    with make(tmp_path, Spec(seed=11, layers=[layer])) as e:
        twin = twin_of(e)
        run = e.run(150, record=("spikes",))
        expected = twin.run(150)
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert len(np.unique(run.spikes[1][run.spikes[0] > 100])) > 350
        assert_same_state(e, twin)


def test_only_what_is_touched_is_awake(tmp_path: Path) -> None:
    spec = Spec(seed=1, layers=[Layer("a", segments=[4_000_000_000] * 25, wiring=SmallWorld(k=12, weight=0.4))])
    with make(tmp_path, spec) as e:
        assert len(e) == 10**11
        e.stimulate("0/24/3999999999", amplitude=15.0)
        run = e.run(5, record=("spikes",))
        assert run.spikes[1].tolist() == [24 << 32 | 3_999_999_999]
        assert e.neuron("0/24/3999999999").state == "active"
        assert e.stats()["charged"] <= 13
        assert e.neuron("0/3/77").state == "virtual"
        e.run(400)
        assert e.stats()["charged"] == 0, "all potentials have decayed to exact rest"
    with engramdb.open(tmp_path / "net.engram") as e:
        neuron = e.neuron("0/24/3999999999")
        assert (neuron.state, neuron.fields["spike_count"], neuron.fields["last_spike"]) == ("dormant", 1, 1)
    assert sum(f.stat().st_size for f in (tmp_path / "net.engram").rglob("*") if f.is_file()) < 1_000_000


def test_life_cycle_virtual_charged_active_dormant(tmp_path: Path) -> None:
    spec = Spec(seed=1, layers=[Layer("a", segments=[1000], wiring=SmallWorld(k=4, weight=3.0))])
    with make(tmp_path, spec) as e:
        assert e.neuron(7).state == "virtual"
        e.stimulate(7, 10.0)
        e.run(1)
        assert e.neuron(7).state == "charged"
        assert e.neuron(7).fields["u"] == 10.0
        e.stimulate(7, 10.0)
        e.run(1)
        assert e.neuron(7).state == "active"
        assert e.neuron(7).fields["refractory"] == 2
        target = int(e.synapses(7).targets[0])
        e.run(1)
        assert e.neuron(target).state == "charged"
        e.run(300)
    with engramdb.open(tmp_path / "net.engram") as e:
        assert e.neuron(7).state == "dormant"
        assert e.neuron(target).state == "virtual"


def test_a_stimulus_lasts_as_many_ticks_as_asked_and_begins_when_asked(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[10], params={"refractory": 0.0})])
    with make(tmp_path, spec) as e:
        e.stimulate([1, 2], [16.0, 17.0], at=4, duration=3)
        run = e.run(10, record=("spikes",))
        assert run.spikes[0].tolist() == [4, 4, 5, 5, 6, 6]
        assert run.spikes[1].tolist() == [1, 2, 1, 2, 1, 2]
        assert run.rates() == {1: 300.0, 2: 300.0}


def test_spikes_stream_to_parquet_as_they_are_recorded_in_memory(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    spec = Spec(seed=5, layers=[Layer("a", segments=[500], wiring=SmallWorld(k=12, weight=(1.0, 3.0)))])
    recorded = []
    for name in ("memory", "file"):
        (tmp_path / name).mkdir()
        with make(tmp_path / name, spec) as e:
            e.stimulate(np.arange(0, 500, 3), 16.0, duration=5)
            to = tmp_path / "spikes.parquet" if name == "file" else None
            run = e.run(40, record=("spikes",), to=to)
            recorded.append(run.spikes)
    table = pq.read_table(tmp_path / "spikes.parquet")
    assert len(recorded[0][0]) > 500
    assert len(recorded[1][0]) == 0
    np.testing.assert_array_equal(table["tick"].to_numpy(), recorded[0][0])
    np.testing.assert_array_equal(table["id"].to_numpy(), recorded[0][1])
    assert not (tmp_path / "spikes.parquet.part").exists()


def test_until_ends_the_run_after_the_tick_that_meets_it(tmp_path: Path) -> None:
    with make(tmp_path, Spec(layers=[Layer("a", segments=[10])])) as e:
        e.stimulate(3, 20.0, at=5)
        run = e.run(100, until=lambda tick, ids: 3 in ids)
        assert (run.ticks, e.tick) == (5, 5)


def test_a_budget_too_small_for_what_is_active_stops_the_run_with_the_state_whole(tmp_path: Path) -> None:
    spec = Spec(seed=2, layers=[Layer("a", segments=[3000], wiring=SmallWorld(k=12, weight=(1.0, 3.0)))])
    with make(tmp_path, spec, memory=20_000) as e:
        twin = twin_of(e)
        e.stimulate(np.arange(600), 16.0)
        twin.stimulate(np.arange(600), np.full(600, np.float32(16)), 1)
        with pytest.raises(BudgetExceeded, match=r"memory budget of 20,000 bytes .* more are needed"):
            e.run(50)
        reached = e.tick
    with engramdb.open(tmp_path / "net.engram", "r+", memory="64MiB") as e:
        assert e.tick == reached
        e.run(50 - reached)
        twin.run(50)
        assert_same_state(e, twin)


def test_bad_requests_get_one_clear_line(tmp_path: Path) -> None:
    with make(tmp_path, Spec(layers=[Layer("a", segments=[10])])) as e:
        for call, error, words in (
            (lambda: e.stimulate(10, 5.0), NotFound, "neuron 0/0/10 does not exist"),
            (lambda: e.stimulate(1, float("nan")), InvalidInput, "must be finite"),
            (lambda: e.stimulate(1, 1e6), InvalidInput, "at most 16384"),
            (lambda: e.stimulate(1, 5.0, duration=0), InvalidInput, "at least one tick"),
            (lambda: e.run(-1), InvalidInput, "0 or more"),
            (lambda: e.run(1, record=("voltage",)), InvalidInput, 'unknown "voltage"'),
            (lambda: e.run(1, to="/no/such/folder/x.parquet"), NotFound, "does not exist"),
            (lambda: e.stimulate(1, 5.0, at=0), InvalidInput, "is past"),
            (lambda: e.connect(1, 2, 1.0), InvalidInput, "no projection joins"),
            (lambda: e.neuron("1/2"), InvalidInput, "is not a neuron id"),
            (lambda: e.synapses(1, direction="up"), InvalidInput, 'expected "out" or "in"'),
        ):
            with pytest.raises(error, match=words) as caught:
                call()
            assert "\n" not in str(caught.value)
        assert e.tick == 0
    with engramdb.open(tmp_path / "net.engram") as e:
        with pytest.raises(ReadOnly, match="open for reading"):
            e.run(1)
        with pytest.raises(ReadOnly, match="open for reading"):
            e.snapshot("x")


def test_ids_at_and_above_two_to_the_63_work_everywhere(tmp_path: Path) -> None:
    wiring = SmallWorld(k=6, long_fraction=0.3, span=10, weight=8.0)
    spec = Spec(seed=3, layers=[Layer("top", index=65535, segments=[(65535, 200), (32768, 100)], wiring=wiring)])
    with make(tmp_path, spec) as e:
        ids = ids_of(e)
        assert int(ids[0]) > 2**63
        twin = twin_of(e)
        e.stimulate(ids[::7], 16.0)
        twin.stimulate(np.arange(0, 300, 7), np.full(43, np.float32(16)), 1)
        run = e.run(40, record=("spikes",))
        np.testing.assert_array_equal(run.spikes[1], twin.run(40)[1])
        e.snapshot("s")
        assert e.neuron(int(ids[0])).address == "65535/32768/0"
        assert int(ids[7]) in e.synapses(int(e.synapses(int(ids[7]), "in").sources[0])).targets
    with engramdb.open(tmp_path / "net.engram", at="s") as e:
        assert_same_state(e, twin)


def test_growing_adds_neurons_and_changes_no_existing_row(tmp_path: Path) -> None:
    spec = Spec(seed=8, layers=[Layer("a", segments=[400], wiring=SmallWorld(k=8, span=20, weight=(1.0, 9.0)))])
    with make(tmp_path, spec) as e:
        e.stimulate(np.arange(0, 400, 5), 16.0)
        e.run(6)
        before = [e.synapses(i) for i in range(400)]
        e.snapshot("small")
        e.grow("a", 300, k=5)
        e.grow("a", 50, materialize=True)
        assert len(e) == 750
        for i, row in enumerate(before):
            after = e.synapses(i)
            np.testing.assert_array_equal(after.targets, row.targets)
            np.testing.assert_array_equal(after.weights, row.weights)
        assert len(e.synapses(450)) == 5
        assert e.neuron(720).state == "dormant"
        twin = twin_of(e)
        with engramdb.open(tmp_path / "net.engram", at="small") as reader:
            assert len(reader) == 400
        ids = np.arange(400, 750, 7)
        e.stimulate(ids, 16.0)
        twin.tick = e.tick
        state = e.neurons(twin.ids)
        twin.u, twin.left = state.fields["u"].copy(), state.fields["refractory"].astype(np.int64)
        twin.spike_count, twin.last_spike = (state.fields[n].copy() for n in ("spike_count", "last_spike"))
        twin.fired_at = {e.tick: twin.last_spike == e.tick}
        twin.stimulate(ids.astype(np.int64), np.full(len(ids), np.float32(16)), e.tick + 1)
        np.testing.assert_array_equal(e.run(30, record=("spikes",)).spikes[1], twin.run(30)[1])
        assert_same_state(e, twin)
        e._shut()  # a crash: growth must be replayed from the journal
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert len(e) == 750
        assert_same_state(e, twin)


def test_grown_neurons_of_a_driven_layer_are_born_awake(tmp_path: Path) -> None:
    params = {"bias": 30.0, "v_init": (-70.0, -60.0)}
    layer = Layer("a", segments=[100], params=params, wiring=FixedOutdegree(k=3, weight=0.1), materialize=True)
    with make(tmp_path, Spec(seed=6, layers=[layer])) as e:
        e.run(5)
        e.grow("a", 60)
        run = e.run(40, record=("spikes",))
        assert len(np.unique(run.spikes[1])) == 160


def test_incoming_synapses_of_virtual_and_changed_neurons_equal_brute_force(tmp_path: Path) -> None:
    spec = Spec(seed=8, layers=[Layer("a", segments=[300, 200], wiring=SmallWorld(k=9, long_fraction=0.3, span=10))])
    with make(tmp_path, spec) as e:
        e.connect([3, 7, 9], ids_of(e)[[450, 451, 3]], 2.5)
        e.set_weight(20, e.synapses(20).targets[:1], 0.25)
        e.stimulate(np.arange(30), 16.0)
        e.run(5)
        ids = ids_of(e)
        rows = {int(i): e.synapses(int(i)) for i in ids}
        for target in [int(ids[450]), int(ids[3]), int(rows[20].targets[0]), int(ids[499])]:
            expected = sorted(
                (i, float(w))
                for i, row in rows.items()
                for t, w in zip(row.targets, row.weights, strict=True)
                if t == target
            )
            found = e.synapses(target, direction="in")
            assert sorted(zip(found.sources.tolist(), found.weights.tolist(), strict=True)) == expected


def test_within_a_run_nothing_is_done_that_would_leave_its_engine_behind(tmp_path: Path) -> None:
    spec = Spec(seed=1, layers=[Layer("a", segments=[50], wiring=SmallWorld(k=4, span=9, weight=2.0))])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        e.snapshot("start")
        e.stimulate([1, 2], 20.0, duration=5)
        attempts = [lambda: e.grow("a", 10), lambda: e.restore("start"), lambda: e.run(3), lambda: e.close()]
        said: list[str] = []

        def until(tick: int, _: np.ndarray) -> bool:
            if tick > 4 and attempts:
                with pytest.raises(InvalidInput, match="is under way") as error:
                    attempts.pop(0)()
                said.append(str(error.value).split(":")[0])
            e.stimulate([7], 1.0)  # what leaves the engine where it is may be done
            return False

        run = e.run(20, until=until)
        assert (run.ticks, e.tick, said) == (20, 20, ["grow", "restore", "run", "close"])
        before = e.neurons(range(50)).fields["u"].copy()
        e._shut()  # as a crash would
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert e.tick == 20
        np.testing.assert_array_equal(e.neurons(range(50)).fields["u"], before)
        e.grow("a", 10)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda e: e.run(1.5), "ticks=1.5"),
        (lambda e: e.run("5"), "ticks='5'"),
        (lambda e: e.run(float("nan")), "ticks=nan"),
        (lambda e: e.run(None), "ticks=None"),
        (lambda e: e.run(2, until="quiet"), "until='quiet'"),
        (lambda e: e.run(2, to=5), "to=5"),
        (lambda e: e.run(2, record=("v",), record_ids=[1], every=1.5), "every=1.5"),
        (lambda e: e.stimulate([1], 1.0, duration=2.9), "duration=2.9"),
        (lambda e: e.stimulate([1], 1.0, duration=float("nan")), "duration=nan"),
        (lambda e: e.stimulate([1], 1.0, at=3.5), "at=3.5"),
        (lambda e: e.stimulate(3, 0.2, duration=[1, 3]), "1 steps and duration 2"),
        (lambda e: e.stimulate([1], "5"), "amplitude: expected a number"),
        (lambda e: e.stimulate([1], True), "amplitude: expected a number"),
        (lambda e: e.poisson([1], 5.0, 1.0, duration=1.5), "duration=1.5"),
        (lambda e: e.play_file("x.parquet", 1.0, ticks=5), "ticks=5"),
        (lambda e: e.play_file("x.parquet", 1.0, ticks=(5, 2)), "ticks="),
        (lambda e: e.stop_stimuli("a"), "stop_stimuli"),
    ],
)
def test_what_is_no_whole_number_is_refused_and_not_rounded(tmp_path: Path, ask: Any, told: str) -> None:
    with engramdb.create(tmp_path / "net.engram", Spec(layers=[Layer("a", segments=[9])])) as e:
        with pytest.raises(InvalidInput) as error:
            ask(e)
        assert told in str(error.value)
        assert "\n" not in str(error.value)
        assert e.tick == 0
        assert not e.stimuli()
        assert e.run(np.int64(2)).ticks == 2
        assert e.run(1.0).ticks == 1
        path = e.location
    with pytest.raises(InvalidInput, match="threads='2'"):
        engramdb.open(path, "r+", threads="2")
