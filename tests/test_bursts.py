"""Ticks run in one call, and ticks that pass at once, equal ticks run one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.bursts import Bursts
from engramdb.engine import Engine
from engramdb.errors import BudgetExceeded, InvalidInput
from engramdb.kernels import burst as kernel
from engramdb.run import MOST_TICKS
from tests.networks import assert_same_state, ids_of, make, specs, twin_of
from tests.test_poisson import twin_train


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    """Leave only :meth:`Engine.step`."""
    patch.setattr(Bursts, "run", lambda *_: None)
    patch.setattr(Engine, "_quiet_ticks", lambda *_: 0)


def driven(e: Engram) -> None:
    ids = ids_of(e)
    random = np.random.default_rng(len(ids))
    for at, duration in ((1, 2), (2, 7), (9, 1), (60, 1)):
        chosen = random.choice(ids, min(30, len(ids)), replace=False)
        e.stimulate(chosen, 16.0, at=e.tick + at, duration=duration)
    e.poisson(ids[::3], random.choice([30.0, 900.0]), 9.0, at=e.tick + 20, duration=70)
    e.poisson(ids, np.linspace(0.0, 200.0, len(ids)), 5.0)
    e.play(random.choice(ids, 40), e.tick + random.integers(1, 120, 40), random.uniform(-9, 16, 40))


@given(spec=specs(largest=400), cuts=st.sets(st.integers(1, 119), max_size=4))
def test_bursts_equal_ticks_run_one_by_one(spec: Spec, cuts: set[int]) -> None:
    results = []
    for ends in ([120], [*sorted(cuts), 120]):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            if not results:
                one_by_one(patch)
            with make(Path(folder), spec) as e:
                driven(e)
                runs = [e.run(end - e.tick, record=("spikes",)) for end in ends]
                spikes = (np.concatenate([run.spikes[i] for run in runs]) for i in (0, 1))
                events = np.array([sum(run.stats["synaptic_events"] for run in runs)])
                counts = np.concatenate([run.counts for run in runs])
                results.append([*spikes, counts, events, *e.neurons(ids_of(e)).fields.values()])
    for alone, together in zip(*results, strict=True):
        np.testing.assert_array_equal(alone, together)


@pytest.fixture
def busy(tmp_path: Path) -> Engram:
    """A resident network that fires by itself."""
    params = {"bias": (12.0, 30.0), "v_init": (-70.0, -55.0)}
    layer = Layer("a", segments=[300], params=params, wiring=FixedOutdegree(k=9, weight=0.2), materialize=True)
    with make(tmp_path, Spec(seed=3, layers=[layer])) as e:
        yield e


def test_a_resident_network_is_run_many_ticks_a_call(busy: Engram) -> None:
    busy.run(200)
    before = busy.tick
    stretch = busy._live.advance(1000)
    assert stretch.ticks >= 32
    assert busy.tick == before + stretch.ticks
    assert stretch.counts.sum() == len(stretch.fired) > 0


def test_poisson_input_and_given_trains_go_into_a_burst(busy: Engram) -> None:
    twin = twin_of(busy)
    random = np.random.default_rng(5)
    places, at = random.integers(0, 300, 4000), np.sort(random.integers(1, 301, 4000))
    busy.play(places, at, 2.0)
    number = busy.poisson(np.arange(300), 40.0, 1.5)
    for place in range(300):
        for tick in twin_train(3, number, place, 0.04, 300):
            twin.stimulate(np.array([place]), np.array([1.5], dtype=np.float32), tick)
    for place, tick in zip(places, at, strict=True):
        twin.stimulate(np.array([place]), np.array([2.0], dtype=np.float32), int(tick))
    busy.run(100)
    twin.run(100)
    stretch = busy._live.advance(1000)
    assert stretch.ticks >= 32
    twin.run(stretch.ticks)
    assert_same_state(busy, twin)
    busy.run(300 - busy.tick)
    twin.run(300 - twin.tick)
    assert_same_state(busy, twin)


def test_a_burst_takes_a_tick_back_in_which_a_slot_cannot_be_taken(tmp_path: Path) -> None:
    """Rows are there and their targets are not: amid delivery the index is full, and only Python enlarges it."""
    spec = Spec(
        seed=9,
        layers=[Layer("a", segments=[10]), Layer("b", segments=[500])],
        projections=[Projection("a", "b", FixedOutdegree(k=12), weight=8.0, delay_ms=2.0)],
    )
    with make(tmp_path, spec) as e:
        twin = twin_of(e)
        working_set = e._live.working_set
        working_set.load(working_set.hold(ids_of(e)[:10]), evict=False)
        e.play([*range(6), 0], [1] * 6 + [20], 20.0)
        number = e.poisson(np.arange(10), 400.0, 1.0)
        twin.stimulate(np.arange(6), np.full(6, np.float32(20)), 1)
        twin.stimulate(np.array([0]), np.array([20], dtype=np.float32), 20)
        for place in range(10):
            for tick in twin_train(9, number, place, 0.4, 20):
                twin.stimulate(np.array([place]), np.array([1.0], dtype=np.float32), tick)
        burst = Bursts.run(e._live.bursts, 1, 20)
        assert burst is not None
        assert (burst.ticks, burst.stands) == (2, kernel.BROKEN)
        e._live._settle_burst(burst)
        e.run(18)
        twin.run(20)
        assert_same_state(e, twin)


def test_until_ends_a_run_after_the_very_tick_and_progress_and_pauses_change_nothing(busy: Engram) -> None:
    twin = twin_of(busy)
    seen: list[int] = []
    run = busy.run(500, until=lambda tick, ids: seen.append(tick) or tick == 77, progress=lambda *_: None)
    assert (run.ticks, busy.tick, seen) == (77, 77, list(range(1, 78)))
    busy.run(123, pace_hz=1e6)
    twin.run(200)
    assert_same_state(busy, twin)


@pytest.mark.parametrize(("params", "stands"), [({"bias": (0.0, 9.0)}, kernel.DELIVERED), ({}, kernel.FIRED)])
def test_a_burst_stops_amid_a_tick_that_needs_python_and_the_tick_is_completed(
    tmp_path: Path, params: dict[str, tuple[float, float]], stands: int
) -> None:
    """Spikes reach neurons whose own parameters are still to be read, or a neuron without a record fires."""
    layers = [Layer("a", params=params, segments=[60]), Layer("b", params=params, segments=[500])]
    wiring = Projection("a", "b", FixedOutdegree(k=3), weight=(1.0, 20.0), delay_ms=3.0)
    with make(tmp_path, Spec(seed=4, layers=layers, projections=[wiring])) as e:
        twin = twin_of(e)
        working_set = e._live.working_set
        working_set.load(working_set.hold(ids_of(e)[:60]), evict=False)
        working_set.hold(ids_of(e)[60:300])  # the index has room
        places, at = [*range(5), *range(10), *range(60)], [1] * 5 + [9] * 10 + [30] * 60
        e.play(places, at, 30.0)
        for place, tick in zip(places, at, strict=True):
            twin.stimulate(np.array([place]), np.array([30], dtype=np.float32), tick)
        burst = Bursts.run(e._live.bursts, 1, 25)
        assert burst is not None
        assert (burst.ticks, burst.stands) == (3, stands)
        e._live._settle_burst(burst)
        twin.run(e._live.tick)
        assert_same_state(e, twin)
        e.run(60 - twin.tick)
        twin.run(60 - twin.tick)
        assert_same_state(e, twin)


def test_a_recording_that_fills_the_budget_ends_a_burst_with_all_that_was_run(tmp_path: Path) -> None:
    params = {"bias": (20.0, 30.0), "v_init": (-70.0, -55.0)}
    layer = Layer("a", segments=[300], params=params, wiring=FixedOutdegree(k=3, weight=0.2), materialize=True)
    with make(tmp_path, Spec(seed=3, layers=[layer]), memory=1_000_000) as e:
        with pytest.raises(BudgetExceeded) as stopped:
            e.run(100_000, record=("spikes",))
        run = stopped.value.run
        assert run.ticks == e.tick == len(run.counts) > 500
        assert len(run.spikes[0]) == run.counts.sum()
        assert run.spikes[0][-1] <= e.tick
        e.run(100)
        assert e.neurons(np.arange(300)).fields["spike_count"].sum() > run.counts.sum()


def test_a_day_of_a_quiet_engram_passes_at_once(tmp_path: Path) -> None:
    day = 86_400_000
    with make(tmp_path, Spec(layers=[Layer("a", segments=[100], wiring=SmallWorld(k=4, span=9, weight=3.0))])) as e:
        e.stimulate([1, 2, 3], 20.0, at=day // 2)
        run = e.run(day, record=("spikes",))
        assert (run.ticks, e.tick, len(run.counts)) == (day, day, day)
        assert run.spikes[0].tolist() == [day // 2] * 3
        assert run.counts[day // 2 - 1] == 3
        assert e.neuron(2).fields["last_spike"] == day // 2
        steps = e._live.advance(day)
        assert steps.ticks == day
        e._shut()  # a crash: the journal brings it back
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert e.tick == day
        assert e.neuron(2).fields["spike_count"] == 1


def test_spikes_under_way_are_waited_for_and_arrive(tmp_path: Path) -> None:
    spec = Spec(
        layers=[Layer("a", segments=[10], params={"refractory": 0.0, "tau": 1.0}), Layer("b", segments=[10])],
        projections=[Projection("a", "b", engramdb.OneToOne(), weight=20.0, delay_ms=5000.0)],
    )
    with make(tmp_path, spec) as e:
        e.stimulate(4, 20.0)
        assert e.run(5000, record=("spikes",)).spikes[0].tolist() == [1]
        assert e.run(5000, record=("spikes",)).spikes[0].tolist() == [5001]
        assert e.neuron(1 << 48 | 4).fields["spike_count"] == 1


def test_a_run_of_more_ticks_than_can_be_counted_is_refused(tmp_path: Path) -> None:
    with make(tmp_path, Spec(layers=[Layer("a", segments=[10])])) as e:
        with pytest.raises(InvalidInput, match="at most 1,099,511,627,776 in one run"):
            e.run(MOST_TICKS + 1)
        assert e.tick == 0


@pytest.mark.parametrize(("threads", "wiring"), [(1, None), (2, FixedOutdegree(k=5, weight=0.2)), (4, None)])
def test_a_small_network_goes_in_bursts_however_many_threads_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, wiring: FixedOutdegree | None
) -> None:
    layer = Layer("a", segments=[300], params={"bias": (14.0, 18.0)}, wiring=wiring, materialize=True)
    spec, steps = Spec(seed=2, layers=[layer]), []
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda engine, given=None: (steps.append(engine.tick), step(engine, given))[1])
    with engramdb.create(tmp_path / "net.engram", spec, threads=threads) as e:
        e.run(50)
        steps.clear()
        e.run(400)
        assert len(steps) < 40, "a hand-over to a thread takes longer than such a tick"
