"""A power cut or a kill at any call, in anything that writes, leaves what was acknowledged, whole; and life goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from engramdb.faultyfiles import FaultyFiles, PowerCut
from engramdb.growth.bundle import Bundles
from engramdb.store import Store, compaction, verify, writer
from engramdb.store.files import OsFiles
from engramdb.store.upkeep import gc
from engramdb.testing import merged
from tests.stores import SMALL_LEAVES, commit, create, spec
from tests.story import CREATED, EVERYTHING, Step, Story, cells, difference, durable_at, state_with, told

THOROUGH = settings().max_examples > 100
Recorded = tuple[Path, FaultyFiles, Story]


class UnsyncedFiles(OsFiles):
    """For what is checked and thrown away."""

    def fsync(self, handle: int) -> None:
        pass

    def fsync_dir(self, path: Path) -> None:
        pass


def small_steps(patch: pytest.MonkeyPatch) -> None:
    """Let a small story reach what otherwise takes many megabytes."""
    patch.setattr(writer, "_SPILL_SLACK", 0)
    patch.setattr("engramdb.store.store.SMALL_BYTES", 400)  # some changes wait, others do not
    patch.setattr(compaction, "BATCH_BYTES", 1000)
    patch.setattr(gc, "_COPIED_BYTES", 500)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorded]:
    """Tells the story once and remembers every call."""
    small_steps(monkeypatch)
    return lambda files=None, **how: _recorded(
        create(tmp_path / "a.engram", delays=True), files or FaultyFiles(), **how
    )


def _recorded(path: Path, files: FaultyFiles, **how: object) -> Recorded:
    files.watch(path)
    with told(path, files, **how) as story:  # type: ignore[arg-type]
        pass
    return path, files, story


def step_of(story: Story, at: int) -> Step:
    """The call in which the changing call ``at`` was made; before the first and after the last there is none."""
    for step in story.steps:
        if at <= step.last:
            return step if at >= step.first else replace(step, name="open", may_be=step.may_be[:1])
    return Step("close", at, at, story.told.options())


def check(path: Path, step: Step) -> None:
    """What is there is what may be, whole, readable at every commit; and a writer can go on from it."""
    report = verify(path)
    assert [str(problem) for problem in report.problems] == []
    found = durable_at(path)
    assert difference(found, step) is None
    head = found.commits[found.heads["main"]].neurons
    with Store.open(path, "r+", policy=SMALL_LEAVES, files=UnsyncedFiles()) as store:
        store._catalog.rows("PRAGMA synchronous = OFF")
        assert merged(store.scan()) == head
        assert tuple(frame.meta["text"] for frame in store.journal_frames()) == found.frames["main"]
        store.journal_append("note", 1000, {"text": "life goes on"}, {})
        store.write(cells([5, 500, 5000], seed=9))
        written = merged(store.scan())
        commit(store, tick=1000, **state_with((0, 1, 2)))
        store.compact()
        store.gc(**EVERYTHING)  # type: ignore[arg-type]
    report = verify(path)
    assert [str(problem) for problem in report.problems] == []
    others = len(found.heads) > 1  # whose journals end as they ended
    assert [note for note in report.notes if not (others and "ends in a part of a frame" in note)] == []
    after = durable_at(path)
    assert after.commits[1000].neurons == written
    assert after.frames == {**found.frames, "main": ()}
    for tick in {*found.snapshots.values(), *(head for name, head in found.heads.items() if name != "main")}:
        assert after.commits[tick] == found.commits[tick]


def cut(recorded: Recorded, folder: Path, places: list[tuple[int, int]]) -> int:
    """Check survivors of power cuts at ``(call, seed)``; how many there were."""
    path, files, story = recorded
    for at, seed in places:
        survivor = folder / "survivor.engram"
        files.survivors(path, survivor, seed, at)
        step = step_of(story, at)
        try:
            check(survivor, step)
        except BaseException as error:
            error.add_note(f"power cut at call {at} ({files.calls[at]} in {step.name}), seed {seed}")
            raise
        shutil.rmtree(survivor)
    return len(places)


def every_call(files: FaultyFiles, seeds: int) -> list[tuple[int, int]]:
    """All calls: with nothing kept that was not synced, with all, and with some and torn, ``seeds`` times."""
    return [(at, seed) for at in range(files.operation) for seed in (0, 1, *range(2 + at * 7, 2 + at * 7 + seeds))]


def some_calls(files: FaultyFiles, count: int) -> list[tuple[int, int]]:
    """``count`` calls evenly spread, the same in every run; nothing kept, all kept and some of it in turn."""
    chosen = np.linspace(0, files.operation - 1, count).astype(int).tolist()
    return [(at, (0, 1, 2 + at, 3 + at)[i % 4]) for i, at in enumerate(chosen)]


@pytest.mark.parametrize("pages_before_checkpoint", [1000, 3])
def test_a_power_cut_anywhere_loses_nothing_acknowledged(
    record: Callable[..., Recorded], tmp_path: Path, pages_before_checkpoint: int
) -> None:
    """SQLite's log is written back now and then, or, with 3 pages, all the time."""
    recorded = record(pages_before_checkpoint=pages_before_checkpoint)
    _, files, story = recorded
    assert {"create", "write", "fsync", "fsync_dir", "replace", "unlink", "truncate"} <= set(files.calls)
    assert {step.name for step in story.steps} >= {"journal", "write", "commit", "settle", "compact", "gc", "restore"}
    places = every_call(files, 4) if THOROUGH else some_calls(files, 48)
    assert cut(recorded, tmp_path, places) == len(places)


