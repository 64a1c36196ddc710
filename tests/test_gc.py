"""gc thins what has no name and frees its space; what is kept reads the same, to every reader, whatever interrupts."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from engramdb.errors import DiskFull, HandleClosed, InvalidInput, NotFound, ReadOnly
from engramdb.store import LeafPolicy, Store, verify
from engramdb.store.history import Branch, Commit, Snapshot
from engramdb.store.upkeep.retention import Policy, plan
from engramdb.testing import DictStore, FaultyFiles, PowerCut, merged
from tests.stores import SMALL_LEAVES, commit, create, neurons, state_change, writing

EVERYTHING = {"keep_last": 0, "keep_days": 0.0}
LABELLED = np.arange(100, dtype=np.uint64)


def grow(path: Path, model: DictStore | None = None) -> DictStore:
    """Twelve commits on three lines: whole leaves, deltas, splits, labels, states; two snapshots, two branches."""
    model = model or DictStore()
    with writing(path) as store:
        store.write_labels(0, iter([([f"n{i:03d}" for i in range(100)], LABELLED)]))

        def step(changes: object, **state: np.ndarray) -> int:
            store.write(changes)  # type: ignore[arg-type]
            model.write(changes)  # type: ignore[arg-type]
            number = commit(store, **state)
            model.commit(number)
            return number

        step(neurons(range(0, 200, 2)), ring=np.arange(1000))
        step(neurons(range(0, 180, 2), seed=6))
        third = step(state_change([8], 4), ring=np.arange(500))
        store.snapshot("trained")
        step(neurons(range(1, 200, 4), seed=1))
        step(neurons(range(0, 200, 2), seed=2), ring=np.arange(2000))
        store.branch("other", third)
        store.restore("trained")
        model.restore(third)
        step(state_change([10], 5))
        fork = step(neurons(range(300, 340), seed=3))
        step(state_change([10, 12], 6))
        step(neurons(range(0, 100, 2), seed=4))
        store.restore(fork)
        model.restore(fork)
        step(state_change([14], 7), ring=np.arange(10))
        step(state_change([16], 8))
        store.snapshot("last")
        store.journal_append("note", 1, {"a": 1}, {"x": np.arange(5)})
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DictStore]:
    path = tmp_path_factory.mktemp("made") / "a.engram"
    return path, grow(path)


@pytest.fixture
def engram(made: tuple[Path, DictStore], tmp_path: Path) -> tuple[Path, DictStore]:
    return shutil.copytree(made[0], tmp_path / "a.engram"), made[1]


def packed(path: Path) -> int:
    return sum(pack.stat().st_size for pack in (path / "packs").iterdir())


def contents(path: Path) -> dict[Path, bytes]:
    """All files but SQLite's, which readers touch."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and "sqlite" not in file.name}


def numbers(path: Path) -> set[int]:
    with Store.open(path) as store:
        return {commit.number for commit, _ in store._history.commits()}


def check_kept(path: Path, model: DictStore, kept: set[int] | None = None, *, labels: bool = True) -> None:
    """Every commit that is there reads as it was written, and nothing is damaged or left over."""
    report = verify(path)
    assert [str(problem) for problem in report.problems] == []
    assert report.notes == []
    there = numbers(path)
    assert kept is None or there == kept
    for number in there:
        with Store.open(path, at=number) as past:
            assert merged(past.scan()) == model.commits[number]
            some = np.array(sorted(model.commits[number])[::7], np.uint64)
            assert merged(iter([past.find(some)])) == {n: model.commits[number][n] for n in some.tolist()}
            past.read_state()
            if labels and number > 1:
                assert past.labels_of(LABELLED[:50:7]) == [f"n{i:03d}" for i in range(0, 50, 7)]
            assert [entry.number for entry in past.log()][-1] == 1


