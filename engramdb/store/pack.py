"""Packs: append-only files of records, each a header and columns side by side, read with one call.

A pack is private to the writer until a commit names it, and immutable from then on. ``FORMAT.md`` gives
the layout byte by byte.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from engramdb.errors import CatalogDamaged
from engramdb.store import column
from engramdb.store.files import Files, disk_full

MAGIC = b"ENGRAMRC"
FORMAT_VERSION = 1
LEAF, DELTA, STATE, LABELS, TOMBSTONE, TRACE, REVERSE, TOUCHED = 1, 2, 3, 4, 5, 6, 7, 8
"""Record kinds. DELTA: what changed since the leaf's version at commit ``base``. TOMBSTONE: the leaf is no more."""

_FIXED = struct.Struct("<8sHBxIQ11QI")
_ENTRY = struct.Struct("<BBBBQQI")
_NDIM = 3  # where an entry says how many dimensions there are
_CRC = struct.Struct("<I")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OPEN_PACKS = 64

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
"""What was read: parts of it are views, and the checksum and the codecs take them as they are."""


class BadRecord(Exception):
    """Bytes in a pack that are not the record they should be; the message says what is wrong."""


class Identity(NamedTuple):
    """What a record is a version of. All but ``kind``, ``line`` and ``commit`` are 0 unless it is a leaf.

    ``low`` is the smallest id the leaf may hold, ``first`` and ``last`` those it does hold. ``base`` is the
    commit of the version beneath a delta. ``content`` is the commit at which this content first appeared.
    """

    kind: int
    line: int
    commit: int
    leaf: int = 0
    base: int = 0
    content: int = 0
    low: int = 0
    first: int = 0
    last: int = 0
    rows: int = 0
    synapses: int = 0


class Column(NamedTuple):
    """An entry of a record's column table; ``offset`` counts from where the record begins."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    codec: int
    offset: int
    nbytes: int
    crc: int


@dataclass(frozen=True)
class Record:
    """A record as read: its identity, its column table, and its bytes (header included)."""

    identity: Identity
    columns: Mapping[str, Column]
    data: Bytes

    def column(
        self, name: str, dtype: np.dtype[Any] | None = None, shape: tuple[int, ...] = (), *, own: bool = True
    ) -> Array:
        """One column decoded, after its CRC was checked. Raises :class:`BadRecord`.

        ``dtype`` and ``shape`` are what it must have, where that is known. It has memory of its own unless ``own`` is
        false: then it may be a part of ``data``.
        """
        entry, raw = self._checked(name, dtype, shape)
        if entry.codec == column.RAW and not own and entry.dtype.itemsize == 1 and (entry.nbytes,) == entry.shape:
            return raw.view(entry.dtype)
        try:
            return column.decode(entry.codec, raw, entry.dtype, entry.shape)
        except column.BadColumn as error:
            raise BadRecord(f"column {name} cannot be decoded: {error}") from error

    def picker(
        self, name: str, dtype: np.dtype[Any] | None = None, shape: tuple[int, ...] = ()
    ) -> tuple[Callable[[Array], Array], int]:
        """As :meth:`column`, but :func:`engramdb.store.column.picker` of it."""
        entry, raw = self._checked(name, dtype, shape)
        try:
            return column.picker(entry.codec, raw, entry.dtype, entry.shape)
        except column.BadColumn as error:
            raise BadRecord(f"column {name} cannot be decoded: {error}") from error

    def _checked(self, name: str, dtype: np.dtype[Any] | None, shape: tuple[int, ...]) -> tuple[Column, Bytes]:
        entry = self.columns.get(name)
        if entry is None:
            raise BadRecord(f"column {name} is missing")
        if dtype is not None and (entry.dtype != dtype or entry.shape != shape):
            raise BadRecord(f"column {name} is {entry.dtype} {entry.shape}, not {dtype} {shape}")
        return entry, self.encoded(name)

    def encoded(self, name: str) -> Bytes:
        """One column as it is stored, after its CRC was checked: a part of ``data``. Raises :class:`BadRecord`."""
        entry = self.columns.get(name)
        if entry is None:
            raise BadRecord(f"column {name} is missing")
        raw = self.data[entry.offset : entry.offset + entry.nbytes]
        if crc32c(raw) != entry.crc:
            raise BadRecord(f"column {name} fails its checksum")
        return raw


def _of_bytes(data: bytes | Bytes) -> int:
    """Where there is no compiled one: Python's adds up elements, and those of an array do not grow."""
    value: int = google_crc32c.value(bytes(data))
    return value


crc32c: Callable[[bytes | Bytes], int] = google_crc32c.value if google_crc32c.implementation == "c" else _of_bytes
"""CRC-32C (Castagnoli)."""


