"""Reading ahead: it changes when rows come, and nothing else."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, SmallWorld, Spec
from engramdb.engine import Engine
from engramdb.errors import BudgetExceeded, HandleClosed, LeafDamaged
from engramdb.kernels import near, rows, slots
from engramdb.prefetch import Prefetch
from engramdb.rowsource import Rows
from engramdb.slowfiles import SlowFiles
from engramdb.store import Store
from tests.networks import assert_same_state, ids_of, make, specs, twin_of
from tests.test_kernels import make_slots


def read_rows(ids: np.ndarray) -> Iterator[Rows]:
    """Two synapses each, onto the neuron itself and the next one."""
    n = len(ids)
    yield Rows(
        ids, np.zeros(n, np.uint32), np.zeros(n, np.int64), np.arange(0, 2 * n + 1, 2), np.zeros(2 * n, np.uint16),
        np.stack([ids, ids + np.uint64(1)], axis=1).ravel(), np.ones(2 * n, np.float32), np.empty(0, np.uint16),
    )  # fmt: skip


def some(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.uint64)


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("engramdb-ahead")]


class Gate:
    """Reads that wait until they are let through, and say what was asked for."""

    def __init__(self) -> None:
        self.opened, self.began = Event(), Event()
        self.asked: list[list[int]] = []

    def read(self, ids: np.ndarray) -> Iterator[Rows]:
        self.asked.append(ids.tolist())
        self.began.set()
        assert self.opened.wait(30)
        return read_rows(ids)


@pytest.fixture
def gate() -> Iterator[tuple[Gate, Prefetch]]:
    gate = Gate()
    prefetch = Prefetch(gate.read, 1 << 20)
    yield gate, prefetch
    gate.opened.set()
    prefetch.close()


def test_what_was_asked_for_arrives_once_and_sorted() -> None:
    prefetch = Prefetch(read_rows, 1 << 20)
    prefetch.ask(some(5, 3))
    prefetch.claim(some(3, 5))  # takes out what is waiting, and waits for what is being read
    taken = [part.ids.tolist() for part in prefetch.arrived()]
    assert taken in ([], [[3, 5]])
    assert prefetch.arrived() == []
    assert prefetch.nbytes == 0
    prefetch.close()
    assert not reading_threads()


def test_urgent_rows_are_read_before_those_that_waited_longer(gate: tuple[Gate, Prefetch]) -> None:
    door, prefetch = gate
    prefetch.ask(some(1))
    assert door.began.wait(30)
    prefetch.ask(some(50, 40))
    prefetch.ask(some(90, 60))
    prefetch.ask(some(70), urgent=True)
    door.opened.set()
    prefetch.claim(some(1))
    while len(door.asked) < 4:
        assert prefetch.busy
    assert door.asked == [[1], [70], [40, 50], [60, 90]]


def test_neighbours_are_read_together(gate: tuple[Gate, Prefetch]) -> None:
    door, prefetch = gate
    prefetch.ask(some(1))
    assert door.began.wait(30)
    prefetch.ask(some(10, 20))
    prefetch.ask(some(15, 99))
    door.opened.set()
    while len(door.asked) < 3:
        assert prefetch.busy
    assert door.asked == [[1], [10, 15, 20], [99]]


def test_a_pause_reads_again_what_had_come_in(gate: tuple[Gate, Prefetch]) -> None:
    door, prefetch = gate
    door.opened.set()
    prefetch.ask(some(4, 6))
    with prefetch.paused():
        asked = len(door.asked)
        prefetch.ask(some(8))
        assert prefetch.arrived() == []
        assert len(door.asked) == asked, "nobody reads while the store changes"
    prefetch.claim(some(100))
    found: set[int] = set()
    while found != {4, 6, 8}:
        found |= {neuron for part in prefetch.arrived() for neuron in part.ids.tolist()}


def test_settling_forgets_all_and_leaves_nobody_reading(gate: tuple[Gate, Prefetch]) -> None:
    door, prefetch = gate
    prefetch.ask(some(1))
    assert door.began.wait(30)
    prefetch.ask(some(2))
    door.opened.set()
    prefetch.settle()
    assert (prefetch.arrived(), prefetch.nbytes, prefetch.busy) == ([], 0, False)
    assert door.asked == [[1]]


def test_what_waits_is_bounded_by_its_budget() -> None:
    may_read = Event()

    def read_when_it_may(ids: np.ndarray) -> Iterator[Rows]:
        may_read.wait()
        yield from read_rows(ids)

    prefetch = Prefetch(read_when_it_may, 4096)
    assert 0 < prefetch.room < 4096 // 200
    prefetch.ask(np.arange(prefetch.room, dtype=np.uint64))
    assert prefetch.room < 4
    may_read.set()
    prefetch.close()


def test_a_read_that_fails_leaves_the_error_to_whoever_needs_the_row() -> None:
    tried = Event()

    def fail(ids: np.ndarray) -> Iterator[Rows]:
        tried.set()
        raise LeafDamaged("leaf 0")

    prefetch = Prefetch(fail, 1 << 20)
    prefetch.ask(some(1))
    assert tried.wait(30)
    prefetch.claim(some(1))
    while prefetch.busy:
        pass
    assert (prefetch.arrived(), prefetch.room) == ([], 0)
    prefetch.ask(some(2))
    assert not prefetch.busy
    prefetch.settle()
    assert prefetch.room > 0, "the next run tries again"
    prefetch.close()


# ---- in an engine


def drive(e: Engram, seed: int) -> None:
    """A region that moves: strong and weak input, so that some fire at once and some after a while."""
    random, ids = np.random.default_rng(seed), ids_of(e)
    for at in range(1, 40, 3):
        start = len(ids) * at // 40
        part = ids[start : start + max(4, len(ids) // 12)]
        amplitude = random.uniform(0.5, 4.0, len(part)).astype(np.float32)
        amplitude[random.random(len(part)) < 0.1] = 16
        e.stimulate(part, amplitude, at=at, duration=10)


@settings(max_examples=max(5, settings().max_examples // 4))
@given(
    spec=specs(largest=1200), share=st.floats(0.01, 0.5), seed=st.integers(0, 99), behind=st.booleans(),
    slow=st.sampled_from([0.0, 0.0005]), threads=st.integers(1, 2),
)  # fmt: skip
def test_results_depend_neither_on_reading_ahead_nor_on_the_disk(
    spec: Spec, share: float, seed: int, behind: bool, slow: float, threads: int
) -> None:
    whole = sum(layer.neurons for layer in spec.layers) * 260
    results = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for ahead, memory in ((0, 1 << 28), (1, max(6000, int(whole * share))), (0, max(6000, int(whole * share)))):
            patch.setattr(Engine, "reading_threads", ahead)
            path = Path(folder) / f"{len(results)}.engram"
            engramdb.create(path, spec).close()
            e = Engram(Store.open(path, "r+", files=SlowFiles(slow)), memory=memory, threads=threads)
            drive(e, seed)
            counts: list[int] = []
            while e.tick < 60:
                try:
                    run = e.run(min(7, 60 - e.tick))
                except BudgetExceeded as error:
                    run = error.run
                    memory *= 2
                    e.close()
                    e = Engram(Store.open(path, "r+", files=SlowFiles(slow)), memory=memory, threads=threads)
                counts += run.counts.tolist()
                assert e.stats()["used_bytes"] <= memory
                if behind:
                    e.checkpoint(wait=False)
            results.append((counts, e.neurons(ids_of(e)).fields))
            e.close()
            assert not reading_threads()
    for counts, fields in results[1:]:
        assert counts == results[0][0]
        for name, column in fields.items():
            np.testing.assert_array_equal(column, results[0][1][name], err_msg=name)


def moving(folder: Path, memory: int, seconds: float = 0.0) -> Engram:
    """20,000 stored neurons, of which some hundreds are active at a time."""
    wiring = SmallWorld(k=12, long_fraction=0.05, span=30, weight=(0.0, 0.6))
    spec = Spec(seed=9, layers=[Layer("a", segments=[20_000], wiring=wiring, materialize=True)])
    engramdb.create(folder / "net.engram", spec).close()
    e = Engram(Store.open(folder / "net.engram", "r+", files=SlowFiles(seconds)), memory=memory, threads=1)
    for step in range(50):
        ids = np.arange(step * 400, (step + 1) * 400)
        e.stimulate(ids, np.linspace(0.6, 1.6, 400), at=step * 8 + 1, duration=60)
    return e


def test_rows_are_there_when_they_are_needed_and_the_books_add_up(tmp_path: Path) -> None:
    with moving(tmp_path, 1_300_000) as e:
        twin = twin_of(e)
        for step in range(50):
            place = np.arange(step * 400, (step + 1) * 400)
            twin.stimulate(place, np.linspace(0.6, 1.6, 400).astype(np.float32), step * 8 + 1, 60)
        run = e.run(460)
        twin.run(460)
        assert_same_state(e, twin)
        stats = run.stats
        assert stats["evictions"] > 3, "the budget must be tight for this test to mean anything"
        assert stats["prefetch_hits"] > 0
        assert stats["prefetch_hits"] + stats["prefetch_unused"] <= stats["prefetched"]
        assert stats["prefetched"] <= stats["rows_loaded"] <= stats["prefetched"] + stats["misses"]
        assert stats["rows_loaded"] - stats["rows_dropped"] >= stats["active"]
        assert stats["hits"] + stats["misses"] >= run.counts[:-1].sum()
        kinds = ("slot", "index", "record", "row", "cache", "buffer", "recording", "flight")
        assert sum(stats[f"{kind}_bytes"] for kind in kinds) == stats["used_bytes"] <= e.memory


@pytest.mark.parametrize("ahead", [0, 1])
def test_rows_of_hubs_take_turns_where_one_fits(tmp_path: Path, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows of 42 kB under a budget of 300 kB, of which the targets take most."""
    monkeypatch.setattr(Engine, "reading_threads", ahead)
    layers = [
        Layer("hubs", segments=[10], materialize=True),
        Layer("many", segments=[4000], wiring=SmallWorld(k=4, span=20, weight=1.0)),
    ]
    joining = engramdb.Projection("hubs", "many", FixedOutdegree(k=3000), weight=2.0)
    with make(tmp_path, Spec(seed=8, layers=layers, projections=[joining]), memory=300_000) as e:
        twin = twin_of(e)
        hubs = e.resolve([f"0/0/{i}" for i in range(10)])
        for at in (1, 4, 7):
            e.stimulate(hubs, 20.0, at=at)
            twin.stimulate(np.arange(10), np.full(10, np.float32(20)), at)
        e.run(12)
        twin.run(12)
        assert_same_state(e, twin)
        assert e.stats()["rows_dropped"] >= 10


