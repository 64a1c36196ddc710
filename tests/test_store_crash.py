"""The order of a commit, and what becomes of what was not committed; ``test_store_power`` cuts power at each step."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from engramdb.store import Store
from engramdb.testing import FaultyFiles
from tests.stores import commit, neurons, writing


def test_a_commit_syncs_its_pack_before_the_catalog_names_it_and_drops_the_old_journal_last(tmp_path: Path) -> None:
    files = FaultyFiles()
    with writing(tmp_path / "a.engram", files=files) as store:
        store.write(neurons(range(10)))
        before = len(files.calls)
        commit(store, ring=np.arange(3))
        calls = files.calls[before:]
    pack, journal = calls.index("fsync"), calls.index("create")
    assert calls[pack : pack + 2] == ["fsync", "fsync_dir"]
    assert pack < journal
    assert calls[journal : journal + 5] == ["create", "write", "fsync", "replace", "fsync_dir"]
    assert calls[-1] == "unlink"


def test_a_commit_without_changes_writes_no_pack(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        commit(store, tick=5)
        assert list((tmp_path / "a.engram" / "packs").iterdir()) == []
        commit(store, tick=6, ring=np.arange(3))
        assert len(list((tmp_path / "a.engram" / "packs").iterdir())) == 1


def test_what_was_written_but_not_committed_is_gone_after_closing(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(10)))
        assert len(store.find(np.arange(10, dtype=np.uint64))) == 10
    assert list((path / "packs").iterdir()) == []
    with Store.open(path) as store:
        assert len(store.find(np.arange(10, dtype=np.uint64))) == 0


def test_a_failed_sync_closes_the_handle_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    files = FaultyFiles()
    store = writing(path, files=files)
    store.journal_append("first", 1, {}, {})
    store.write(neurons(range(10)))
    files.fsync = _broken  # type: ignore[method-assign]
    with pytest.raises(Exception, match="it is closed: check the disk"):
        commit(store)
    with pytest.raises(Exception, match="closed since a write failed"):
        store.find(np.arange(3, dtype=np.uint64))
    store.close()
    with contextlib.closing(writing(path)) as again:
        assert [frame.kind for frame in again.journal_frames()] == ["first"]
        assert again.commit.number == 1


def _broken(handle: int) -> None:
    raise OSError(5, f"Input/output error on {handle}")
