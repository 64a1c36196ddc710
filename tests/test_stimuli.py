"""Input of all kinds: what arrives when, and that nothing else matters."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, Layer, SmallWorld, Spec
from engramdb.bursts import Bursts
from engramdb.errors import BudgetExceeded, InvalidInput, NotFound
from engramdb.workers import Workers
from tests.networks import assert_same_state, ids_of, make, specs, twin_of
from tests.simulator import Simulator
from tests.test_poisson import twin_train

PLAIN = Spec(seed=5, layers=[Layer("a", segments=[40], params={"refractory": 0.0})])
WIRED = Spec(seed=5, layers=[Layer("a", segments=[600], wiring=SmallWorld(k=10, weight=(0.5, 2.5)))])


def inputs(e: Engram, neuron: int, ticks: int) -> list[float]:
    """What arrives at a neuron that never fires, tick by tick, from how its potential changes."""
    decay, before, found = np.float32(np.exp(-1 / 20)), np.float32(e.neuron(neuron).fields["u"]), []
    for _ in range(ticks):
        e.run(1)
        after = np.float32(e.neuron(neuron).fields["u"])
        found.append(float(np.round(after - before * decay, 4)))
        before = after
    return found


def drive(e: Engram, seed: int) -> None:
    """Some of everything."""
    random, ids = np.random.default_rng(seed), ids_of(e)
    some = random.choice(ids, max(3, len(ids) // 4), replace=False)
    e.poisson(some, random.uniform(0, 60, len(some)), random.uniform(2, 18, len(some)), at=3)
    e.poisson(some[:3], 1500.0, 4.0, duration=25)
    e.stimulate(some[:5], 6.0, duration=None)
    e.stimulate(some[2:4], [3.0, [9.0, -4.0], 1.0], duration=[7, 9, 20], at=4)
    spikes = random.integers(0, len(ids), 120)
    e.play(ids[spikes], random.integers(1, 45, 120), random.uniform(5, 20, 120).astype(np.float32))


def drive_twin(twin: Simulator, seed: int, spec_seed: int) -> None:
    random, ids = np.random.default_rng(seed), twin.ids
    some = random.choice(ids, max(3, len(ids) // 4), replace=False)
    rates, amplitudes = random.uniform(0, 60, len(some)), random.uniform(2, 18, len(some))

    def poisson(number: int, who: np.ndarray, hz: Any, mv: Any, start: int, stop: int) -> None:
        for neuron, rate, amplitude in zip(
            who, np.broadcast_to(hz, len(who)), np.broadcast_to(mv, len(who)), strict=True
        ):
            for tick in twin_train(spec_seed, number, int(neuron), float(rate) * 0.001, stop) if rate > 0 else ():
                if tick >= start:
                    place = np.searchsorted(ids, [neuron])
                    twin.stimulate(place, np.array([amplitude], dtype=np.float32), tick)

    poisson(0, some, rates, amplitudes, 3, 60)
    poisson(1, some[:3], 1500.0, 4.0, 1, 25)
    twin.stimulate(np.searchsorted(ids, some[:5]), np.full(len(some[:5]), 6, dtype=np.float32), 1, 10_000)
    pair = np.searchsorted(ids, some[2:4])
    for start, duration, amplitude in ((4, 7, [3.0, 3.0]), (11, 9, [9.0, -4.0]), (20, 20, [1.0, 1.0])):
        twin.stimulate(pair, np.array(amplitude[: len(pair)], dtype=np.float32), start, duration)
    spikes, ticks = random.integers(0, len(ids), 120), random.integers(1, 45, 120)
    for place, tick, amplitude in zip(spikes, ticks, random.uniform(5, 20, 120).astype(np.float32), strict=True):
        twin.stimulate(np.array([place]), np.array([amplitude]), int(tick))


@settings(max_examples=max(3, settings().max_examples // 5))
@given(spec=specs(), seed=st.integers(0, 99))
def test_all_kinds_of_input_give_what_the_twin_gives(spec: Spec, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, make(Path(folder), spec) as e:
        twin = twin_of(e)
        drive(e, seed)
        drive_twin(twin, seed, spec.seed)
        run, expected = e.run(50, record=("spikes",)), twin.run(50)
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert_same_state(e, twin)


def whole_run(folder: Path, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    folder.mkdir()
    with make(folder, WIRED, **options) as e:
        drive(e, 1)
        spikes = e.run(60, record=("spikes",)).spikes
        return spikes, e.neurons(ids_of(e)).fields


def same(one: Any, other: Any) -> None:
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    for name, column in one[1].items():
        np.testing.assert_array_equal(column, other[1][name])


@pytest.mark.parametrize("cut", ["checkpoint", "reopen", "restore", "journal"])
def test_a_cut_anywhere_changes_nothing(tmp_path: Path, cut: str) -> None:
    whole = whole_run(tmp_path / "whole")
    assert len(whole[0][0]) > 200
    (tmp_path / "cut").mkdir()
    e = make(tmp_path / "cut", WIRED)
    drive(e, 1)
    parts = []
    for ticks in (2, 1, 14, 0, 20, 23):
        parts.append(e.run(ticks, record=("spikes",)).spikes)
        if cut == "checkpoint":
            e.checkpoint(wait=False)
        elif cut == "restore":
            name = f"at {e.tick} {ticks}"
            e.snapshot(name)
            e.run(5)
            e.stop_stimuli()
            e.restore(name)
        else:
            if cut == "journal":
                e._shut()  # as a process that dies: no checkpoint, the journal is all there is
            e.close()
            e = engramdb.open(e.location, "r+")
    with e:
        same(whole, ([np.concatenate(x) for x in zip(*parts, strict=True)], e.neurons(ids_of(e)).fields))


def test_threads_and_memory_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = whole_run(tmp_path / "whole")
    same(whole, whole_run(tmp_path / "small", memory=90_000))
    monkeypatch.setattr(Workers, "least_rows", 1)
    monkeypatch.setattr(Workers, "least_blocks", 1)
    monkeypatch.setattr(Bursts, "most_blocks", 0)
    same(whole, whole_run(tmp_path / "threads", threads=3))


def test_another_process_draws_the_same(tmp_path: Path) -> None:
    code = (
        "import sys, engramdb\n"
        "with engramdb.open(sys.argv[1], 'r+') as e:\n"
        "    print(*e.run(40, record=('spikes',)).spikes[1][:50])\n"
    )
    said = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with make(tmp_path / name, WIRED) as e:
            e.poisson(np.arange(0, 600, 5), 200.0, 7.0)
        done = subprocess.run([sys.executable, "-c", code, str(e.location)], capture_output=True, text=True, check=True)
        said.append(done.stdout)
    assert said[0] == said[1]
    assert len(said[0].split()) == 50


def test_poisson_trains_do_not_depend_on_other_stimuli(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        e.snapshot("empty")
        e.poisson([1, 2, 3], 400.0, 20.0)
        alone = e.run(50, record=("spikes",)).spikes
        e.restore("empty")
        assert e.poisson([3, 1], 400.0, 20.0) == 0, "the same number again"
        e.poisson([3, 7], 900.0, 20.0)
        e.stimulate([9], 30.0, duration=50)
        mixed = e.run(50, record=("spikes",)).spikes
    ones = [spikes[0][spikes[1] == 1].tolist() for spikes in (alone, mixed)]
    assert ones[0] == ones[1] == sorted(set(twin_train(5, 0, 1, 0.4, 50)))
    assert set(alone[0][alone[1] == 3]) < set(mixed[0][mixed[1] == 3])


def test_only_neurons_that_get_an_event_are_awake(tmp_path: Path) -> None:
    spec = Spec(seed=1, layers=[Layer("a", segments=[4_000_000_000])])
    with make(tmp_path, spec) as e:
        e.poisson(np.arange(0, 4_000_000_000, 40_000), 0.1, 1.0)
        e.run(30)
        reached = e.stats()["resident"]
        assert 200 < reached < 420, "100,000 neurons, 30 ms, 0.1 Hz: 300 events"
        assert e.stats()["stimuli_bytes"] >= 100_000 * 40


def test_a_current_lasts_until_it_is_stopped(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        first = e.stimulate([1, 2], 0.5, duration=None)
        second = e.stimulate(2, 0.25, at=3, duration=None)
        assert (first, second) == (0, 1)
        assert inputs(e, 2, 4) == [0.5, 0.5, 0.75, 0.75]
        assert [(s.number, s.kind, s.neurons, s.start, s.stop) for s in e.stimuli()] == [
            (0, "current", 2, 1, None), (1, "current", 1, 3, None),
        ]  # fmt: skip
        assert e.stop_stimuli(first) == 1
        assert inputs(e, 2, 2) == [0.25, 0.25]
        e.close()
    with engramdb.open(e.location, "r+") as e:
        assert inputs(e, 2, 2) == [0.25, 0.25]
        assert e.stop_stimuli() == 1
        assert e.stimuli() == []
        assert inputs(e, 2, 1) == [0.0]
        assert e.stimulate(1, 1.0) == 2, "numbers are never given again"


def test_a_current_changes_in_steps(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        number = e.stimulate([3, 4], [0.5, [1.0, 2.0], 0.125], duration=[2, 1, None], at=2)
        assert [(s.number, s.neurons, s.start, s.stop) for s in e.stimuli()] == [(number, 2, 2, None)]
        assert inputs(e, 4, 6) == [0.0, 0.5, 0.5, 2.0, 0.125, 0.125]
        e.stop_stimuli(number)
        assert inputs(e, 4, 1) == [0.0]


def test_a_tick_may_hold_several_spikes_of_a_neuron(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        e.play([5, 5, 6, 5], [3, 2, 2, 3], [0.5, 1.0, 9.0, 0.25])
        e.play(5, [2, 4], 0.125)
        assert [(s.kind, s.neurons, s.start, s.stop) for s in e.stimuli()] == [("train", 4, 2, 3), ("train", 2, 2, 4)]
        assert inputs(e, 5, 5) == [0.0, 1.125, 0.75, 0.125, 0.0]
        assert e.stimuli() == []


def test_what_is_listed_does_not_depend_on_how_a_run_is_cut(tmp_path: Path) -> None:
    """Of a train that has begun a commit keeps what is still to come."""
    with make(tmp_path, PLAIN) as e:
        e.play([1, 2, 3, 4], [2, 5, 7, 9], 0.5)
        e.stimulate([1, 2], [0.5, 0.25, 0.5], duration=[3, 4, None])
        e.poisson([5, 6], 10.0, 0.5, at=2, duration=20)
        e.run(5)
        listed = e.stimuli()
        assert [(s.neurons, s.start, s.stop) for s in listed] == [(2, 7, 9), (2, 4, None), (2, 2, 21)]
        e.snapshot("here")
        e.restore("here")
        assert e.stimuli() == listed
        e._shut()
    with engramdb.open(e.location, "r+") as e:
        assert e.stimuli() == listed


def test_the_next_tick_with_input_is_known(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        stimuli = e._live.stimuli
        assert stimuli.next_tick(0) is None
        e.play([1, 2], [900, 40], 1.0)
        assert (stimuli.next_tick(0), stimuli.next_tick(40), stimuli.next_tick(900)) == (40, 900, None)
        e.stimulate(3, 1.0, at=30, duration=2)
        assert (stimuli.next_tick(0), stimuli.next_tick(30), stimuli.next_tick(31)) == (30, 31, 40)
        number = e.poisson(8, 2.0, 1.0)
        expected = twin_train(5, number, 8, 0.002, 5000)
        assert stimuli.next_tick(0) == min(30, expected[0])
        e.stop_stimuli(0, 1)
        assert stimuli.next_tick(0) == expected[0]


def test_input_too_large_for_the_budget_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    with make(tmp_path, Spec(layers=[Layer("a", segments=[100_000])]), memory=300_000) as e:
        with pytest.raises(BudgetExceeded, match=r"no room for 100,000 more spikes of a train: .* more are needed"):
            e.play(np.arange(100_000), np.arange(100_000) + 1, 1.0)
        with pytest.raises(BudgetExceeded, match="no room for Poisson input to 100,000 neurons"):
            e.poisson(np.arange(100_000), 1.0, 1.0)
        assert e.stimuli() == []
        e.run(1)
    with engramdb.open(e.location, "r+") as e:
        assert (e.tick, e.stimuli()) == (1, [])


def test_diff_shows_input_still_to_come(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        e.snapshot("before")
        e.poisson([1, 2], 5.0, 1.0)
        e.play([1, 2, 3], [5, 6, 7], 1.0)
        found = e.diff("before").in_flight
        assert found.stimuli == (0, 5)
        assert "poisson_id" in found.differing


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda e: e.poisson([1, 1], 5.0, 1.0), InvalidInput, "0/0/1 is given more than once"),
        (lambda e: e.poisson(1, -5.0, 1.0), InvalidInput, "rate_hz -5"),
        (lambda e: e.poisson(1, float("nan"), 1.0), InvalidInput, "rate_hz nan"),
        (lambda e: e.poisson(1, 1e9, 1.0), InvalidInput, "to 1e[+]06 Hz"),
        (lambda e: e.poisson([1, 2], [1.0, 2.0, 3.0], 1.0), InvalidInput, "expected a number or 2 numbers"),
        (lambda e: e.poisson(1, 5.0, 1e9), InvalidInput, "at most 16384"),
        (lambda e: e.poisson(1, 5.0, 1.0, duration=0), InvalidInput, "at least one tick"),
        (lambda e: e.poisson(99, 5.0, 1.0), NotFound, "0/0/99 does not exist"),
        (lambda e: e.stimulate(1, [1.0], duration=[1, 2]), InvalidInput, "1 steps and duration 2"),
        (lambda e: e.stimulate(1, [1.0, 2.0], duration=[None, 2]), InvalidInput, "only the last step"),
        (lambda e: e.play([1, 2], [1, 2, 3], 1.0), InvalidInput, "2 ids and 3 ticks"),
        (lambda e: e.play([1], [0], 1.0), InvalidInput, "0 is past"),
        (lambda e: e.play([1], [1.5], 1.0), InvalidInput, "whole numbers"),
        (lambda e: e.stop_stimuli(4), NotFound, "no stimulus 4"),
    ],
)
def test_bad_requests_get_one_clear_line(tmp_path: Path, call: Any, error: type[Exception], words: str) -> None:
    with make(tmp_path, PLAIN) as e:
        with pytest.raises(error, match=words) as caught:
            call(e)
        assert "\n" not in str(caught.value)
        assert e.stimuli() == []


@pytest.mark.parametrize("dt_ms", [0.1, 0.5])
@pytest.mark.parametrize(
    ("model", "drive", "current"), [("lif", "bias", 20.0), ("lif_exp", "bias", 20.0), ("dense_lif", "bias", 20.0),
                                    ("adex", "i_e", 800.0), ("izhikevich", "i_e", 10.0)],
)  # fmt: skip
def test_a_current_does_what_the_constant_drive_of_a_model_does_whatever_the_tick(
    tmp_path: Path, model: str, drive: str, current: float, dt_ms: float
) -> None:
    def spikes(params: dict[str, float], injected: float) -> int:
        spec = Spec(dt_ms=dt_ms, layers=[Layer("a", model=model, segments=[3], params=params, materialize=True)])
        with engramdb.create(tmp_path / f"{injected}.engram", spec) as e:
            if injected:
                e.inject([0, 2], injected)
            counts = e.run(round(600 / dt_ms), record=("spikes",)).spikes[1]
        return int((counts == 2).sum())

    driven = spikes({drive: current}, 0.0)
    assert driven > 5
    assert abs(spikes({}, current) - driven) <= 1


def test_a_current_in_steps_follows_parameters_of_each_neurons_own(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", model="lif_exp", segments=[2], columns=["tau_syn"], params={"v_threshold": 0.0})])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        e.set_parameters([1], tau_syn=10.0)
        e.inject([0, 1], [5.0, [0.0, 8.0]], duration=[400, None])
        e.run(400)
        np.testing.assert_allclose(e.neurons([0, 1]).fields["v"], [-65.0, -65.0], atol=0.01)
        e.run(600)
        np.testing.assert_allclose(e.neurons([0, 1]).fields["v"], [-70.0, -62.0], atol=0.01)


def test_what_takes_no_current_is_refused_and_stimuli_are_stopped_by_lists_too(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[2]), Layer("b", model="lif_cond", segments=[2])])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        with pytest.raises(InvalidInput, match='inject: the input of model "lif_cond"'):
            e.inject(["1/0/0"], 5.0)
        numbers = [e.inject([0], 5.0), e.stimulate([1], 5.0, duration=None), e.inject([1], 1.0)]
        assert e.stop_stimuli([]) == 0, "none of them is not all of them"
        assert len(e.stimuli()) == 3
        assert e.stop_stimuli(numbers[:2]) == 2
        assert e.stop_stimuli() == 1
