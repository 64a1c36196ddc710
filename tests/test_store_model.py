"""A store does what a dict does: random writes, commits, snapshots, restores, branches and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engramdb.errors import NotFound
from engramdb.store import FORGOTTEN, GENERATED, KEEP, LeafPolicy, Records, Store, verify
from engramdb.store.pack import DELTA, LEAF
from engramdb.testing import DictStore, merged, neurons_of, records
from tests.stores import create

POLICIES = [LeafPolicy(rows=8, nbytes=1500), LeafPolicy(rows=100, nbytes=20_000)]
LAYER = 40_000  # ids beyond 2^63


class StoreMachine(RuleBasedStateMachine):
    """Compares a store, its reopenings and its past with :class:`DictStore`."""

    @initialize(
        layer=st.sampled_from([0, LAYER]),
        cache_bytes=st.sampled_from([0, 3000, 1 << 20]),
        policy=st.sampled_from(POLICIES),
        delays=st.booleans(),
    )
    def begin(self, layer: int, cache_bytes: int, policy: LeafPolicy, delays: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "a.engram"
        self.layer, self.cache_bytes, self.policy = layer, cache_bytes, policy
        self.delays = delays
        create(self.path, layer, delays=delays)
        self.model = DictStore()
        self.snapshots: dict[str, int] = {}
        self.frames: list[tuple[int, str]] = []
        self.tick = 0
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.path, "r+", cache_bytes=self.cache_bytes, policy=self.policy)

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        changes = data.draw(records(layer=self.layer, projections=1, delays=self.delays))
        # rows of targets that exist, so that verify has nothing to say
        changes.target = np.uint64(self.layer << 48) + changes.target % np.uint64(1 << 33)
        self.store.write(changes)
        self.model.write(changes)

    @precondition(lambda self: self.model.neurons)
    @rule(data=st.data())
    def write_a_little(self, data: st.DataObject) -> None:
        """Few neurons that are stored: some columns of some of them, some rows, some forgotten."""
        some = data.draw(st.sets(st.sampled_from(sorted(self.model.neurons)), min_size=1, max_size=4))
        kinds = data.draw(
            st.lists(st.sampled_from([KEEP, GENERATED, FORGOTTEN]), min_size=len(some), max_size=len(some))
        )
        columns = data.draw(st.sets(st.sampled_from(["spike_count", "last_spike"])))
        value = data.draw(st.integers(0, 1 << 30))
        n = len(some)
        state = {"spike_count": np.full(n, value, np.uint32), "last_spike": np.full(n, value, np.int64)}
        changes = Records.of_state(np.array(sorted(some), np.uint64), {name: state[name] for name in columns})
        changes.row_kind = np.array(kinds, np.uint8)
        for name in columns:
            if data.draw(st.booleans()):
                changes.kept[name] = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
        self.store.write(changes)
        self.model.write(changes)

    @rule(state=st.booleans(), size=st.integers(0, 50))
    def commit(self, state: bool, size: int) -> None:
        self.tick += 1
        arrays = {"ring": np.arange(size, dtype=np.int64) * self.tick} if state else {}
        done = self.store.commit_state(self.tick, arrays, self.store.bundles, "m")
        self.model.commit(done.number)
        self.frames.clear()
        assert done.neurons == len(self.model.neurons)
        assert done.synapses == sum(len(row) for _, _, row in self.model.neurons.values())
        found = self.store.read_state()
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)

    @rule(data=st.data())
    def write_and_commit(self, data: st.DataObject) -> None:
        self.write(data)
        self.commit(state=False, size=0)

    @rule(data=st.data(), journal=st.booleans())
    def commit_behind(self, data: st.DataObject, journal: bool) -> None:
        """What is being committed is seen at once, and the journal goes on."""
        changes = data.draw(records(layer=self.layer, projections=1, delays=self.delays))
        changes.target = np.uint64(self.layer << 48) + changes.target % np.uint64(1 << 33)
        self.tick += 1
        ring = np.arange(self.tick, dtype=np.int64)
        self.store.commit_behind(lambda: [changes], self.tick, lambda: {"ring": ring}, self.store.bundles)
        self.model.write(changes)
        self.frames.clear()
        if journal:
            self.journal("meanwhile")
        self.find(data)
        self.store.settle()
        self.model.commit(self.store.commit.number)
        assert self.store.commit.neurons == len(self.model.neurons)
        np.testing.assert_array_equal(self.store.read_state()["ring"], ring)

    @rule()
    def compact(self) -> None:
        before = [ref for ref in self.store.directory.leaves() if ref.kind == DELTA]
        done = self.store.compact()
        assert done.leaves == done.of <= len(before)
        if not self.store.directory.unnamed:
            assert all(ref.kind == LEAF for ref in self.store.directory.leaves())

    @rule(keep_last=st.integers(0, 3))
    def gc(self, keep_last: int) -> None:
        done = self.store.gc(keep_last=keep_last, keep_days=0.0)
        assert not set(self.snapshots.values()) & set(done.dropped)
        for number in done.dropped:
            del self.model.commits[number]
            with pytest.raises(NotFound, match="gc thinned it out"):
                Store.open(self.path, at=number)
        assert self.store.commit.number in self.model.commits

    @rule(text=st.text(max_size=5))
    def journal(self, text: str) -> None:
        sequence = self.store.journal_append("note", self.tick, {"text": text}, {"x": np.arange(3)})
        self.frames.append((sequence, text))

    @rule(name=st.sampled_from(["a", "b", "c"]))
    def snapshot(self, name: str) -> None:
        if name in self.snapshots:
            self.store.delete_snapshot(name)
        self.store.snapshot(name)
        self.snapshots[name] = self.store.commit.number

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.snapshots)))
        self.store.restore(name)
        self.model.restore(self.snapshots[name])
        self.frames.clear()

    @rule(data=st.data())
    def restore_any_commit(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.commits)))
        self.store.restore(number)
        self.model.restore(number)
        self.frames.clear()

    @rule(cache_bytes=st.sampled_from([0, 3000, 1 << 20]))
    def reopen(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self.store.close()
        self.model.restore(self.store.commit.number)
        self.open()

    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        wanted = data.draw(st.sets(st.integers(0, 300), max_size=30))
        segment = data.draw(st.sampled_from([0, 1]))
        ids = np.array(sorted(self.layer << 48 | segment << 32 | local for local in wanted), np.uint64)
        expected = {neuron: self.model.neurons[neuron] for neuron in ids.tolist() if neuron in self.model.neurons}
        assert neurons_of(self.store.find(ids)) == expected

    @rule(data=st.data())
    def read_the_past(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.commits)))
        with Store.open(self.path, at=number, cache_bytes=self.cache_bytes) as past:
            expected = self.model.commits[number]
            some = np.array(sorted(expected)[::5], np.uint64)
            assert neurons_of(past.find(some)) == {neuron: expected[neuron] for neuron in some.tolist()}
            assert merged(past.scan()) == expected
            assert list(past.journal_frames()) == []

    @rule()
    def read_beside(self) -> None:
        with Store.open(self.path) as reader:
            assert reader.commit == self.store.commit
            assert merged(reader.scan()) == self.model.commits[self.store.commit.number]
            assert [(f.sequence, f.meta["text"]) for f in reader.journal_frames()] == self.frames

    @invariant()
    def the_writer_sees_what_was_written(self) -> None:
        if hasattr(self, "store"):
            assert merged(self.store.scan(self.layer)) == self.model.neurons
            assert self.store.cache_bytes >= self.store._leaves.cache.nbytes
            assert [(f.sequence, f.meta["text"]) for f in self.store.journal_frames()] == self.frames

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            assert [str(problem) for problem in verify(self.path).problems] == []
            shutil.rmtree(self.folder)


class TestStore(StoreMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=settings().max_examples, stateful_step_count=40)


def test_the_model_itself_sees_a_difference() -> None:
    """The comparison would fail if a store lost one bit of one weight."""
    changes = Records.of_state(np.array([7], np.uint64), {"x": np.array([1.0])})
    other = Records.of_state(np.array([7], np.uint64), {"x": np.array([np.nextafter(1.0, 2.0)])})
    assert neurons_of(changes) != neurons_of(other)
