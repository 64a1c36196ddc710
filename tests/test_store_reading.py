"""Finding, scanning and growing: each leaf is read once, decoded within the budget, and written no more than needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engramdb.errors import InvalidInput
from engramdb.store import LeafPolicy, Records, Store, verify
from engramdb.store.files import OsFiles
from engramdb.testing import merged, neurons_of
from tests.stores import SMALL_LEAVES, commit, create, neurons, state_change, writing


class CountingFiles(OsFiles):
    """The real file system, counting reads."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, int]] = []

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        self.reads.append((offset, nbytes))
        return super().pread(handle, nbytes, offset)


@pytest.fixture
def engram(tmp_path: Path) -> Path:
    """1000 neurons in leaves of 16, in two segments."""
    path = tmp_path / "a.engram"
    with writing(path) as store:
        for segment in (0, 1):
            store.write(neurons(np.arange(0, 1000, 2) + (segment << 32)))
        commit(store)
    return path


def test_each_leaf_is_read_once_and_neighbours_with_one_call(engram: Path) -> None:
    files = CountingFiles()
    with Store.open(engram, files=files) as store:
        files.reads.clear()
        ids = np.arange(0, 1000, dtype=np.uint64)
        assert len(store.find(ids[:1])) == len(files.reads) == 1, "a single leaf, with one call"
        files.reads.clear()
        assert len(store.find(ids)) == 500
        assert len(files.reads) == 1, "all the others, which lie behind one another"
        files.reads.clear()
        store.find(ids[::7])
        assert files.reads == [], "all of it is in the cache"
        store.find(np.array([10**6, 2 * 10**6], np.uint64))
        assert files.reads == [], "beyond every leaf's last neuron nothing need be read"


def test_a_query_after_a_few_rows_keeps_a_leaf_from_the_second_time_on(engram: Path) -> None:
    files = CountingFiles()
    with Store.open(engram, files=files) as store:
        wanted = np.array([4, 104, 5, 302 + (1 << 32)], np.uint64)
        wanted.sort()
        expected = neurons_of(store.find(wanted))
        store.cache_bytes = 0
        store.cache_bytes = 1 << 20
        kept, read = [], []
        for _ in range(3):
            files.reads.clear()
            assert neurons_of(store.find(wanted, query=True)) == expected
            kept.append(store.query_bytes)
            read.append(len(files.reads))
        assert read == [3, 3, 0], "three leaves, twice"
        assert kept[0] < 300 < kept[1] == kept[2]
        assert store.cached_bytes == 0, "nothing is taken from the engine"
        store.find(wanted[:1])
        files.reads.clear()
        assert neurons_of(store.find(wanted[:1], query=True)) == neurons_of(store.find(wanted[:1]))
        assert files.reads == []


def test_leaves_that_queries_ask_for_again_and_again_are_decoded_one_after_another(engram: Path) -> None:
    files = CountingFiles()
    with Store.open(engram, files=files) as store:
        wanted = np.array([4, 104, 302, 504], np.uint64)
        with Store.open(engram) as other:
            expected = neurons_of(other.find(wanted))
        read = []
        for _ in range(20):
            files.reads.clear()
            assert neurons_of(store.find(wanted, query=True)) == expected
            read.append(len(files.reads))
        assert read[:2] == [4, 4]
        assert sum(read) == 12, "each a third time, to be decoded"
        assert max(read[2:]) < 4, "but not all of them for one question"
        assert read[-5:] == [0] * 5
        assert 0 < store.query_bytes <= store.query_cache_bytes


@pytest.mark.parametrize("cache_bytes", [0, 5000, 1 << 20])
def test_decoded_leaves_stay_within_their_budget(engram: Path, cache_bytes: int) -> None:
    with Store.open(engram, cache_bytes=cache_bytes) as store:
        cache = store._leaves.cache
        for start in range(0, 1000, 10):
            found = store.find(np.arange(start, start + 10, dtype=np.uint64))
            assert len(found) == 5
            assert cache.nbytes <= cache_bytes
            assert cache.nbytes == sum(records.nbytes for records in cache._values.values())
        store.cache_bytes = 2500
        assert cache.nbytes <= 2500


def test_what_is_found_is_the_callers_own(engram: Path) -> None:
    with Store.open(engram) as store:
        ids = np.array([4, 8, 300], np.uint64)
        before = neurons_of(store.find(ids))
        found = store.find(ids)
        for array in (found.ids, found.row_kind, found.target, found.weight, *found.state.values()):
            array[:] = 0
        assert neurons_of(store.find(ids)) == before
        for part in store.scan():
            part.weight[:] = 0
        assert neurons_of(store.find(ids)) == before


def test_ids_to_find_must_increase_and_belong_to_one_layer(engram: Path) -> None:
    with Store.open(engram) as store:
        for wrong in ([2, 1], [1, 1], [1, 1 << 48]):
            with pytest.raises(InvalidInput, match="must increase strictly and belong to one layer"):
                store.find(np.array(wrong, np.uint64))
        assert len(store.find(np.empty(0, np.uint64))) == 0
        assert store.find(np.array([1], np.uint64)).state == {}


