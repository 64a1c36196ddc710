"""What Zarr's codecs make of a leaf's stored columns is, bit for bit, what the store itself makes of them."""

from __future__ import annotations

import asyncio
import math
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype

from engramdb import ZarrStore
from engramdb.errors import EngramError
from engramdb.store import LeafPolicy, LeafRef, Records, Store, column
from engramdb.store.leafnumbers import LeafNumbers
from engramdb.store.pack import DELTA, Record
from engramdb.store.zarrview.root import Root
from engramdb.store.zarrview.tree import find, names
from tests.stores import commit, create, neurons, state_change, writing

# a column in pcodec is one that Zarr reads through numcodecs, and says so
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")

TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
VERBATIM = {column.RAW, column.BLOSC, column.PCODEC}


def values(kind: str, dtype: str, shape: tuple[int, ...], seed: int) -> npt.NDArray[Any]:
    """Values of a type that make the store choose one codec or another."""
    random = np.random.default_rng(seed)
    size, item = math.prod(shape), np.dtype(dtype).itemsize
    bits = random.integers(0, 2 if dtype == "?" else 256, (max(size, 1), item), np.uint8)  # any: NaNs with payloads too
    if kind == "constant":
        bits[:] = bits[0]
    elif kind == "few":
        bits = bits[random.integers(0, min(5, len(bits)), len(bits))]
    elif kind == "zeros":
        bits[random.random(len(bits)) < 0.9] = 0
    elif kind == "one zero":
        bits[:] = np.frombuffer(np.array(-0.0).astype(dtype).tobytes(), np.uint8)
    chosen = bits.reshape(-1).view(dtype)
    if kind == "steps" and dtype != "?":
        chosen = (np.arange(max(size, 1)) * 3 + int(seed) % 50).astype(dtype)
    elif kind == "normal" and dtype != "?":
        chosen = (random.normal(size=max(size, 1)) * 40).astype(dtype)
    return chosen[:size].reshape(shape)


KINDS = ["constant", "few", "zeros", "one zero", "steps", "normal", "any"]


@st.composite
def leaves(draw: st.DrawFn) -> Records:
    """Neurons of one leaf with a few state columns, and rows with near and far targets or none."""
    n = draw(st.sampled_from([1, 2, 3, 40, 700]))
    layer = draw(st.sampled_from([0, 1]))
    step = draw(st.sampled_from([1, 7, 1000]))
    ids = np.uint64(layer << 48) + np.arange(n, dtype=np.uint64) * np.uint64(step)
    made = neurons(ids, degree=draw(st.sampled_from([0, 1, 9])), seed=draw(st.integers(0, 99)))
    made.state = {
        f"field {i}": values(
            draw(st.sampled_from(KINDS)), draw(st.sampled_from(TYPES)),
            (n, *draw(st.sampled_from([(), (3,), (2, 2), (0,)]))), draw(st.integers(0, 2**32)),
        )
        for i in range(draw(st.integers(0, 6)))
    }  # fmt: skip
    return made


def stored(store: Store, ref: LeafRef | None) -> list[tuple[LeafRef, Record]]:
    """The records of a leaf's versions, the newest first."""
    found = []
    while ref is not None:
        record, ref = store.reader.record(ref)
        found.append((ref, record))
        ref = store.reader.beneath(ref) if ref.kind == DELTA else None
    return found


