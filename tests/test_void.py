"""Void layers do what their equations say, whatever the memory, the threads, and however a run is cut."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.cli import main
from engramdb.errors import BudgetExceeded, InvalidInput, InvalidSpec
from engramdb.kernels import void as kernel
from engramdb.models.sine import sine_of_turns
from engramdb.store import FIELD, Store
from tests.voidtwin import VoidTwin, void_twin_of

FIELDS = ("W", "mu", "var", "prev_W")


def void_spec(neurons: int = 300, *, k: int = 6, seed: int = 5, **params: object) -> Spec:
    layer = Layer(
        "v", model="void", params={"w_init": (0.05, 0.95), **params}, segments=[neurons // 3, neurons - neurons // 3],
        wiring=SmallWorld(k=k, long_fraction=0.2, span=10),
    )  # fmt: skip
    return Spec(seed=seed, layers=[layer])


def assert_as_twin(e: engramdb.Engram, twin: VoidTwin) -> None:
    found = e.neurons(twin.ids)
    for name in FIELDS:
        np.testing.assert_array_equal(
            found.fields[name].view(np.uint32), getattr(twin, name).view(np.uint32), err_msg=f"{name}, tick {e.tick}"
        )
    np.testing.assert_array_equal(e.layer("v").active, twin.ids[twin.active])
    assert tuple(e.layer("v").sie) == twin.last


@settings(max_examples=max(4, settings().max_examples // 3))
@given(st.data())
def test_a_layer_is_its_numpy_twin_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    draw = data.draw
    spec = void_spec(
        draw(st.sampled_from([30, 120])), k=draw(st.integers(1, 8)), seed=draw(st.integers(0, 2**64 - 1)),
        k_active=draw(st.sampled_from([1, 7, 40, 1000])), theta=draw(st.sampled_from([0.0, 1e-3, 1e-2])),
        noise=draw(st.sampled_from([0.0, 0.02, 0.2])), phase=draw(st.sampled_from([0.0, 0.5, 1.0])),
        affinity_cost=draw(st.sampled_from([0.0, 0.1, 1.0])), frequency=draw(st.sampled_from([0.0, 0.02, 0.37])),
    )  # fmt: skip
    threads = draw(st.integers(1, 3))
    path = tmp_path_factory.mktemp("twin") / "v.engram"
    with engramdb.create(path, spec, threads=threads) as e:
        e._live.voids["v"]  # the engine of that many threads
        twin = void_twin_of(e, "v")
        for _ in range(draw(st.integers(1, 12))):
            some = draw(
                st.dictionaries(st.integers(0, len(twin.ids) - 1), st.sampled_from([0.5, 2.0, -1.0]), max_size=6)
            )
            if some:
                e.stimulate(twin.ids[list(some)], np.array(list(some.values())))
            e.run(1)
            twin.step(some)
            assert_as_twin(e, twin)


@settings(max_examples=max(6, settings().max_examples // 2))
@given(start=st.floats(0.001, 1.0), seed=st.integers(0, 99))
def test_without_noise_and_phase_an_active_neuron_converges_to_three_fifths(
    tmp_path_factory: pytest.TempPathFactory, start: float, seed: int
) -> None:
    spec = void_spec(30, seed=seed, noise=0.0, phase=0.0, theta=0.0, w_init=start)
    with engramdb.create(tmp_path_factory.mktemp("rest") / "v.engram", spec) as e:
        e.stimulate([0, 3], 1.0)
        e.run(800)
        assert e.neuron(0).fields["W"] == pytest.approx(0.6, abs=1e-3)
        assert 0.0 <= e.layer("v").valence <= 1.0


@settings(max_examples=max(4, settings().max_examples // 4))
@given(
    st.fixed_dictionaries(
        {
            "alpha": st.floats(0, 4),
            "beta": st.floats(0, 4),
            "noise": st.floats(0, 1),
            "phase": st.floats(0, 1),
            "frequency": st.floats(0, 0.5),
            "affinity_cost": st.floats(0, 10),
        }
    )
)
def test_every_value_stays_in_its_range(tmp_path_factory: pytest.TempPathFactory, params: dict[str, float]) -> None:
    spec = void_spec(90, k_active=40, theta=0.0, **params)
    with engramdb.create(tmp_path_factory.mktemp("range") / "v.engram", spec) as e:
        e.stimulate(range(20), 1.0)
        run = e.run(40, record=("sie",))
        fields = e.neurons(range(30)).fields
        assert ((fields["W"] >= 0) & (fields["W"] <= 1)).all()
        assert (fields["mu"] >= 0).all()
        assert (fields["var"] >= 0).all()
        sie = run.sie["v"]
        assert ((sie["valence"] >= 0) & (sie["valence"] <= 1)).all()
        assert (np.abs(sie["reward"]) <= 1).all()
        assert (sie["active"][1:] <= 40).all()


def lived(path: Path, memory: int, threads: int, cut: str, piece: int) -> tuple:
    """A story of a void layer beside a lif one that drives it; how it ends."""
    layers = [
        Layer("cells", segments=[40], wiring=SmallWorld(k=5, span=5, weight=9.0)),
        Layer("v", model="void", params={"w_init": (0.1, 0.9), "k_active": 60}, segments=[400],
              wiring=SmallWorld(k=6, span=8)),
    ]  # fmt: skip
    spec = Spec(seed=8, layers=layers, projections=[Projection("cells", "v", FixedOutdegree(k=3), weight=0.5)])
    whole = memory > 1 << 20
    e = engramdb.create(path, spec, memory=memory, threads=threads)
    counts = []
    for round_ in range(6):
        if round_ % 2 == 0:
            e.stimulate(range(round_ * 5, round_ * 5 + 10), 40.0, duration=2)
            e.stimulate([f"1/0/{100 * (round_ % 3) + i}" for i in range(5)], 1.5, duration=3)
        if round_ == 3:
            e.connect("1/0/7", "1/0/399", 1.0)
        left = 9
        while left:
            n = min(left, piece)
            counts.append(e.run(n).counts)
            left -= n
        if cut == "close":
            e.close()
        if cut == "crash":
            shutil.copytree(path, path.with_name(f"{path.name}{round_}"))
            e.close()
            path = path.with_name(f"{path.name}{round_}")
        if cut in ("close", "crash"):
            e = engramdb.open(path, "r+", memory=memory, threads=threads)
        if cut == "restore":
            e.snapshot(f"s{round_}")
            e.stimulate([0], 50.0, duration=4)
            e.run(6)
            e.restore(f"s{round_}")
        if cut == "behind":
            e.checkpoint(wait=False)
    fields = e.neurons([*range(40), *(f"1/0/{i}" for i in range(400))]).fields
    sie, active = e.layer("v").sie, e.layer("v").active
    if not whole:
        assert e.stats()["evictions"] > 0
    e.close()
    with engramdb.open(path) as reader:
        assert reader.layer("v").sie == sie
        assert reader.layer("v").active.tolist() == active.tolist()
    assert engramdb.verify(path).problems == []
    return np.concatenate(counts).tolist(), {n: v.tobytes() for n, v in fields.items()}, sie, active.tolist()


def test_a_void_layer_never_depends_on_memory_threads_or_how_a_run_is_cut(tmp_path: Path) -> None:
    whole = lived(tmp_path / "whole", 1 << 28, 1, "", 9)
    assert sum(whole[0]) > 50
    assert whole[2].active >= 60
    ways = [(40_000, 1, "", 9), (1 << 28, 3, "close", 4), (40_000, 2, "crash", 9), (1 << 28, 1, "restore", 9),
            (60_000, 1, "behind", 2), (1 << 28, 1, "crash", 1)]  # fmt: skip
    for number, way in enumerate(ways):
        assert lived(tmp_path / f"way{number}", *way) == whole, way


def test_what_is_active_must_fit_and_the_state_stays_whole(tmp_path: Path) -> None:
    spec = void_spec(6000, theta=0.0, affinity_cost=1e6)
    with engramdb.create(tmp_path / "v.engram", spec, memory=150_000) as e:
        e.stimulate(range(500), 1.0)
        e.run(2)
        e.snapshot("before")
        before = e.neurons(range(2000)).fields
        e.stimulate([f"0/1/{i}" for i in range(3990)], 1.0)
        with pytest.raises(BudgetExceeded, match=r"room for .*; the state is whole"):
            e.run(5)
        tick = e.tick
    with engramdb.open(tmp_path / "v.engram", "r+", memory="64MiB") as e:
        assert e.tick == tick
        e.run(5)
        e.restore("before")
        after = e.neurons(range(2000)).fields
        assert all(np.array_equal(before[name], after[name]) for name in FIELDS)


def test_an_untouched_neuron_costs_nothing_and_has_w_init(tmp_path: Path) -> None:
    spec = Spec(seed=2, layers=[Layer("v", model="void", params={"w_init": 0.4}, segments=[4_000_000_000] * 25,
                                      wiring=SmallWorld(k=12))])  # fmt: skip
    with engramdb.create(tmp_path / "v.engram", spec, memory="16MiB") as e:
        far = e.neuron("0/24/3999999999")
        assert (far.state, far.fields["W"], far.fields["prev_W"], far.fields["mu"]) == (
            "virtual",
            *2 * [np.float32(0.4)],
            0,
        )
        e.stimulate("0/24/3999999999", 1.0)
        e.run(3)
        assert e.neuron("0/24/3999999999").state == "active"
        assert e.neuron("0/12/0").state == "virtual"
    assert sum(f.stat().st_size for f in (tmp_path / "v.engram").rglob("*") if f.is_file()) < 1 << 20
    with engramdb.open(tmp_path / "v.engram") as e:
        assert e.neuron("0/24/3999999999").state == "active"
        assert e.neuron("0/24/3999999999").fields["W"] != np.float32(0.4)


def test_nothing_happens_while_nobody_is_active(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "v.engram", void_spec(theta=1.0, affinity_cost=1e6)) as e:
        assert e.quiet
        e.stimulate([4], 1.0, at=10)
        run = e.run(1_000_000, record=("sie",))
        assert np.flatnonzero(run.sie["v"]["active"]).tolist() == [9, 10]
        assert len(set(run.sie["v"]["valence"].tolist())) <= 3
        assert e.quiet
        assert (e.layer("v").sie.active, e.layer("v").reward) == (0, 0.0)


def test_stimulated_neurons_join_and_whoever_does_not_change_drops_out(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "v.engram", void_spec(noise=0.0, theta=0.9, affinity_cost=1e6)) as e:
        e.stimulate([3, 5], 1.0, duration=2)
        e.run(2)
        assert e.layer("v").active.tolist() == [3, 5]
        frozen = e.neuron(3).fields["W"]
        e.run(1)
        assert e.neuron(3).fields["W"] != frozen
        assert len(e.layer("v").active) == 0
        assert e.neuron(3).state == "dormant"
        frozen = e.neuron(3).fields
        e.run(50)
        assert e.neuron(3).fields == frozen


def test_w_and_valence_show_in_runs_stats_inspect_and_zarr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "v.engram"
    with engramdb.create(path, void_spec()) as e:
        e.stimulate(range(9), 1.0)
        run = e.run(20, record=("W", "sie"), record_ids=[0, 1])
        assert run.traces is not None
        assert run.traces["W"][-1].tolist() == e.neurons([0, 1]).fields["W"].tolist()
        assert run.stats["void"]["v"] == e.layer("v").sie._asdict() == e.stats()["void"]["v"]
        assert run.sie["v"]["valence"][-1] == e.layer("v").valence
        e.run(5, record=("sie",), to=tmp_path / "sie.parquet")
        w = e.neurons(range(100)).fields["W"]
    segment = zarr.open_group(engramdb.ZarrStore(path), mode="r")["v/0"]
    ids = segment["id"][:].astype(np.int64)
    assert segment["W"][:].tolist() == w[ids].tolist()
    assert segment["W"].attrs["field"] == "W"
    assert main(["inspect", str(path), "--json"]) == 0
    layer = json.loads(capsys.readouterr().out)["layers"][0]
    assert layer["kept"]["W"]["count"] == layer["records"]
    assert 0 < layer["sie"]["valence"] < 1
    assert main(["inspect", str(path)]) == 0
    assert "valence" in capsys.readouterr().out
    assert main(["run", str(path), "--ticks", "3"]) == 0
    assert "valence" in capsys.readouterr().out


def test_what_void_layers_cannot_be_is_refused_with_a_reason(tmp_path: Path) -> None:
    void, other = Layer("v", model="void", segments=[10]), Layer("a", segments=[10])
    with pytest.raises(InvalidSpec, match=r"projections\[0\].post: void neurons do not fire"):
        Spec(layers=[void, other], projections=[Projection("v", "a", Explicit())])
    with pytest.raises(InvalidSpec, match="k_active: must be a whole number"):
        Spec(layers=[Layer("v", model="void", segments=[10], params={"k_active": 1.5})])
    with pytest.raises(InvalidSpec, match="cannot differ from neuron to neuron"):
        Spec(layers=[Layer("v", model="void", segments=[10], columns=["w_init"])])
    with engramdb.create(tmp_path / "a.engram", Spec(layers=[void, other])) as e:
        with pytest.raises(InvalidInput, match="only void has a valence"):
            _ = e.layer("a").valence
        with pytest.raises(InvalidInput, match="only dense_lif has receptive vectors"):
            e.layer("v").forward([1.0])
    with (
        engramdb.create(tmp_path / "b.engram", Spec(layers=[other])) as e,
        pytest.raises(InvalidInput, match='"sie" is'),
    ):
        e.run(1, record=("sie",))


def test_a_record_that_something_else_made_says_nothing_of_a_neurons_fields(tmp_path: Path) -> None:
    path = tmp_path / "m.engram"
    layers = [
        Layer(
            "v",
            model="void",
            params={"w_init": (0.2, 0.8), "affinity_cost": 1e6},
            segments=[50],
            wiring=SmallWorld(k=4, span=5),
        ),
        Layer("d", model="dense_lif", params={"dimension": 8}, segments=[50], wiring=SmallWorld(k=4, span=5)),
        Layer("m", model="void", segments=[30], materialize=True, wiring=SmallWorld(k=4, span=5)),
    ]
    with engramdb.create(path, Spec(seed=3, layers=layers)) as e:
        born = e.neurons(range(50)).fields["W"]
        e.connect([1, "1/0/1"], [2, "1/0/2"], 0.5)
        e.stimulate("1/0/7", 30.0)
        e.run(2)
        e.activate([9])
        e.checkpoint()
        e.stimulate([5], 1.0)
        e.run(3)
        e.checkpoint()
        assert e.neurons([1, 9]).fields["W"].tolist() == born[[1, 9]].tolist()
        assert e.neuron(5).fields["W"] != born[5]
        assert not e.layer("d").vectors(["1/0/1", "1/0/7"]).any()
        e.compact()
    with Store.open(path) as store:
        found = store.find(np.array([1, 5, 9], np.uint64))
        assert np.isnan(found.state[FIELD + "W"]).tolist() == [True, False, True]
        wide = store.find(np.array([1 << 48 | 1, 1 << 48 | 7], np.uint64))
        assert wide.state[FIELD + "w"].tolist() == [[0.0] * 8] * 2
        assert np.isnan(store.find(np.arange(2 << 48, (2 << 48) + 30, dtype=np.uint64)).state[FIELD + "W"]).all()
    assert engramdb.verify(path).problems == []


def test_a_changed_neuron_is_not_forgotten_and_shows_in_a_diff(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "v.engram", void_spec(theta=0.9, affinity_cost=1e6)) as e:
        e.activate(range(10))
        e.snapshot("before")
        e.stimulate([3], 1.0)
        e.run(5)
        assert e.forget(range(10)) == 9
        diff = e.diff("before", ids=True)
        assert e.neuron(3).state == "dormant"
    assert diff.by_layer["v"].changed == 1


@given(st.floats(-1e6, 1e6))
def test_the_sine_of_the_phase_is_a_sine(turns: float) -> None:
    assert sine_of_turns(turns) == pytest.approx(math.sin(2 * math.pi * (turns - round(turns))), abs=1e-14)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.data())
def test_the_largest_drives_are_found_by_their_bits(values: list[float], data: st.DataObject) -> None:
    array = np.array(values, np.float32)
    k = data.draw(st.integers(1, len(array)))
    side = np.empty(len(array), np.uint8)
    above = kernel.choose(array, np.uint32(kernel.rank(array, k, np.empty(1 << 16, np.int64))), side)
    kth = np.sort(array)[::-1][k - 1]
    assert above <= k - 1 < above + np.count_nonzero(side == 1)
    assert (array[side == 1] == kth).all()
    assert (array[side == 2] >= kth).all()
    assert (array[side == 0] <= kth).all()
