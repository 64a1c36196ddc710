"""Nothing costs more because there is a long history, many snapshots or many leaves, as far as SQL statements tell."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engramdb.sizing.workload_catalog import fabricate
from engramdb.store import LeafPolicy, Store
from engramdb.testing import DictStore, merged
from tests.stores import commit, create, forgotten, ids, neurons, refs_of, sound, state_change, writing


def statements(store: Store, work: Callable[[], object]) -> int:
    """How many SQL statements ``work`` takes."""
    said: list[str] = []
    connection = store._catalog._connection
    connection.set_trace_callback(said.append)
    try:
        work()
    finally:
        connection.set_trace_callback(None)
    return len(said)


def opening(path: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "r", **options: object) -> int:
    """How many SQL statements opening takes."""
    from engramdb.store import catalog

    said: list[str] = []
    connect = catalog.Catalog._connect

    def traced(self: catalog.Catalog, write: bool) -> object:
        connection = connect(self, write)
        connection.set_trace_callback(said.append)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(catalog.Catalog, "_connect", traced)
        Store.open(path, mode, **options).close()  # type: ignore[arg-type]
    return len(said)


# snapshots


def many_snapshots(path: Path, count: int) -> list[int]:
    """SQL statements of each. In between ten commits."""
    costs = []
    with writing(path) as store:
        store.write(neurons(range(100)))
        commit(store)
        for n in range(count):
            if n % (count // 10) == 0:
                store.write(state_change([n % 100], n))
                commit(store, tick=n + 2)
            costs.append(statements(store, lambda n=n: store.snapshot(f"s{n:05}")))  # type: ignore[misc]
    return costs


def use_snapshots(path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    few = create(path.with_name("few.engram"))
    with writing(few) as store:
        store.write(neurons(range(100)))
        commit(store)
        store.snapshot("s00000")
    for mode, options in (("r", {}), ("r", {"at": "s00000"}), ("r+", {})):
        assert opening(path, monkeypatch, mode, **options) <= opening(few, monkeypatch, mode, **options)
    with writing(path) as store, writing(few) as other:
        listed = store.snapshots()
        assert [snapshot.name for snapshot in listed] == [f"s{n:05}" for n in range(count)]
        assert len({snapshot.commit for snapshot in listed}) == 10
        assert (
            statements(store, lambda: store.restore("s00000")) <= statements(other, lambda: other.restore("s00000")) + 1
        )
        done = store.gc(keep_last=0, keep_days=0.0)
        assert sum(done.kept.values()) >= 10
        assert len(store.snapshots()) == count
        with Store.open(path, at=f"s{count - 1:05}") as past:
            assert past.commit == store._history.commit(listed[-1].commit)


def test_a_snapshot_costs_the_same_when_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = many_snapshots(tmp_path / "a.engram", 400)
    assert set(costs) == {costs[0]}
    use_snapshots(tmp_path / "a.engram", 400, monkeypatch)
    assert sound(tmp_path / "a.engram")


@pytest.mark.slow
def test_ten_thousand_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = many_snapshots(tmp_path / "a.engram", 10_000)
    assert set(costs) == {costs[0]}
    use_snapshots(tmp_path / "a.engram", 10_000, monkeypatch)


# lines


def test_restoring_again_and_again_makes_no_deeper_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines on which nothing was committed are left behind."""
    path = tmp_path / "a.engram"
    _restore_often(path, 200)
    with Store.open(path) as reader:
        assert len(reader._history.chain(reader._place.line, reader.commit.number)) == 2
        assert len(reader.find(np.arange(100, dtype=np.uint64))) == 100


def _restore_often(path: Path, times: int) -> None:
    with writing(path) as store:
        store.write(neurons(range(100)))
        commit(store)
        first = statements(store, lambda: store.restore(2))
        for _ in range(times):
            store.restore(2)
        assert statements(store, lambda: store.restore(2)) == first