def assert_same_columns(group: zarr.Group, view: ZarrStore, record: Record) -> set[int]:
    """Zarr reads every column as the store does, and gets the very bytes where it can; the codecs that were met."""
    arrays = {unquote(key): array for key, array in group.arrays()}
    assert set(arrays) == set(record.columns)
    for name, entry in record.columns.items():
        array = arrays[name]
        expected = record.column(name)
        read = np.asarray(array[:])
        assert (read.dtype, read.shape) == (expected.dtype, expected.shape), name
        assert read.tobytes() == expected.tobytes(), name
        grid = "/".join(["0"] * expected.ndim)
        chunk = asyncio.run(view.get(f"{array.path}/c/{grid}", default_buffer_prototype()))
        if not expected.size:
            assert chunk is None
        elif entry.codec in VERBATIM:
            assert chunk is not None
            assert chunk.to_bytes() == record.encoded(name).tobytes()
        elif entry.codec != column.CONSTANT:
            assert chunk is not None
            assert chunk.to_bytes() == expected.tobytes()
    return {entry.codec for entry in record.columns.values()}


@given(leaves(), st.sampled_from([0, 40000, 65534]))
def test_both_ways_of_decoding_agree(made: Records, index: int) -> None:
    made.ids += np.uint64(index << 48)
    with tempfile.TemporaryDirectory() as folder:
        path = create(Path(folder, "a.engram"), index)
        with writing(path, policy=LeafPolicy()) as store:
            store.write(made)
            commit(store)
        with ZarrStore(path) as view, Store.open(path) as store:
            shown = zarr.open_group(view, mode="r")["leaves"]
            for ref in store.directory.leaves():
                ((_, record),) = stored(store, ref)
                assert_same_columns(shown[str(ref.leaf)], view, record)


def test_every_codec_of_the_store_is_among_what_agrees(tmp_path: Path) -> None:
    n = 4000
    random = np.random.default_rng(0)
    made = neurons(np.cumsum(random.integers(1, 9, n)), degree=3)
    made.state = {
        "constant": np.full(n, 7, np.int32),
        "not a number": np.full(n, np.nan, np.float32),
        "another one": np.full(n, 0x7FC12345, np.uint32).view(np.float32),
        "range": np.arange(n, dtype=np.uint16),
        "raw": random.integers(0, 1 << 64, n, np.uint64, endpoint=False),
        "lz4": random.normal(size=n).astype(np.float32),
        "zstd": random.integers(0, 3, n).astype(np.int8),
        "wide": random.normal(size=(n, 2)).astype(np.float64),
        "pcodec": np.cumsum(random.integers(0, 1000, n)),
        "palette": random.choice(random.normal(size=100).astype(np.float32), n),
        "planes": random.uniform(0.5, 1.5, n).astype(np.float32),
        "truths": random.random(n) < 0.3,
    }
    with writing(tmp_path / "a.engram", policy=LeafPolicy()) as store:
        store.write(made)
        commit(store)
        (ref,) = store.directory.leaves()
    with ZarrStore(tmp_path / "a.engram") as view, Store.open(tmp_path / "a.engram") as store:
        ((_, record),) = stored(store, ref)
        shown = zarr.open_group(view, mode="r")["leaves/1"]
        assert isinstance(shown, zarr.Group)
        met = assert_same_columns(shown, view, record)
        public = {name: value for name, value in vars(column).items() if name.isupper() and name[0] != "_"}
        codecs = {value for value in public.values() if isinstance(value, int)}
        assert met == codecs
        # one value is the fill value, as long as JSON can say it
        assert shown["state.constant"].fill_value == 7
        assert "leaves/1/state.constant/c/0" not in _keys(view)
        assert "leaves/1/state.another%20one/c/0" in _keys(view)


def _keys(view: ZarrStore) -> list[str]:
    async def listed() -> list[str]:
        return [key async for key in view.list()]

    return asyncio.run(listed())


