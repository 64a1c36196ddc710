"""Repair takes the newest good version of what is damaged, in a new commit, says what it did, and touches no more."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb.errors import CatalogDamaged, JournalDamaged, Locked, NotAnEngram
from engramdb.store import Store, verify
from engramdb.store.labels import BlockRef
from engramdb.store.pack import DELTA, LEAF, parse_record
from engramdb.store.upkeep.repair import Repaired, repair
from engramdb.testing import FaultyFiles, Neuron, PowerCut, merged
from tests.networks import make
from tests.stores import SMALL_LEAVES, commit, neurons, state_change, writing

ALL = np.arange(100, dtype=np.uint64)
LABELS = [f"n{i:03d}" for i in range(100)]


def grow(path: Path) -> Path:
    """Whole leaves, deltas on deltas, a snapshot, a branch, labels, state, and a journal with three frames."""
    with writing(path) as store:
        store.write(neurons(ALL))
        store.write_labels(0, iter([(LABELS, ALL)]))
        commit(store, tick=10, message="first", ring=np.arange(100))
        store.snapshot("trained")
        store.write(neurons(ALL[32:64], seed=1))
        store.write(state_change(ALL[20:22], 5))
        commit(store, tick=20, message="second", ring=np.arange(50))
        store.write(state_change(ALL[22:24], 6))
        commit(store, tick=30, message="third", ring=np.arange(60), empty=np.empty((0, 2)))
        store.branch("other", "trained")
        for tick in (31, 32, 33):
            store.journal_append("note", tick, {"a": tick}, {"x": np.arange(20)})
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow(tmp_path_factory.mktemp("made") / "a.engram")


@pytest.fixture
def engram(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "a.engram")


@dataclass
class Present:
    """All that a branch's head holds."""

    neurons: dict[int, Neuron]
    state: dict[str, list[object]]
    frames: list[tuple[int, str, dict[str, int]]]
    labels: list[str | None]
    tick: int


def present(path: Path, branch: str = "main") -> Present:
    with Store.open(path, branch=branch) as store:
        return Present(
            merged(store.scan()),
            {name: array.tolist() for name, array in store.read_state().items()},
            [(frame.sequence, frame.kind, frame.meta) for frame in store.journal_frames()],
            store.labels_of(ALL),
            store.commit.tick,
        )


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def pack(path: Path, number: int) -> Path:
    with Store.open(path) as store:
        return store._packs.path(number)


def goes_on(path: Path) -> None:
    """Every branch is whole and can be written to."""
    for branch in ("main", "other"):
        with Store.open(path, "r+", branch=branch, policy=SMALL_LEAVES) as store:
            store.write(neurons([1, 50, 5000], seed=9))
            store.journal_append("after", 99, {}, {})
            commit(store, tick=99)
    report = verify(path)
    assert report.present_ok, report.problems
    assert report.notes == []


def versions(path: Path) -> dict[str, tuple[Path, int, int]]:
    """Pack, offset and length of records of each kind that the head of main needs."""
    with Store.open(path) as store:
        delta = next(ref for ref in store.directory.leaves() if ref.kind == DELTA)
        below = store.reader.beneath(delta)
        assert below is not None
        base = store.reader.beneath(below)
        assert base is not None
        assert base.kind == LEAF
        newer = next(ref for ref in store.directory.leaves() if ref.kind == LEAF and ref.commit > 2)
        only = next(ref for ref in store.directory.leaves() if ref.kind == LEAF and ref.commit == 2)
        state = store._history.state_ref(store.commit.number)
        assert state is not None
        label = BlockRef.of_row(store._catalog.select("labels")[0])
        found = {
            "delta": delta, "delta beneath": below, "base": base, "whole": newer, "only": only, "state": state,
            "labels": label,
        }  # fmt: skip
        return {
            name: (store._packs.path(ref.pack), ref.offset, ref.length)  # type: ignore[attr-defined]
            for name, ref in found.items()
        }


