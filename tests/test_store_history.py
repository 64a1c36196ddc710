"""Lines, branches, snapshots: what is written later on one line never shows on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engramdb.growth.bundle import Bundles
from engramdb.store import Store, verify
from engramdb.testing import merged
from tests.stores import SMALL_LEAVES, commit, neurons, state_change, writing

IDS = np.arange(60, dtype=np.uint64)


def spikes(store: Store, neuron: int) -> int | None:
    """The state that tells versions apart, or None where the neuron is not stored."""
    found = store.find(np.array([neuron], np.uint64))
    return int(found.state["last_spike"][0]) if len(found) else None


def at(path: Path, place: str | int, neuron: int) -> int | None:
    with Store.open(path, at=place) as past:
        by_find = spikes(past, neuron)
        scanned = {
            int(i): int(s) for part in past.scan() for i, s in zip(part.ids, part.state["last_spike"], strict=True)
        }
        assert scanned.get(neuron) == by_find
        return by_find


def test_after_a_restore_both_lines_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(state_change(IDS, 1))
        commit(store, tick=1)
        store.snapshot("fork")
        store.write(state_change(IDS[:30], 2))
        store.write(state_change(IDS + 1000, 2))
        commit(store, tick=2)
        store.snapshot("old line")
        store.restore("fork")
        assert (spikes(store, 5), spikes(store, 45), spikes(store, 1005)) == (1, 1, None)
        assert store.commit.tick == 1
        store.write(state_change(IDS[40:], 3))
        assert (spikes(store, 5), spikes(store, 45), spikes(store, 1005)) == (1, 3, None)
        commit(store, tick=3)
        store.snapshot("new line")
    assert [at(path, place, 5) for place in ("fork", "old line", "new line", 3, 4)] == [1, 2, 1, 2, 1]
    assert [at(path, place, 45) for place in ("fork", "old line", "new line")] == [1, 1, 3]
    assert [at(path, place, 1005) for place in ("fork", "old line", "new line")] == [None, 2, None]
    with Store.open(path) as store:
        assert [entry.number for entry in store.log()] == [4, 2, 1]
    with Store.open(path, at="old line") as store:
        assert [entry.number for entry in store.log()] == [3, 2, 1]
    assert verify(path).ok


def test_lines_on_lines_see_only_what_came_before_their_forks(tmp_path: Path) -> None:
    """Each line forks from the middle of the one before it, and each goes on after the fork."""
    path = tmp_path / "a.engram"
    expected: dict[int, dict[int, int]] = {1: {}}
    with writing(path) as store:
        now: dict[int, int] = {}
        for line in range(5):
            for step in range(3):
                value = 10 * line + step + 1
                ids = IDS[(7 * value) % 40 :: 3]
                store.write(state_change(ids, value))
                now.update(dict.fromkeys(ids.tolist(), value))
                expected[commit(store, tick=value)] = dict(now)
            back = store.log()[1].number
            store.restore(back)
            now = dict(expected[back])
            found = store.find(IDS)
            assert dict(zip(found.ids.tolist(), found.state["last_spike"].tolist(), strict=True)) == now
    for number, values in expected.items():
        for neuron in (0, 3, 14, 33, 59):
            assert at(path, number, neuron) == values.get(neuron)


def test_splits_on_two_lines_do_not_meet(tmp_path: Path) -> None:
    """Leaves that split differently after a fork share their beginnings, and nothing else."""
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(np.arange(0, 640, 40)))
        commit(store)
        store.snapshot("whole")
        store.write(neurons(np.arange(1, 200, 2), seed=1))
        commit(store)
        one = merged(store.scan())
        store.snapshot("one")
        store.restore("whole")
        store.write(neurons(np.arange(300, 500, 3), seed=2))
        commit(store)
        other = merged(store.scan())
        low_of = [ref.low for ref in store.directory.leaves()]
        assert len(set(low_of)) == len(low_of) > 1
    with Store.open(path, at="one") as store:
        assert merged(store.scan()) == one
        ids = np.array(sorted(one), np.uint64)
        assert len(store.find(ids)) == len(one)
        assert {ref.leaf for ref in store.directory.leaves()} & {2, 3}
    with Store.open(path) as store:
        assert merged(store.scan()) == other
        assert len(store.find(np.array(sorted(other), np.uint64))) == len(other)
    assert verify(path).ok


def test_what_was_not_committed_is_gone_after_a_restore(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(state_change(IDS, 1))
        commit(store)
        assert spikes(store, 20) == 1
        store.write(state_change(IDS[:30], 9))
        store.journal_append("note", 1, {}, {})
        assert spikes(store, 20) == 9
        store.restore(2)
        assert spikes(store, 20) == 1
        assert list(store.journal_frames()) == []
        store.write(state_change(IDS[:10], 4))
        assert (spikes(store, 5), spikes(store, 20)) == (4, 1)
        commit(store)
        assert store.commit.neurons == 60
    assert len(list((path / "packs").iterdir())) == 2
    assert verify(path).ok


def test_a_branch_goes_its_own_way_and_keeps_its_own_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(state_change(IDS, 1))
        commit(store)
        made = store.branch("what-if")
        assert (made.line, made.head) == (2, 2)
        store.write(state_change(IDS, 2))
        commit(store)
        store.journal_append("main", 1, {}, {})
    with Store.open(path, "r+", branch="what-if", policy=SMALL_LEAVES) as store:
        assert store.branch_name == "what-if"
        assert spikes(store, 5) == 1
        store.journal_append("what-if", 1, {}, {})
    with Store.open(path, "r+", branch="what-if", policy=SMALL_LEAVES) as store:
        assert [frame.kind for frame in store.journal_frames()] == ["what-if"]
        store.write(state_change(IDS, 3))
        commit(store)
    with Store.open(path) as main, Store.open(path, branch="what-if") as other:
        assert [frame.kind for frame in main.journal_frames()] == ["main"]
        assert (spikes(main, 5), spikes(other, 5)) == (2, 3)
        assert [branch.name for branch in main.branches()] == ["main", "what-if"]
    assert verify(path).ok


def test_bundles_follow_history_and_are_written_only_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        first = store.bundles
        commit(store)
        store.snapshot("small")
        grown, _ = first.grow(store.spec, "second", 50, tick=1)
        store.commit_state(2, {}, grown, "grown")
        assert store.bundles == grown
        commit(store)
        store.snapshot("large")
        rows = store._catalog.rows("SELECT line, number FROM bundles ORDER BY number")
        assert rows == [(1, 1), (1, 3)]
        store.restore("small")
        assert store.bundles == first
        commit(store)
    sizes = {}
    for name in ("small", "large"):
        with Store.open(path, at=name) as past:
            sizes[name] = past.bundles.sizes[1, 0]
    assert sizes == {"small": 1000, "large": 1050}
    with Store.open(path) as store:
        assert store.bundles == first == Bundles.initial(store.spec)


@pytest.mark.parametrize("place", ["a snapshot", 2])
def test_a_past_state_is_read_as_it_was(tmp_path: Path, place: str | int) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        commit(store, tick=1, ring=np.arange(4), empty=np.empty((0, 3)))
        store.snapshot("a snapshot")
        commit(store, tick=2)
        assert store.read_state() == {}
        store.journal_append("note", 3, {}, {})
    with Store.open(path, at=place) as past:
        state = past.read_state()
        assert {name: array.shape for name, array in state.items()} == {"ring": (4,), "empty": (0, 3)}
        assert past.commit.tick == 1
        assert list(past.journal_frames()) == [], "the journal goes on from the head, not from here"
