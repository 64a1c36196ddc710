"""Labels: text or numbers, found in both directions, along history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.errors import Damaged, InvalidInput, NotFound
from engramdb.store import Store, labels, verify
from engramdb.store.pack import parse_record
from tests.stores import commit, create, writing


def label(store: Store, *batches: tuple[object, object], layer: int = 0) -> None:
    store.write_labels(layer, iter([(names, np.asarray(ids, np.uint64)) for names, ids in batches]))  # type: ignore[misc]
    commit(store)


@given(st.sets(st.text(max_size=30), max_size=60))
def test_a_block_of_any_text_comes_back(texts: set[str]) -> None:
    names = sorted(texts)
    ids = np.arange(len(names), dtype=np.uint64) * np.uint64(3)
    found = []
    for kind, block in labels.cut(0, [(names, ids)]):
        data, crc = labels.encode_block(block, line=1, commit=2)
        decoded = labels.decode_block(parse_record(data, crc), kind)
        assert isinstance(decoded.keys, list)
        found += [key.decode("utf-8", "surrogatepass") for key in decoded.keys]
        np.testing.assert_array_equal(decoded.ids, block.ids)
    assert found == names


@given(st.sets(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50), st.booleans())
def test_a_block_of_any_numbers_comes_back(numbers: set[int], unsigned: bool) -> None:
    keys = (
        np.array(sorted(numbers), np.int64) if not unsigned else np.array(sorted(n + 2**63 for n in numbers), np.uint64)
    )
    ((kind, block),) = labels.cut(0, [(keys, np.arange(keys.size, dtype=np.uint64))])
    data, crc = labels.encode_block(block, line=1, commit=2)
    decoded = labels.decode_block(parse_record(data, crc), kind)
    np.testing.assert_array_equal(decoded.keys, keys)
    assert [labels.sortable(key) for key in keys] == sorted(labels.sortable(key) for key in keys)


def test_text_labels_are_found_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    names = sorted(f"{kind}_{i}" for kind in ("PN", "KC", "MBON", "ö", "日本") for i in range(3000))
    ids = np.arange(len(names), dtype=np.uint64) * np.uint64(2) + np.uint64(5)
    with writing(path) as store:
        assert not store.has_labels
        store.write_labels(0, iter([(names[:100], ids[:100]), (names[100:], ids[100:])]))
        assert not store.has_labels, "not before the commit"
        commit(store)
        assert store.has_labels
    with Store.open(path) as store:
        order = np.random.default_rng(0).permutation(len(names))
        np.testing.assert_array_equal(store.label_ids([names[i] for i in order]), ids[order])
        assert store.labels_of(ids[order]) == [names[i] for i in order]
        assert store.labels_of(np.array([6, 5, 0, 10**9], np.uint64)) == [None, names[0], None, None]
        for unknown in ("PN_x", "", "zzzz", "A"):
            with pytest.raises(NotFound, match=f'no neuron has the label "{unknown}"'):
                store.label_ids([names[0], unknown, "also unknown"])
    assert verify(path).checked["labels"] == len(names)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_number_labels_are_found_as_numbers_and_as_text(tmp_path: Path, dtype: type) -> None:
    info = np.iinfo(dtype)
    numbers = np.array([info.min, info.min + 3, 5, 7_205_759_406, info.max - 1, info.max], dtype)
    ids = np.arange(10, 16, dtype=np.uint64)
    with writing(tmp_path / "a.engram") as store:
        label(store, (numbers, ids))
        assert store.label_ids([int(n) for n in numbers]).tolist() == ids.tolist()
        assert store.label_ids([str(n) for n in numbers]).tolist() == ids.tolist()
        assert store.label_ids(numbers[::-1]).tolist() == ids[::-1].tolist()
        assert store.labels_of(ids) == [str(n) for n in numbers]
        for unknown in (6, "x", "5 ", "5.0", 2**64, -(2**64)):
            with pytest.raises(NotFound):
                store.label_ids([unknown])


def test_a_newer_run_of_labels_counts_before_an_older_one(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        label(store, (["a", "b"], [1, 2]))
        label(store, (["b", "c"], [2**48 + 1, 2**48 + 2]), layer=1)
        assert store.label_ids(["a", "b", "c"]).tolist() == [1, 2**48 + 1, 2**48 + 2]
        assert store.labels_of(np.array([2, 2**48 + 1], np.uint64)) == ["b", "b"]


def test_labels_follow_history(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        commit(store)
        store.snapshot("before")
        label(store, (["a"], [1]))
        store.snapshot("after")
        store.restore("before")
        assert not store.has_labels
        label(store, (["z"], [1]))
        assert store.labels_of(np.array([1], np.uint64)) == ["z"]
        store.restore("after")
        assert store.labels_of(np.array([1], np.uint64)) == ["a"]
    with Store.open(path, at="before") as store:
        assert not store.has_labels
    assert verify(path).ok


@pytest.mark.parametrize(
    ("batches", "problem"),
    [
        ([(["b", "a"], [1, 2])], "sorted"),
        ([(["a", "a"], [1, 2])], "differ"),
        ([(["a"], [1]), (["a"], [2])], "differ"),
        ([(np.array([1, 3, 2]), [1, 2, 3])], "sorted"),
        ([(np.array([2, 2], np.uint64), [1, 2])], "differ"),
        ([(np.array([-5, 2**62]), [1, 2]), (np.array([2**62]), [3])], "differ"),
        ([(np.array([7, 2**64 - 1], np.uint64), [1, 2]), (np.array([8], np.uint64), [3])], "sorted"),
        ([(["a", "b"], [2, 1])], "must increase"),
        ([(["a"], [5]), (["b"], [5])], "must increase"),
        ([(["a", "b"], [1])], "2 labels for 1"),
        ([(["a"], [2**48])], "layer 0"),
        ([(["a"], [1]), (np.array([5]), [2])], "follow"),
        ([(["x" * 70_000], [1])], "longest"),
    ],
)
def test_labels_that_cannot_be_are_refused_and_nothing_is_kept(tmp_path: Path, batches: list, problem: str) -> None:  # type: ignore[type-arg]
    path = tmp_path / "a.engram"
    with writing(path) as store:
        with pytest.raises(InvalidInput, match=problem):
            label(store, *batches)
        commit(store)
        assert not store.has_labels
        label(store, (["fine"], [3]))
    assert verify(path).checked["labels"] == 1


def test_long_labels_and_many_blocks(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    names = sorted([f"{i:06d}" for i in range(9000)] + ["x" * length for length in range(1, 60_000, 997)])
    with Store.open(path, "r+") as store:
        label(store, (names, range(len(names))))
        assert store.labels_of(np.arange(len(names), dtype=np.uint64)) == names
    assert sum(pack.stat().st_size for pack in (path / "packs").iterdir()) < 60_000


def test_damaged_labels_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        label(store, ([f"n{i:03d}" for i in range(500)], range(500)))
    (pack,) = (path / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[-3] ^= 1
    pack.write_bytes(data)
    with Store.open(path) as store:
        message = rf"labels of 0/0/0-0/0/499 in packs/{pack.name} at 0: column label_text fails its checksum"
        with pytest.raises(Damaged, match=message):
            store.label_ids(["n007"])
    (problem,) = verify(path).problems
    assert pack.name in str(problem)
