"""A view stands at one commit until it is closed: copies, threads, processes, and a writer that goes on beside it."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dask.base import tokenize

from engramdb import ZarrStore
from engramdb.errors import HandleClosed, InvalidInput, NotAnEngram, NotFound
from engramdb.store import LeafPolicy, Store
from tests.stores import commit, create, neurons, state_change, writing
from tests.wholes import assert_shows, opened, whole, write_changed


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_changed(tmp_path_factory.mktemp("changed") / "changed.engram")


def pins(path: Path) -> list[str]:
    return [pin.name for pin in (path / "pins").iterdir()]


def test_a_view_holds_a_pin_until_it_is_closed_or_forgotten(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with ZarrStore(path) as view:
        assert len(pins(path)) == 1
    assert pins(path) == []
    view.close()
    view = ZarrStore(path)
    assert len(pins(path)) == 1
    del view
    gc.collect()
    assert pins(path) == []


def test_a_view_that_was_closed_says_so(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    view = ZarrStore(path)
    group = opened(view)
    view.close()
    for read in (lambda: opened(view), lambda: list(group.keys()), lambda: view._read("zarr.json", None)):
        with pytest.raises(HandleClosed, match=r"engramdb:.*a\.engram@1 is closed"):
            read()
    assert pins(path) == []


@pytest.mark.parametrize("at", [1.5, b"x"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, at: Any) -> None:
    with pytest.raises(InvalidInput, match="give the name of a snapshot or branch"):
        ZarrStore(create(tmp_path / "a.engram"), at=at)


def test_copies_see_the_same_commit_whatever_was_committed_since(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(10)))
        commit(store)
        view = ZarrStore(tmp_path / "a.engram")
        sent = pickle.dumps(view)
        store.write(neurons(range(20)))
        commit(store)
    with (
        view,
        pickle.loads(sent) as copy,
        ZarrStore(tmp_path / "a.engram") as later,
        view.with_read_only(True) as other,
    ):
        assert copy == view == other == ZarrStore(tmp_path / "a.engram", at=2)
        assert hash(copy) == hash(view)
        assert tokenize(copy) == tokenize(view) != tokenize(later)  # what dask calls its tasks
        assert later != view
        assert [opened(one)["first/0/id"].shape for one in (view, copy, other, later)] == [(10,), (10,), (10,), (20,)]


def test_a_copy_works_in_another_process(changed: Path, tmp_path: Path) -> None:
    code = (
        "import pickle, sys, zarr\n"
        "view = pickle.load(sys.stdin.buffer)\n"
        "print(view, int(zarr.open_group(view, mode='r')['first/0/target'][:].sum()))\n"
    )
    with ZarrStore(changed) as view:
        done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(view), capture_output=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().split() == [
            "engramdb:" + f"{changed}@4", str(int(opened(view)["first/0/target"][:].sum()))
        ]  # fmt: skip


def test_many_threads_read_one_view(changed: Path) -> None:
    with ZarrStore(changed) as view, Store.open(changed) as store:
        expected = {segment: whole(store, 0, segment) for segment in (0, 1)}

        def read(number: int) -> None:
            assert_shows(opened(view)[f"first/{number % 2}"], expected[number % 2])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read, range(32)))


def test_compaction_and_gc_change_nothing_that_a_view_shows(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram", policy=LeafPolicy(rows=128, nbytes=1 << 14)) as writer:
        writer.write(neurons(range(500), degree=5))
        commit(writer)
        for value in (7, 8):
            writer.write(state_change(range(0, 200, 30), value))
            commit(writer)
        expected = whole(writer, 0, 0)
        with ZarrStore(writer.path) as view:
            shown = opened(view)["first/0"]
            assert_shows(shown, expected)
            assert max(ref.depth for ref in writer.directory.leaves()) == 2
            writer.compact()
            assert max(ref.depth for ref in writer.directory.leaves()) == 0
            assert_shows(shown, expected)
            writer.write(state_change(range(500), 9))
            commit(writer)
            collected = writer.gc(keep_last=0, keep_days=0)
            assert collected.versions_dropped > 0
            assert_shows(shown, expected)


def test_what_is_not_there_is_said_when_the_view_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotAnEngram, match="is not an engram"):
        ZarrStore(tmp_path)
    path = create(tmp_path / "a.engram")
    with pytest.raises(NotFound, match='no snapshot "gone"'):
        ZarrStore(path, at="gone")
    with pytest.raises(NotFound, match='no branch "gone"'):
        ZarrStore(path, branch="gone")
    assert pins(path) == []


def test_importing_engramdb_does_not_import_zarr_and_naming_the_view_does() -> None:
    code = "import engramdb, sys; assert 'zarr' not in sys.modules; engramdb.ZarrStore; assert 'zarr' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
