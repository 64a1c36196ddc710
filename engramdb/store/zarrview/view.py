"""``ZarrStore``: an engram at one commit as a read-only Zarr v3 store, for zarr, xarray and dask.

>>> import zarr                                                     # doctest: +SKIP
>>> group = zarr.open_group(ZarrStore("brain.engram", at="trained"))  # doctest: +SKIP
>>> group["cortex/0/spike_count"][:]                                # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from engramdb.errors import HandleClosed, ReadOnly
from engramdb.store.store import Store as EngramStore
from engramdb.store.zarrview import tree as zarrtree
from engramdb.store.zarrview.root import Root
from engramdb.store.zarrview.tree import Group
from engramdb.url import UrlPath, located, options_of

_NAMES_AT_ONCE = 1024  # of a listing, between two turns of the event loop


class ZarrStore(Store):
    """The engram at ``path`` as it is at one commit; nothing of it can be changed through it.

    - ``/<layer>/<segment>/``: the stored neurons of a segment as regular arrays: ``id``, ``row_kind``, the state
      columns, ``indptr``, ``target``, ``weight``, ``projection``, and ``delay`` where synapses have their own.
    - ``/leaves/<number>/``: what is stored of a leaf, one chunk a column.

    ``at``: a snapshot's name or a commit's number; otherwise the head of ``branch`` at this moment. The commit is found
    and pinned now, and stays the same: copies that are pickled to other processes see it too. ``close()`` gives the
    pin back; reading a closed one raises HandleClosed. ``cache_bytes``: for leaves that
    have to be put together from deltas. ``path`` may be the URL of a published engram, ``storage_options`` are for its
    object store then. Reading is safe from several threads, and does not block the event loop.

    Raises NotAnEngram, NotFound, CatalogDamaged, and ReadOnly where ``read_only`` is False; reading a damaged leaf
    raises LeafDamaged.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True
    supports_consolidated_metadata = False

    def __init__(
        self, path: str | Path, *, at: str | int | None = None, branch: str = "main", cache_bytes: int = 64 << 20,
        storage_options: Mapping[str, Any] | None = None, read_only: bool = True,
    ) -> None:  # fmt: skip
        if not read_only:
            raise ReadOnly(f"{path} cannot be changed through Zarr: leave read_only=True, or use engramdb.open")
        super().__init__(read_only=True)
        place = located(path, storage_options)
        self.path = place if isinstance(place, UrlPath) else place.absolute()  # copies may live in another folder
        self._cache_bytes = cache_bytes
        self._opening = Lock()
        engram = EngramStore.open(self.path, at=at, branch=branch, cache_bytes=cache_bytes)
        self._opened: tuple[EngramStore, Root] | None = (engram, Root(engram))
        self.commit = engram.commit.number

    # life

    def _root(self) -> Root:
        with self._opening:
            if self._opened is None:
                raise HandleClosed(f"{self} is closed: make a new ZarrStore")
            return self._opened[1]

    def close(self) -> None:
        """Give everything back, the pin included."""
        with self._opening:
            if self._opened is not None:
                self._opened[0].close()
                self._opened = None
        super().close()

    def with_read_only(self, read_only: bool = False) -> Store:
        if not read_only:
            return super().with_read_only(read_only)  # says that there is no such store
        return ZarrStore(self.path, at=self.commit, cache_bytes=self._cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "at": self.commit,
            "cache_bytes": self._cache_bytes,
            "storage_options": dict(options_of(self.path, None)) or None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrStore) and (self._place, self.commit) == (other._place, other.commit)

    def __hash__(self) -> int:
        return hash((self._place, self.commit))

    @property
    def _place(self) -> str:
        return str(self.path if isinstance(self.path, UrlPath) else self.path.resolve())

    def __repr__(self) -> str:
        return f"ZarrStore({str(self.path)!r}, at={self.commit})"

    def __str__(self) -> str:
        return f"engramdb:{self.path}@{self.commit}"

    # reading

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:  # fmt: skip
        await self._ensure_open()
        found = await asyncio.to_thread(self._read, key, byte_range)
        return None if found is None else prototype.buffer.from_bytes(found)

    def _read(self, key: str, byte_range: ByteRequest | None) -> zarrtree.Bytes | None:
        value = zarrtree.find(self._root(), key)
        if value is None:
            return None
        start, stop = _extent(byte_range, value.nbytes)
        return value.read(start, stop) if start < stop else b""

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, wanted) for key, wanted in key_ranges)))

    async def exists(self, key: str) -> bool:
        await self._ensure_open()
        return await asyncio.to_thread(lambda: zarrtree.find(self._root(), key) is not None)

    async def getsize(self, key: str) -> int:
        """Of a chunk: from the metadata, without making the chunk."""
        await self._ensure_open()

        def size() -> int | None:
            value = zarrtree.find(self._root(), key)
            return None if value is None else value.nbytes

        found = await asyncio.to_thread(size)
        if found is None:
            raise FileNotFoundError(key)
        return found

    # listing

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._walk(lambda root: zarrtree.keys(root, prefix)):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in self._walk(lambda root: zarrtree.names(root, prefix)):
            yield name

    async def _walk(self, walk: Callable[[Group], Iterator[str]]) -> AsyncIterator[str]:
        """The names of a lazy walk; it goes on in another thread whenever some have been taken."""
        await self._ensure_open()
        names = await asyncio.to_thread(lambda: walk(self._root()))
        while batch := await asyncio.to_thread(lambda: [*itertools.islice(names, _NAMES_AT_ONCE)]):
            for name in batch:
                yield name

    # changing: there is no way

    async def set(self, key: str, value: Buffer) -> None:
        self._refuse()

    async def delete(self, key: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        self._check_writable()
        raise AssertionError("a store that is read-only is not writable")


def _extent(wanted: ByteRequest | None, nbytes: int) -> tuple[int, int]:
    """First byte and end of what is wanted of ``nbytes`` bytes, cut to what there is."""
    match wanted:
        case None:
            return 0, nbytes
        case RangeByteRequest(start, end):
            return min(start, nbytes), min(end, nbytes)
        case OffsetByteRequest(offset):
            return min(offset, nbytes), nbytes
        case SuffixByteRequest(suffix):
            return max(nbytes - suffix, 0), nbytes
    raise ValueError(f"Unexpected byte_range, got {wanted}.")
