"""Growth cycles: what they do to a network, and that it does not depend on how they are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engramdb
from engramdb import Explicit, FixedOutdegree, Layer, Projection, Spec, topology
from engramdb.errors import InvalidInput, NotFound, ReadOnly
from engramdb.growth.progress import Shape
from engramdb.topology.moment import Moment
from tests.benchmarks.growth_curve import by_cycle, grown, plot
from tests.bulknursery import CYCLE, Nursery, cycling
from tests.networks import ids_of
from tests.sameness import assert_same_engram

TICKS = 180
PLENTY = 1 << 28
TIGHT = {"spiking": 115_000, "learning": 195_000, "void": 105_000}  # bytes; rows and neurons come and go all the time


def lived(path: Path, kind: str, cuts: Sequence[int] = (), *, memory: int = PLENTY, threads: int = 1) -> Path:
    """A network of that kind after its cycle has run for ``TICKS``, closed and opened again at each of ``cuts``."""
    cycling(path, kind)
    for ticks in np.diff([0, *cuts, TICKS]).tolist():
        with engramdb.open(path, "r+", memory=memory, threads=threads) as e:
            e.cycle.run(ticks=ticks)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {kind: lived(folder / f"{kind}.engram", kind) for kind in CYCLE}


@pytest.mark.parametrize("kind", CYCLE)
def test_a_cycle_grows_prunes_and_promotes(whole: dict[str, Path], kind: str) -> None:
    with engramdb.open(whole[kind]) as e:
        status = e.cycle.status()
        assert (len(e) > 400 and status.cycle > 1 and status.history[0].neurons == len(e) - 400) or status.cycle > 2
        assert min(status.totals.pruned, status.totals.promoted) > 10
        assert 0 <= status.owed == status.totals.pruned - status.totals.promoted - status.totals.bridged
        events = e.cycle.events()
        assert len(events) == sum(status.totals[:3])
        assert [int((events.kind == k).sum()) for k in range(3)] == list(status.totals[:3])


@pytest.mark.parametrize(("kind", "memory"), TIGHT.items())
def test_nothing_depends_on_memory_threads_and_cuts(
    whole: dict[str, Path], kind: str, memory: int, tmp_path: Path
) -> None:
    one = lived(tmp_path / "one.engram", kind, [8, 89, 133], memory=memory, threads=2)
    assert_same_engram(whole[kind], one)


def test_a_cycle_that_is_killed_in_any_phase_goes_on(whole: dict[str, Path], tmp_path: Path) -> None:
    with Nursery(tmp_path, "cycle") as nursery:
        for kind in CYCLE:
            path = tmp_path / f"{kind}.engram"
            cycling(path, kind)
            request = {"kind": "cycle", "path": str(path), "until": TICKS}
            phases = set()
            for steps in (0, 5, 6):
                nursery.work(request, kill_after=steps)
                assert engramdb.verify(path).ok
                with engramdb.open(path, "r+") as e:  # what is behind it must be whole, whoever looks
                    phases.add(e.cycle.status().phase)
            nursery.work(request)
            assert_same_engram(whole[kind], path)
            assert len(phases) > 1


def test_a_branch_and_a_restored_snapshot_have_the_cycle_of_their_time(whole: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "void")
    with engramdb.open(path, "r+") as e:
        e.cycle.run(ticks=115)
        e.snapshot("early")
        then = e.cycle.status()
        e.branch("other")
        e.cycle.stop()
        e.run(10)
        e.restore("early")
        assert e.cycle.status() == then
        e.cycle.run(ticks=TICKS - 115)
    assert_same_engram(whole["void"], path)
    with engramdb.open(path, "r+", branch="other") as e:
        assert e.cycle.status() == then


def test_a_cycle_can_be_paused_stepped_and_stopped_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "spiking")
    with engramdb.open(path, "r+") as e:
        assert e.cycle.status().why == "growing: a bundle of 120 neurons comes with the next step"
        assert e.cycle.step().phase == "stabilize"
        assert len(e) == 520
        assert e.cycle.step().tick == 10
        assert "1 of the 3 readings" in e.cycle.status().why
        with pytest.raises(InvalidInput, match="running already; stop it first"):
            e.cycle.start(layer="a", bundle=10)
        paused = e.cycle.pause()
        assert (paused.state, e.cycle.pause().state) == ("paused", "paused")
        assert paused.why.startswith("paused; stab")
        with pytest.raises(InvalidInput, match="paused; resume it first"):
            e.cycle.run(ticks=1)
    with engramdb.open(path, "r+") as e:
        assert e.cycle.status().state == "paused"
        e.cycle.resume()
        e.cycle.run(cycles=1)
        assert len(e.cycle.status().history) == 1
        assert e.cycle.status().phase == "grow"
        assert "cycle 1: grew by 120" in e.log()[0].message
        assert e.cycle.stop().state == "stopped"
        with pytest.raises(InvalidInput, match="stopped; start another"):
            e.cycle.run(ticks=1)
        again = e.cycle.start(
            layer="a", bundle=10, cycles=1, first="stabilize", every=5, window=2, patience=10, gauge="probe", optimize=9
        )
        assert (again.phase, again.history) == ("stabilize", ())
        assert e.cycle.run().state == "done"
        assert e.cycle.status().why.startswith("done: 1 cycle as set")


def test_pausing_while_it_runs_ends_the_run_at_a_step(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "void")
    with engramdb.open(path, "r+") as e:

        def pause(status: Any) -> None:
            if status.tick == 30:
                e.cycle.pause()

        assert (e.cycle.run(ticks=100, progress=pause).state, e.tick) == ("paused", 30)


def test_plain_runs_leave_the_cycle_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "spiking")
    with engramdb.open(path, "r+") as e:
        e.cycle.step()
        e.run(35)
        assert e.cycle.status().due == 10
        e.cycle.run(ticks=0)
        assert (e.cycle.status().due, e.cycle.status().readings[-1].tick) == (45, 35)


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "spiking")
    with engramdb.open(path) as e:
        assert e.cycle.status().phase == "grow"
        with pytest.raises(ReadOnly):
            e.cycle.run(ticks=1)
    layers = [Layer("a", segments=[10], wiring=FixedOutdegree(k=2)), Layer("b", segments=[10])]
    with engramdb.create(tmp_path / "two.engram", Spec(seed=1, layers=layers)) as e:
        with pytest.raises(NotFound, match="no growth cycle; start one"):
            e.cycle.status()
        for settings_, words in (
            ({}, "layer: say which layer"),
            ({"layer": "b"}, 'no projection joins layer "b" to itself'),
            ({"layer": "a", "bundles": 3}, "no setting 'bundles'"),
            ({"layer": "a", "bundle": 0}, "bundle must be a whole number in 1"),
            ({"layer": "a", "every": 100, "patience": 50}, "give at least 600"),
            ({"layer": "a", "below": -1}, "below must be a number, 0 or more"),
            ({"layer": "a", "growth": "fast"}, "growth must be one of fixed, adaptive"),
            ({"layer": "a", "inbound": 1 << 30}, "inbound must be a whole number"),
            ({"layer": "a", "bundle": 5, "k": 30}, "too many"),
        ):
            with pytest.raises(InvalidInput, match=words):
                e.cycle.start(**settings_)
        e.cycle.start(layer="a", bundle=5)
        with pytest.raises(InvalidInput, match="has no end of its own"):
            e.cycle.run()
        with pytest.raises(InvalidInput, match="ticks=-1"):
            e.cycle.run(ticks=-1)
        with pytest.raises(InvalidInput, match='kind="gone"'):
            e.cycle.events("gone")


def test_another_gauge_is_what_the_gates_read(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "spiking")
    with engramdb.open(path, "r+") as e:
        e.cycle.gauge = lambda sight: Shape(clusters=7, b1=sight.live.tick)
        e.cycle.run(ticks=40)
        assert [(read.clusters, read.b1) for read in e.cycle.status().readings] == [(7, 20), (7, 30), (7, 40)]
        assert not e.cycle.status().gates.open
        assert e.cycle.status().gates.b1 == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["spiking", "void"])
def test_readings_of_the_topology_are_those_of_a_tracker_that_has_seen_nothing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, kind)
    with engramdb.open(path, "r+") as e:
        e.cycle.stop()
        e.cycle.start(**{**CYCLE[kind], "gauge": "topology", "first": "stabilize"})
        status = e.cycle.run(ticks=20)
        (first, second) = status.readings
        moment = Moment.running(e._view(), e._live)
        bounded = topology.Settings(
            patches=1, patch_neurons=1000, sample=2000, roots=16, clusters="components", sentinels=64, ring=16, hops=1
        )
        read = topology.Tracker(bounded).read(moment)
        assert (second.clusters, second.b1, second.complexity) == (read.clusters, read.b1, read.complexity)
        assert min(first.b1, second.b1) > 0


def test_islands_are_bridged_and_hang_together_then(tmp_path: Path) -> None:
    """Two rings that know nothing of each other, and a way to tell."""
    ring = np.arange(30)
    spec = Spec(seed=5, layers=[Layer("a", segments=[60])], projections=[Projection("a", "a", Explicit(), weight=1.0)])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        for first in (0, 30):
            e.connect(first + ring, first + (ring + 1) % 30, 2.0)
        e.cycle.start(layer="a", first="optimize", every=1, window=2, patience=10, optimize=8, island=40, gauge="probe")
        e.cycle.run(ticks=8)
        bridges = e.cycle.events("bridged")
        assert len(bridges) >= 2
        assert set(bridges.number.tolist()) == {30}
        assert bridges.listed()[0].why == "its island of 30 neurons had no way out"
        for pre, post in zip(bridges.pre.tolist(), bridges.post.tolist(), strict=True):
            assert (pre < 30) != (post < 30)
            assert post in e.synapses(pre).targets
        assert e.path(0, 45).ids[-1] == 45
        assert e.path(45, 0).ids[-1] == 0


def test_events_are_asked_for_by_kind_and_tick(whole: dict[str, Path]) -> None:
    with engramdb.open(whole["spiking"]) as e:
        pruned = e.cycle.events("pruned")
        ticks = np.unique(pruned.tick)
        late = e.cycle.events("pruned", since=int(ticks[1]))
        assert len(late) == (pruned.tick >= ticks[1]).sum()
        last = e.cycle.events(limit=2).listed()
        assert len(last) == 2
        assert last[-1].tick == e.cycle.events().tick[-1]
        first = pruned.listed()[0]
        assert first.why == f"weak since tick {pruned.number[0]}, {pruned.value[0]:.4g} when it went"
        assert first.tick - pruned.number[0] >= CYCLE["spiking"]["persist"]
        assert pruned.value.max() < 1.5


def test_pruned_synapses_are_gone_and_each_has_one_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    cycling(path, "spiking")
    with engramdb.open(path, "r+") as e:
        e.cycle.run(cycles=1)
        e.cycle.run(ticks=0)
        degree = e.neurons(ids_of(e)).out_degree.sum()
        assert degree == 8 * len(e) - e.cycle.status().owed
        gone = e.cycle.events("pruned")
        back = e.cycle.events("promoted")
        came = set(zip(back.pre.tolist(), back.post.tolist(), strict=True))
        for pre, post in list(zip(gone.pre.tolist(), gone.post.tolist(), strict=True))[:50]:
            assert (pre, post) in came or post not in e.synapses(pre).targets


def test_the_growth_that_is_plotted_is_a_function_of_its_seed(tmp_path: Path) -> None:
    """From 2,000 to 10,000 neurons."""
    steps = grown(tmp_path / "one.engram", 2000, 3000, 10_000, active=200, awaken=50, gauge="probe")
    again = grown(tmp_path / "two.engram", 2000, 3000, 10_000, active=200, awaken=50, gauge="probe")
    timeless = [replace(step, a_tick=0.0, step=0.0, ram_bytes=0, disk_bytes=0) for step in steps]
    assert timeless == [replace(step, a_tick=0.0, step=0.0, ram_bytes=0, disk_bytes=0) for step in again]
    assert steps[-1].neurons >= 10_000
    assert {step.phase for step in steps} == {"grow", "stabilize", "optimize"}
    assert steps[-1].promoted > 0
    assert len(by_cycle(steps)) == 1 + steps[-1].cycle
    assert_same_engram(tmp_path / "one.engram", tmp_path / "two.engram")
    plot(steps, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text().count("<path") > 20
