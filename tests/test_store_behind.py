"""Compaction, and commits in the background: the content stays, what is acknowledged is never lost."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Timer

import numpy as np
import pytest

from engramdb.errors import DiskFull, EngramError, HandleClosed
from engramdb.store import Records, Store, compaction, verify, writer
from engramdb.store.background import Background
from engramdb.store.catalog import Catalog
from engramdb.store.pack import LEAF
from engramdb.testing import DictStore, FaultyFiles, merged
from tests.stores import commit, forgotten, ids, neurons, refs_of, sound, state_change, versions_of, writing


def behind(store: Store, changes: list[Records], tick: int, **state: np.ndarray) -> None:
    store.commit_behind(lambda: changes, tick, lambda: state, store.bundles)


def finished(store: Store) -> None:
    """Let what goes on in the background come to its end, without being told to stop."""
    thread = store._background._thread
    if thread is not None:
        thread.join()


# compaction


@pytest.fixture
def layered(tmp_path: Path) -> tuple[Path, DictStore]:
    """Leaves with deltas on top, on two lines, the first of which ends with a snapshot."""
    path, model = tmp_path / "a.engram", DictStore()
    with writing(path) as store:

        def done(changes: Records) -> None:
            store.write(changes)
            model.write(changes)
            model.commit(commit(store))

        done(neurons(range(0, 300, 2)))
        done(state_change([2, 100], 1))
        done(state_change([2, 200], 2))
        store.snapshot("s")
        done(state_change([2], 3))
        store.restore("s")
        model.restore(store.resolve("s"))
        done(state_change([4], 4))
        done(neurons([5], seed=6))
    return path, model


def all_commits(path: Path, model: DictStore) -> None:
    for number, expected in model.commits.items():
        with contextlib.suppress(EngramError), Store.open(path, at=number) as past:  # gc may have thinned it
            assert merged(past.scan()) == expected


def test_compaction_changes_no_content_and_no_key(layered: tuple[Path, DictStore]) -> None:
    path, model = layered
    before = {ref[:5]: ref for ref in versions_of(path)}
    with writing(path) as store:
        done = store.compact()
        assert (done.leaves, done.stopped) == (done.of, False)
        assert done.leaves > 0
        assert {ref.kind for ref in refs_of(store)} == {LEAF}
        assert merged(store.scan()) == model.neurons
        assert store.compact().leaves == 0
    after = {ref[:5]: ref for ref in versions_of(path)}
    assert before.keys() == after.keys()
    assert [(ref.rows, ref.synapses, ref.first, ref.last) for ref in before.values()] == [
        (ref.rows, ref.synapses, ref.first, ref.last) for ref in after.values()
    ]
    assert sum(before[key] != after[key] for key in before) == done.leaves
    all_commits(path, model)
    assert sound(path)


def test_a_reader_from_before_reads_the_same_after_compaction_and_gc(layered: tuple[Path, DictStore]) -> None:
    path, model = layered
    with contextlib.ExitStack() as readers:
        standing = {at: readers.enter_context(Store.open(path, at=at, cache_bytes=0)) for at in ("s", 5, 7)}
        held = {at: refs_of(reader) for at, reader in standing.items()}
        with writing(path) as store:
            store.compact()
            store.gc(keep_last=0, keep_days=0.0)
            store.write(neurons(range(0, 300, 2), seed=9))
            commit(store)
            store.compact()
            store.gc(keep_last=0, keep_days=0.0)
            for at, reader in standing.items():
                expected = model.commits[store.resolve(at)]
                assert merged(reader.scan()) == expected
                assert merged(reader.reader.read(ref) for ref in held[at]) == expected
                wanted = np.array(sorted(expected), np.uint64)
                assert merged(iter([reader.find(wanted)])) == expected
    assert sound(path)


def test_what_is_not_committed_is_left_alone_by_compaction(layered: tuple[Path, DictStore]) -> None:
    path, model = layered
    with writing(path) as store:
        store.write(state_change([2, 4, 6], 77))
        model.write(state_change([2, 4, 6], 77))
        store.compact()
        assert merged(store.scan()) == model.neurons
        model.commit(commit(store))
    with Store.open(path) as store:
        assert merged(store.scan()) == model.neurons
    all_commits(path, model)
    assert sound(path)


def test_compaction_stops_where_the_packs_would_grow_too_large(
    layered: tuple[Path, DictStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = layered
    monkeypatch.setattr(writer, "COMPACTION_SLACK", -(1 << 30))
    with writing(path) as store:
        done = store.compact()
        assert (done.leaves, done.stopped) == (0, True)
        assert merged(store.scan()) == model.neurons
    assert sound(path)


def test_a_commit_of_the_catalog_that_fails_and_happens_all_the_same_loses_no_pack(
    layered: tuple[Path, DictStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may say that it failed to sync what is on it nevertheless."""
    path, model = layered
    store = writing(path)
    with monkeypatch.context() as patch:
        _fail_after_commit(patch)
        with pytest.raises(EngramError, match="check the disk"):
            store.compact()
    store.close()
    with writing(path) as store:
        assert merged(store.scan()) == model.neurons
        behind(store, [state_change([8], 1)], 9)
        store.settle()
        model.write(state_change([8], 1))
    store = writing(path)
    with monkeypatch.context() as patch:
        _fail_after_commit(patch)
        behind(store, [neurons([10], seed=3)], 10)
        finished(store)
    store.close()
    model.write(neurons([10], seed=3))
    assert verify(path).ok
    with Store.open(path) as reader:
        assert reader.commit.tick == 10
        assert merged(reader.scan()) == model.neurons
    with writing(path) as store:
        commit(store, tick=11)
    assert sound(path)


