"""``ZarrStore`` passes zarr's own tests of stores, as far as they apply to one that nobody can write to.

The suite puts values of its own under keys of its own, and reads them back. Here an engram on disk holds those values,
each as the one chunk of a state column, and ``set`` lets the suite's key stand for that chunk's: what is then tested is
the view's reading. Its tests of writing are replaced by tests that nothing can be written, and its tests of listing,
which begin with an empty store, by tests that list an engram. What does not apply: a value of no bytes (no chunk is
empty), deleting (the suite leaves it out by itself), the synchronous protocol (it has no form for reading only).
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, cpu, default_buffer_prototype
from zarr.testing.store import StoreTests

from engramdb import Layer, Spec, ZarrStore
from engramdb.errors import ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.store import GENERATED, Records, Store

VALUES = [
    b"\x01\x02\x03\x04", *(str(digit).encode() for digit in range(10)), b"zarr.json", b"c/0", b"c/0/0", b"c/0/1",
    b"c/0/2", b"hello world", b'{"foo": "bar"}',
]  # fmt: skip
NO_KEYS = [
    "", "foo", "bytes", "bytes/0/byte/c", "bytes/0/byte/c/1", "bytes/0/byte/c/00", "bytes/0/byte/c/0/0", "/zarr.json",
    "bytes//zarr.json", "bytes/99/zarr.json", "zarr.json/", "bytes/0/.zattrs", "leaves/0/zarr.json",
    "leaves/x/zarr.json",
]  # fmt: skip
PATHS = [
    "bytes", "bytes/2", "bytes/2/byte", "bytes/2/byte/c", "bytes/2/byte/c/0", "bytes/x", "leaves", "leaves/1", "nothing"
]  # fmt: skip
READ_ONLY = "store was opened in read-only mode and does not support writing"


class Renamed(ZarrStore):
    """A view in which other keys can stand for some."""

    def __init__(self, path: str | Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.aliases: dict[str, str] = {}

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:  # fmt: skip
        return await super().get(self.aliases.get(key, key), prototype, byte_range)

    async def getsize(self, key: str) -> int:
        return await super().getsize(self.aliases.get(key, key))


@pytest.fixture(scope="module")
def engram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One segment for each of VALUES, with its bytes as the values of a state column."""
    path = tmp_path_factory.mktemp("known") / "known.engram"
    spec = Spec(layers=[Layer("bytes", segments=[max(map(len, VALUES))] * len(VALUES))])
    Store.create(path, spec, Bundles.initial(spec))
    with Store.open(path, "r+") as store:
        for segment, value in enumerate(VALUES):
            ids = np.arange(len(value), dtype=np.uint64) | np.uint64(segment << 32)
            store.write(Records.of_state(ids, {"byte": np.frombuffer(value, np.uint8)}, GENERATED))
        store.commit_state(1, {}, store.bundles)
    return path


async def listed(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]