def encode_record(identity: Identity, arrays: Mapping[str, Array]) -> tuple[bytes, int]:
    """``(bytes of the record, CRC of its header)``. Raises InvalidInput for arrays that are no numbers."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    header_bytes = _FIXED.size + _CRC.size
    prepared = []
    for name, array in arrays.items():
        little = column.storable(name, array)
        prepared.append((name.encode(), little.dtype.str.encode(), little, *column.encode(little)))
        header_bytes += _ENTRY.size + 8 * array.ndim + len(prepared[-1][0]) + len(prepared[-1][1])
    offset = header_bytes
    for name_bytes, dtype_bytes, little, codec, body in prepared:
        fixed = _ENTRY.pack(len(name_bytes), len(dtype_bytes), codec, little.ndim, offset, len(body), crc32c(body))
        entries.append(fixed + struct.pack(f"<{little.ndim}Q", *little.shape) + name_bytes + dtype_bytes)
        bodies.append(body)
        offset += len(body)
    i = identity
    head = _FIXED.pack(
        MAGIC, FORMAT_VERSION, i.kind, header_bytes, offset, i.line, i.commit, i.leaf, i.base, i.content,
        i.low, i.first, i.last, i.rows, i.synapses, 0, len(prepared),
    )  # fmt: skip
    header = head + b"".join(entries)
    crc = crc32c(header)
    return b"".join([header, _CRC.pack(crc), *bodies]), crc


def parse_record(data: bytes | Bytes, header_crc: int | None = None) -> Record:
    """The record in ``data``, which must be exactly its bytes. Columns are checked when they are decoded.

    ``header_crc``: what the catalog says it is. Raises :class:`BadRecord`.
    """
    if isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8)
    if len(data) < _FIXED.size + _CRC.size:
        raise BadRecord(f"the file ends after {len(data)} bytes of it")
    magic, version, kind, header_bytes, record_bytes, *fields, _, count = _FIXED.unpack_from(data.data)
    if magic != MAGIC:
        raise BadRecord("no record begins here")
    if not _FIXED.size + _CRC.size <= header_bytes <= len(data):
        raise BadRecord("its header fails its checksum")
    header = data[:header_bytes].tobytes()
    (crc,) = _CRC.unpack_from(header, header_bytes - _CRC.size)
    if crc32c(header[: -_CRC.size]) != crc:
        raise BadRecord("its header fails its checksum")
    if version > FORMAT_VERSION:
        raise BadRecord(f"it has format {version}, and this EngramDB reads up to {FORMAT_VERSION}")
    if header_crc is not None and crc != header_crc:
        raise BadRecord("it is another record than the one the catalog names")
    if record_bytes != len(data):
        raise BadRecord(f"it has {len(data)} bytes of {record_bytes}")
    columns: dict[str, Column] = {}
    at = _FIXED.size
    try:
        for _ in range(count):
            entry = _entry(header[at + _NDIM])
            name_len, dtype_len, codec, _, offset, nbytes, column_crc, *shape = entry.unpack_from(header, at)
            at += entry.size
            name, dtype = _named(header[at : at + name_len + dtype_len], name_len)
            at += name_len + dtype_len
            if dtype.kind not in "biufc" or offset < header_bytes or offset + nbytes > record_bytes:
                raise BadRecord(f"column {name} lies outside it")
            columns[name] = Column._make((name, dtype, tuple(shape), codec, offset, nbytes, column_crc))
    except (struct.error, IndexError, UnicodeDecodeError, TypeError) as error:
        raise BadRecord(f"its column table is malformed: {error}") from error
    return Record(Identity(kind, *fields), columns, data)


@functools.cache
def _entry(ndim: int) -> struct.Struct:
    """An entry of the column table with its shape."""
    return struct.Struct(f"{_ENTRY.format}{ndim}Q")


@functools.lru_cache(maxsize=1024)
def _named(text: bytes, name_len: int) -> tuple[str, np.dtype[Any]]:
    """Name and type of a column: the same few in every leaf."""
    return text[:name_len].decode(), np.dtype(text[name_len:].decode())


def new_name() -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits in 26 characters, so that names sort by age."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class PackWriter:
    """The writer's private pack: created empty, appended to, and finished before a commit names it."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files, self._folder = files, folder
        self.name = new_name()
        self.path = folder / f"{self.name}.pack"
        with disk_full(folder, 1):
            self.handle = files.create(self.path)
        self.end = 0

    def append(self, data: bytes) -> int:
        """Offset at which ``data`` now lies. After DiskFull the pack is as it was."""
        offset = self.end
        try:
            with disk_full(self._folder, len(data)):
                self._files.write(self.handle, data, offset)
        except BaseException:
            self.rewind(offset)
            raise
        self.end = offset + len(data)
        return offset

    def rewind(self, end: int) -> None:
        """Forget what was appended after ``end``; the space is given back where the file system can."""
        self.end = end
        with contextlib.suppress(OSError):  # what lies behind the end is overwritten or never named
            self._files.truncate(self.handle, end)

    def finish(self) -> None:
        """Make content and name durable; appending may go on."""
        self._files.fsync(self.handle)
        self._files.fsync_dir(self._folder)

    def close(self) -> None:
        self._files.close(self.handle)

    def unlink(self) -> None:
        """Delete it; no commit names it."""
        with contextlib.suppress(OSError):  # the next opening deletes left-overs
            self._files.unlink(self.path)