LOST_WITHOUT_A_COPY = ("base", "only", "state", "labels")


@pytest.mark.parametrize("kind", ["delta", "delta beneath", "base", "whole", "only", "state", "labels"])
def test_damage_of_any_region_is_named_and_repaired_and_nothing_else_changes(
    engram: Path, tmp_path: Path, kind: str
) -> None:
    before = {branch: present(engram, branch) for branch in ("main", "other")}
    file, offset, length = versions(engram)[kind]
    record = parse_record(file.read_bytes()[offset : offset + length])
    places = [0, 30, *(column.offset for column in record.columns.values() if column.nbytes)]
    for at in places:
        path = shutil.copytree(engram, tmp_path / f"{at}.engram")
        flip(path / "packs" / file.name, offset + at)
        report = verify(path)
        (problem,) = report.problems
        assert f"packs/{file.name}" in str(problem)
        assert f"at {offset}" in str(problem)
        assert problem.heads == (["main", "other"] if kind in ("base", "only", "labels") else ["main"])
        assert not report.present_ok
        first = at == places[0]
        if first and kind in LOST_WITHOUT_A_COPY:
            refused = repair(path)
            assert refused.refused
            assert "--drop-lost" in refused.refused[0]
            assert refused.commits == {}
            assert [str(p) for p in verify(path).problems] == [str(problem)]
        done = repair(path, drop_lost=True)
        assert done.refused == []
        check_repaired(path, kind, before, done)
        if first:
            assert repair(path) == Repaired()
            goes_on(path)
        shutil.rmtree(path)


def check_repaired(path: Path, kind: str, before: dict[str, Present], done: Repaired) -> None:
    after = verify(path)
    assert after.present_ok, after.problems
    now = {branch: present(path, branch) for branch in before}
    for branch, was in before.items():
        found = now[branch]
        assert found.frames == was.frames
        assert found.tick == was.tick
        leaves = [leaf for leaf in done.leaves if leaf.branch == branch]
        touched = set()
        for leaf in leaves:
            first, last = (int(text.rsplit("/", 1)[1]) for text in leaf.ids.split("-"))
            touched |= set(range(first, last + 1))
            assert leaf.neurons + leaf.lost == sum(neuron in touched for neuron in was.neurons)
        assert {n: v for n, v in found.neurons.items() if n not in touched} == {
            n: v for n, v in was.neurons.items() if n not in touched
        }
        assert found.state == ({} if kind == "state" and branch == "main" else was.state)
        labels = [label if kind != "labels" or i == 0 else None for i, label in enumerate(was.labels)]
        assert found.labels == labels
    with Store.open(path, at="trained") as past:
        if kind not in ("base", "only"):
            assert len(past.find(ALL)) == 100
    if kind == "delta":  # the delta beneath knows the state of 20 and 21, and not of 22 and 23
        (leaf,) = done.leaves
        assert [(source.number, source.tick, source.neurons) for source in leaf.sources] == [(3, 20, 16)]
        assert leaf.lost == 0
        assert done.commits == {"main": 5}
    if kind == "delta beneath":
        (leaf,) = done.leaves
        assert [source.number for source in leaf.sources] == [2]
    if kind == "whole":
        (leaf,) = done.leaves
        assert [(source.number, source.neurons) for source in leaf.sources] == [(2, 16)]
        assert "16 neurons as of commit 2 (tick 10, " in str(leaf)
    if kind == "base":
        assert [(leaf.branch, leaf.neurons, leaf.lost) for leaf in done.leaves] == [("main", 0, 16), ("other", 0, 16)]
    if kind == "only":
        assert {(leaf.neurons, leaf.lost) for leaf in done.leaves} == {(0, 16)}


