"""Damage is found, told in one line that says where and what is left, and goes no further than it must."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from engramdb.errors import CatalogDamaged, Damaged, EngramError, FormatTooNew, JournalDamaged, LeafDamaged
from engramdb.store import Report, Store, verify
from engramdb.testing import Neuron, merged
from tests.stores import SMALL_LEAVES, commit, create, neurons, state_change, writing

ALL = np.arange(100, dtype=np.uint64)


@pytest.fixture
def engram(tmp_path: Path) -> Path:
    """Three commits, a snapshot of the second, labels, state, a branch and a journal with two frames."""
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(ALL))
        store.write_labels(0, iter([([f"n{i:03d}" for i in range(100)], ALL)]))
        commit(store, tick=1, message="first", ring=np.arange(100))
        store.snapshot("trained")
        store.write(state_change(ALL[20:40], 5))
        commit(store, tick=2, message="second", ring=np.arange(50))
        store.branch("other", "trained")
        store.journal_append("note", 3, {"a": 1}, {"x": np.arange(20)})
        store.journal_append("note", 4, {"a": 2}, {"x": np.arange(20)})
    return path


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def packs(engram: Path) -> list[Path]:
    return sorted((engram / "packs").iterdir())


def one_line(report: Report) -> list[str]:
    lines = [str(problem) for problem in report.problems]
    assert all("\n" not in line and len(line) > 20 for line in lines)
    return lines


def test_a_whole_engram_has_no_problems_and_everything_is_counted(engram: Path) -> None:
    report = verify(engram)
    assert report.ok
    assert report.problems == report.notes == []
    checked = report.checked
    assert (checked["commits"], checked["packs"], checked["states"], checked["labels"]) == (3, 2, 2, 100)
    assert checked["journal_frames"] == 2
    assert checked["leaves"] == 7 + 2
    assert checked["neurons"] == 100 + 16 * 2


def test_a_damaged_leaf_is_told_with_its_place_its_neurons_and_the_snapshot_that_has_a_good_copy(engram: Path) -> None:
    with Store.open(engram) as store:
        (leaf, _, _), *_ = store.directory.locate(ALL[20:21])
        before = merged(store.scan())
    newest = packs(engram)[1]
    flip(newest, leaf.offset + leaf.length - 5)
    with Store.open(engram) as store:
        message = (
            rf"leaf {leaf.leaf} \(layer 0 segment 0, ids 0/0/16-0/0/31\) in packs/{newest.name} at {leaf.offset}: "
            rf'column \S+ fails its checksum; snapshot "trained" has a good copy'
        )
        with pytest.raises(LeafDamaged, match=f"^{message}$"):
            store.find(ALL[20:21])
        others = np.array(sorted(set(before) - set(range(16, 32))), np.uint64)
        assert store.find(others).ids.tolist() == others.tolist(), "all else stays readable"
        with Store.open(engram, at="trained") as past:
            assert len(past.find(ALL)) == 100
    (problem,) = verify(engram).problems
    assert (problem.pack, problem.offset, problem.leaf) == (newest.stem, leaf.offset, leaf.leaf)
    assert (problem.ids, problem.good_in) == ("0/0/16-0/0/31", ["trained"])
    assert (problem.heads, problem.past, problem.beneath) == (["main"], False, 2)
    assert re.fullmatch(
        rf".*{newest.name} at {leaf.offset}.*checksum; snapshot \"trained\" has a good copy; the version beneath it, "
        "number 2, is whole: verify --repair takes the newest good version",
        str(problem),
    )


def test_a_leaf_damaged_in_its_only_version_has_no_good_copy(engram: Path) -> None:
    with Store.open(engram) as store:
        (leaf, _, _), *_ = store.directory.locate(ALL[:1])
    flip(packs(engram)[0], leaf.offset)
    with (
        Store.open(engram) as store,
        pytest.raises(LeafDamaged, match=r"no record begins here; no snapshot has a good"),
    ):
        store.find(ALL[:1])
    (problem,) = verify(engram).problems
    assert problem.good_in == []


def test_every_byte_of_every_pack_is_watched(engram: Path) -> None:
    whole = verify(engram).checked
    step = max(1, 5000 // settings().max_examples)
    for pack in packs(engram):
        for at in range(0, pack.stat().st_size, step):
            flip(pack, at, at % 8)
            assert len(one_line(verify(engram))) == 1, f"{pack.name} at {at}"
            flip(pack, at, at % 8)
    assert verify(engram).checked == whole


def test_a_pack_that_is_missing_or_cut_short_is_told(engram: Path) -> None:
    pack = packs(engram)[1]
    data = pack.read_bytes()
    pack.write_bytes(data[:-10])
    lines = one_line(verify(engram))
    assert any("a pack ends after" in line for line in lines)
    pack.unlink()
    lines = one_line(verify(engram))
    assert any("is missing" in line for line in lines)
    with Store.open(engram) as store:
        assert len(store.find(ALL[:10])) == 10
        with pytest.raises(LeafDamaged, match="the file is missing"):
            store.find(ALL[20:21])
        with pytest.raises(Damaged, match="in-flight state of commit 3"):
            store.read_state()


def test_records_that_changed_places_are_noticed(engram: Path) -> None:
    """Each is whole in itself, but not what the catalog names there."""
    one, other = packs(engram)
    with Store.open(engram) as store:
        (old, _, _), *_ = store.directory.locate(ALL[:1])
        (new, _, _), *_ = store.directory.locate(ALL[20:21])
    data = bytearray(other.read_bytes())
    record = one.read_bytes()[old.offset : old.offset + old.length]
    data[new.offset : new.offset + new.length] = record.ljust(new.length, b"\0")[: new.length]
    other.write_bytes(data)
    with Store.open(engram) as store, pytest.raises(LeafDamaged):
        store.find(ALL[20:21])
    assert not verify(engram).ok


def everything(path: Path) -> tuple[object, ...]:
    """All that can be read from an engram."""
    with Store.open(path) as store:
        state = {name: array.tolist() for name, array in store.read_state().items()}
        now = merged(store.scan())
        frames = [(f.sequence, f.tick, f.kind, f.meta, f.arrays["x"].tolist()) for f in store.journal_frames()]
        pasts: list[dict[int, Neuron]] = []
        for number in store.log():
            with Store.open(path, at=number.number) as past:
                pasts.append(merged(past.scan()))
        spots = [merged(iter([store.find(ALL[i : i + 1])])) for i in (0, 25, 50, 99)]
        return (
            store.spec, store.bundles, store.log(), store.snapshots(), store.branches(), state, now, spots, frames,
            pasts, store.labels_of(ALL), store.label_ids(["n050"]).tolist(),
        )  # fmt: skip


def test_no_flipped_bit_of_the_catalog_changes_what_is_read(engram: Path) -> None:
    """It is noticed when opened, when read, or by verify; or it lay in a byte that nothing is kept in."""
    catalog = engram / "catalog.sqlite"
    whole = catalog.read_bytes()
    expected = everything(engram)
    used = [at for at in range(len(whole)) if whole[at]]
    random = np.random.default_rng(0)
    noticed = 0
    places = random.choice(used, 3 * settings().max_examples, replace=False).tolist()
    for at in [*places, *random.integers(0, len(whole), settings().max_examples).tolist()]:
        flip(catalog, at, int(random.integers(8)))
        found: object = None
        with contextlib.suppress(EngramError):
            found = everything(engram)
        if found is not None and found != expected:
            assert one_line(verify(engram)), f"byte {at} changed what is read, and nobody noticed"
        noticed += found != expected
        catalog.write_bytes(whole)
    assert noticed > settings().max_examples


def test_a_catalog_that_is_garbage_is_told_in_one_line(engram: Path) -> None:
    (engram / "catalog.sqlite").write_bytes(np.random.default_rng(0).bytes(20_000))
    for mode in ("r", "r+"):
        with pytest.raises(CatalogDamaged, match=r"catalog\.sqlite"):
            Store.open(engram, mode)  # type: ignore[arg-type]
    (line,) = one_line(verify(engram))
    assert "catalog.sqlite" in line


def test_a_row_of_the_catalog_that_was_changed_by_hand_is_noticed(engram: Path) -> None:
    with sqlite3.connect(engram / "catalog.sqlite") as connection:
        connection.execute("UPDATE commits SET tick = 99 WHERE number = 3")
    connection.close()
    with pytest.raises(CatalogDamaged, match="the row number 3 of table commits fails its checksum"):
        Store.open(engram)
    assert any("table commits" in line for line in one_line(verify(engram)))


def test_a_leaf_version_that_the_catalog_lost_is_noticed(engram: Path) -> None:
    with sqlite3.connect(engram / "catalog.sqlite") as connection:
        connection.execute("DELETE FROM versions WHERE number = 2 AND leaf = 3")
    connection.close()
    lines = one_line(verify(engram))
    assert any("its leaves" in line for line in lines)


def test_a_newer_format_is_refused_naming_both_versions(engram: Path) -> None:
    connection = sqlite3.connect(engram / "catalog.sqlite")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    for action in (lambda: Store.open(engram), lambda: Store.open(engram, "r+"), lambda: verify(engram)):
        with pytest.raises(FormatTooNew, match=r"has format 7, and this EngramDB reads up to format 2"):
            action()


def test_a_leaf_version_of_a_kind_to_come_is_refused(engram: Path) -> None:
    connection = sqlite3.connect(engram / "catalog.sqlite", isolation_level=None)
    connection.execute("UPDATE versions SET kind = 9 WHERE number = 3")
    connection.close()
    with Store.open(engram) as store, pytest.raises(FormatTooNew, match="kind 9"):
        store.find(ALL)
    assert not verify(engram).ok


def test_a_commit_that_the_catalog_lost_is_noticed_by_its_journal(engram: Path, tmp_path: Path) -> None:
    """SQLite drops a damaged end of its log without a word; the journal of what followed is the proof."""
    old = tmp_path / "old.sqlite"
    shutil.copy(engram / "catalog.sqlite", old)
    with Store.open(engram, "r+", policy=SMALL_LEAVES) as store:
        store.write(neurons(ALL[:5], seed=7))
        commit(store, tick=5)
        store.journal_append("note", 6, {}, {"x": np.arange(3)})
    shutil.copy(old, engram / "catalog.sqlite")
    kept = sorted(engram.rglob("*"))
    with pytest.raises(CatalogDamaged, match="goes on from a commit that the catalog does not have"):
        Store.open(engram, "r+")
    assert sorted(engram.rglob("*")) == kept, "nothing was deleted"


def test_verify_reads_beside_a_writer(engram: Path) -> None:
    with Store.open(engram, "r+", policy=SMALL_LEAVES) as store:
        store.write(neurons(ALL[:50], seed=3))
        store.settle()
        report = verify(engram)
        assert report.ok
        assert any("is named by no commit" in note for note in report.notes)
        commit(store, tick=9)
        assert verify(engram).ok


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r.target.__setitem__(0, 1 << 40), "a synapse leads to a neuron that does not exist"),
        (lambda r: r.weight.__setitem__(0, np.nan), "a weight is not finite"),
        (lambda r: r.projection.__setitem__(0, 9), "a projection that does not exist"),
        (lambda r: r.row_kind.__setitem__(0, 2), "a generated row has synapses"),
        (lambda r: r.row_kind.__setitem__(0, 7), "a row is neither stored nor generated"),
        (lambda r: r.ids.__setitem__([3, 4], [4, 3]), "its ids do not increase"),
        (lambda r: r.ids.__setitem__(-1, (1 << 33) + 5), "ids"),
    ],
)
def test_values_that_cannot_be_are_found_though_their_checksums_are_right(tmp_path: Path, change, problem: str) -> None:  # type: ignore[no-untyped-def]
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+") as store:
        wrong = neurons(range(10))
        change(wrong)
        assert store._writer is not None
        store._writer.write(wrong)  # past the check of the public call
        commit(store)
    assert any(problem in line for line in one_line(verify(path)))


def test_a_journal_of_another_engram_is_noticed(engram: Path, tmp_path: Path) -> None:
    with writing(tmp_path / "b.engram") as store:
        store.journal_append("note", 1, {}, {})
    shutil.copy(tmp_path / "b.engram" / "journal" / "1-1", engram / "journal" / "1-3")
    with pytest.raises(JournalDamaged):
        Store.open(engram, "r+")
    assert not verify(engram).ok


def test_a_missing_journal_is_told(engram: Path) -> None:
    (engram / "journal" / "1-3").unlink()
    (line,) = one_line(verify(engram))
    assert "the journal of branch main is missing" in line
