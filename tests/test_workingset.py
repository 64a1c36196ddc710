"""The working set's books: what is counted is what is there, and the budget holds at every moment."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Timer
from typing import Any

import numpy as np
import pytest

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, SmallWorld, Spec
from engramdb.growth.bundle import Bundles
from engramdb.kernels import slots
from engramdb.store import Store
from engramdb.workingset import SYNAPSE_BYTES, WorkingSet
from tests.networks import assert_same_state, make, twin_of


def rows_there(working_set: WorkingSet) -> int:
    """How many records have their row in the arena."""
    records = working_set.records[: working_set.slots.counters[slots.N_RECORDS]]
    return int(((records["slot"] >= 0) & (records["offset"] >= 0)).sum())


@pytest.mark.parametrize(
    ("memory", "driven", "k", "delay", "weight"),
    [(47_734, 752, 28, 1.0, 0.5), (33_509, 563, 29, 4.0, 3.0), (64_037, 479, 38, 1.0, 0.5)],
)
def test_making_room_for_stored_rows_spares_the_records_of_generated_ones(
    tmp_path: Path, memory: int, driven: int, k: int, delay: float, weight: float
) -> None:
    """Every other row is stored, and in a chunk of spikes only some records have their rows."""
    wiring = SmallWorld(k=k, span=30, long_fraction=0.0, weight=weight)
    spec = Spec(seed=2, layers=[Layer("a", segments=[3000], wiring=wiring, delay_ms=delay)])
    with make(tmp_path, spec, memory=memory + 8 * driven) as e:  # the spikes under way
        written = np.arange(0, driven, 2)
        e.set_weight(written, np.array([e.synapses(i).targets[0] for i in written.tolist()]), 2.0)
        twin = twin_of(e)
        e.stimulate(np.arange(driven), 16.0)
        twin.stimulate(np.arange(driven), np.full(driven, np.float32(16)), 1)
        for _ in range(12):
            e.run(1)
            working_set = e._live.working_set
            assert working_set.slots.counters[slots.N_ROWS] == rows_there(working_set)
        assert e.stats()["evictions"] > 10, "the budget must be tight for this test to mean anything"
        twin.run(12)
        assert_same_state(e, twin)


def test_room_that_forgotten_rows_leave_is_used_again(tmp_path: Path) -> None:
    """A long row is changed again and again: what it held before must not count against the budget for ever."""
    spec = Spec(seed=2, layers=[Layer("a", segments=[300], wiring=FixedOutdegree(k=250, weight=0.01))])
    with make(tmp_path, spec, memory=40_000) as e:
        target = e.synapses(7).targets[:1]
        for weight in range(40):
            e.set_weight(7, target, float(weight) / 100)
            e.stimulate(7, 20.0)
            e.run(4)
            assert e.stats()["used_bytes"] <= 40_000
        assert e.neuron(7).fields["spike_count"] == 40
        assert e.synapses(7).weights[0] == np.float32(0.39)


@pytest.mark.parametrize("k", [300, 5000])
def test_the_first_row_may_be_long(tmp_path: Path, k: int) -> None:
    """Its targets need many doublings of the index at once, in an engram in which nothing has been awake."""
    spec = Spec(seed=2, layers=[Layer("a", segments=[20_000], wiring=FixedOutdegree(k=k, weight=0.01))])
    with make(tmp_path, spec) as e:
        e.stimulate(7, 20.0)
        e.run(2)
        reached = np.append(e.synapses(7).targets, np.uint64(7))  # the neuron itself is refractory
        assert e.stats()["charged"] == len(np.unique(reached))
        assert e.stats()["evictions"] == 0


def test_slots_taken_after_rows_have_filled_the_budget_stay_within_it(tmp_path: Path) -> None:
    budget = 200_000
    spec = Spec(seed=2, layers=[Layer("a", segments=[5000], wiring=FixedOutdegree(k=45, weight=0.01))])
    bundles = Bundles.initial(spec)
    Store.create(tmp_path / "net.engram", spec, bundles)
    with Store.open(tmp_path / "net.engram", "r+", cache_bytes=0) as store:
        working_set = WorkingSet(spec, bundles, store, budget, threads=1)
        first = working_set.hold(np.arange(300, dtype=np.uint64))  # sets limits while nearly all of the memory is free
        working_set.load(first, evict=False)
        assert 0 <= working_set.free_bytes < 45 * SYNAPSE_BYTES, "rows have filled it"
        for start in range(300, 3000, 100):
            working_set.hold(np.arange(start, start + 100, dtype=np.uint64))
            assert working_set.used_bytes <= budget


def test_counts_of_a_neuron_survive_a_change_of_its_row(tmp_path: Path) -> None:
    spec = Spec(seed=2, layers=[Layer("a", segments=[50], wiring=FixedOutdegree(k=4, weight=0.01))])
    with make(tmp_path, spec) as e:
        _fire(e, 3)
        e.set_weight(3, e.synapses(3).targets[0], 1.0)
        _fire(e, 3)
        assert (e.neuron(3).fields["spike_count"], e.neuron(3).fields["last_spike"]) == (2, 5)


def _fire(e: Engram, neuron: int) -> None:
    e.stimulate(neuron, 20.0)
    e.run(4)


def test_queries_take_nothing_from_the_working_set(tmp_path: Path) -> None:
    """Asking for every neuron evicts no row or leaf of the engine, and what it keeps goes when memory is short."""
    spec = Spec(
        seed=3,
        layers=[Layer("a", segments=[30_000], materialize=True, wiring=SmallWorld(k=8, span=20, weight=(1.0, 3.0)))],
    )
    engramdb.create(tmp_path / "net.engram", spec).close()
    with engramdb.open(tmp_path / "net.engram", "r+", memory="8MiB") as e:
        e.stimulate(np.arange(0, 3000), 30.0)
        e.run(3)
        before, engines = e.stats(), set(e._store.reader.cache._values)
        for start in range(0, 30_000, 1000):
            e.neurons(np.arange(start, start + 1000))
            e.synapses(start)
        after = e.stats()
        for name in ("resident", "active", "rows_dropped", "slots_freed", "evictions"):
            assert after[name] == before[name], name
        assert engines <= set(e._store.reader.cache._values)
        assert 0 < e._store.reader.queries.nbytes <= e._store.query_cache_bytes
        assert after["used_bytes"] <= e.memory
        e._store.cache_bytes = 0
        assert e._store.reader.queries.nbytes == 0


def test_what_is_written_behind_is_in_the_budget_when_a_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = 110_000
    spec = Spec(layers=[Layer("a", segments=[400], wiring=SmallWorld(k=6, span=9))])
    with engramdb.create(tmp_path / "net.engram", spec, memory=memory) as e:
        e.stimulate(np.arange(400), 20.0)
        e.run(3)
        assert e.stats()["used_bytes"] > memory // 2, "the copy might not fit"
        working_set, gather = e._live.working_set, Event()
        take = working_set.unwritten.take

        def taken() -> Any:
            changes = take()
            return lambda: (gather.wait(30), changes())[1]

        monkeypatch.setattr(working_set.unwritten, "take", taken)
        e.checkpoint(wait=False)
        Timer(0.2, gather.set).start()
        e.run(1)
        assert gather.is_set(), "the run has waited for it"
        assert e.stats()["used_bytes"] <= memory