def test_deltas_are_groups_from_the_newest_down_to_the_whole_version(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram", policy=LeafPolicy(rows=128, nbytes=1 << 14)) as store:
        store.write(neurons(range(500), degree=5))
        commit(store)
        store.write(state_change(range(0, 120, 30), 7))
        commit(store)
        store.write(neurons([4, 600], degree=2))
        last = commit(store)
    with ZarrStore(tmp_path / "a.engram") as view, Store.open(tmp_path / "a.engram") as store:
        shown = zarr.open_group(view, mode="r")["leaves"]
        refs = list(store.directory.leaves())
        assert refs[0].depth == 2
        for ref in refs:
            leaf = shown[str(ref.leaf)]
            assert isinstance(leaf, zarr.Group)
            versions = stored(store, ref)
            told: Any = leaf.attrs["versions"]
            assert [one["commit"] for one in told] == [version.commit for version, _ in versions]
            assert [one["group"] for one in told] == [*(f"delta-{version.commit}" for version, _ in versions[:-1]), ""]
            assert (leaf.attrs["neurons"], leaf.attrs["synapses"]) == (ref.rows, ref.synapses)
            assert set(leaf.group_keys()) == {one["group"] for one in told[:-1]}
            for one, (_, record) in zip(told, versions, strict=True):
                assert_same_columns(leaf[one["group"]] if one["group"] else leaf, view, record)
        assert sorted(shown.group_keys(), key=int) == sorted((str(ref.leaf) for ref in refs), key=int)
        assert last == max(version.commit for ref in refs for version, _ in stored(store, ref))


def test_leaves_of_other_commits_and_leaves_that_never_were_are_not_there(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(10)))
        commit(store)
        store.write(neurons(np.arange(20) + (1 << 32)))
        commit(store)
    with ZarrStore(tmp_path / "a.engram", at=2) as before, ZarrStore(tmp_path / "a.engram") as after:
        old, new = (set(zarr.open_group(view, mode="r")["leaves"].group_keys()) for view in (before, after))
        assert old < new
        for number in new - old:
            assert not asyncio.run(before.exists(f"leaves/{number}/zarr.json"))
            assert asyncio.run(after.exists(f"leaves/{number}/zarr.json"))


def test_a_leaf_stays_as_it_was_shown_when_it_is_compacted_until_gc_frees_that(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram", policy=LeafPolicy(rows=128, nbytes=1 << 14)) as writer:
        writer.write(neurons(range(500), degree=5))
        commit(writer)
        writer.write(state_change(range(0, 60, 30), 7))
        commit(writer)
        with Store.open(tmp_path / "a.engram") as store:
            leaves = Root(store).leaves
            (delta,) = [name for name in names(leaves, "1") if name.startswith("delta-")]
            keys = (f"1/{delta}/state.spike_count/zarr.json", "1/state.spike_count/c/0")
            before = [bytes(find(leaves, key).read(0, 1 << 20)) for key in keys]
            writer.compact()
            with Store.open(tmp_path / "a.engram") as fresh:
                assert not [name for name in names(Root(fresh).leaves, "1") if name.startswith("delta-")]
            leaves._recent.clear()  # as after many other leaves
            assert [bytes(find(leaves, key).read(0, 1 << 20)) for key in keys] == before
            writer.write(state_change(range(500), 9))
            commit(writer)
            writer.gc(keep_last=0, keep_days=0)
            leaves._recent.clear()
            store._packs.close()  # as after many other packs: an open file outlives its name
            for key in keys:
                with pytest.raises(EngramError, match="leaf 1 has been compacted since it was first looked at"):
                    find(leaves, key)


@pytest.mark.parametrize("page_rows", [1, 2, 7, 8, 1000])
def test_leaves_are_found_by_number_however_the_catalog_is_read(tmp_path: Path, page_rows: int) -> None:
    with writing(tmp_path / "a.engram") as store:
        for start in (0, 300, 150):
            store.write(neurons(np.arange(start, start + 120)))
            commit(store)
        lows = {ref.leaf: ref.low for ref in store.directory.leaves()}
        numbers = LeafNumbers(store._catalog, page_rows)
        assert len(lows) > 8
        assert {leaf: numbers.low(leaf) for leaf in lows} == lows
        assert [numbers.low(leaf) for leaf in (0, max(lows) + 1, 1 << 62)] == [None] * 3
