"""A full disk, at any write: it is told with how much is needed, nothing is lost, and the same call succeeds later."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engramdb.errors import DiskFull, HandleClosed
from engramdb.growth.bundle import Bundles
from engramdb.store import Store, verify
from engramdb.testing import FaultyFiles, merged
from tests.stores import SMALL_LEAVES, commit, create, neurons, spec, state_change


def calls_of(store: Store) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("write", lambda: store.write(neurons(range(0, 200, 5)))),
        ("journal", lambda: store.journal_append("note", 1, {}, {"x": np.arange(100)})),
        ("commit", lambda: commit(store, tick=1, ring=np.arange(40))),
        ("labels", lambda: store.write_labels(0, iter([(["a", "b"], np.array([0, 5], np.uint64))]))),
        ("write", lambda: store.write(state_change(range(0, 50, 5), 9))),
        ("commit", lambda: commit(store, tick=2)),
        ("journal", lambda: store.journal_append("note", 3, {}, {"x": np.arange(100)})),
        ("branch", lambda: store.branch("b", 2)),
        ("restore", lambda: store.restore(2)),
        ("write", lambda: store.write(neurons(range(0, 90, 4), seed=3))),
        ("commit", lambda: commit(store, tick=5, ring=np.arange(9))),
    ]


def usable(store: Store) -> bool:
    try:
        store.log()
    except HandleClosed:
        return False
    return True


def test_a_full_disk_at_any_write_is_told_and_the_same_call_succeeds_when_there_is_room(tmp_path: Path) -> None:
    fresh = create(tmp_path / "fresh.engram")
    files = FaultyFiles()
    whole = shutil.copytree(fresh, tmp_path / "whole.engram")
    with Store.open(whole, "r+", policy=SMALL_LEAVES, files=files) as store:
        for _, call in calls_of(store):
            call()
        expected, log = merged(store.scan()), [(c.number, c.tick, c.neurons, c.synapses) for c in store.log()]
        operations = len(files.calls)
    refused = 0
    for full_at in range(operations):
        path = shutil.copytree(fresh, tmp_path / f"{full_at}.engram")
        files = FaultyFiles()
        store = Store.open(path, "r+", policy=SMALL_LEAVES, files=files)
        files.full_at = full_at
        number = durable = 0
        while number < len(calls_of(store)):
            name, call = calls_of(store)[number]
            with contextlib.suppress(DiskFull):
                call()
                number += 1
                if name in ("commit", "branch", "restore"):
                    durable = number
                continue
            refused += 1
            files.full_at = None
            if not usable(store):  # a failed sync leaves nothing that could be gone on with
                before = store.commit.number
                store.close()
                assert verify(path).ok
                store = Store.open(path, "r+", policy=SMALL_LEAVES, files=FaultyFiles())
                assert store.commit.number == before
                number = durable
        assert merged(store.scan()) == expected
        assert [(c.number, c.tick, c.neurons, c.synapses) for c in store.log()] == log
        store.close()
        report = verify(path)
        assert [str(problem) for problem in report.problems] == []
        assert report.notes == []
        shutil.rmtree(path)
    assert refused > operations // 3


def test_a_full_disk_says_how_much_is_needed_and_where(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    files = FaultyFiles()
    with Store.open(path, "r+", files=files) as store:
        files.full_at = files.operation
        with pytest.raises(DiskFull, match=r"disk full: 1,\d\d\d more bytes are needed in .*/journal \(No space left"):
            store.journal_append("note", 1, {}, {"x": np.arange(200)})
        files.full_at = None
        store.write(neurons(range(100), degree=20))
        files.full_at = files.operation
        with pytest.raises(
            DiskFull, match=r"disk full: \d\d,\d\d\d more bytes are needed in .*/packs .*the journal are whole"
        ):
            store.write(neurons(range(1000), degree=20))
        assert len(store.find(np.arange(1000, dtype=np.uint64))) == 100
        files.full_at = None


def test_a_catalog_that_cannot_grow_is_told_and_the_commit_can_be_repeated(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+", policy=SMALL_LEAVES) as store:
        store.write(neurons(range(3000)))
        connection: sqlite3.Connection = store._catalog._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull, match=r"catalog\.sqlite cannot grow; the last commit and the journal are whole"):
            commit(store, tick=3, message="x" * 100, ring=np.arange(5))
        assert store.commit.number == 1
        store.journal_append("note", 1, {}, {})
        connection.execute("PRAGMA max_page_count = 1000000")
        commit(store, tick=3)
        assert len(store.find(np.arange(3000, dtype=np.uint64))) == 3000
    report = verify(path)
    assert (report.problems, report.notes) == ([], [])


def test_creating_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    made = spec()
    files = FaultyFiles()
    Store.create(tmp_path / "whole.engram", made, Bundles.initial(made), files=files)
    shutil.rmtree(tmp_path / "whole.engram")
    for full_at in [at for at, call in enumerate(files.calls) if call in ("create", "write", "fsync", "mkdir")]:
        with pytest.raises(DiskFull, match=f"more bytes are needed in {tmp_path}"):
            Store.create(tmp_path / "a.engram", made, Bundles.initial(made), files=FaultyFiles(full_at=full_at))
        assert list(tmp_path.iterdir()) == []