def test_a_hub_that_cannot_fit_ends_the_run_with_the_state_whole(tmp_path: Path) -> None:
    layers = [Layer("hub", segments=[1]), Layer("many", segments=[20_000])]
    joining = engramdb.Projection("hub", "many", FixedOutdegree(k=20_000), weight=0.001)
    with make(tmp_path, Spec(seed=8, layers=layers, projections=[joining]), memory=200_000) as e:
        e.stimulate(e.resolve("0/0/0"), 20.0)
        with pytest.raises(BudgetExceeded, match=r"one row of synapses: .* and 280,000 more are needed") as told:
            e.run(5)
        assert told.value.run.ticks == e.tick == 1
        assert told.value.exit_code == 4
    with engramdb.open(tmp_path / "net.engram", "r+", memory="8MiB") as e:
        assert e.neuron("0/0/0").fields["spike_count"] == 1
        assert e.run(1).stats["synaptic_events"] == 20_000


def test_nothing_reads_between_runs_nor_after_an_error_or_closing(tmp_path: Path) -> None:
    e = moving(tmp_path, 1_300_000, seconds=0.001)
    e.run(20)
    assert not e._live.working_set.prefetch.busy
    with pytest.raises(ZeroDivisionError):
        e.run(30, until=lambda tick, _: bool(0 // (tick < 40)))
    assert not e._live.working_set.prefetch.busy
    e.run(10)
    e._live.working_set.prefetch.ask(some(1, 2, 3))
    e._shut()
    assert not reading_threads()


def test_a_fork_while_rows_are_being_read_does_no_harm(tmp_path: Path) -> None:
    with moving(tmp_path, 1_300_000, seconds=0.02) as e:
        e.run(5)
        e._live.working_set.prefetch.ask(np.arange(5000, dtype=np.uint64))
        child = os.fork()
        if child == 0:
            try:
                e.run(1)
            except HandleClosed:
                e._shut()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert e.run(10).ticks == 10


def test_changes_of_rows_are_seen_though_they_were_being_read_ahead(tmp_path: Path) -> None:
    """A row is asked for, changed, and then used."""
    spec = Spec(seed=2, layers=[Layer("a", segments=[400], wiring=FixedOutdegree(k=6, weight=0.5), materialize=True)])
    with make(tmp_path, spec) as e:
        twin = twin_of(e)
        e.stimulate(np.arange(50), 8.0)
        twin.stimulate(np.arange(50), np.full(50, np.float32(8)), 1)
        e.run(4)
        twin.run(4)
        target = e.synapses(7).targets[0]
        e.set_weight(7, target, 9.0)
        pair = (twin.pre == 7) & (twin.post == int(target))
        twin.weight[pair], twin.fixed[pair] = 9.0, 9 << 32
        e.stimulate(np.arange(50), 16.0)
        twin.stimulate(np.arange(50), np.full(50, np.float32(16)), 5)
        e.run(6)
        twin.run(6)
        assert_same_state(e, twin)
        assert e.synapses(7).weights[e.synapses(7).targets == target][0] == 9.0


def test_spikes_are_counted_before_the_store_is_asked(tmp_path: Path) -> None:
    """Queries and commits add what the store has."""
    spec = Spec(seed=2, layers=[Layer("a", segments=[100], wiring=FixedOutdegree(k=3, weight=0.01), delay_ms=50.0)])
    path = tmp_path / "net.engram"
    with make(tmp_path, spec) as e:
        e.stimulate(5, 20.0)
        e.run(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "reading_threads", 0)
        with engramdb.open(path, "r+") as e:
            e.stimulate(5, 20.0, at=10)
            e.run(12)
            assert e.stats()["active"] == 0, "its row is not needed before tick 51"
            found = e.neuron(5)
            assert (found.state, found.fields["spike_count"], found.fields["last_spike"]) == ("active", 2, 10)
            e.checkpoint(wait=False)
            assert e.neuron(5).fields["spike_count"] == 2
            e.run(50)
            assert e.neuron(5).fields["spike_count"] == 2
    with engramdb.open(path) as e:
        assert (e.neuron(5).fields["spike_count"], e.neuron(5).fields["last_spike"]) == (2, 10)


# ---- kernels


@given(seed=st.integers(0, 2**32), varied=st.booleans(), biased=st.booleans(), room=st.integers(64, 300))
def test_near_lists_who_is_near_and_without_a_row(seed: int, varied: bool, biased: bool, room: int) -> None:
    random = np.random.default_rng(seed)
    held, records = make_slots(4), np.zeros(256, rows.RECORD)
    n = int(random.integers(1, 257))
    place = np.empty(n, np.int64)
    slots.take_many(held, np.zeros(n, np.int32), np.arange(n, dtype=np.uint64), 0, place)
    held.u[place] = random.uniform(-15, 15, n)
    held.block_awake[:] = random.random(len(held.block_awake)) < 0.7
    held = held._replace(param=random.uniform(0, 20, (4, 2, slots.BLOCK)).astype(np.float32))
    own = np.array([[0 if varied else -1, 1 if biased else -1]], np.int32)
    with_record = place[random.random(n) < 0.6]
    rows.attach(held, records, with_record, rows.WARM, np.uint32(0), 0)
    records["offset"][: len(with_record)] = np.where(random.random(len(with_record)) < 0.5, -1, 0)
    queued = np.flatnonzero(random.random(len(with_record)) < 0.3)
    records["flags"][queued] |= rows.QUEUED
    threshold = np.array([[15, 2]], np.float32)
    fraction = np.float32(0.5)

    blocks = int(held.counters[slots.N_BLOCKS])
    found: list[int] = []
    at = 0
    while at < blocks:
        out = np.empty(room, np.int64)
        count, at = near.near(held, records, threshold, own, fraction, at, blocks, out)
        found += out[:count].tolist()
    block, within = place // slots.BLOCK, place % slots.BLOCK
    theta = held.param[block, 0, within] if varied else np.float32(15)
    theta = theta - (held.param[block, 1, within] if biased else np.float32(2))
    record = held.record[place]
    missing = (record < 0) | ((records["offset"][record] < 0) & (records["flags"][record] & rows.QUEUED == 0))
    wanted = held.block_awake[place >> slots.BLOCK_SHIFT].astype(bool) & (held.u[place] >= fraction * theta) & missing
    assert sorted(found) == sorted(place[wanted].tolist())

    out = np.empty(len(with_record), np.int64)
    count = near.unread(held, records, with_record, out)
    assert out[:count].tolist() == with_record[records["offset"][held.record[with_record]] < 0].tolist()
