"""Networks of every model: equal to their twins, whatever the budget, the threads, and the cuts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, Projection, SmallWorld, Spec, models
from engramdb.bursts import Bursts
from engramdb.errors import BudgetExceeded
from engramdb.workers import Workers
from tests.modeltwin import assert_same_fields, model_twin_of
from tests.networks import edges_of, ids_of, make

# of each model: dt in ms, a weight that makes a network of it busy, the drive, parameters by neuron
DRIVEN: dict[str, tuple[float, float, float, dict[str, Any]]] = {
    "lif": (1.0, 4.0, 16.0, {"bias": (0.0, 12.0), "v_threshold": (-56.0, -50.0), "tau": (5.0, 30.0)}),
    "lif_exp": (0.5, 20.0, 400.0, {"bias": (0.0, 10.0), "tau": (5.0, 30.0), "tau_syn": (2.0, 30.0)}),
    "lif_shiu": (0.1, 40.0, 1000.0, {"v_threshold": (-46.0, -40.0), "tau": (10.0, 30.0)}),
    "lif_cond": (
        0.1,
        30.0,
        400.0,
        {"v_threshold": (-52.0, -48.0), "g_leak": (8.0, 12.0), "tau_inhibitory": (5.0, 15.0)},
    ),
    "izhikevich": (1.0, 10.0, 20.0, {"a": (0.02, 0.1), "b": (0.15, 0.24), "c": (-65.0, -50.0), "d": (2.0, 8.0)}),
    "adex": (0.1, 400.0, 4000.0, {"a": (0.0, 8.0), "b": (20.0, 100.0), "slope": (1.0, 3.0), "v_reset": (-70.0, -58.0)}),
    "intfire1": (0.5, 0.6, 1.2, {"tau": (5.0, 20.0)}),
}
NAMES = sorted(DRIVEN)


def spec_of(name: str, neurons: int, *, seed: int = 3, own: bool = False, **options: Any) -> Spec:
    """Excitatory and inhibitory neurons of one model; ``own``: with parameters that differ from neuron to neuron."""
    dt_ms, weight, _, varying = DRIVEN[name]
    exc = Layer(
        "exc", model=name, params=varying if own else {}, segments=[neurons], delay_ms=2 * dt_ms,
        wiring=SmallWorld(k=8, long_fraction=0.2, span=12, weight=(0.5 * weight, 1.5 * weight)), **options,
    )  # fmt: skip
    inh = Layer("inh", index=7, model=name, segments=[max(8, neurons // 4)])
    projections = [
        Projection("exc", "inh", FixedOutdegree(k=3), weight=weight, delay_ms=dt_ms),
        Projection("inh", "exc", FixedOutdegree(k=8), weight=0.5 * weight, sign=-1, delay_ms=3 * dt_ms),
    ]
    return Spec(seed=seed, layers=[exc, inh], projections=projections, dt_ms=dt_ms)


def drive(stimulate: Callable[..., Any], name: str, ids: np.ndarray, seed: int = 0) -> None:
    """Input in some of the first ticks, some of it negative."""
    random = np.random.default_rng(seed)
    for at in (1, 2, 9, 10, 11):
        chosen = random.choice(len(ids), max(1, len(ids) // 8), replace=False)
        amplitudes = (DRIVEN[name][2] * random.choice([1.0, 1.0, 1.0, -0.3], len(chosen))).astype(np.float32)
        stimulate(chosen, amplitudes, at)


def drive_engram(e: Engram, name: str, seed: int = 0) -> None:
    ids = ids_of(e)
    drive(lambda places, a, at: e.stimulate(ids[places], a, at=at, duration=2), name, ids, seed)


def test_every_model_is_in_these_tests() -> None:
    """But for those that step nothing here: receptive vectors and void neurons have tests of their own."""
    own = {"dense_lif", "void"}
    assert [name for name in models.names() if "." not in name and name not in own] == NAMES


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("name", NAMES)
def test_every_spike_and_every_bit_of_state_equals_the_twin(name: str, own: bool, tmp_path: Path) -> None:
    with make(tmp_path, spec_of(name, 600, own=own)) as e:
        twin = model_twin_of(e)
        drive_engram(e, name)
        drive(lambda places, a, at: twin.stimulate(places, a, at, 2), name, twin.ids)
        spikes = 0
        for ticks in (1, 7, 40, 60):
            run = e.run(ticks, record=("spikes",))
            expected = twin.run(ticks)
            np.testing.assert_array_equal(run.spikes[0], expected[0])
            np.testing.assert_array_equal(run.spikes[1], expected[1])
            assert_same_fields(e, twin)
            spikes += len(run.spikes[0])
        assert spikes > 300, "the network must be busy for this test to mean anything"
    with engramdb.open(tmp_path / "net.engram") as e:
        assert_same_fields(e, twin)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=max(2, settings().max_examples // 20))
@given(seed=st.integers(0, 99), share=st.floats(0.05, 0.6), own=st.booleans())
def test_results_do_not_depend_on_budget_threads_or_cuts(name: str, seed: int, share: float, own: bool) -> None:
    spec = spec_of(name, 500, seed=seed, own=own)
    results = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "least_rows", 1)
        patch.setattr(Workers, "least_blocks", 1)
        for way in ("plain", "small", "threads", "cut"):
            patch.setattr(Bursts, "most_blocks", 0 if way == "threads" else 4096)
            (Path(folder) / way).mkdir()
            memory = max(8000, int(600 * 300 * share)) if way == "small" else 1 << 28
            e = make(Path(folder) / way, spec, memory=memory, threads=3 if way == "threads" else 1)
            path, parts = e.location, []
            drive_engram(e, name, seed)
            while e.tick < 40:
                try:
                    parts.append(e.run(min(40 - e.tick, 13 if way == "cut" else 40), record=("spikes",)).spikes)
                except BudgetExceeded as error:
                    parts.append(error.run.spikes)
                    memory *= 2
                    e.close()
                if way == "cut":
                    e.snapshot(f"at {e.tick}")
                    e.close()
                if e._closed:
                    e = engramdb.open(path, "r+", memory=memory)
            spikes = tuple(np.concatenate(x) for x in zip(*parts, strict=True))
            results.append((spikes, e.neurons(ids_of(e)).fields))
            e.close()
    for spikes, fields in results[1:]:
        np.testing.assert_array_equal(spikes[0], results[0][0][0])
        np.testing.assert_array_equal(spikes[1], results[0][0][1])
        for field, column in fields.items():
            np.testing.assert_array_equal(column, results[0][1][field])


@pytest.mark.parametrize("name", NAMES)
def test_memory_goes_back_to_nothing_when_all_is_at_rest(name: str, tmp_path: Path) -> None:
    dt_ms, _, amplitude, varying = DRIVEN[name]
    layer = Layer("a", model=name, params=varying, segments=[4_000_000_000])
    with make(tmp_path, Spec(seed=1, layers=[layer], dt_ms=dt_ms)) as e:
        e.stimulate(np.arange(300), 0.4 * amplitude)
        e.run(1)
        assert e.stats()["charged"] == 300
        for _ in range(40):
            e.run(int(50 / dt_ms))
            if e.stats()["charged"] == 0:
                break
        assert e.stats()["charged"] == 0
        e._live.working_set.eviction.make_room(1 << 60)
        assert e.stats()["resident"] == 0
        assert not e._live.working_set.slots.aux.any()


def test_layers_of_different_models_live_in_one_engram(tmp_path: Path) -> None:
    layers = [
        Layer(name, index=place, model=name, params=DRIVEN[name][3], segments=[200])
        for place, name in enumerate(reversed(NAMES))
    ]
    projections = [
        Projection(one.name, other.name, FixedOutdegree(k=4), weight=DRIVEN[other.name][1])
        for one, other in zip(layers, [*layers[1:], layers[0]], strict=True)
    ]
    with make(tmp_path, Spec(seed=4, layers=layers, projections=projections, dt_ms=0.1)) as e:
        twin = model_twin_of(e)
        for at in (1, 5, 9):
            places = np.arange(at, len(twin.ids), 3)
            amplitudes = np.array([DRIVEN[layers[int(i) >> 48].model][2] for i in twin.ids[places]], np.float32)
            e.stimulate(twin.ids[places], amplitudes, at=at, duration=4)
            twin.stimulate(places, amplitudes, at, 4)
        run, expected = e.run(60, record=("spikes",)), twin.run(60)
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert len({int(i) >> 48 for i in run.spikes[1]}) == len(layers), "every layer fires"
        assert_same_fields(e, twin)
        for layer in layers:
            shown = e.neuron(layer.index << 48).fields
            assert list(shown) == [field.name for field in models.get(layer.name).fields]


def test_lif_shiu_spikes_as_the_published_program_does(tmp_path: Path) -> None:
    """A network stepped in float64 as Brian2 steps the published equations: update, thresholds, synapses, resets."""
    n, steps, delay, random = 300, 1500, 18, np.random.default_rng(8)
    spec = Spec(
        seed=8, dt_ms=0.1,
        layers=[Layer("brain", model="lif_shiu", segments=[n], columns=["refractory"], delay_ms=1.8,
                      wiring=FixedOutdegree(k=20, weight=(-8.0, 12.0)))],
    )  # fmt: skip
    driven = np.arange(0, n, 10)
    kicks = random.random((steps, len(driven))) < 150 * 1e-4  # Poisson input of 150 Hz
    with make(tmp_path, spec) as e:
        e.set_parameters(driven, refractory=0.0)
        pre, post, weight, _ = edges_of(e)
        for step in np.flatnonzero(kicks.any(axis=1)):
            e.stimulate(driven[kicks[step]], 13923.0, at=int(step) + 1)
        run = e.run(steps, record=("spikes",))
    rests, tau, tau_syn = -52.0, 20.0, 5.0
    slow, fast = np.exp(-0.1 / tau), np.exp(-0.1 / tau_syn)
    coupling = tau_syn / (tau_syn - tau) * (fast - slow)
    v, g = np.full(n, rests), np.zeros(n)
    last, refractory = np.full(n, -1000), np.where(np.isin(np.arange(n), driven), 0, 22)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (post.astype(int), pre.astype(int)), weight.astype(np.float64))
    fired: list[np.ndarray] = []
    for step in range(steps):
        free = step - last >= refractory
        v = np.where(free, rests + (v - rests) * slow + g * coupling, v)
        g = np.where(free, g * fast, g)
        spikes = free & (v > -45.0)
        last[spikes] = step
        writable = free & ~spikes
        if step >= delay:
            g += np.where(writable, matrix @ fired[step - delay], 0.0)
        v[driven[kicks[step]]] += 68.75
        v[spikes], g[spikes] = rests, 0.0
        fired.append(spikes)
    theirs = {(int(step), int(i)) for step, who in enumerate(fired) for i in np.flatnonzero(who)}
    ours = {(int(tick) - 1, int(i)) for tick, i in zip(*run.spikes, strict=True)}
    assert len({i for _, i in theirs} - set(driven.tolist())) > 50, "not only those that are driven fire"
    assert len(ours & theirs) > 0.99 * max(len(ours), len(theirs)), (len(ours), len(theirs), len(ours & theirs))
