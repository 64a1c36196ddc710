"""Deltas and tombstones: what changed is written and no more, and what has ended is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engramdb.errors import DiskFull, InvalidInput, LeafDamaged
from engramdb.store import LeafPolicy, Records, Store, writer
from engramdb.store.files import OsFiles
from engramdb.store.leafwriter import DEEPEST
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE
from engramdb.testing import DictStore, FaultyFiles, merged
from tests.stores import commit, create, forgotten, ids, neurons, refs_of, sound, state_change, versions_of, writing

LARGE = LeafPolicy(rows=8192)


# what is written


def test_a_scattered_change_of_state_writes_only_the_changed_neurons(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+", policy=LARGE) as store:
        store.write(neurons(range(8000), degree=12))
        commit(store)
        (whole,) = refs_of(store)
        assert whole.length > 100_000
        changed = np.arange(5, 8000, 800)
        store.write(state_change(changed, 7))
        commit(store)
        (delta,) = refs_of(store)
        assert (delta.kind, delta.depth, delta.base, delta.rows) == (DELTA, 1, whole.commit, 8000)
        assert delta.length < 1000
        assert np.array_equal(store.reader.changes(delta).ids, changed)
        assert store.reader.changes(delta).state.keys() == {"spike_count", "last_spike"}
        store.write(Records.of_state(ids(9), {"spike_count": np.array([3], np.uint32)}))
        commit(store)
        (second,) = refs_of(store)
        assert store.reader.changes(second).state.keys() == {"spike_count"}
        assert second.length < 500
    assert sum(pack.stat().st_size for pack in (path / "packs").iterdir()) < whole.length + 2000


def test_a_changed_row_writes_that_row(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+", policy=LARGE) as store:
        store.write(neurons(range(3000), degree=12))
        commit(store)
        change = neurons([77], degree=5, seed=1)
        store.write(change)
        commit(store)
        (delta,) = refs_of(store)
        assert (delta.kind, delta.synapses) == (DELTA, 3000 * 12 - 7)
        assert delta.length < 1000
        found = store.find(ids(76, 77))
        np.testing.assert_array_equal(np.diff(found.indptr), [12, 5])
        np.testing.assert_array_equal(found.weight[12:], change.weight)


def test_a_change_of_most_of_a_leaf_writes_it_whole(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram", policy=LARGE) as store:
        store.write(neurons(range(1000), degree=1))
        commit(store)
        store.write(neurons(range(900), degree=1, seed=1))
        commit(store)
        assert [ref.kind for ref in refs_of(store)] == [LEAF]


def test_what_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram", policy=LARGE) as store:
        store.write(neurons(range(0, 1000, 2)))
        commit(store)
        before = refs_of(store)
        store.write(forgotten([1, 3, 501]))
        assert refs_of(store) == before


def test_no_leaf_is_more_than_four_deltas_deep(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    model, reads = DictStore(), _CountingFiles()
    with Store.open(path, "r+", policy=LARGE) as store:
        store.write(neurons(range(2000)))
        model.write(neurons(range(2000)))
        commit(store)
        for step in range(25):
            changes = state_change(range(step, 2000, 211), step)
            store.write(changes)
            model.write(changes)
            model.commit(commit(store, tick=step))
    versions = versions_of(path)
    assert {ref.depth for ref in versions if ref.kind == DELTA} == set(range(1, DEEPEST + 1))
    assert all(ref.length < 10_000 for ref in versions if ref.kind == DELTA)
    for number, expected in list(model.commits.items())[1:]:
        with Store.open(path, at=number, files=reads) as past:
            reads.count = 0
            assert merged(past.scan()) == expected
            assert reads.count <= 1 + DEEPEST
    assert sound(path)


class _CountingFiles(OsFiles):
    count = 0

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        self.count += 1
        return super().pread(handle, nbytes, offset)


class _InterruptedFiles(OsFiles):
    """Something happens before the second pack is opened."""

    def __init__(self) -> None:
        self.then: Callable[[], object] | None = None
        self.opened = 0

    def open(self, path: Path, *, write: bool = False) -> int:
        self.opened += path.suffix == ".pack"
        if self.opened == 2 and self.then is not None:
            then, self.then = self.then, None
            then()
        return super().open(path, write=write)


def test_a_leaf_is_read_though_it_is_compacted_and_what_lies_beneath_its_delta_freed_before_that_is_read(
    tmp_path: Path,
) -> None:
    def compact_and_collect() -> None:
        writer.compact()
        assert writer.gc(keep_last=0, keep_days=0).packs_dropped >= 2

    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+", policy=LARGE) as writer:
        writer.write(neurons(range(1000)))
        commit(writer)
        writer.write(state_change([3, 500], 7))
        commit(writer)
        expected = merged(writer.scan())
        for way in ("scan", "find"):
            writer.write(state_change([3, 500], 7))
            commit(writer)
            files = _InterruptedFiles()
            with Store.open(path, files=files) as reader:
                (ref,) = refs_of(reader)
                assert ref.kind == DELTA
                files.then = compact_and_collect
                found = reader.scan() if way == "scan" else [reader.find(np.arange(1000, dtype=np.uint64))]
                assert merged(found) == expected
                assert files.then is None


def test_many_writes_between_two_commits_leave_one_version_of_a_leaf(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+", policy=LARGE) as store:
        store.write(neurons(range(1000)))
        commit(store)
        for value in range(20):
            store.write(state_change([value, 500], value))
        commit(store)
        assert store.find(np.arange(20, dtype=np.uint64)).state["spike_count"].tolist() == list(range(20))
    assert len(versions_of(path)) == 2
    assert sound(path)


def test_a_column_that_is_not_given_is_kept(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    model = DictStore()
    counts = Records.of_state(ids(3, 4, 5), {"spike_count": np.array([7, 8, 9], np.uint32)})
    partly = state_change([4, 5, 6], 60)
    partly.kept["last_spike"] = np.array([True, False, True])
    nothing = Records.of_state(ids(8), {})
    with Store.open(path, "r+", policy=LARGE) as store:
        for changes in (neurons(range(500), seed=2), counts, partly, nothing):
            store.write(changes)
            model.write(changes)
            commit(store)
            assert merged(store.scan()) == model.neurons
        found = store.find(ids(3, 4, 5, 6))
        assert found.state["spike_count"].tolist() == [7, 60, 60, 60]
        assert found.state["last_spike"].tolist() == [2, 2, 60, 2]
        store.compact()
        assert merged(store.scan()) == model.neurons
        late = state_change([900], 1)
        late.kept["last_spike"] = np.array([True])
        with pytest.raises(InvalidInput, match=r"neuron 0/0/900 is not stored yet: give its state column last_spike"):
            store.write(late)
    with Store.open(path) as store:
        assert merged(store.scan()) == model.neurons
    assert sound(path)


# leaves that end


def test_forgotten_neurons_go_and_small_leaves_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    model = DictStore()

    def write(changes: Records) -> None:
        store.write(changes)
        model.write(changes)
        assert merged(store.scan()) == model.neurons

    with writing(path) as store:
        write(neurons(range(160), degree=1))
        first = commit(store)
        model.commit(first)
        assert len(refs_of(store)) == 10
        for leaf in range(10):
            write(forgotten(range(16 * leaf, 16 * leaf + 14)))
        model.commit(commit(store))
        left = refs_of(store)
        assert len(left) <= 5
        assert sum(ref.rows for ref in left) == 20 == store.commit.neurons
        assert {ref.kind for ref in versions_of(path)} >= {LEAF, TOMBSTONE}
        write(neurons(range(0, 160, 3), degree=1, seed=5))
        model.commit(commit(store))
        assert len(store.find(np.arange(160, dtype=np.uint64))) == len(model.neurons)
    for number in (first, first + 1, first + 2):
        with Store.open(path, at=number) as past:
            assert merged(past.scan()) == model.commits[number]
            for neuron in range(0, 160, 7):
                assert (len(past.find(ids(neuron))) == 1) == (neuron in model.commits[number])
    assert sound(path)


@pytest.mark.parametrize("together", [True, False])
def test_the_first_leaf_of_a_segment_can_end_and_come_back(tmp_path: Path, together: bool) -> None:
    """``together``: within one commit."""
    path = tmp_path / "a.engram"
    base = 1 << 32
    with writing(path) as store:
        store.write(neurons(np.arange(base, base + 64), degree=10))
        commit(store)
        low = refs_of(store)[0].low
        assert low == base
        store.write(forgotten(range(base, base + refs_of(store)[0].rows)))
        gone = refs_of(store)[0].first - base
        assert gone > 0
        assert refs_of(store)[0].low > base or refs_of(store)[0].first > base
        if not together:
            commit(store)
        assert len(store.find(np.arange(base, base + gone, dtype=np.uint64))) == 0
        store.write(neurons([base + 1, base + 3], seed=4))
        commit(store)
        assert store.find(np.arange(base, base + gone, dtype=np.uint64)).ids.tolist() == [base + 1, base + 3]
    with Store.open(path) as store:
        assert store.find(ids(base + 1)).ids.tolist() == [base + 1]
        assert store.find(np.arange(base, base + 64, dtype=np.uint64)).ids.size == 64 - gone + 2
    assert sound(path)


def test_all_can_be_forgotten_and_any_id_can_come_again(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(100)))
        commit(store)
        store.snapshot("full")
        store.write(forgotten(range(100)))
        assert refs_of(store) == []
        commit(store)
        assert (store.commit.neurons, store.commit.synapses) == (0, 0)
    with writing(path) as store:
        assert list(store.scan()) == []
        assert len(store.find(np.arange(100, dtype=np.uint64))) == 0
        store.write(neurons([50], seed=1))
        commit(store)
        assert store.find(np.arange(100, dtype=np.uint64)).ids.tolist() == [50]
        store.restore("full")
        assert len(store.find(np.arange(100, dtype=np.uint64))) == 100
    assert sound(path)


def test_a_damaged_neighbour_does_not_stop_neurons_from_being_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(32), degree=1))
        commit(store)
        store.write(forgotten(range(18, 32)))
        commit(store)
        second = refs_of(store)[1]
        pack = path / "packs" / store._packs.path(second.pack).name
    data = bytearray(pack.read_bytes())
    data[second.offset + second.length - 1] ^= 1
    pack.write_bytes(data)
    with writing(path) as store:
        store.write(forgotten(range(2, 16)))  # both leaves are small now, and would be joined
        commit(store)
        assert store.find(np.arange(16, dtype=np.uint64)).ids.tolist() == [0, 1]
        with pytest.raises(LeafDamaged):
            store.find(ids(16))


# what was written for nothing


def rewritten(store: Store, times: int = 6) -> DictStore:
    model = DictStore()
    for seed in range(times):
        for changes in (neurons(range(0, 200, 3), seed=seed), state_change([3, 6], seed)):
            store.write(changes)
            store.settle()
            model.write(changes)
    return model


def test_a_pack_that_is_mostly_garbage_is_packed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    for slack in (1 << 26, 0):
        monkeypatch.setattr(writer, "_SPILL_SLACK", slack)
        path = tmp_path / f"{slack}.engram"
        with writing(path) as store:
            store.write_labels(0, iter([(["a", "b"], ids(3, 6))]))
            model = rewritten(store)
            stale = refs_of(store)
            commit(store, ring=np.arange(3))
            assert merged(store.scan()) == model.neurons
            assert [store.reader.read(ref).ids.size for ref in stale] == [ref.rows for ref in stale]
            assert store.labels_of(ids(3, 4)) == ["a", None]
        with Store.open(path) as reader:
            assert merged(reader.scan()) == model.neurons
            assert reader.label_ids(["b"]).tolist() == [6]
        assert sound(path)
        (pack,) = (path / "packs").iterdir()
        sizes[slack] = pack.stat().st_size
    assert sizes[0] < sizes[1 << 26] / 3


def test_without_room_to_pack_anew_the_commit_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_SPILL_SLACK", 0)
    path, files = tmp_path / "a.engram", _NoSecondPack()
    with writing(path, files=files) as store:
        model = rewritten(store)
        commit(store)
        assert merged(store.scan()) == model.neurons
    assert files.refused == 1
    assert sound(path)


class _NoSecondPack(FaultyFiles):
    refused = 0

    def create(self, path: Path) -> int:
        if path.suffix == ".pack" and any(path.parent.iterdir()):
            self.refused += 1
            self.full_at = self.operation
        try:
            return super().create(path)
        finally:
            self.full_at = None


def test_versions_on_top_of_what_is_not_committed_yet_are_packed_anew_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delta on a whole version of the same commit: both lie in the private pack."""
    monkeypatch.setattr(writer, "_SPILL_SLACK", 0)
    path = tmp_path / "a.engram"
    with writing(path, policy=LARGE) as store:
        model = DictStore()
        for seed in range(5):
            changes = neurons(range(1000), seed=seed)
            store.write(changes)
            store.settle()
            model.write(changes)
        store.write(state_change([5], 9))
        model.write(state_change([5], 9))
        assert [ref.kind for ref in refs_of(store)] == [DELTA]
        commit(store)
        assert merged(store.scan()) == model.neurons
        store.write(state_change([6], 9))
        model.write(state_change([6], 9))
        commit(store)
    with Store.open(path) as reader:
        assert merged(reader.scan()) == model.neurons
    assert len(versions_of(path)) == 3
    assert sound(path)


