"""Delays of each synapse: drawn, kept, changed, imported; and spikes under way over them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import (
    Bernoulli,
    Engram,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Layer,
    LogNormal,
    Normal,
    Projection,
    SmallWorld,
    Spec,
)
from engramdb.delays import delay_range, mean_ticks
from engramdb.distribution import Uniform
from engramdb.engine import Engine
from engramdb.errors import BudgetExceeded, InvalidInput
from engramdb.kernels import rows
from tests.networks import assert_same_state, edges_of, ids_of, make, twin_of
from tests.simulator import Simulator


def _spec(delay: object = (1.0, 300.0), rule: object = None, **layer: object) -> Spec:
    wiring = SmallWorld(k=8, span=20, long_fraction=0.2, weight=(1.0, 9.0)) if rule is None else rule
    return Spec(seed=3, layers=[Layer("a", segments=[300], wiring=wiring, delay_ms=delay, **layer)])


def _drive(e: Engram, twin: Simulator, driven: np.ndarray, at: int) -> None:
    e.stimulate(twin.ids[driven], 16.0, at=at)
    twin.stimulate(driven, np.full(len(driven), np.float32(16)), at)


@given(
    delay=st.sampled_from([(1.0, 2.0), (1.0, 300.0), (30.0, 31.0), Normal(60.0, 30.0), LogNormal(2.0, 1.0)]),
    rule=st.sampled_from(
        [
            SmallWorld(k=8, span=20, weight=(1.0, 9.0)), FixedOutdegree(k=12, weight=5.0),
            FixedIndegree(k=6, weight=6.0), Bernoulli(p=0.03, weight=(2.0, 8.0)),
        ]
    ),
    share=st.floats(0.01, 0.4), threads=st.integers(1, 3), seed=st.integers(0, 99), materialize=st.booleans(),
)  # fmt: skip
@settings(max_examples=max(5, settings().max_examples // 4))
def test_runs_over_random_delays_equal_the_twin_within_any_budget_and_cut_anywhere(
    delay: object, rule: object, share: float, threads: int, seed: int, materialize: bool
) -> None:
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        memory = max(6000, int(300 * 400 * share))
        e = make(Path(folder), _spec(delay, rule, materialize=materialize), memory="64MiB")
        twin = twin_of(e)
        for at in (1, 5, 40):
            _drive(e, twin, random.choice(300, 40, replace=False), at)
        path = e.location
        e.close()
        e = engramdb.open(path, "r+", memory=memory, threads=threads)
        while e.tick < 160:
            ticks = int(random.integers(1, 60))
            try:
                run = e.run(ticks, record=("spikes",))
            except BudgetExceeded as error:
                run, memory = error.run, memory * 2
            expected = twin.run(run.ticks)
            np.testing.assert_array_equal(run.spikes[0], expected[0])
            np.testing.assert_array_equal(run.spikes[1], expected[1])
            if random.random() < 0.5 or memory > e.memory:
                (e.close if random.random() < 0.5 else e._shut)()
                e = engramdb.open(path, "r+", memory=memory, threads=threads)
        assert_same_state(e, twin)
        e.close()
        assert not engramdb.verify(path).problems


@given(data=st.data(), seed=st.integers(0, 99))
@settings(max_examples=max(5, settings().max_examples // 4))
def test_rows_may_change_while_their_spikes_are_under_way(data: st.DataObject, seed: int) -> None:
    """A synapse that is made, or gets another delay, delivers if its time has not passed."""
    with tempfile.TemporaryDirectory() as folder, make(Path(folder), _spec((1.0, 40.0))) as e:
        twin = twin_of(e)
        random = np.random.default_rng(seed)
        for _ in range(6):
            _drive(e, twin, random.choice(300, 30, replace=False), e.tick + 1)
            ticks = data.draw(st.integers(1, 30))
            run, expected = e.run(ticks, record=("spikes",)), twin.run(ticks)
            np.testing.assert_array_equal(run.spikes[1], expected[1])
            pre, post, weight = random.integers(0, 300), random.integers(0, 300), np.float32(random.uniform(0, 9))
            if random.random() < 0.5:  # one that exists
                chosen = random.integers(len(twin.pre))
                pre, post = twin.pre[chosen], twin.post[chosen]
            delay = data.draw(st.sampled_from([None, 1, 7, 40]))
            e.connect(int(pre), int(post), weight, delay_ms=delay)
            pair = (twin.pre == pre) & (twin.post == post)
            if not pair.any():
                twin.pre, twin.post = np.append(twin.pre, pre), np.append(twin.post, post)
                twin.weight, twin.fixed = np.append(twin.weight, np.float32(0)), np.append(twin.fixed, 0)
                twin.delay = np.append(twin.delay, 20)  # 20.5 rounded: the mean
                pair = np.append(pair, True)
            twin.fixed[pair] = round(float(weight) * 2**32)
            if delay is not None:
                twin.delay[pair] = delay
        assert_same_state(e, twin)
        synapses = e.synapses(int(pre))
        assert (np.diff(synapses.delays) >= 0).all()
        assert synapses.delays[synapses.targets == post].tolist() == twin.delay[pair].tolist()
        into = e.synapses(int(post), "in")
        assert sorted(into.delays.tolist()) == sorted(twin.delay[twin.post == post].tolist())


_CHILD = """
import sys
import engramdb
with engramdb.open(sys.argv[1], "r+") as e:
    run = e.run(25, record=("spikes",))
    print(*run.spikes[0].tolist(), *run.spikes[1].tolist())