def test_kept_commits_read_the_same_and_the_others_say_that_they_are_gone(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    before = packed(path)
    with Store.open(path, "r+") as store:
        done = store.gc(**EVERYTHING)
    # the first, the snapshots, the heads; of lines 3 and 4 the commits at which they begin
    check_kept(path, model, {1, 4, 8, 12})
    assert done.dropped == [2, 3, 5, 6, 7, 9, 10, 11]
    assert sum(done.kept.values()) == 4
    assert done.bytes_freed > 0
    assert before - packed(path) <= done.bytes_freed
    assert packed(path) == done.bytes_kept < before
    with pytest.raises(NotFound, match="no commit 5 any more: gc thinned it out; log --all lists"):
        Store.open(path, at=5)
    with Store.open(path, "r+") as store:
        assert [frame.kind for frame in store.journal_frames()] == ["note"]
        with pytest.raises(NotFound, match="gc thinned it out"):
            store.restore(6)
        # nothing is left to do, and numbers do not come again
        again = store.gc(**EVERYTHING)
        assert (again.dropped, again.versions_dropped, again.packs_dropped, again.packs_copied) == ([], 0, 0, 0)
        store.write(state_change([4], 1))
        assert commit(store) == 13


def test_a_dry_run_says_what_would_go_and_changes_nothing(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    files = contents(path)
    with Store.open(path) as reader:
        planned = reader.gc(**EVERYTHING, dry_run=True)
    assert contents(path) == files
    check_kept(path, model, set(range(1, 13)))
    with Store.open(path, "r+") as store:
        done = store.gc(**EVERYTHING)
    assert planned.dry_run
    planned.dry_run = False
    done.bytes_freed = planned.bytes_freed  # gc may also have made the catalog smaller
    assert planned == done
    with Store.open(path) as reader, pytest.raises(ReadOnly):
        reader.gc()


def test_by_default_nothing_young_goes(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    with Store.open(path, "r+") as store:
        done = store.gc()
    assert done.dropped == []
    assert sum(done.kept.values()) == 12
    assert done.kept["newest of a branch"] > 0
    check_kept(path, model, set(range(1, 13)))


@pytest.mark.parametrize(("keep_last", "kept"), [(1, {1, 3, 4, 8, 11, 12}), (2, {1, 2, 3, 4, 8, 11, 12})])
def test_the_newest_commits_of_each_branch_are_kept(
    engram: tuple[Path, DictStore], keep_last: int, kept: set[int]
) -> None:
    path, model = engram
    with Store.open(path, "r+") as store:
        store.gc(keep_last=keep_last, keep_days=0)
    check_kept(path, model, kept)


def test_a_deleted_branch_gives_its_commits_to_gc(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    with Store.open(path, "r+", branch="other", policy=SMALL_LEAVES) as store:
        store.write(neurons(range(500, 600), seed=8))
        number = commit(store)
        with pytest.raises(InvalidInput, match='branch "other" is the one that is open'):
            store.delete_branch("other")
    with Store.open(path, "r+") as store:
        store.delete_branch("other")
        with pytest.raises(NotFound, match='no branch "other"; known: main'):
            store.delete_branch("other")
        store.delete_snapshot("last")
        done = store.gc(**EVERYTHING)
        assert number in done.dropped
        assert 2 in done.lines_dropped
        made = store.branch("new")
        assert made.line == 5, "the number of a line does not come again"
    check_kept(path, model)


def test_numbers_of_what_is_gone_do_not_come_again(tmp_path: Path) -> None:
    """A reader elsewhere may still know the old ones; a journal, a version and a pack are named by them."""
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(10)))
        commit(store)
        store.snapshot("start")
        store.write(neurons(range(10), seed=1))
        largest = commit(store)
        (pack,) = store._catalog.rows("SELECT max(pack) FROM packs")[0]
        line = store.branch("other").line
        store.restore("start")
        store.delete_branch("other")
        done = store.gc(**EVERYTHING)
        assert (done.dropped, done.packs_dropped) == ([largest], 1)
        assert line in done.lines_dropped
    with writing(path) as store:
        assert store.branch("new").line == line + 2
        store.write(neurons(range(10), seed=2))
        assert commit(store) == largest + 1
        assert store._catalog.rows("SELECT max(pack) FROM packs")[0][0] > pack


def test_gc_frees_what_a_long_history_of_changes_has_cost(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    model = DictStore()
    with Store.open(create(path), "r+", policy=LeafPolicy(rows=64)) as store:
        for seed in range(12):
            changes = neurons(range(500), seed=seed)
            store.write(changes)
            model.write(changes)
            number = commit(store)
        model.commit(number)
        needed = sum(ref.length for ref in store.directory.leaves())
        assert packed(path) > 10 * needed
        done = store.gc(**EVERYTHING)
        assert merged(store.scan()) == model.neurons
    assert packed(path) == needed
    assert done.bytes_freed > 10 * needed
    check_kept(path, model, labels=False)


def test_packs_with_little_in_use_are_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    model = DictStore()
    with writing(path) as store:
        for changes in (neurons(range(300)), neurons(range(270), seed=1), neurons(range(260), seed=2)):
            store.write(changes)
            model.write(changes)
            number = commit(store, ring=np.arange(100))
        model.commit(number)
        before = packed(path)
        done = store.gc(**EVERYTHING)
        assert merged(store.scan()) == model.neurons
    assert (done.packs_copied, done.packs_dropped) == (2, 0)
    assert packed(path) < before / 2
    check_kept(path, model, labels=False)


def test_rows_of_lines_that_are_gone_go_too_and_the_catalog_shrinks(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    with contextlib.closing(sqlite3.connect(path / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("CREATE TEMP TABLE copies AS SELECT * FROM versions LIMIT 1")
        catalog.execute("UPDATE copies SET line = 99")
        catalog.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO versions "
            "SELECT line, low, n.i, leaf, first, last, kind, base_line, base, depth, pack, offset, length, header_crc, "
            "rows, synapses FROM copies, n"
        )
        catalog.commit()
        catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = (path / "catalog.sqlite").stat().st_size
    assert before > 1_000_000
    with Store.open(path, "r+") as store:
        done = store.gc(**EVERYTHING)
        assert (path / "catalog.sqlite").stat().st_size < before / 5
    assert done.versions_dropped > 30_000
    assert done.bytes_freed > before / 2
    check_kept(path, model, {1, 4, 8, 12})


# readers

READER = """
import sys
from pathlib import Path
import numpy as np
from engramdb.store import Store
from engramdb.testing import merged

with Store.open(Path(sys.argv[1]), at=int(sys.argv[2]), cache_bytes=0) as store:
    expected = merged(store.scan())
    state = {name: array.tolist() for name, array in store.read_state().items()}
    print("standing", flush=True)
    for _ in sys.stdin:
        assert merged(store.scan()) == expected
        ids = np.array(sorted(expected), np.uint64)
        assert merged(iter([store.find(ids)])) == expected
        assert {name: array.tolist() for name, array in store.read_state().items()} == state
        assert store.labels_of(ids[:1]) == ["n000"]
        store._packs.close()
        store._place.labels._cache.clear()
        print("same", flush=True)
"""


@contextlib.contextmanager
def reader_in_another_process(path: Path, at: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", READER, str(path), str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "standing\n"
        yield process
        process.stdin.close()
        assert process.wait() == 0


def asks(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("read\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_a_reader_in_another_process_goes_on_reading_during_and_after_gc(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    said = []
    with reader_in_another_process(path, 6) as reader:

        def between() -> bool:
            said.append(asks(reader))
            return False

        with Store.open(path, "r+") as store:
            done = store.gc(**EVERYTHING, stop=between)
        assert done.kept["living readers"] == 1
        assert 6 not in done.dropped
        assert done.packs_copied
        assert asks(reader) == "same\n"
    assert len(said) >= 5
    assert set(said) == {"same\n"}
    check_kept(path, model, {1, 4, 6, 8, 12})
    with Store.open(path, "r+") as store:
        assert 6 in store.gc(**EVERYTHING).dropped
    check_kept(path, model, {1, 4, 8, 12})


def test_nobody_comes_to_stand_at_a_commit_that_is_about_to_go(engram: tuple[Path, DictStore]) -> None:
    """A reader that is there before the mark is seen by gc; one that comes after it is turned away."""
    path, model = engram
    asked: list[int] = []
    with Store.open(path, "r+") as store:

        def between() -> bool:
            if not asked:  # right after the mark
                asked.append(1)
                with pytest.raises(NotFound, match="no commit 5 any more: gc is thinning it out"):
                    Store.open(path, at=5)
                Store.open(path, at="trained").close()
            return len(asked) > 1

        store.gc(**EVERYTHING, stop=between)
    assert asked
    check_kept(path, model, {1, 4, 8, 12})


def test_a_mark_that_a_killed_gc_left_is_gone_with_the_next_writer(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    with Store.open(path, "r+") as store:
        assert store.gc(**EVERYTHING, stop=lambda: True).stopped
        with pytest.raises(NotFound):
            Store.open(path, at=5)
    with Store.open(path, "r+"):
        pass
    check_kept(path, model, set(range(1, 13)))


# interruptions


def test_stopped_between_any_two_steps_it_leaves_a_whole_engram_and_can_be_repeated(
    made: tuple[Path, DictStore], tmp_path: Path
) -> None:
    made_path, model = made
    for step in range(100):
        path = shutil.copytree(made_path, tmp_path / f"{step}.engram")
        asked: list[int] = []

        def after_steps(asked: list[int] = asked, step: int = step) -> bool:
            asked.append(1)
            return len(asked) > step

        with Store.open(path, "r+") as store:
            done = store.gc(**EVERYTHING, stop=after_steps)
            assert merged(store.scan()) == model.commits[12]
        with Store.open(path, "r+") as store:
            check_kept(path, model)
            assert not store.gc(**EVERYTHING).stopped
        check_kept(path, model, {1, 4, 8, 12})
        if not done.stopped:
            break
    assert step > 4


def test_a_power_cut_or_kill_at_any_step_loses_nothing_that_is_kept(
    made: tuple[Path, DictStore], tmp_path: Path
) -> None:
    made_path, model = made
    files = FaultyFiles()
    path = shutil.copytree(made_path, tmp_path / "whole.engram")
    with Store.open(path, "r+", files=files) as store:
        first = files.operation
        store.gc(**EVERYTHING)
        last = files.operation
    calls = files.calls[first:last]
    assert {"create", "write", "fsync", "fsync_dir", "unlink"} <= set(calls)
    for cut_at in range(first, last):
        path = shutil.copytree(made_path, tmp_path / f"{cut_at}.engram")
        files = FaultyFiles(cut_at=cut_at)
        with contextlib.suppress(PowerCut):
            store = Store.open(path, "r+", files=files)
            store.gc(**EVERYTHING)
        for seed in (cut_at % 2, *range(2, 2 + settings().max_examples // 50)):
            survivor = tmp_path / f"{cut_at}-{seed}.engram"
            files.survivors(path, survivor, seed)
            with Store.open(survivor, "r+") as after:
                assert [frame.kind for frame in after.journal_frames()] == ["note"]
                check_kept(survivor, model)
                after.gc(**EVERYTHING)
            check_kept(survivor, model, {1, 4, 8, 12})
            shutil.rmtree(survivor)
        with contextlib.suppress(PowerCut):
            store.close()
        shutil.rmtree(path)


def test_a_full_disk_at_any_write_loses_nothing_and_gc_succeeds_when_there_is_room(
    made: tuple[Path, DictStore], tmp_path: Path
) -> None:
    made_path, model = made
    files = FaultyFiles()
    with Store.open(shutil.copytree(made_path, tmp_path / "whole.engram"), "r+", files=files) as store:
        first = files.operation
        store.gc(**EVERYTHING)
        last = files.operation
    for full_at in range(first, last, 2):
        path = shutil.copytree(made_path, tmp_path / f"{full_at}.engram")
        files = FaultyFiles(full_at=full_at)
        store = Store.open(path, "r+", files=files)
        with contextlib.suppress(DiskFull):
            store.gc(**EVERYTHING)
        files.full_at = None
        with contextlib.suppress(HandleClosed):
            store.gc(**EVERYTHING)
        store.close()
        with Store.open(path, "r+") as again:
            again.gc(**EVERYTHING)
        check_kept(path, model, {1, 4, 8, 12})
        shutil.rmtree(path)


def test_what_was_written_since_the_commit_outlives_gc(engram: tuple[Path, DictStore]) -> None:
    path, model = engram
    with Store.open(path, "r+", policy=SMALL_LEAVES) as store:
        changes = state_change([4, 300], 77)
        store.write(changes)
        store.gc(**EVERYTHING)
        expected = DictStore()
        expected.neurons = dict(model.commits[12])
        expected.write(changes)
        assert merged(store.scan()) == expected.neurons
        number = commit(store)
        model.commits[number] = expected.neurons
        assert [frame.kind for frame in store.journal_frames()] == []
    check_kept(path, model)
    del model.commits[number]


def test_a_damaged_record_is_not_copied_and_stays_as_it_is(engram: tuple[Path, DictStore]) -> None:
    path, _ = engram
    name = min((path / "packs").iterdir())  # of it only the labels are needed, and they are damaged
    data = bytearray(name.read_bytes())
    data[200] ^= 1
    name.write_bytes(data)
    before = {str(problem) for problem in verify(path).problems}
    with Store.open(path, "r+") as store:
        done = store.gc(**EVERYTHING)
    assert done.damaged == [name.stem]
    assert name.exists()
    after = {str(problem) for problem in verify(path).problems}
    assert after
    assert after <= before


# which commits stay


def history(*parents: int | None, days: float = 100) -> dict[int, Commit]:
    created = (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) - datetime.timedelta(days=days)).isoformat()
    return {
        number: Commit(number, 1, parent, 0, created, "", 0, 0, 0) for number, parent in enumerate(parents, start=1)
    }


NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_parents_are_linked_to_the_nearest_commit_that_stays() -> None:
    commits = history(None, 1, 2, 3, 4, 5)
    chosen = plan(commits, {1: (None, None)}, [Branch("main", 1, 6)], [Snapshot("s", 3, 0, "")], [], Policy(0, 0), NOW)
    assert chosen.kept.keys() == {1, 3, 6}
    assert chosen.parents == {3: 1, 6: 3}


def test_age_is_counted_in_days() -> None:
    lines = {1: (None, None)}
    for days, dropped in ((6.9, ()), (7.1, (2, 3))):
        commits = history(None, 1, 2, 3, days=days)
        assert plan(commits, lines, [Branch("main", 1, 4)], [], [], Policy(0, 7.0), NOW).dropped == dropped
    assert plan(history(None, 1, 2, 3), lines, [Branch("main", 1, 4)], [], [3], Policy(0, 0), NOW).dropped == (2,)


@pytest.mark.parametrize(("given", "problem"), [((-1, 1.0), "keep_last=-1"), ((1, float("nan")), "keep_days=nan")])
def test_a_policy_that_cannot_be_is_refused(given: tuple[int, float], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        Policy(*given)