def test_the_newest_good_version_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        for seed in range(4):
            store.write(neurons(ALL[:10], seed=seed))
            commit(store, tick=seed)
    with Store.open(path) as store:
        (head,) = store.directory.leaves()
    damaged = []
    for number in (5, 4):
        with Store.open(path, at=number) as store:
            (ref,) = store.directory.leaves()
            damaged.append((store._packs.path(ref.pack), ref.offset + ref.length - 2))
    flip(*damaged[0])
    second = shutil.copytree(path, tmp_path / "b.engram")
    flip(second / "packs" / damaged[1][0].name, damaged[1][1])
    for one, number in ((path, 4), (second, 3)):
        done = repair(one)
        assert [source.number for source in done.leaves[0].sources] == [number]
        with Store.open(one) as store, Store.open(one, at=number) as old:
            assert merged(store.scan()) == merged(old.scan())
            assert store.commit.message == "repaired 1 leaf"
            assert [entry.number for entry in store.log()] == [6, 5, 4, 3, 2, 1]
        report = verify(one)
        assert report.present_ok
        assert all(problem.past for problem in report.problems)
        with Store.open(one, "r+") as store:
            store.gc(keep_last=0, keep_days=0)
        assert verify(one).ok, "gc freed the damaged versions"
    assert head.commit == 5


def test_a_leaf_that_split_off_is_found_in_the_one_it_was_in(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(ALL[:28:2]))
        commit(store, tick=1)
        before = merged(store.scan())
        store.write(neurons(ALL[1:17:2], seed=1))
        commit(store, tick=2)
        now = merged(store.scan())
        _, damaged = store.directory.leaves()
        file = store._packs.path(damaged.pack)
        store.journal_append("note", 3, {"a": 1}, {})
    flip(file, damaged.offset + damaged.length - 2)
    done = repair(path)
    assert done.refused == []
    (leaf,) = done.leaves
    assert [source.number for source in leaf.sources] == [2]
    with Store.open(path) as store:
        found = merged(store.scan())
        assert [frame.kind for frame in store.journal_frames()] == ["note"]
    for neuron in now:
        if damaged.first <= neuron <= damaged.last:
            assert found.get(neuron) == before.get(neuron)
        else:
            assert found[neuron] == now[neuron]
    assert leaf.lost == len(now) - len(found) > 0
    assert verify(path).present_ok


def test_what_another_line_knows_is_used_when_ones_own_history_knows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        commit(store)
        store.branch("other")
        store.write(neurons(ALL[:10]))
        commit(store)
        (ref,) = store.directory.leaves()
        file = store._packs.path(ref.pack)
    with Store.open(path, "r+", branch="other", policy=SMALL_LEAVES) as store:
        store.write(neurons(ALL[:8], seed=4))
        commit(store, tick=7)
        other = merged(store.scan())
    flip(file, ref.offset + 3)
    done = repair(path)
    assert [(source.line, source.number, source.tick) for source in done.leaves[0].sources] == [(2, 4, 7)]
    assert done.leaves[0].lost == 2
    with Store.open(path) as store:
        assert merged(store.scan()) == other


def test_neurons_that_were_forgotten_do_not_come_back(tmp_path: Path) -> None:
    """Where the damage leaves the ids readable."""
    from engramdb.store.records import FORGOTTEN

    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(ALL[:14]))
        commit(store)
        forgotten = state_change([3, 4], 0)
        forgotten.row_kind[:] = FORGOTTEN
        store.write(forgotten)
        store.write(neurons(ALL[5:14], seed=2))
        commit(store)
        store.compact()
        (ref,) = store.directory.leaves()
        file = store._packs.path(ref.pack)
        assert len(merged(store.scan())) == 12
    record = parse_record(file.read_bytes()[ref.offset : ref.offset + ref.length])
    flip(file, ref.offset + record.columns["weight"].offset)
    done = repair(path)
    assert (done.leaves[0].neurons, done.leaves[0].lost, done.leaves[0].lost_ids) == (12, 0, [])
    with Store.open(path) as store:
        assert sorted(merged(store.scan())) == [0, 1, 2, *range(5, 14)]


# the journal


