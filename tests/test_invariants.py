"""The four invariants, on random networks: residency, threads, restore, durability."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import engramdb
from engramdb import Engram, Layer, SmallWorld, Spec
from engramdb.bursts import Bursts
from engramdb.errors import BudgetExceeded, HandleClosed, NotFound
from engramdb.workers import Workers
from tests.networks import assert_same_state, ids_of, make, specs, twin_of
from tests.simulator import Simulator, narrowed


def _drive(e: Engram, seed: int, n_driven: int) -> None:
    random = np.random.default_rng(seed)
    ids = ids_of(e)
    for at in (1, 2, 9):
        e.stimulate(random.choice(ids, min(n_driven, len(ids)), replace=False), 16.0, at=at, duration=2)


def _whole_bytes(spec: Spec) -> int:
    """About what it takes to hold all of a network."""
    return sum(layer.neurons for layer in spec.layers) * 260


@given(
    spec=specs(largest=1500), share=st.floats(0.01, 0.6), seed=st.integers(0, 99), driven=st.sampled_from([3, 20, 60])
)
def test_results_do_not_depend_on_the_memory_budget(spec: Spec, share: float, seed: int, driven: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for name, memory in (("whole", 1 << 28), ("part", max(4000, int(_whole_bytes(spec) * share)))):
            (Path(folder) / name).mkdir()
            e = make(Path(folder) / name, spec, memory=memory)
            _drive(e, seed, driven)
            parts: list[tuple[np.ndarray, np.ndarray]] = []
            while e.tick < 40:
                try:
                    parts.append(e.run(40 - e.tick, record=("spikes",)).spikes)
                except BudgetExceeded as error:
                    parts.append(error.run.spikes)
                    memory *= 2
                    path = e.location
                    e.close()
                    e = engramdb.open(path, "r+", memory=memory)
            assert e.stats()["used_bytes"] <= memory
            ids = ids_of(e)
            runs.append((tuple(np.concatenate(x) for x in zip(*parts, strict=True)), e.neurons(ids).fields))
            e.close()
        (spikes, fields), (spikes_small, fields_small) = runs
        np.testing.assert_array_equal(spikes[0], spikes_small[0])
        np.testing.assert_array_equal(spikes[1], spikes_small[1])
        for name, column in fields.items():
            np.testing.assert_array_equal(column, fields_small[name])


def test_a_hundredth_of_the_memory_gives_the_same_bits(tmp_path: Path) -> None:
    """Activity that wanders through 20,000 neurons, of which a hundredth fits."""
    wiring = SmallWorld(k=12, long_fraction=0.0, span=30, weight=3.0)
    spec = Spec(seed=9, layers=[Layer("a", segments=[20_000], params={"tau": 2.0}, wiring=wiring)])
    results = []
    for name, memory in (("whole", 1 << 28), ("part", _whole_bytes(spec) // 100)):
        (tmp_path / name).mkdir()
        with make(tmp_path / name, spec, memory=memory) as e:
            for at in range(1, 480):
                e.stimulate(np.arange(at * 40, at * 40 + 6), 16.0, at=at)
            run = e.run(500, record=("spikes",), to=tmp_path / f"{name}.parquet")
            results.append((run.counts, e.neurons(ids_of(e)).fields, run.stats))
    assert results[0][0].sum() > 1000
    assert results[1][2]["evictions"] > 5
    assert results[1][2]["used_bytes"] <= _whole_bytes(spec) // 100
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for name, column in results[0][1].items():
        np.testing.assert_array_equal(column, results[1][1][name])


@given(spec=specs(largest=800), seed=st.integers(0, 99))
def test_results_do_not_depend_on_the_number_of_threads(spec: Spec, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # small networks would otherwise be left to one thread
        patch.setattr(Workers, "least_rows", 1)
        patch.setattr(Workers, "least_blocks", 1)
        results = []
        for threads in (1, 2, 3):
            if threads > 1:
                patch.setattr(Bursts, "most_blocks", 0)
            (Path(folder) / str(threads)).mkdir()
            with make(Path(folder) / str(threads), spec, threads=threads) as e:
                _drive(e, seed, 40)
                run = e.run(40, record=("spikes",))
                results.append((run.spikes, e.neurons(ids_of(e)).fields))
        for spikes, fields in results[1:]:
            np.testing.assert_array_equal(spikes[0], results[0][0][0])
            np.testing.assert_array_equal(spikes[1], results[0][0][1])
            for name, column in fields.items():
                np.testing.assert_array_equal(column, results[0][1][name])


@given(
    spec=specs(), seed=st.integers(0, 99), first=st.integers(0, 30), ways=st.sampled_from(["elsewhere", "after more"])
)
def test_a_run_cut_by_snapshot_and_restore_equals_one_run(spec: Spec, seed: int, first: int, ways: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("once", "cut"):
            (Path(folder) / name).mkdir()
        with make(Path(folder) / "once", spec) as e:
            _drive(e, seed, 30)
            whole = e.run(50, record=("spikes",)).spikes
            fields = e.neurons(ids_of(e)).fields
        with make(Path(folder) / "cut", spec) as e:
            _drive(e, seed, 30)
            before = e.run(first, record=("spikes",)).spikes
            e.snapshot("here")
            path = e.location
            if ways == "after more":
                e.stimulate(ids_of(e)[:20], 20.0, duration=3)
                e.run(7)
        if ways == "elsewhere":
            shutil.move(path, Path(folder) / "moved")
            path = Path(folder) / "moved"
        with engramdb.open(path, "r+") as e:
            e.restore("here")
            assert e.tick == first
            after = e.run(50 - first, record=("spikes",)).spikes
            np.testing.assert_array_equal(np.concatenate([before[0], after[0]]), whole[0])
            np.testing.assert_array_equal(np.concatenate([before[1], after[1]]), whole[1])
            for name, column in e.neurons(ids_of(e)).fields.items():
                np.testing.assert_array_equal(column, fields[name])


class EngramMachine(RuleBasedStateMachine):
    """An engram beside its twin, through any interleaving of what a user can do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.engram: Engram | None = None
        self.twin: Simulator
        self.saved: dict[str, Simulator] = {}

    @initialize(spec=specs(largest=120))
    def create(self, spec: Spec) -> None:
        self.engram = make(self.folder, spec)
        self.twin = twin_of(self.engram)

    @rule(data=st.data(), amplitude=st.sampled_from([5.0, 16.0]), later=st.integers(1, 4), duration=st.integers(1, 3))
    def stimulate(self, data: st.DataObject, amplitude: float, later: int, duration: int) -> None:
        places = np.array(data.draw(st.lists(st.integers(0, len(self.twin.ids) - 1), min_size=1, max_size=20)))
        self.engram.stimulate(self.twin.ids[places], amplitude, at=self.engram.tick + later, duration=duration)
        self.twin.stimulate(places, np.full(len(places), np.float32(amplitude)), self.twin.tick + later, duration)

    @rule(ticks=st.integers(0, 12))
    def run_ticks(self, ticks: int) -> None:
        run = self.engram.run(ticks, record=("spikes",))
        expected = self.twin.run(ticks)
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])

    @precondition(lambda self: len(self.twin.pre))
    @rule(data=st.data(), weight=st.floats(0, 16, width=32))
    def set_weight(self, data: st.DataObject, weight: float) -> None:
        which = data.draw(st.integers(0, len(self.twin.pre) - 1))
        pre, post = self.twin.pre[which], self.twin.post[which]
        projection = self.engram.synapses(int(self.twin.ids[pre])).projections
        sign = -1 if any("inh->exc" in p for p in projection) else 1
        self.engram.set_weight(self.twin.ids[pre], self.twin.ids[post], sign * weight)
        pair = (self.twin.pre == pre) & (self.twin.post == post)
        kept = narrowed(sign * weight, self.engram.spec.layer(int(self.twin.ids[pre]) >> 48))
        self.twin.weight[pair] = kept
        self.twin.fixed[pair] = round(float(kept) * 2**32)

    @rule(data=st.data(), weight=st.floats(-4, 0, width=32))
    def connect_inhibitory(self, data: st.DataObject, weight: float) -> None:
        """Joins neurons of the last layer by the projection of that layer onto itself."""
        own = np.flatnonzero(self.twin.ids >> np.uint64(48) == self.twin.ids[-1] >> np.uint64(48))
        pre, post = (own[data.draw(st.integers(0, len(own) - 1))] for _ in range(2))
        self.engram.connect(self.twin.ids[pre], self.twin.ids[post], weight)
        pair = (self.twin.pre == pre) & (self.twin.post == post)
        if not pair.any():
            name = self.engram.spec.layers[-1].name
            projection = next(p for p in self.engram.spec.all_projections if p.pre == p.post == name)
            self.twin.pre = np.append(self.twin.pre, pre)
            self.twin.post = np.append(self.twin.post, post)
            self.twin.weight = np.append(self.twin.weight, np.float32(0))
            self.twin.fixed = np.append(self.twin.fixed, 0)
            self.twin.delay = np.append(self.twin.delay, self.engram.spec.delay_ticks(projection))
            pair = np.append(pair, True)
        kept = narrowed(weight, self.engram.spec.layers[-1])
        self.twin.weight[pair] = kept
        self.twin.fixed[pair] = round(float(kept) * 2**32)

    @rule(wait=st.booleans())
    def checkpoint(self, wait: bool) -> None:
        """One that is written behind is under way while the next rules do what they do."""
        self.engram.checkpoint(wait=wait)

    @rule()
    def compact(self) -> None:
        self.engram.compact()

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Counts of neurons at rest with generated rows go, and nothing else changes."""
        places = np.array(sorted(data.draw(st.sets(st.integers(0, len(self.twin.ids) - 1), min_size=1, max_size=60))))
        before = np.array(self.engram.neurons(self.twin.ids[places]).state)
        gone = self.engram.forget(self.twin.ids[places])
        after = np.array(self.engram.neurons(self.twin.ids[places]).state)
        forgotten = (before != "virtual") & (after == "virtual")
        assert gone == np.count_nonzero(forgotten)
        self.twin.spike_count[places[forgotten]] = 0
        self.twin.last_spike[places[forgotten]] = 0

    @rule(name=st.sampled_from("abc"))
    def snapshot(self, name: str) -> None:
        if name not in self.saved:
            self.engram.snapshot(name)
            self.saved[name] = copy.deepcopy(self.twin)

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.saved)))
        self.engram.restore(name)
        self.twin = copy.deepcopy(self.saved[name])

    @rule(memory=st.sampled_from([1 << 20, 1 << 28]), cleanly=st.booleans())
    def reopen(self, memory: int, cleanly: bool) -> None:
        if cleanly:
            self.engram.close()
        else:
            self.engram._shut()  # as after a crash: no checkpoint, only what was acknowledged
        self.engram = engramdb.open(self.folder / "net.engram", "r+", memory=memory, threads=1)

    @rule()
    def fork(self) -> None:
        """A child that inherited the handle is told so, and does the parent no harm."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's threads make Python 3.12 warn of forks
            child = os.fork()
        if child == 0:
            try:
                self.engram.run(1)
            except HandleClosed:
                self.engram.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def read_beside_the_writer(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.saved)))
        with engramdb.open(self.folder / "net.engram", at=name) as reader:
            assert_same_state(reader, self.saved[name])

    @invariant()
    def same(self) -> None:
        if self.engram is not None:
            assert self.engram.tick == self.twin.tick
            assert_same_state(self.engram, self.twin)

    def teardown(self) -> None:
        if self.engram is not None:
            path = self.engram.location
            self.engram.close()
            report = engramdb.verify(path)
            assert not report.problems
        shutil.rmtree(self.folder)