def test_nothing_is_remembered_of_a_write_that_was_refused(tmp_path: Path) -> None:
    """Places in the private pack are used again."""
    files = FaultyFiles()
    with writing(tmp_path / "a.engram", files=files) as store:
        store.write(neurons(range(10)))
        store.cache_bytes = 0  # so that nothing waits
        files.full_at = files.operation + 1
        with pytest.raises(DiskFull):
            store.write(neurons(range(40), seed=1))
        files.full_at = None
        assert len(store.find(np.arange(40, dtype=np.uint64))) == 10
        store.write(neurons(range(40), seed=2))
        model = DictStore()
        model.write(neurons(range(40), seed=2))
        assert merged(store.scan()) == model.neurons


def test_compaction_has_room_for_a_second_copy_of_the_head_and_then_waits_for_gc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "COMPACTION_SLACK", 0)
    with writing(tmp_path / "a.engram", policy=LARGE) as store:
        store.write(neurons(range(1000)))
        commit(store)
        for round_ in range(4):
            store.write(state_change([5], round_))
            commit(store)
            done = store.compact()
            assert done.of == 1
            if done.stopped:
                break
            assert done.leaves == 1
        assert round_ > 0
        assert done.stopped
        store.gc(keep_last=0, keep_days=0)
        assert store.compact().leaves == 1
