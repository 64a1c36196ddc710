"""The journal: acknowledged frames come back in order; a torn end is dropped, and damage is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.errors import FormatTooNew, InvalidInput, JournalDamaged, KernelMismatch
from engramdb.store import Frame, Store, verify
from engramdb.store import store as store_module
from engramdb.store import writer as writer_module
from engramdb.store.files import OS_FILES
from engramdb.store.journal import JournalHead, JournalReader, JournalWriter, create_journal
from engramdb.testing import FaultyFiles
from tests.stores import commit, neurons, writing

HEAD = JournalHead(kernel=1, line=2, commit=7, sequence=40, engram=bytes(range(16)))


def append(store: Store, count: int) -> list[int]:
    return [store.journal_append("note", i, {"n": i, "t": "ü\n"}, {"x": np.arange(i)}) for i in range(count)]


def sequences(path: Path, mode: str = "r+") -> list[int]:
    with Store.open(path, mode) as store:  # type: ignore[arg-type]
        return [frame.sequence for frame in store.journal_frames()]


def journal_of(engram: Path) -> Path:
    (path,) = (engram / "journal").iterdir()
    return path


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "ids": np.array([1, 2**64 - 1], np.uint64),
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "one": np.array(3.5),
        "none": np.empty((0, 4), np.int16),
        "big": np.arange(4, dtype=">i4"),
    }
    with writing(tmp_path / "a.engram") as store:
        store.journal_append("stimulate", 12, {"name": "ü", "nested": {"x": [1, None, 2.5]}}, arrays)
    with Store.open(tmp_path / "a.engram") as store:
        (frame,) = store.journal_frames()
    assert (frame.sequence, frame.tick, frame.kind) == (1, 12, "stimulate")
    assert frame.meta == {"name": "ü", "nested": {"x": [1, None, 2.5]}}
    assert frame.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(frame.arrays[name], array)
        assert frame.arrays[name].flags.writeable


def test_sequences_go_on_through_commits_reopenings_and_restores(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        assert append(store, 3) == [1, 2, 3]
        commit(store)
        assert store.commit.sequence == 3
        assert append(store, 1) == [4]
    with writing(path) as store:
        assert [frame.sequence for frame in store.journal_frames()] == [4]
        assert append(store, 1) == [5]
        store.snapshot("s")
        commit(store)
        store.restore("s")
        assert append(store, 1) == [4]
    assert sequences(path) == [4]


@pytest.mark.parametrize("closed", [True, False])
def test_a_journal_cut_at_any_byte_gives_whole_frames_and_can_be_written_to(tmp_path: Path, closed: bool) -> None:
    path = tmp_path / "2-7"
    create_journal(OS_FILES, path, HEAD)
    start = path.stat().st_size
    writer = JournalWriter(OS_FILES, path, end=start, sequence=40, sync=True)
    ends = [start]
    for i in range(4):
        writer.append("note", i, {}, {"x": np.arange(2 * i)})
        ends.append(path.stat().st_size)
    writer.close(mark=closed)
    whole = path.read_bytes()
    for length in range(start, len(whole)):
        path.write_bytes(whole[:length])
        expected = sum(end <= length for end in ends) - 1
        frames, reader = read(path)
        assert [frame.sequence for frame in frames] == list(range(41, 41 + expected))
        assert reader.end == ends[expected]
        again = JournalWriter(OS_FILES, path, end=reader.end, sequence=reader.sequence, sync=True)
        assert again.append("after", 9, {}, {}) == 41 + expected
        again.close(mark=False)
        assert [frame.kind for frame in read(path)[0]] == ["note"] * expected + ["after"]


def read(path: Path) -> tuple[list[Frame], JournalReader]:
    reader = JournalReader(OS_FILES, path)
    try:
        return list(reader.frames(HEAD)), reader
    finally:
        reader.close()


def test_every_flipped_bit_of_a_closed_journal_is_noticed_or_does_no_harm(tmp_path: Path) -> None:
    """The end mark tells damage to the last frame from a torn write; damage to the mark itself loses nothing."""
    path = tmp_path / "2-7"
    create_journal(OS_FILES, path, HEAD)
    writer = JournalWriter(OS_FILES, path, end=path.stat().st_size, sequence=40, sync=True)
    for i in range(3):
        writer.append("note", i, {"i": i}, {"x": np.arange(i)})
    end = path.stat().st_size
    writer.close(mark=True)
    whole = path.read_bytes()
    assert len(whole) > end
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if bit // 8 < end:
            with pytest.raises((JournalDamaged, FormatTooNew), match="journal"):
                read(path)
        else:
            assert [frame.sequence for frame in read(path)[0]] == [41, 42, 43]


def test_damage_before_the_last_frame_is_noticed_after_a_kill_too(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    store = writing(path)
    append(store, 4)
    data = journal_of(path).read_bytes()
    store.close()
    damaged = bytearray(data)
    damaged[150] ^= 4
    journal_of(path).write_bytes(damaged)
    with pytest.raises(
        JournalDamaged, match=r"journal/1-1 is damaged at byte \d+: .*; commit 1 is whole: verify --repair says"
    ):
        Store.open(path, "r+")
    with Store.open(path) as reader:
        assert reader.commit.number == 1
        with pytest.raises(JournalDamaged):
            list(reader.journal_frames())
    (problem,) = verify(path).problems
    assert "journal/1-1" in str(problem)


def test_moving_a_damaged_journal_away_lets_life_go_on_from_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(9)))
        commit(store)
        append(store, 3)
    journal_of(path).rename(tmp_path / "aside")
    assert sequences(path) == []
    assert verify(path).ok


def test_a_journal_of_another_kernel_is_refused_only_if_it_has_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        append(store, 1)
        version = store_module.KERNEL_VERSION
    for module in (store_module, writer_module):
        monkeypatch.setattr(module, "KERNEL_VERSION", version + 1)
    message = f"written by kernel version {version}, and this is version {version + 1}: open, checkpoint and close"
    with pytest.raises(KernelMismatch, match=message):
        Store.open(path, "r+")
    with Store.open(path) as reader, pytest.raises(KernelMismatch):
        list(reader.journal_frames())
    monkeypatch.undo()
    with writing(path) as store:
        commit(store)
    for module in (store_module, writer_module):
        monkeypatch.setattr(module, "KERNEL_VERSION", version + 1)
    with writing(path) as store:
        assert list(store.journal_frames()) == []
        append(store, 1)
    assert len(sequences(path)) == 1


def test_durability_says_when_a_frame_is_synced(tmp_path: Path) -> None:
    calls = {}
    for durability in ("journal", "process", "checkpoint"):
        files = FaultyFiles()
        path = tmp_path / f"{durability}.engram"
        with writing(path, durability=durability, files=files) as store:
            before = len(files.calls)
            append(store, 1)
            calls[durability] = files.calls[before:]
        assert sequences(path) == ([] if durability == "checkpoint" else [1])
    assert calls == {"journal": ["write", "fsync"], "process": ["write"], "checkpoint": []}


def test_unsynced_frames_lost_out_of_order_in_a_power_cut_are_no_damage(tmp_path: Path) -> None:
    """With durability "process" a later frame may reach the disk before an earlier one."""
    path = tmp_path / "a.engram"
    store = writing(path, durability="process")
    append(store, 1)
    start = journal_of(path).stat().st_size
    append(store, 2)
    data = bytearray(journal_of(path).read_bytes())
    store.close()
    data[start : start + 30] = bytes(30)
    journal_of(path).write_bytes(data)
    assert sequences(path) == [1]


def test_frames_of_both_durabilities_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    for durability in ("process", "journal", "process", "journal"):
        with writing(path, durability=durability) as store:
            append(store, 2)
    assert sequences(path) == list(range(1, 9))


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        with pytest.raises(TypeError):
            store.journal_append("note", 1, {"x": object()}, {})
        for wrong in (np.array([object()]), np.array(["a"]), np.array(["2020"], "M8[Y]"), np.zeros(1, np.longdouble)):
            with pytest.raises(InvalidInput, match="array 'x' cannot be stored"):
                store.journal_append("note", 1, {}, {"x": wrong})
            with pytest.raises(InvalidInput, match="array 'x' cannot be stored"):
                commit(store, x=wrong)
        append(store, 1)
    assert sequences(path) == [1]


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_journal_reader(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.mktemp("j") / "2-7"
    create_journal(OS_FILES, path, HEAD)
    path.write_bytes(path.read_bytes() + tail)
    assert read(path)[0] == []