def _fail_after_commit(patch: pytest.MonkeyPatch) -> None:
    real = Catalog.transaction

    @contextlib.contextmanager
    def transaction(catalog: Catalog) -> Iterator[None]:
        with real(catalog):
            yield
        raise EngramError(f"{catalog.path} cannot be used: disk I/O error; check the disk and the permissions")

    patch.setattr(Catalog, "transaction", transaction)


# in the background


def test_what_is_written_behind_is_seen_at_once_and_frames_go_on_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    store = writing(path)
    store.write(neurons(range(100)))
    commit(store)
    store.journal_append("note", 1, {"n": 1}, {})
    written, go_on = Event(), Event()

    def state() -> dict[str, np.ndarray]:
        written.set()
        assert go_on.wait(60)
        return {"ring": np.arange(4)}

    store.commit_behind(lambda: [state_change([3], 50), forgotten([4])], 2, state, store.bundles)
    try:
        for n in (2, 3):
            store.journal_append("note", 2, {"n": n}, {"x": np.arange(n)})
        assert store.find(ids(3, 4, 5)).ids.tolist() == [3, 5]
        assert store.find(ids(3)).state["spike_count"].tolist() == [50]
        assert written.wait(60)
        store.journal_append("note", 2, {"n": 4}, {})
        with Store.open(path) as reader:
            assert (reader.commit.tick, reader.find(ids(4)).ids.tolist()) == (1, [4])
            assert [frame.meta["n"] for frame in reader.journal_frames()] == [1, 2, 3, 4]
    finally:
        go_on.set()
    store.settle()
    store.journal_append("note", 2, {"n": 5}, {})
    assert store.commit.tick == 2
    assert store.read_state()["ring"].tolist() == [0, 1, 2, 3]
    store.close()
    with writing(path) as store:
        assert [(f.sequence, f.meta["n"]) for f in store.journal_frames()] == [(2, 2), (3, 3), (4, 4), (5, 5)]
        assert store.journal_append("note", 2, {"n": 6}, {}) == 6
        assert store.find(ids(3, 4, 5)).ids.tolist() == [3, 5]
    assert sound(path)


