"""A kill or a power cut between any two steps leaves the last acknowledged state, whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from engramdb.growth.bundle import Bundles
from engramdb.store import Records, Store, verify
from engramdb.testing import DictStore, FaultyFiles, Neuron, PowerCut, merged
from tests.stores import SMALL_LEAVES, commit, create, neurons, spec, state_change, writing


@dataclass
class Acknowledged:
    """What a user has been told is done: the dict of each commit, and the journal since the newest."""

    model: DictStore = field(default_factory=DictStore)
    commit: int = 1
    frames: list[int] = field(default_factory=list)
    snapshots: dict[str, int] = field(default_factory=dict)

    def state(self) -> tuple[dict[int, Neuron], list[int], dict[str, int]]:
        return self.model.commits[self.commit], list(self.frames), dict(self.snapshots)


def story(store: Store, told: Acknowledged, doing: list[str]) -> None:
    """Writes, frames, commits, a snapshot and a restore; ``told`` changes when a call has returned.

    ``doing`` names the call under way: it may have happened or not when power fails in it.
    """

    def step(name: str, action: Callable[[], object], then: Callable[[], None]) -> None:
        doing.append(name)
        action()
        then()
        doing.pop()

    def journal() -> None:
        sequence: list[int] = []
        step(
            "journal",
            lambda: sequence.append(store.journal_append("note", 1, {}, {"x": np.arange(200)})),
            lambda: told.frames.append(sequence[0]),
        )

    def write(changes: Records) -> None:
        step("write", lambda: store.write(changes), lambda: told.model.write(changes))

    def committed(**state: np.ndarray) -> None:
        def then() -> None:
            told.commit = store.commit.number
            told.model.commit(told.commit)
            told.frames.clear()

        step("commit", lambda: commit(store, **state), then)

    journal()
    write(neurons(range(0, 200, 5)))
    committed(ring=np.arange(50))
    step("snapshot", lambda: store.snapshot("s"), lambda: told.snapshots.update(s=store.commit.number))
    journal()
    journal()
    write(neurons(range(0, 200, 7), seed=2))
    write(state_change(range(0, 50, 5), 9))
    committed()
    write(neurons(range(3, 90, 9), seed=3))

    def restored() -> None:
        told.commit = told.snapshots["s"]
        told.model.restore(told.commit)
        told.frames.clear()

    step("restore", lambda: store.restore("s"), restored)
    journal()
    write(neurons(range(1, 100, 11), seed=4))
    committed(ring=np.arange(7))
    journal()


@contextlib.contextmanager
def run_until_cut(path: Path, files: FaultyFiles) -> Iterator[tuple[Acknowledged, str | None]]:
    """``(what was acknowledged, the call that was cut off)``; inside, nothing has been closed."""
    told = Acknowledged()
    doing: list[str] = []
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(PowerCut):
            store = opened.enter_context(Store.open(path, "r+", policy=SMALL_LEAVES, files=files))
            story(store, told, doing)
        yield told, doing[-1] if doing else None
        with contextlib.suppress(PowerCut):
            opened.pop_all().close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create(tmp_path_factory.mktemp("fresh") / "a.engram")


def operations(fresh: Path, tmp_path: Path) -> list[str]:
    """Every changing call of the whole story, in order."""
    files = FaultyFiles()
    shutil.copytree(fresh, tmp_path / "whole.engram")
    with run_until_cut(tmp_path / "whole.engram", files):
        return list(files.calls)


def check_survivor(path: Path, told: Acknowledged, cut: str | None) -> None:
    """Reopening finds what was acknowledged, or that and the one call that was cut off; and all of it is whole."""
    report = verify(path)
    assert [str(problem) for problem in report.problems] == []
    expected, frames, snapshots = told.state()
    with Store.open(path, "r+", policy=SMALL_LEAVES) as store:
        found = merged(store.scan())
        found_frames = [frame.sequence for frame in store.journal_frames()]
        number = store.commit.number
        if cut in ("commit", "restore") and found_frames == [] and (number, found) != (told.commit, expected):
            if cut == "commit":
                assert number > told.commit
                assert found == told.model.neurons
            else:
                assert (number, found) == (told.snapshots["s"], told.model.commits[told.snapshots["s"]])
        else:
            assert number == told.commit
            assert found == expected
            if cut == "journal" and len(found_frames) == len(frames) + 1:
                found_frames.pop()
            assert found_frames == frames
        names = {snapshot.name: snapshot.commit for snapshot in store.snapshots()}
        assert names == snapshots or (cut == "snapshot" and names == {"s": told.commit})
        for name, at in names.items():
            with Store.open(path, at=name) as past:
                assert merged(past.scan()) == told.model.commits[at]
        # and life goes on
        store.journal_append("after", 9, {}, {})
        store.write(neurons([5, 500, 5000], seed=9))
        commit(store, tick=9)
    report = verify(path)
    assert [str(problem) for problem in report.problems] == []
    assert report.notes == []


def test_a_power_cut_or_kill_at_any_step_loses_nothing_acknowledged(fresh: Path, tmp_path: Path) -> None:
    """After a kill all writes survive; after a power cut what was synced, and some of the rest, torn, in any order."""
    calls = operations(fresh, tmp_path)
    assert {"create", "write", "fsync", "fsync_dir", "replace", "unlink"} <= set(calls)
    for cut_at in range(len(calls)):
        path = tmp_path / f"{cut_at}.engram"
        shutil.copytree(fresh, path)
        files = FaultyFiles(cut_at=cut_at)
        with run_until_cut(path, files) as (told, cut):
            # in turn: nothing unsynced survives, all of it does, some of it does
            for seed in [cut_at % 2, *range(2 + cut_at, 2 + cut_at + max(1, settings().max_examples // 50))]:
                survivor = tmp_path / f"{cut_at}-{seed}.engram"
                files.survivors(path, survivor, seed)
                check_survivor(survivor, told, cut)
                shutil.rmtree(survivor)
        shutil.rmtree(path)


def test_a_power_cut_while_creating_leaves_a_whole_engram_or_none(tmp_path: Path) -> None:
    made = spec()
    files = FaultyFiles()
    Store.create(tmp_path / "whole.engram", made, Bundles.initial(made), files=files)
    for cut_at in range(len(files.calls)):
        path = tmp_path / f"{cut_at}.engram"
        with pytest.raises(PowerCut):
            Store.create(path, made, Bundles.initial(made), files=FaultyFiles(cut_at=cut_at))
        if path.exists():
            assert verify(path).ok
            with Store.open(path, "r+") as store:
                assert store.commit.number == 1


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
    with pytest.raises(Exception, match="this handle is closed: check the disk"):
        commit(store)
    with pytest.raises(Exception, match="closed since a write failed"):
        store.find(np.arange(3, dtype=np.uint64))
    store.close()
    with contextlib.closing(writing(path)) as again:
        assert [frame.kind for frame in again.journal_frames()] == ["first"]
        assert again.commit.number == 1


def _broken(handle: int) -> None:
    raise OSError(5, f"Input/output error on {handle}")