@pytest.mark.slow
def test_ten_thousand_restores(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    _restore_often(path, 10_000)
    with writing(path) as store:
        store.gc(keep_last=0, keep_days=0.0)
        assert len(store._history.lines()) < 5
    assert sound(path)


def deep(path: Path, depth: int) -> DictStore:
    """A line in a line in a line, each with a commit of its own."""
    model = DictStore()
    with Store.open(create(path), "r+", policy=LeafPolicy(rows=16)) as store:
        store.write(neurons(range(160)))
        model.write(neurons(range(160)))
        commit(store)
        for n in range(depth):
            store.restore(store.commit.number)
            changes = state_change([7 * n % 160], n)
            store.write(changes)
            model.write(changes)
            commit(store, tick=n)
    return model


@pytest.mark.parametrize("depth", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_lookups_in_a_line_of_many_lines(tmp_path: Path, depth: int) -> None:
    """Each looks at every line, until that has cost as much as reading the directory once; then none does."""
    path = tmp_path / "a.engram"
    model = deep(path, depth)
    with Store.open(path) as reader:
        assert len(reader._history.chain(reader._place.line, reader.commit.number)) == depth + 1
        cost = statements(reader, lambda: [reader.find(ids(neuron)) for neuron in range(160)])
        assert cost <= 1000 + 3 * (depth + 1)
        assert statements(reader, lambda: [reader.find(ids(neuron)) for neuron in range(160)]) <= max(cost - 1000, 160)
        assert merged(reader.find(ids(neuron)) for neuron in range(160)) == model.neurons
        assert statements(reader, lambda: reader._history.chain(reader._place.line, reader.commit.number)) == 1
    with writing(path) as store:
        assert merged(store.scan()) == model.neurons
        store.gc(keep_last=0, keep_days=0.0)
        assert merged(store.scan()) == model.neurons
    assert sound(path)


# leaves


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 leaves."""
    path = tmp_path_factory.mktemp("wide") / "wide.engram"
    fabricate(path, 20_000)
    return path


def scattered(count: int, leaves: int) -> list[int]:
    return (np.random.default_rng(0).permutation(leaves)[:count] * 8192 + 24).tolist()


def test_opening_and_looking_up_cost_the_same_however_many_leaves(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabricate(tmp_path / "narrow.engram", 20)
    path = shutil.copytree(wide, tmp_path / "wide.engram")
    for mode in ("r", "r+"):
        assert opening(path, monkeypatch, mode) == opening(tmp_path / "narrow.engram", monkeypatch, mode)
    with Store.open(path) as reader:
        for neuron in scattered(1200, 20_000):
            assert statements(reader, lambda n=neuron: reader.directory.locate(ids(n))) <= 2  # type: ignore[misc]
        assert reader.directory._tables == {}, "so few lookups need no directory in memory"
        (located,) = reader.directory.locate(ids(19_999 * 8192 + 3))
        assert located[0].leaf == 20_000


def test_after_many_lookups_the_directory_is_in_memory(wide: Path) -> None:
    with Store.open(wide) as reader:
        for neuron in scattered(2600, 20_000):
            reader.directory.locate(ids(neuron))
        assert list(reader.directory._tables) == [0]
        assert statements(reader, lambda: reader.directory.locate(ids(5))) == 0


def test_a_scan_begins_at_once_and_holds_a_few_leaves(wide: Path) -> None:
    with Store.open(wide) as reader:
        next(reader.directory.leaves())
        tracemalloc.start()
        try:
            assert statements(reader, lambda: next(reader.directory.leaves())) <= 4
            assert [ref.leaf for ref in reader.directory.leaves()][::1000] == list(range(1, 20_001, 1000))
            (_, most) = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert reader.directory._tables == {}
        assert sum(1 for _ in reader.directory.leaves(0)) == 20_000
        assert list(reader.directory.leaves(1)) == []
    assert most < 12_000_000


@pytest.mark.slow
def test_a_million_leaves_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    fabricate(path, 1_000_000)
    tracemalloc.start()
    try:
        with Store.open(path) as reader:
            for neuron in scattered(1000, 400_000):
                reader.directory.locate(ids(neuron))
            assert sum(1 for _ in reader.directory.leaves()) == 1_000_000
            (_, most) = tracemalloc.get_traced_memory()
            assert most < 32_000_000
        with Store.open(path, "r+") as store:
            tracemalloc.reset_peak()
            store.write(state_change([3], 3))
            (_, most) = tracemalloc.get_traced_memory()
            assert most < 400_000_000
    finally:
        tracemalloc.stop()


def test_a_lookup_behind_many_retired_leaves_is_cut_short(tmp_path: Path) -> None:
    """Their ids are those of the leaf before them, which a lookup would find one tombstone at a time."""
    path = tmp_path / "a.engram"
    with writing(path, policy=LeafPolicy(rows=2)) as store:
        store.write(neurons(np.arange(0, 2400, 2), degree=0))
        commit(store)
        store.write(forgotten(np.arange(20, 2400, 2)))
        commit(store)
        assert len(refs_of(store)) < 10
    with Store.open(path) as reader:
        assert statements(reader, lambda: reader.find(ids(2399))) <= 1010
        assert len(reader.find(ids(2399))) == 0
        assert statements(reader, lambda: reader.find(ids(2398))) == 0
        assert len(reader.find(np.arange(2400, dtype=np.uint64))) == 10
    assert sound(path)