@pytest.mark.slow
@pytest.mark.parametrize("pages_before_checkpoint", [1000, 3])
def test_a_power_cut_at_each_of_all_calls_loses_nothing_acknowledged(
    record: Callable[..., Recorded], tmp_path: Path, pages_before_checkpoint: int
) -> None:
    recorded = record(pages_before_checkpoint=pages_before_checkpoint)
    places = every_call(recorded[1], 1)
    assert cut(recorded, tmp_path, places) > 900


def test_a_power_cut_while_a_commit_goes_on_beside_the_journal_loses_nothing(
    record: Callable[..., Recorded], tmp_path: Path
) -> None:
    """Here the threads are not held at places that the story names, but meet as they happen to."""
    recorded = record(held=False)
    _, files, story = recorded
    beside = [at for at in range(files.operation) if step_of(story, at).name in ("commit_behind", "journal", "settle")]
    seeds = 5 if THOROUGH else 1
    places = [(at, seed) for at in beside for seed in range(at % 3, at % 3 + seeds)][:: 1 if THOROUGH else 4]
    assert cut(recorded, tmp_path, places) > 15


def test_no_handler_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine is gone nothing tidies up, in the background neither."""
    small_steps(monkeypatch)
    fresh, files = create(tmp_path / "fresh.engram", delays=True), FaultyFiles()
    with told(shutil.copytree(fresh, tmp_path / "whole.engram"), files):
        pass
    for cut_at in range(3, files.operation, 23):
        files = FaultyFiles(cut_at=cut_at)
        path = shutil.copytree(fresh, tmp_path / f"{cut_at}.engram")
        with pytest.raises(PowerCut), told(path, files):
            pass


class _ForgetfulFiles(FaultyFiles):
    """Says that it syncs, and does not: some ``call`` of those whose path ends in ``suffix``."""

    def __init__(self, call: str, suffix: str) -> None:
        super().__init__()
        self._forgets = call, suffix

    def fsync(self, handle: int) -> None:
        if self._forgets[0] != "fsync" or not str(self._handles[handle].parent).endswith(self._forgets[1]):
            super().fsync(handle)

    def fsync_dir(self, path: Path) -> None:
        if self._forgets[0] != "fsync_dir" or not str(path).endswith(self._forgets[1]):
            super().fsync_dir(path)


@pytest.mark.parametrize("call", ["fsync", "fsync_dir"])
@pytest.mark.parametrize("suffix", ["packs", "journal"])
def test_these_tests_would_notice_a_sync_that_is_left_out(
    record: Callable[..., Recorded], tmp_path: Path, call: str, suffix: str
) -> None:
    recorded = record(_ForgetfulFiles(call, suffix))
    with pytest.raises((AssertionError, KeyError)):
        cut(recorded, tmp_path, [(at, 0) for at in range(0, recorded[1].operation, 3)])


def test_these_tests_would_notice_a_commit_of_the_catalog_that_is_lost(
    record: Callable[..., Recorded], tmp_path: Path
) -> None:
    path, files, story = record()
    step = next(step for step in story.steps if step.name == "snapshot")
    survivor = tmp_path / "survivor.engram"
    files.survivors(path, survivor, 0, step.last)
    assert difference(durable_at(survivor), step) is None, "not acknowledged: it may be lost"
    assert difference(durable_at(survivor), replace(step, may_be=step.may_be[1:])) is not None


def test_a_power_cut_while_creating_leaves_a_whole_engram_or_none(tmp_path: Path) -> None:
    made = spec(delays=True)
    files = FaultyFiles()
    path = tmp_path / "a.engram"
    Store.create(path, made, Bundles.initial(made), files=files)
    found = 0
    for at in range(files.operation + 1):
        for seed in (0, 1, 2, 3):
            survivor = tmp_path / "survivor.engram"
            shutil.rmtree(survivor, ignore_errors=True)
            files.survivors(path, survivor, seed, at)
            if at > files.calls.index("replace", files.calls.index("fsync_dir")):  # it has its name
                found += 1
                check(survivor, Step("create", at, at, (CREATED,)))
    assert found
    assert files.calls[-2:] == ["replace", "fsync_dir"], "synced before it is named, and its name after that"