def frames_of(path: Path) -> list[dict[str, int]]:
    with Store.open(path, "r+") as store:
        return [frame.meta for frame in store.journal_frames()]


def test_a_damaged_header_of_a_journal_is_written_anew_without_any_loss(engram: Path, tmp_path: Path) -> None:
    for at in range(0, 60, 9):
        path = shutil.copytree(engram, tmp_path / f"{at}.engram")
        flip(path / "journal" / "1-4", at)
        (problem,) = verify(path).problems
        assert problem.heads == ["main"]
        assert str(problem).endswith("commit 4 is whole; verify --repair writes its header anew, and nothing is lost")
        done = repair(path)
        assert [line.split(":")[0] for line in done.mended] == ["journal/1-4"]
        assert (done.dropped, done.refused, done.commits) == ([], [], {})
        assert frames_of(path) == [{"a": 31}, {"a": 32}, {"a": 33}]
        assert verify(path).ok


def test_commands_before_a_damaged_one_are_kept_when_told_to(engram: Path) -> None:
    journal = engram / "journal" / "1-4"
    size = (journal.stat().st_size - 60) // 3
    flip(journal, 60 + size + 45)  # in the body of the second frame
    before = journal.read_bytes()
    (problem,) = verify(engram).problems
    assert problem.where == "journal/1-4"
    assert "or give up what is lost with verify --repair --drop-lost" in problem.remedy
    refused = repair(engram)
    assert "keeps the 1 before it, but loses 1 whole commands" in refused.refused[0]
    assert journal.read_bytes() == before
    done = repair(engram, drop_lost=True)
    assert "a damaged command and 1 whole commands behind" in done.dropped[0]
    assert frames_of(engram) == [{"a": 31}]
    assert verify(engram).ok


def test_a_lost_journal_is_given_up_only_when_told_to(engram: Path) -> None:
    (engram / "journal" / "1-4").unlink()
    assert "journal/1-4 is missing; --drop-lost gives it up" in repair(engram).refused[0]
    assert "all commands of branch main since commit 4" in repair(engram, drop_lost=True).dropped[0]
    assert verify(engram).ok
    assert frames_of(engram) == []


def test_a_lost_folder_of_journals_is_told_and_given_up_only_when_told_to(engram: Path) -> None:
    shutil.rmtree(engram / "journal")
    (problem,) = verify(engram).problems
    assert problem.heads == ["main", "other"]
    assert "what was done on the branches main (after commit 4), other (after commit 2)" in str(problem)
    with pytest.raises(JournalDamaged, match=r"has no folder journal any more.*--drop-lost$"):
        Store.open(engram, "r+")
    with Store.open(engram) as store:
        assert len(store.find(ALL)) == 100
        assert list(store.journal_frames()) == []
    assert len(repair(engram).refused) == 2
    assert not (engram / "journal").exists()
    done = repair(engram, drop_lost=True)
    assert [line.split(":")[0] for line in done.dropped] == [
        "all commands of branch main since commit 4", "all commands of branch other since commit 2",
    ]  # fmt: skip
    assert verify(engram).ok
    assert frames_of(engram) == []


def test_a_leaf_without_any_good_version_is_not_promised_one(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(ALL))
        commit(store)
    for remedy in ("a flipped bit", "no pack"):
        (pack,) = (path / "packs").iterdir()
        if remedy == "no pack":
            pack.unlink()
        else:
            with Store.open(path) as store:
                flip(pack, store.directory.locate(ALL[:1])[0][0].offset)
        leaves = [problem for problem in verify(path).problems if problem.leaf is not None]
        assert leaves
        for problem in leaves:
            assert "takes the newest good version" not in str(problem)
            assert "give up what has none with verify --repair --drop-lost" in problem.remedy
        assert len(repair(path).refused) == len(leaves)
    done = repair(path, drop_lost=True)
    assert sum(leaf.lost for leaf in done.leaves) == 100
    assert verify(path).present_ok