class TestZarrStore(StoreTests[Renamed, cpu.Buffer]):
    store_cls = Renamed
    buffer_cls = cpu.Buffer

    async def set(self, store: Renamed, key: str, value: Buffer) -> None:
        if not len(value):
            pytest.skip("no chunk of the view is empty")
        store.aliases[key] = f"bytes/{VALUES.index(value.to_bytes())}/byte/c/0"

    async def get(self, store: Renamed, key: str) -> Buffer:
        value = VALUES[int(store.aliases[key].split("/")[1])]
        return self.buffer_cls.from_bytes(value)

    @pytest.fixture
    def store_kwargs(self, engram: Path) -> dict[str, Any]:
        return {"path": engram}

    # what the suite leaves to each store

    def test_store_repr(self, store: Renamed) -> None:
        assert repr(store) == f"ZarrStore({str(store.path)!r}, at={store.commit})"

    def test_store_supports_writes(self, store: Renamed) -> None:
        assert not store.supports_writes
        assert not store.supports_deletes

    def test_store_supports_listing(self, store: Renamed) -> None:
        assert store.supports_listing

    # nothing can be written

    def test_store_read_only(self, store: Renamed) -> None:
        assert store.read_only
        with pytest.raises(AttributeError):
            store.read_only = False  # type: ignore[misc]

    @pytest.mark.parametrize("read_only", [True, False])
    async def test_store_open_read_only(self, open_kwargs: dict[str, Any], read_only: bool) -> None:
        if read_only:
            store = await Renamed.open(**open_kwargs, read_only=True)
            assert store._is_open
            assert store.read_only
        else:
            with pytest.raises(ReadOnly, match="cannot be changed through Zarr"):
                await Renamed.open(**open_kwargs, read_only=False)

    async def test_set(self, store: Renamed) -> None:
        for key in ("zarr.json", "c/0", "bytes/0/byte/c/0"):
            with pytest.raises(ValueError, match=READ_ONLY):
                await store.set(key, self.buffer_cls.from_bytes(b"\x01"))

    async def test_set_not_open(self, store_not_open: Renamed) -> None:
        with pytest.raises(ValueError, match=READ_ONLY):
            await store_not_open.set("c/0", self.buffer_cls.from_bytes(b"\x01"))

    async def test_set_many(self, store: Renamed) -> None:
        with pytest.raises(ValueError, match=READ_ONLY):
            await store._set_many([("a", self.buffer_cls.from_bytes(b"\x01"))])

    async def test_set_if_not_exists(self, store: Renamed) -> None:
        before = await store.get("zarr.json", default_buffer_prototype())
        await store.set_if_not_exists("zarr.json", self.buffer_cls.from_bytes(b"\x01"))  # it does
        after = await store.get("zarr.json", default_buffer_prototype())
        assert before is not None
        assert after is not None
        assert before.to_bytes() == after.to_bytes()
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.set_if_not_exists("other", self.buffer_cls.from_bytes(b"\x01"))

    async def test_clear(self, store: Renamed) -> None:
        with pytest.raises(NotImplementedError):
            await store.clear()
        assert await store.exists("zarr.json")

    # an engram instead of an empty store

    async def test_serializable_store(self, store: Renamed) -> None:
        copy = pickle.loads(pickle.dumps(store))
        assert copy == store
        assert copy.read_only
        assert await copy.getsize("bytes/0/byte/c/0") == 4

    async def test_exists(self, store: Renamed) -> None:
        assert await store.exists("bytes/0/byte/zarr.json")
        assert await store.exists("bytes/0/byte/c/0")
        for key in NO_KEYS:
            assert not await store.exists(key), key
            assert await store.get(key, default_buffer_prototype()) is None, key

    async def test_getsize_prefix(self, store: Renamed) -> None:
        sizes = [await store.getsize(key) async for key in store.list_prefix("bytes/1/")]
        assert await store.getsize_prefix("bytes/1/") == sum(sizes)

    async def test_is_empty(self, store: Renamed) -> None:
        assert not await store.is_empty("")
        assert not await store.is_empty("bytes")
        assert not await store.is_empty("bytes/0/")
        assert await store.is_empty("byte")
        assert await store.is_empty("spam/")

    async def test_list(self, store: Renamed) -> None:
        keys = await listed(store.list())
        assert len(keys) == len(set(keys))
        assert {"zarr.json", "bytes/zarr.json", "bytes/3/byte/c/0", "leaves/zarr.json"} <= set(keys)
        for key in keys:
            value = await store.get(key, default_buffer_prototype())
            assert value is not None, key
            assert len(value) == await store.getsize(key), key

    async def test_list_prefix(self, store: Renamed) -> None:
        keys = await listed(store.list())
        for prefix in ("", "b", "bytes/1", "zarr.json", "/", "x/", *PATHS, *(f"{path}/" for path in PATHS)):
            expected = [key for key in keys if key.startswith(prefix)]
            assert sorted(await listed(store.list_prefix(prefix))) == sorted(expected), prefix

    async def test_list_empty_path(self, store: Renamed) -> None:
        assert await listed(store.list_prefix("")) == await listed(store.list())

    async def test_list_dir(self, store: Renamed) -> None:
        keys = await listed(store.list())
        for path in ("", *PATHS):
            start = f"{path}/" if path else ""
            expected = {key.removeprefix(start).split("/")[0] for key in keys if key.startswith(start)}
            for asked in (path, start):
                assert sorted(await listed(store.list_dir(asked))) == sorted(expected), asked
