"""A diff of two places in history is what comparing all their neurons would say, without reading what is the same."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.store import LeafPolicy, Store
from engramdb.store.diff import ADDED, REMOVED, ROW, STATE
from engramdb.store.files import OsFiles
from engramdb.store.records import STORED
from engramdb.testing import DictStore, Neuron, records
from tests.stores import commit, create, neurons, state_change, writing

POLICY = LeafPolicy(rows=8, nbytes=1500)
Compared = tuple[dict[int, int], int, int, list[float]]


def compared(before: dict[int, Neuron], after: dict[int, Neuron]) -> Compared:
    """Brute force: what differs of each neuron, synapses added and removed, and the changes of weights."""
    what: dict[int, int] = {}
    added = removed = 0
    grown: list[float] = []
    for neuron in before.keys() | after.keys():
        one, other = before.get(neuron), after.get(neuron)
        bits = ADDED if one is None else REMOVED if other is None else STATE * (one[0] != other[0])
        left, right = synapses(one), synapses(other)
        added += len(right.keys() - left.keys())
        removed += len(left.keys() - right.keys())
        changes = [right[key] - left[key] for key in left.keys() & right.keys() if left[key] != right[key]]
        grown += changes
        if left.keys() != right.keys() or changes:
            bits |= ROW
        if bits:
            what[neuron] = bits
    return what, added, removed, sorted(grown)


def synapses(neuron: Neuron | None) -> dict[tuple[int, int, int], float]:
    found: dict[tuple[int, int, int], float] = {}
    if neuron is not None and neuron[1] == STORED:
        count: dict[tuple[int, int], int] = defaultdict(int)
        for projection, target, weight, _ in neuron[2]:
            found[projection, target, count[projection, target]] = float(np.frombuffer(weight, np.float32)[0])
            count[projection, target] += 1
    return found


def diffed(path: Path, before: str | int, after: str | int, **options: object) -> Compared:
    with Store.open(path, at=before) as one, Store.open(path, at=after, **options) as other:  # type: ignore[arg-type]
        what: dict[int, int] = {}
        added = removed = 0
        grown: list[float] = []
        last = -1
        for changes in other.differences(one):
            assert changes.ids[0] > last
            assert (np.diff(changes.ids) > 0).all()
            last = int(changes.ids[-1])
            what.update(zip(changes.ids.tolist(), changes.what.tolist(), strict=True))
            added += changes.synapses_added
            removed += changes.synapses_removed
            grown += changes.weight_change.tolist()
        return what, added, removed, sorted(grown)


@given(data=st.data())
def test_a_diff_is_what_comparing_every_neuron_says(data: st.DataObject) -> None:
    """Over random writes, commits, splits, restores and branches, between any two commits."""
    model = DictStore()
    with tempfile.TemporaryDirectory() as folder:
        path = create(Path(folder) / "a.engram")
        with Store.open(path, "r+", policy=POLICY, cache_bytes=data.draw(st.sampled_from([0, 1 << 20]))) as store:
            for _ in range(data.draw(st.integers(2, 7))):
                if data.draw(st.integers(0, 3)) == 0:
                    back = data.draw(st.sampled_from(sorted(model.commits)))
                    store.restore(back)
                    model.restore(back)
                most = data.draw(st.sampled_from([3, 40]))  # a few make a delta, many a whole leaf
                changes = data.draw(records(most=most, projections=1, locals_=st.integers(0, 120)))
                store.write(changes)
                model.write(changes)
                model.commit(commit(store))
        numbers = sorted(model.commits)
        for _ in range(3):
            before, after = data.draw(st.sampled_from(numbers)), data.draw(st.sampled_from(numbers))
            assert diffed(path, before, after) == compared(model.commits[before], model.commits[after])


def test_repeated_synapses_are_told_apart_by_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        rows = neurons([1], degree=4)
        rows.target[:] = [7, 7, 9, 7]
        rows.weight[:] = [1.0, 2.0, 3.0, 4.0]
        store.write(rows)
        one = commit(store)
        rows.target[:] = [9, 7, 7, 8]
        rows.weight[:] = [3.0, 1.5, 2.0, 4.0]
        store.write(rows)
        other = commit(store)
    assert diffed(path, one, other) == ({1: ROW}, 1, 1, [0.5])


def test_a_row_in_another_order_is_the_same_row(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        rows = neurons([1, 2], degree=3)
        rows.target[:] = [7, 8, 9, 7, 8, 9]
        store.write(rows)
        one = commit(store)
        rows.target[:3], rows.weight[:3] = rows.target[2::-1].copy(), rows.weight[2::-1].copy()
        store.write(rows)
        assert diffed(path, one, commit(store)) == ({}, 0, 0, [])


def test_what_was_changed_and_changed_back_is_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(state_change(range(40), 1))
        one = commit(store)
        store.write(state_change([3, 4], 2))
        commit(store)
        store.write(state_change([3], 1))
        assert diffed(path, one, commit(store)) == ({4: STATE}, 0, 0, [])


class CountedReads(OsFiles):
    """Notes where records are read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        self.reads.append(nbytes)
        return super().pread(handle, nbytes, offset)


def test_leaves_that_are_the_same_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path, policy=LeafPolicy(rows=100)) as store:
        store.write(neurons(range(5000)))
        one = commit(store)
        leaves = len(list(store.directory.leaves()))
        store.write(neurons(range(4200, 4250), seed=1))
        other = commit(store)
        store.write(state_change([7], 9))
        last = commit(store)
    whole = CountedReads()
    assert diffed(path, 1, one, files=whole)[1] == 15_000
    assert len(whole.reads) == leaves
    half = CountedReads()
    what, *_ = diffed(path, one, other, files=half)
    assert len(what) == 50
    assert len(half.reads) <= 3
    delta = CountedReads()
    assert diffed(path, other, last, files=delta)[0] == {7: STATE}
    assert len(delta.reads) <= 3
    assert sum(delta.reads) < sum(whole.reads) / 20
    nothing = CountedReads()
    assert diffed(path, last, last, files=nothing) == ({}, 0, 0, [])
    assert nothing.reads == []