TestEngramMachine = EngramMachine.TestCase
TestEngramMachine.settings = settings(
    max_examples=max(4, settings().max_examples // 2), stateful_step_count=20, deadline=None
)


def test_restore_then_writes_leaves_both_lines_readable(tmp_path: Path) -> None:
    spec = Spec(seed=4, layers=[Layer("a", segments=[300], wiring=SmallWorld(k=6, span=20, weight=5.0))])
    with make(tmp_path, spec) as e:
        e.stimulate(np.arange(50), 16.0)
        e.run(10)
        e.snapshot("fork")
        e.set_weight(0, e.synapses(0).targets[0], 1.25)
        e.run(5)
        e.snapshot("old")
        old = e.neurons(np.arange(300)).fields
        e.restore("fork")
        e.set_weight(0, e.synapses(0).targets[0], 9.5)
        e.run(8)
        e.snapshot("new")
        new = e.neurons(np.arange(300)).fields
    for name, fields, weight, tick in (("old", old, 1.25, 15), ("new", new, 9.5, 18)):
        with engramdb.open(tmp_path / "net.engram", at=name) as e:
            assert e.tick == tick
            assert e.synapses(0).weights[0] == weight
            for field, column in e.neurons(np.arange(300)).fields.items():
                np.testing.assert_array_equal(column, fields[field])
    with engramdb.open(tmp_path / "net.engram", at="fork") as e:
        assert e.synapses(0).weights[0] == 5.0
    with engramdb.open(tmp_path / "net.engram", "r+") as e, pytest.raises(NotFound, match="never"):
        e.restore("never")