"""


def test_spikes_under_way_go_on_in_other_processes_and_after_a_restore(tmp_path: Path) -> None:
    e = make(tmp_path, _spec((5.0, 200.0), FixedOutdegree(k=10, weight=6.0)))
    twin = twin_of(e)
    _drive(e, twin, np.arange(0, 300, 2), 1)
    e.run(20)
    twin.run(20)
    e.snapshot("under way")
    e.close()
    spikes = [twin.run(25) for _ in range(4)]
    for many in (4, 1):
        for ticks, ids in spikes[:many]:
            found = subprocess.run(
                [sys.executable, "-c", _CHILD, e.location], capture_output=True, text=True, check=True
            ).stdout
            assert list(map(int, found.split())) == [*ticks.tolist(), *ids.tolist()]
        with engramdb.open(e.location, "r+") as again:
            if many == 4:
                assert_same_state(again, twin)
            again.restore("under way")


def test_what_a_commit_keeps_of_spikes_under_way_does_not_depend_on_what_is_in_memory(tmp_path: Path) -> None:
    kept = []
    for name, memory in (("whole", "64MiB"), ("part", 60_000)):
        (tmp_path / name).mkdir()
        with make(tmp_path / name, _spec(), memory=memory) as e:
            e.stimulate(np.arange(0, 300, 2), 16.0, duration=3)
            while e.tick < 100:
                e.run(1)
            kept.append(e._live.state())
    assert len(kept[0]["flight_id"]) > 150
    for name, column in kept[0].items():
        np.testing.assert_array_equal(column, kept[1][name])


def test_layers_hold_spikes_only_as_long_as_their_own_longest_delay(tmp_path: Path) -> None:
    far = Projection("b", "a", Explicit(), delay_ms=(1.0, 50.0))
    layers = [
        Layer("a", segments=[10], wiring=FixedOutdegree(k=2)),
        Layer("b", segments=[10]),
        Layer("c", segments=[9]),
    ]
    with make(tmp_path, Spec(layers=layers, projections=[far])) as e:
        e.stimulate(["0/0/1", "1/0/1", "2/0/1"], 20.0)
        for ticks, under_way in ((1, ["0/0/1", "1/0/1"]), (1, ["1/0/1"]), (48, ["1/0/1"]), (1, [])):
            e.run(ticks)
            assert e._live.state()["flight_id"].tolist() == e.resolve(under_way).tolist() if under_way else True
            assert len(e._live.state()["flight_id"]) == len(under_way)


@pytest.mark.parametrize(
    ("delay", "ticks"),
    [
        (3.0, (3, 3, 3)), (Uniform(1.0, 20.0), (1, 20, 10)), (Uniform(0.1, 1.4), (1, 1, 1)),
        (Normal(5.0, 2.0), (1, 13, 5)), (Normal(2.0, 3.0), (1, 14, 2)),
    ],
)  # fmt: skip
def test_a_delay_has_a_range_and_a_mean_in_whole_ticks(delay: object, ticks: tuple[int, int, int]) -> None:
    assert (*delay_range(delay, 1.0), mean_ticks(delay, 1.0)) == ticks


def test_delays_drawn_have_the_distribution_asked_for(tmp_path: Path) -> None:
    for number, rule in enumerate((FixedOutdegree(k=40), FixedIndegree(k=40), Bernoulli(p=0.1))):
        (tmp_path / str(number)).mkdir()
        with make(tmp_path / str(number), _spec((2.0, 12.0), rule)) as e:
            delay = edges_of(e)[3]
        counts = np.bincount(delay)
        assert counts[:2].sum() == 0
        assert len(counts) == 13
        inner = counts[3:12]
        assert abs(inner / len(delay) - 0.1).max() < 0.02, "uniform but for the ends, which have half"
        assert abs(counts[[2, 12]] / len(delay) - 0.05).max() < 0.02


def test_delays_that_a_projection_does_not_have_are_refused(tmp_path: Path) -> None:
    projections = [Projection("a", "b", Explicit(), delay_ms=(2.0, 9.0)), Projection("b", "a", Explicit())]
    layers = [Layer("a", segments=[10]), Layer("b", segments=[10])]
    with make(tmp_path, Spec(layers=layers, projections=projections)) as e:
        assert e.connect("0/0/1", ["1/0/1", "1/0/2"], 1.0, delay_ms=[2, 9]) == 2
        assert e.connect("0/0/1", "1/0/3", 1.0) == 1
        assert e.connect("1/0/1", "0/0/1", 1.0, delay_ms=1.0) == 1
        assert e.synapses("0/0/1").delays.tolist() == [2, 6, 9]
        for arguments, message in (
            (("0/0/1", "1/0/1", 1.0, 10.0), r'10 ticks of 0/0/1 -> 1/0/1.*"a->b" are 2\.\.9 ticks'),
            (("1/0/1", "0/0/1", 1.0, 2.0), r'2 ticks of 1/0/1 -> 0/0/1.*"b->a" are all 1 ticks'),
            (("0/0/1", "1/0/1", 1.0, 2.5), "2.5 ms: must be a whole number of ticks"),
            (("0/0/1", "1/0/1", 1.0, [2.0, 3.0]), "expected a number or 1 numbers"),
        ):
            with pytest.raises(InvalidInput, match=message):
                e.connect(*arguments)
        e.set_weight("0/0/1", "1/0/2", 3.0)
        assert e.synapses("0/0/1").delays.tolist() == [2, 6, 9], "a weight changes no delay"
        assert e.synapses("1/0/2", "in").delays.tolist() == [9]


def test_differences_of_delays_are_synapses_removed_and_added(tmp_path: Path) -> None:
    with make(tmp_path, _spec((1.0, 9.0))) as e:
        target = int(e.synapses(0).targets[-1])
        e.set_weight(0, target, 2.0)
        e.snapshot("before")
        e.connect(0, target, 2.0, delay_ms=1)
        e.connect(7, 8, 2.0, delay_ms=4)
        diff = e.diff("before").by_layer["a"]
    assert (diff.synapses_added, diff.synapses_removed) == (2, 1)


def test_forgetting_takes_a_row_with_another_delay_for_a_changed_one(tmp_path: Path) -> None:
    with make(tmp_path, _spec((1.0, 9.0))) as e:
        for neuron in (3, 4):
            row = e.synapses(neuron)
            e.connect(neuron, int(row.targets[0]), float(row.weights[0]), delay_ms=9 if neuron == 3 else None)
        assert e.forget([3, 4]) == 1
        assert [n.state for n in (e.neuron(3), e.neuron(4))] == ["dormant", "virtual"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("memory", ["1GiB", "300MiB"])
def test_an_edge_list_brings_the_delay_of_each_synapse(tmp_path: Path, suffix: str, memory: str) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    random = np.random.default_rng(4)
    pre, post = random.integers(0, 200, (2, 3000))
    delay = random.integers(1, 300, 3000) / 10
    table = pa.table({"pre": pre, "post": post, "weight": np.ones(3000), "delay": delay})
    source = tmp_path / f"edges{suffix}"
    (pa.csv.write_csv if suffix == ".csv" else pa.parquet.write_table)(table, source)
    report = engramdb.import_edges(source, tmp_path / "net.engram", dt_ms=0.1, duplicates="keep", memory=memory)
    assert (report.accepted, report.synapses) == (3000, 3000)
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert e.spec.varying_delays
        found = edges_of(e)
        labels = np.unique(np.concatenate([pre, post]))
        given = np.searchsorted(labels, pre), np.searchsorted(labels, post), np.rint(delay * 10).astype(np.int64)
        assert sorted(zip(*(x.tolist() for x in given), strict=True)) == sorted(
            zip(found[0].tolist(), found[1].tolist(), found[3].tolist(), strict=True)
        )
        twin = twin_of(e)
        twin.dt = 0.1
        e.stimulate(np.arange(50), 16.0)
        twin.stimulate(np.arange(50), np.full(50, np.float32(16)), 1)
        np.testing.assert_array_equal(e.run(200, record=("spikes",)).spikes[1], twin.run(200)[1])


def test_equal_delays_of_an_edge_list_are_those_of_its_projection(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("pre,post,delay\n1,2,4\n2,3,4.0\n")
    engramdb.import_edges(tmp_path / "edges.csv", tmp_path / "net.engram")
    with engramdb.open(tmp_path / "net.engram") as e:
        assert not e.spec.varying_delays
        assert e.synapses(0).delays.tolist() == [4]


def test_rows_with_delays_that_are_none_are_told_by_their_lines(tmp_path: Path) -> None:
    source = tmp_path / "edges.csv"
    source.write_text("pre,post,delay\n1,2,1\n1,3,0.5\n1,4,\n1,5,70000\n1,6,x\n1,7,-1\n1,8,3\n")
    report = engramdb.import_edges(source, tmp_path / "net.engram")
    assert (report.accepted, report.rejected) == (2, 5)
    assert [(line, reason) for line, reason, _ in report.first_rejected][:2] == [
        (3, 'delay "0.5" is not in ms, a whole number in 1..65535 ticks of 1 ms'),
        (4, "delay is empty"),
    ]
    with pytest.raises(InvalidInput, match=r'line 3: delay "0\.5" is not in ms'):
        engramdb.import_edges(source, tmp_path / "other.engram", strict=True)


def test_a_pair_with_two_delays_stays_two_synapses_when_duplicates_are_summed(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("pre,post,weight,delay\n1,2,1,3\n1,2,2,3\n1,2,4,5\n")
    engramdb.import_edges(tmp_path / "edges.csv", tmp_path / "net.engram")
    with engramdb.open(tmp_path / "net.engram") as e:
        assert e.synapses(0).delays.tolist() == [3, 5]
        assert e.synapses(0).weights.tolist() == [3.0, 4.0]


def test_a_snapshot_shows_delays_through_zarr_where_synapses_have_their_own(tmp_path: Path) -> None:
    import zarr

    with make(tmp_path, _spec((1.0, 30.0), materialize=True)) as e:
        delay = edges_of(e)[3]
        group = zarr.open_group(e.zarr(), mode="r")["a/0"]
        np.testing.assert_array_equal(group["delay"][:], delay)
        assert group["delay"].attrs["units"] == "ticks"
    (tmp_path / "plain").mkdir()
    with make(tmp_path / "plain", _spec(3.0, materialize=True)) as e:
        assert "delay" not in zarr.open_group(e.zarr(), mode="r")["a/0"]


def test_growing_draws_delays_and_leaves_those_there_are(tmp_path: Path) -> None:
    with make(tmp_path, _spec((1.0, 30.0))) as e:
        before = edges_of(e)
        e.grow("a", 50, materialize=True)
        e.grow("a", 50)
        after = edges_of(e)
        old = after[0] < 300
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other[old])
        assert set(after[3][~old].tolist()) > set(range(2, 29))
        twin = twin_of(e)
        _drive(e, twin, np.arange(250, 400), 1)
        np.testing.assert_array_equal(e.run(80, record=("spikes",)).spikes[1], twin.run(80)[1])
        assert len(ids_of(e)) == 400


@pytest.mark.parametrize("memory", [1 << 28, 40_000])
@pytest.mark.parametrize("ahead", [0, 1])
def test_more_combinations_than_can_be_told_apart_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, ahead: int
) -> None:
    """Rows take turns where their delays together are too many; which were there before makes no difference."""
    monkeypatch.setattr(rows, "MOST_CODES", 64)
    monkeypatch.setattr(Engine, "reading_threads", ahead)
    with make(tmp_path, _spec(), memory=memory) as e:
        twin = twin_of(e)
        assert len(np.unique(twin.delay)) > 200
        for at in (1, 2, 40, 90):
            _drive(e, twin, np.arange(at, 300, 5), at)
        run, expected = e.run(400, record=("spikes",)), twin.run(400)
        assert len(expected[0]) > 200
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert_same_state(e, twin)


@pytest.mark.parametrize("memory", [1 << 28, 40_000])
def test_a_row_of_too_many_combinations_is_refused_whatever_else_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(rows, "MOST_CODES", 4)
    with make(tmp_path, _spec(delay=(1.0, 300.0)), memory=memory) as e:
        e.stimulate(7, 16.0, at=3)
        with pytest.raises(BudgetExceeded, match=r"neuron 0/0/7 have more combinations .* the state is whole") as told:
            e.run(400)
        assert told.value.run.ticks == e.tick == 3, "its row is wanted when the first synapse of any may deliver"
    monkeypatch.undo()
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert e.run(400).stats["synaptic_events"] >= 8
