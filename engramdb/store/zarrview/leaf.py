"""``/leaves/<number>``: what is on disk of a leaf, byte for byte where Zarr has a codec for it.

Of a leaf whose visible version is a delta, the arrays are those of the whole version at the bottom; each delta on
top of it is a group ``delta-<commit>``. The leaf's attribute ``versions`` lists all of them from the newest down.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import format_id, unpack
from engramdb.errors import CatalogDamaged, EngramError
from engramdb.store import column
from engramdb.store.cache import Cache
from engramdb.store.leaf import GIVEN_PREFIX, STATE_PREFIX
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE, BadRecord, Column, Record
from engramdb.store.reader import LeafReader
from engramdb.store.store import Store
from engramdb.store.versions import LeafRef
from engramdb.store.zarrview.tree import PLAIN, Array, Bytes, Codecs, Form, Group, fill_of, keys_of, number_of

_KIND_NAMES = {LEAF: "whole", DELTA: "delta", TOMBSTONE: "ended"}
_DELTA_PREFIX = "delta-"
_RECENT_BYTES = 1 << 24  # of records that were looked at last: a leaf is asked for column by column
_PCODEC = ({"name": "numcodecs.pcodec", "configuration": {"level": 4}},)  # the level matters to writers only
_COMPRESSORS = ("blosclz", "lz4", "snappy", "zlib", "zstd")
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")


class Version(NamedTuple):
    """One version of a leaf, as stored."""

    ref: LeafRef
    record: Record


@dataclass(frozen=True)
class Stack:
    """The visible version of a leaf and what lies beneath it, the newest first."""

    versions: tuple[Version, ...]

    @property
    def nbytes(self) -> int:
        return sum(len(version.record.data) for version in self.versions)


class Leaves(Group):
    """All leaves of one commit, by their numbers; or those of one layer.

    ``core``: use only codecs of the Zarr specification itself, which every implementation has; a column in another
    one is handed out decoded.
    """

    def __init__(self, store: Store, layer: int | None = None, *, core: bool = False) -> None:
        self._store, self._layer, self._core = store, layer, core
        self._recent: Cache[Stack] = Cache(_RECENT_BYTES)
        self._shown: dict[int, tuple[LeafRef, ...]] = {}
        """The versions of each leaf with deltas that was looked at: what is shown stays what it was, once compacted."""

    def attributes(self) -> dict[str, Any]:
        return {
            "description": "The stored columns of every leaf, each as one chunk, by the number of the leaf. The arrays "
            "of a leaf are those of its whole version; groups delta-<commit> have what changed since, and the "
            "attribute `versions` lists all from the newest down. FORMAT.md says what the columns mean."
        }

    def names(self) -> Iterator[str]:
        return (str(ref.leaf) for ref in self._store.directory.leaves(self._layer))

    def child(self, name: str) -> Leaf | None:
        number = number_of(name)
        ref = None if number is None else self._store.directory.numbered(number)
        if ref is None or (self._layer is not None and unpack(ref.low)[0] != self._layer):
            return None
        return Leaf(self._store.reader, self._stack(ref), self._core)

    def _stack(self, top: LeafRef) -> Stack:
        known = self._recent.get(top)
        if known is not None:
            return known
        stack = Stack(tuple(self._as_shown(top) or self._as_found(top)))
        if len(stack.versions) > 1:
            self._shown[top.leaf] = tuple(version.ref for version in stack.versions)
        self._recent.put(top, stack)
        return stack

    def _as_shown(self, top: LeafRef) -> list[Version]:
        """The versions that were shown before, if there were any and all of them lie where they lay."""
        reader = self._store.reader
        with contextlib.suppress(BadRecord, CatalogDamaged):
            return [Version(ref, reader.record_at(ref)) for ref in self._shown.get(top.leaf, ())]
        return []

    def _as_found(self, top: LeafRef) -> list[Version]:
        """The versions as they lie now, which must be those that were shown before."""
        reader = self._store.reader
        versions: list[Version] = []
        ref: LeafRef | None = top
        while ref is not None:
            try:
                record, ref = reader.record(ref)
            except BadRecord as error:
                raise reader.damaged(ref, error) from error
            versions.append(Version(ref, record))
            if ref.kind != DELTA:
                break
            beneath = reader.beneath(ref)
            if beneath is None:
                reader.read(top)  # raises LeafDamaged unless all that has happened is that it was compacted
                raise _compacted(top)
            ref = beneath
        shown = self._shown.get(top.leaf, ())
        if shown and [ref.commit for ref in shown] != [version.ref.commit for version in versions]:
            raise _compacted(top)  # the metadata that somebody may have got from here do not fit what is there now
        return versions


def _compacted(ref: LeafRef) -> EngramError:
    return EngramError(
        f"leaf {ref.leaf} has been compacted since it was first looked at, and gc has freed what it was: "
        "open the view again"
    )


class Leaf(Group):
    """One leaf: the columns of its whole version, and a group for each delta on top of it."""

    def __init__(self, reader: LeafReader, stack: Stack, core: bool) -> None:
        self._reader, self._stack, self._core = reader, stack, core

    def attributes(self) -> dict[str, Any]:
        top = self._stack.versions[0].ref
        layer, segment, _ = unpack(top.low)
        return {
            "leaf": top.leaf,
            "layer_index": layer,
            "segment": segment,
            "low": format_id(top.low),
            "neurons": top.rows,
            "synapses": top.synapses,
            "versions": [
                {"group": "" if version is self._stack.versions[-1] else _delta_name(version), **self._header(version)}
                for version in self._stack.versions
            ],
        }

    def _header(self, version: Version) -> dict[str, Any]:
        ref, identity = version
        return {
            "kind": _KIND_NAMES[ref.kind],
            "line": ref.line,
            "commit": ref.commit,
            "base": ref.base,
            "content": identity.identity.content,
            "first": format_id(ref.first),
            "last": format_id(ref.last),
            "neurons": ref.rows,
            "synapses": ref.synapses,
            "place": self._reader.where(ref),
            "bytes": ref.length,
            "header_crc32c": f"0x{ref.header_crc:08x}",
        }

    def names(self) -> Iterator[str]:
        yield from StoredVersion(self._reader, self._stack.versions[-1], {}, self._core).names()
        yield from map(_delta_name, self._stack.versions[:-1])

    def child(self, name: str) -> StoredVersion | StoredColumn | None:
        for version in self._stack.versions[:-1]:
            if name == _delta_name(version):
                return StoredVersion(self._reader, version, self._header(version), self._core)
        return StoredVersion(self._reader, self._stack.versions[-1], {}, self._core).child(name)


def _delta_name(version: Version) -> str:
    return f"{_DELTA_PREFIX}{version.ref.commit}"


class StoredVersion(Group):
    """One record: its header as attributes, its columns as arrays."""

    def __init__(self, reader: LeafReader, version: Version, header: dict[str, Any], core: bool) -> None:
        self._reader, self._version, self._header, self._core = reader, version, header, core
        self._keys = keys_of(list(version.record.columns))

    def attributes(self) -> dict[str, Any]:
        return self._header

    def names(self) -> Iterator[str]:
        return iter(self._keys)

    def child(self, name: str) -> StoredColumn | None:
        column_name = self._keys.get(name)
        return None if column_name is None else StoredColumn(self._reader, self._version, column_name, self._core)


class StoredColumn(Array):
    """One column of a record. A chunk holds all of it, and there is none where one value says it all."""

    def __init__(self, reader: LeafReader, version: Version, name: str, core: bool) -> None:
        self._reader, self._version, self._core = reader, version, core
        self._entry: Column = version.record.columns[name]

    @cached_property
    def form(self) -> Form:
        entry = self._entry
        fill, codecs = self._coding
        return Form(
            shape=entry.shape,
            dtype=entry.dtype,
            chunks=tuple(max(1, n) for n in entry.shape),
            dimensions=_dimensions(entry, self._version.record),
            fill=fill,
            codecs=codecs,
            attributes={
                "codec": entry.codec,
                "stored_bytes": entry.nbytes,
                "crc32c": f"0x{entry.crc:08x}",
            },
        )

    @cached_property
    def _coding(self) -> tuple[Any, Codecs]:
        """``(fill value, codecs)``. A column of one value is its fill value, if JSON can say it."""
        entry = self._entry
        nothing = fill_of(np.zeros((), entry.dtype))
        if entry.codec == column.CONSTANT and not self._decodes:
            return fill_of(self._one), PLAIN
        if entry.codec == column.BLOSC:
            return nothing, (*PLAIN, _blosc_codec(self._encoded[:16]))
        if entry.codec == column.PCODEC and not self._core:
            return nothing, _PCODEC
        return nothing, PLAIN

    @property
    def _one(self) -> npt.NDArray[Any]:
        return np.frombuffer(self._encoded, self._entry.dtype, 1).reshape(())

    @property
    def _decodes(self) -> bool:
        """Whether what is handed out is the decoded column: Zarr has no codec that says the same."""
        if self._entry.codec == column.CONSTANT:
            return fill_of(self._one) is None
        return self._entry.codec not in (column.RAW, column.BLOSC, *([] if self._core else [column.PCODEC]))

    @cached_property
    def _encoded(self) -> bytes:
        """Raises LeafDamaged where the column fails its checksum."""
        try:
            return self._version.record.encoded(self._entry.name).tobytes()
        except BadRecord as error:
            raise self._reader.damaged(self._version.ref, error) from error

    def has(self, chunk: tuple[int, ...]) -> bool:
        return self._entry.codec != column.CONSTANT or self._decodes

    def nbytes(self, chunk: tuple[int, ...]) -> int:
        entry = self._entry
        return math.prod(entry.shape) * entry.dtype.itemsize if self._decodes else entry.nbytes

    def read(self, chunk: tuple[int, ...], start: int, stop: int) -> Bytes:
        """Raises LeafDamaged where the column fails its checksum, or does not decode where it has to be decoded."""
        if not self._decodes:
            return self._encoded[start:stop]
        try:
            values = self._version.record.column(self._entry.name)
        except BadRecord as error:
            raise self._reader.damaged(self._version.ref, error) from error
        return values.reshape(-1).view(np.uint8).data[start:stop]


def _dimensions(entry: Column, record: Record) -> tuple[str, ...]:
    """Names of its dimensions: the same where columns of one record have the same length for the same reason."""
    name = entry.name
    if name in ("projection", "target_step", "weight", "delay"):
        first = "synapse"
    elif name.startswith(STATE_PREFIX) and GIVEN_PREFIX + name.removeprefix(STATE_PREFIX) in record.columns:
        first = GIVEN_PREFIX + name.removeprefix(STATE_PREFIX)
    else:
        first = "far" if name == "target_far" else "neuron"
    return (first, *(f"{name}_{axis}" for axis in range(1, len(entry.shape))))


def _blosc_codec(head: bytes) -> dict[str, Any]:
    """The Zarr codec that decodes a Blosc frame, as its first 16 bytes describe it.

    The level is not in the frame, and decoding does not need it.
    """
    flags, typesize = head[2], head[3]
    (blocksize,) = struct.unpack_from("<I", head, 8)
    return {
        "name": "blosc",
        "configuration": {
            "typesize": typesize,
            "cname": _COMPRESSORS[flags >> 5],
            "clevel": 1,
            "shuffle": _SHUFFLES[1 if flags & 1 else 2 if flags & 4 else 0],
            "blocksize": blocksize,
        },
    }