def test_thousands_of_scattered_lookups_find_what_few_find(tmp_path: Path) -> None:
    """Lookups go through the catalog at first, and through a loaded directory when there are many."""
    path = tmp_path / "a.engram"
    with Store.open(create(path), "r+", policy=LeafPolicy(rows=2)) as store:
        store.write(neurons(np.arange(0, 6000, 2)))
        commit(store)
        store.snapshot("s")
        store.write(neurons(np.arange(1, 600, 6), seed=1))
        commit(store)
        store.restore("s")
        store.write(state_change(np.arange(0, 6000, 30), 5))
        commit(store)
        expected = merged(store.scan())
    with Store.open(path) as store:
        for ids in (np.arange(0, 60, 3), np.arange(0, 6000, 2), np.arange(7, 6000, 5), np.arange(5000, 7000)):
            found = neurons_of(store.find(ids.astype(np.uint64)))
            assert found == {neuron: expected[neuron] for neuron in ids.tolist() if neuron in expected}


def test_layers_and_segments_are_scanned_apart(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(40)))
        store.write(neurons(np.arange(40) + (1 << 32)))
        store.write(neurons(np.arange(10) + (1 << 48), degree=0))
        for _ in range(2):
            assert [int(part.ids[0]) >> 48 for part in store.scan()] == [0] * 6 + [1]
            assert sum(map(len, store.scan(0))) == 80
            assert sum(map(len, store.scan(1))) == 10
            assert list(store.scan(2)) == []
            commit(store)


def test_a_bulk_append_writes_full_leaves_once(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        previous: set[tuple[int, int, int]] = set()
        for start in range(0, 1000, 50):
            store.write(neurons(np.arange(start, start + 50)))
            refs = list(store.directory.leaves())
            assert {ref.rows for ref in refs[:-1]} <= {SMALL_LEAVES.rows}
            full = {(ref.pack, ref.offset, ref.leaf) for ref in refs[:-1]}
            assert previous <= full, "a full leaf was written again"
            previous = full
        assert [ref.leaf for ref in refs] == sorted({ref.leaf for ref in refs})
        commit(store)


def test_one_large_write_equals_many_small_ones(tmp_path: Path) -> None:
    together = neurons(np.random.default_rng(0).choice(5000, 1000, replace=False).astype(np.uint64).copy())
    together.ids.sort()
    with writing(tmp_path / "a.engram") as one, writing(tmp_path / "b.engram") as other:
        one.write(together)
        order = np.random.default_rng(1).permutation(1000)
        for chunk in np.array_split(order, 40):
            other.write(together.take(np.sort(chunk)))
        assert merged(one.scan()) == merged(other.scan()) == neurons_of(together)
        rows = [ref.rows for ref in other.directory.leaves()]
        assert max(rows) <= SMALL_LEAVES.rows
        commit(one)
        commit(other)
    assert verify(tmp_path / "b.engram").ok


def test_a_huge_row_and_its_neighbours(tmp_path: Path) -> None:
    hub = neurons(range(5), degree=1)
    hub.indptr = np.array([0, 1, 2, 100_002, 100_003, 100_004])
    hub.target = np.arange(100_004, dtype=np.uint64)
    hub.weight = np.ones(100_004, np.float32)
    hub.projection = np.zeros(100_004, np.uint16)
    with writing(tmp_path / "a.engram") as store:
        store.write(hub)
        assert [ref.rows for ref in store.directory.leaves()] == [2, 1, 2]
        store.write(state_change(range(5), 7))
        assert store.find(np.array([2], np.uint64)).target.size == 100_000
        commit(store)
    assert verify(tmp_path / "a.engram").ok


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r.ids.__setitem__(1, r.ids[0]), "ids must increase strictly: neuron 0/0/0"),
        (lambda r: r.ids.__setitem__(-1, 1 << 48), "two layers"),
        (lambda r: r.weight.__setitem__(4, np.inf), "weight inf of neuron 0/0/1 is not finite"),
        (lambda r: r.projection.__setitem__(0, 1), "projection 1 is not one of the engram's 1"),
        (lambda r: r.row_kind.__setitem__(2, 4), "row_kind must be 0, 1, 2 or 3: neuron 0/0/2"),
        (lambda r: r.row_kind.__setitem__(2, 0), "only a STORED row has synapses: neuron 0/0/2"),
        (lambda r: r.indptr.__setitem__(2, 1), "indptr must not decrease"),
        (lambda r: r.indptr.__setitem__(-1, 29), "indptr must run from 0 to 30"),
        (lambda r: setattr(r, "target", r.target[:-1]), r"projection must be uint16 \(29,\)"),
        (lambda r: setattr(r, "weight", r.weight.astype(np.float64)), "weight must be float32"),
        (lambda r: setattr(r, "ids", r.ids.astype(np.int64)), "ids must be uint64"),
        (lambda r: r.state.__setitem__("x", np.zeros(3)), "state column x must be a numeric array of 10 neurons"),
        (lambda r: r.state.__setitem__("x", np.array(["a"] * 10)), "state column x"),
    ],
)
def test_changes_that_cannot_be_are_refused_and_nothing_is_written(tmp_path: Path, change, problem: str) -> None:  # type: ignore[no-untyped-def]
    with writing(tmp_path / "a.engram") as store:
        wrong = neurons(range(10))
        change(wrong)
        with pytest.raises(InvalidInput, match=problem):
            store.write(wrong)
        assert list(store.scan()) == []


def test_a_layer_keeps_its_state_columns(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(10)))
        with pytest.raises(InvalidInput, match="state columns differ within one layer"):
            store.write(Records.of_state(np.array([3], np.uint64), {"spike_count": np.array([1.0])}))
        assert len(store.find(np.arange(10, dtype=np.uint64))) == 10