def test_leaves_with_many_deltas_are_compacted_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(200)))
        commit(store)
        for value in range(compaction.DUE):
            behind(store, [state_change([3, 100], value)], 2 + value)
            finished(store)
            store.settle()
        depths = [ref.depth for ref in refs_of(store)]
        assert max(depths) < compaction.DUE
        assert store.find(ids(3)).state["spike_count"].tolist() == [compaction.DUE - 1]
    assert sound(path)


def test_a_disk_that_fills_up_behind_loses_nothing_and_the_next_call_tries_again(tmp_path: Path) -> None:
    path, files = tmp_path / "a.engram", FaultyFiles()
    store = writing(path, files=files)
    store.write(neurons(range(100)))
    commit(store)
    store.journal_append("note", 1, {"n": 1}, {})
    files.full_at = files.operation
    behind(store, [state_change([3], 50), state_change([4], 60)], 2, ring=np.arange(9))
    finished(store)
    assert store.find(ids(3, 4)).state["spike_count"].tolist() == [50, 60]
    with pytest.raises(DiskFull, match=r"more bytes are needed in .*the last commit and the journal are whole"):
        store.write(state_change([5], 70))
    with pytest.raises(DiskFull):
        store.settle()
    assert store.find(ids(3, 4)).state["spike_count"].tolist() == [50, 60]
    assert store.commit.tick == 1
    with Store.open(path) as reader:
        assert [frame.meta["n"] for frame in reader.journal_frames()] == [1]
    files.full_at = None
    store.write(state_change([5], 70))
    commit(store, tick=3)
    assert list(store.journal_frames()) == []
    store.close()
    with Store.open(path) as reader:
        assert reader.find(ids(3, 4, 5)).state["spike_count"].tolist() == [50, 60, 70]
    assert sound(path)


def test_a_sync_that_fails_behind_closes_the_handle_with_one_clear_line(tmp_path: Path) -> None:
    path, files = tmp_path / "a.engram", FaultyFiles()
    store = writing(path, files=files)
    store.write(neurons(range(100)))
    commit(store)
    store.journal_append("note", 1, {"n": 1}, {})
    behind(store, [state_change([3], 50)], 2, ring=_break_later(files))
    finished(store)
    with pytest.raises(EngramError, match="acknowledged is whole, and it is closed: check the disk") as told:
        store.snapshot("s")
    assert len(str(told.value).splitlines()) == 1
    with pytest.raises(HandleClosed, match="closed since a write failed"):
        store.find(ids(3))
    store.close()
    files.broken_at = None
    with writing(path) as store:
        assert store.commit.tick == 1
        assert [frame.meta["n"] for frame in store.journal_frames()] == [1]
        assert store.snapshots() == []
    assert sound(path)


def _break_later(files: FaultyFiles) -> np.ndarray:
    files.broken_at = files.operation + 3  # the changes and the state are in the pack by then, which is to be synced
    return np.arange(3)


def test_closing_drops_a_commit_behind_that_failed_and_keeps_the_journal(tmp_path: Path) -> None:
    path, files = tmp_path / "a.engram", FaultyFiles()
    store = writing(path, files=files)
    store.write(neurons(range(100)))
    commit(store)
    store.journal_append("note", 1, {"n": 1}, {})
    files.full_at = files.operation
    behind(store, [state_change([3], 50)], 2)
    finished(store)
    store.close()
    with writing(path) as store:
        assert [frame.meta["n"] for frame in store.journal_frames()] == [1]
        assert (store.commit.tick, len(list((path / "packs").iterdir()))) == (1, 1)


def test_ctrl_c_ends_the_waiting_and_what_goes_on_is_waited_for_again() -> None:
    background, may_end, ended = Background(), Event(), Event()

    def work(stopped: object) -> None:
        may_end.wait()
        ended.set()

    background.start(work)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
    try:
        Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            background.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not background.idle()
    may_end.set()
    background.wait()
    assert ended.is_set()
    assert background.idle()