def test_a_leaf_is_not_repaired_past_a_damaged_journal(engram: Path) -> None:
    """The new commit has to carry its frames on."""
    file, offset, _ = versions(engram)["whole"]
    flip(file, offset)
    size = ((engram / "journal" / "1-4").stat().st_size - 60) // 3
    flip(engram / "journal" / "1-4", 60 + size + 45)
    assert repair(engram).commits == {}
    done = repair(engram, drop_lost=True)
    assert done.commits == {"main": 5}
    assert frames_of(engram) == [{"a": 31}]
    assert verify(engram).present_ok


# the catalog, and others


def test_a_damaged_catalog_is_refused_with_what_to_do(engram: Path) -> None:
    import sqlite3

    with contextlib.closing(sqlite3.connect(engram / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE commits SET tick = 99 WHERE number = 3")
    with pytest.raises(CatalogDamaged, match=r"repair needs a whole catalog.*restore the whole engram from a copy"):
        repair(engram)
    (problem,) = verify(engram).problems
    assert str(problem).count("from a copy") == 1


def test_a_whole_engram_is_left_alone(engram: Path) -> None:
    files = {file: file.read_bytes() for file in engram.rglob("*") if file.is_file() and "sqlite" not in file.name}
    assert repair(engram, drop_lost=True) == Repaired()
    assert {f: f.read_bytes() for f in engram.rglob("*") if f.is_file() and "sqlite" not in f.name} == files
    with Store.open(engram, "r+"), pytest.raises(Locked):
        repair(engram)
    with pytest.raises(NotAnEngram):
        repair(engram / "nothing")


def test_a_power_cut_or_kill_at_any_step_of_a_repair_loses_nothing(engram: Path, tmp_path: Path) -> None:
    expected = present(engram)
    file, offset, _ = versions(engram)["whole"]
    flip(file, offset)
    whole = shutil.copytree(engram, tmp_path / "whole.engram")
    files = FaultyFiles()
    repair(whole, files=files)
    repaired = present(whole)
    assert repaired.frames == expected.frames
    for cut_at in range(len(files.calls)):
        path = shutil.copytree(engram, tmp_path / f"{cut_at}.engram")
        faulty = FaultyFiles(cut_at=cut_at)
        with contextlib.suppress(PowerCut):
            repair(path, files=faulty)
        for seed in [(0, 1, 2 + cut_at)[cut_at % 3]]:
            survivor = tmp_path / f"{cut_at}-{seed}.engram"
            faulty.survivors(path, survivor, seed)
            with Store.open(survivor, "r+") as store:
                assert [(f.sequence, f.kind, f.meta) for f in store.journal_frames()] == expected.frames
                assert store.commit.number in (4, 5)
            repair(survivor)
            assert present(survivor) == repaired
            assert verify(survivor).present_ok
            shutil.rmtree(survivor)


def test_a_repaired_engram_runs_on_and_replays_what_was_acknowledged(tmp_path: Path) -> None:
    from tests.test_diff import small

    with make(tmp_path, small()) as e:
        e.stimulate(range(50), 30.0)
        e.run(10)
        e.checkpoint("early")
        row = e.synapses(5)
        e.set_weight(5, row.targets, 2.0)
        e.run(5)
        e.checkpoint("late")
    path = tmp_path / "net.engram"
    with Store.open(path, "r+") as store:
        store.compact()
        ref = next(iter(store.directory.leaves()))
        file = store._packs.path(ref.pack)
    e = engramdb.open(path, "r+")
    e.stimulate(range(5), 1.0, at=20)
    e._shut()  # as after an error: nothing is checkpointed, the journal has it
    flip(file, ref.offset + ref.length - 1)
    done = engramdb.repair(path)
    assert len(done.leaves) == 1
    with engramdb.open(path, "r+") as e:
        assert e.tick == 15
        assert e._live.stimuli
        e.run(10)
    assert verify(path).present_ok