@dataclass
class _OpenPack:
    handle: int
    readers: int = 0  # threads that read from it now, and its writer; it is not closed before they are done
    unwanted: bool = False


class Packs:
    """Reads records of any pack. ``name_of`` gives the file name of a pack number (without ``.pack``)."""

    def __init__(self, files: Files, folder: Path, name_of: Callable[[int], str]) -> None:
        self._files, self._folder, self._name_of = files, folder, name_of
        self._open: OrderedDict[int, _OpenPack] = OrderedDict()
        self._lock = Lock()
        self.private: tuple[int, PackWriter] | None = None
        """Number and file of the pack that is being written, if there is one; see :meth:`begin`."""

    @property
    def run_bytes(self) -> int:
        """See :class:`~engramdb.store.files.Files`."""
        return self._files.run_bytes

    def begin(self, number: int, pack: PackWriter) -> None:
        """Let ``pack`` be the one that is being written."""
        with self._lock:
            self.private = number, pack
            self._open[number] = _OpenPack(pack.handle, readers=1)

    def end(self) -> None:
        """No pack is being written any more; it goes on to be read."""
        with self._lock:
            if self.private is not None:
                (number, _), self.private = self.private, None
                self._leave(self._open[number])

    def discard(self, number: int, pack: PackWriter) -> None:
        """Delete a pack that was begun and that no commit names."""
        with self._lock:
            if self.private is not None and self.private[0] == number:
                self.private = None
            entry = self._open.pop(number)
            entry.unwanted = True
            self._leave(entry)
        pack.unlink()

    def _leave(self, entry: _OpenPack) -> None:
        entry.readers -= 1
        if entry.unwanted and entry.readers == 0:
            self._files.close(entry.handle)

    def path(self, pack: int) -> Path:
        if self.private is not None and self.private[0] == pack:
            return self.private[1].path
        return self._folder / f"{self._name_of(pack)}.pack"

    def read(self, pack: int, offset: int, length: int, header_crc: int) -> Record:
        """The record there, by one pread; raises :class:`BadRecord`, also where the file is missing."""
        return parse_record(self._pread(pack, offset, length), header_crc)

    def read_many(self, pack: int, parts: Sequence[tuple[int, int, int]]) -> list[Record]:
        """The records at (offset, length, CRC of the header), which lie one behind the other, by one pread."""
        first, last = parts[0], parts[-1]
        data = self._pread(pack, first[0], last[0] + last[1] - first[0])
        return [
            parse_record(data[offset - first[0] : offset - first[0] + length], header_crc)
            for offset, length, header_crc in parts
        ]

    def expect(self, pack: int, offset: int, length: int) -> None:
        """Say that these bytes will be read soon. A pack that is not there is a matter for whoever reads it."""
        with contextlib.suppress(OSError, CatalogDamaged):
            entry = self._enter(pack)
            try:
                self._files.expect(entry.handle, length, offset)
            finally:
                with self._lock:
                    self._leave(entry)

    def _pread(self, pack: int, offset: int, length: int) -> Bytes:
        try:
            entry = self._enter(pack)
        except FileNotFoundError:
            raise BadRecord("the file is missing") from None
        try:
            size = self._files.size(entry.handle)
            if offset < 0 or length < 0 or offset + length > size:
                raise BadRecord(f"it lies outside the file, which ends after {size} bytes")
            return np.frombuffer(self._files.pread(entry.handle, length, offset), np.uint8)
        except FileNotFoundError:  # an object store says so only now
            raise BadRecord("the file is missing") from None
        except OSError as error:
            raise BadRecord(f"the disk cannot read it: {error.strerror}") from error
        finally:
            with self._lock:
                self._leave(entry)

    def whole(self, pack: int, offset: int, length: int, header_crc: int) -> bytes:
        """The bytes of a record, all its columns checked too; raises :class:`BadRecord`."""
        record = self.read(pack, offset, length, header_crc)
        for name in record.columns:
            record.encoded(name)
        return record.data.tobytes()

    def forget(self, pack: int) -> None:
        """Close the file of a pack that is deleted, as soon as nobody reads from it."""
        with self._lock:
            entry = self._open.pop(pack, None)
            if entry is not None:
                entry.readers += 1
                entry.unwanted = True
                self._leave(entry)

    def _enter(self, pack: int) -> _OpenPack:
        with self._lock:
            entry = self._open.get(pack)
            if entry is None:
                entry = self._open[pack] = _OpenPack(self._files.open(self.path(pack)))
                self._close_idle()
            self._open.move_to_end(pack)
            entry.readers += 1
            return entry

    def _close_idle(self) -> None:
        excess = len(self._open) - _OPEN_PACKS
        for pack in [pack for pack, entry in self._open.items() if entry.readers == 0][: max(excess, 0)]:
            self._files.close(self._open.pop(pack).handle)

    def close(self) -> None:
        with self._lock:
            while self._open:
                self._files.close(self._open.popitem()[1].handle)
