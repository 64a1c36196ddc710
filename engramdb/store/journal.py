"""The journal: what happened since the last commit, one CRC-framed file for each head.

A frame is durable before its command is acknowledged. A torn last frame was never acknowledged and is
dropped; a damaged frame that has a whole one behind it was, and is an error.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.errors import DiskFull, FormatTooNew, JournalDamaged, KernelMismatch
from engramdb.store.column import storable
from engramdb.store.files import Files, disk_full
from engramdb.store.pack import crc32c

MAGIC = b"ENGRAMJL"
FORMAT_VERSION = 1
_HEADER = struct.Struct("<8sHHIQQQ16sI")
_FRAME = struct.Struct("<4sBxxxQQqII")
_MARK = b"FRAM"
_SYNCED, _END, _COPIED = 1, 2, 4
_BLOCK = 1 << 20

Array = npt.NDArray[Any]

ADVICE = ": verify --repair says what of it can be kept"


@dataclass(frozen=True)
class Frame:
    """One outcome: what applies at ``tick``, as ``kind``, ``meta`` (JSON) and ``arrays``. Sequences have no gaps.

    ``copied``: it was taken over from the journal before, and may have been written before the head was committed.
    """

    sequence: int
    tick: int
    kind: str
    meta: dict[str, Any]
    arrays: dict[str, Array]
    copied: bool = False


@dataclass(frozen=True)
class JournalHead:
    """``sequence``: that of the last frame before this journal. ``engram``: the engram's 16-byte id."""

    kernel: int
    line: int
    commit: int
    sequence: int
    engram: bytes

    def encode(self) -> bytes:
        head = _HEADER.pack(
            MAGIC, FORMAT_VERSION, 0, self.kernel, self.line, self.commit, self.sequence, self.engram, 0
        )[:-4]
        return head + struct.pack("<I", crc32c(head))


def journal_path(engram: Path, line: int, commit: int) -> Path:
    """The journal of a head."""
    return engram / "journal" / f"{line}-{commit}"


def frames_behind_header(files: Files, path: Path, expected: JournalHead) -> bytes | None:
    """All that lies behind the header, where that is damaged and yet leaves no doubt that it was ``expected``."""
    data = expected.encode()
    handle = files.open(path)
    try:
        found = files.pread(handle, len(data), 0)
        if found == data or (found[-4:] != data[-4:] and found[:-4] != data[:-4]):
            return None
        return files.pread(handle, files.size(handle), len(data))
    finally:
        files.close(handle)


def create_journal(files: Files, path: Path, head: JournalHead, frames: bytes = b"") -> None:
    """A journal with :func:`copied` frames or none, durable under its name on return; one there is replaced."""
    fresh = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):  # left over from a creation that was cut off
        files.unlink(fresh)
    data = head.encode() + frames
    with disk_full(path.parent, len(data)):
        handle = files.create(fresh)
        try:
            files.write(handle, data, 0)
            files.fsync(handle)
        finally:
            files.close(handle)
        files.replace(fresh, path)
        files.fsync_dir(path.parent)


def copied(frames: bytes) -> bytes:
    """Whole frames of another journal, marked as copies: a journal of copies alone proves no commit."""
    parts = []
    at = 0
    while at < len(frames):
        mark, flags, body_bytes, sequence, tick, body_crc, _ = _FRAME.unpack_from(frames, at)
        head = _FRAME.pack(mark, flags | _COPIED | _SYNCED, body_bytes, sequence, tick, body_crc, 0)[:-4]
        body = frames[at + _FRAME.size : at + _FRAME.size + body_bytes]
        parts += [head, struct.pack("<I", crc32c(head)), body]
        at += _FRAME.size + body_bytes
    return b"".join(parts)


def _encode_body(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    little = {name: storable(name, array) for name, array in arrays.items()}
    manifest = {
        "kind": kind,
        "meta": meta,
        "arrays": [[name, array.dtype.str, array.shape] for name, array in little.items()],
    }
    document = json.dumps(manifest, separators=(",", ":")).encode()
    return b"".join([struct.pack("<I", len(document)), document, *(array.tobytes() for array in little.values())])


def _decode_body(body: bytes, sequence: int, tick: int, *, copied: bool) -> Frame:
    (length,) = struct.unpack_from("<I", body)
    manifest = json.loads(body[4 : 4 + length])
    arrays = {}
    at = 4 + length
    for name, dtype_text, shape in manifest["arrays"]:
        dtype = np.dtype(dtype_text)
        nbytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(bytearray(body[at : at + nbytes]), dtype).reshape(shape)
        at += nbytes
    return Frame(sequence, tick, manifest["kind"], manifest["meta"], arrays, copied)


class JournalReader:
    """Reads a journal from its beginning. Raises FileNotFoundError, JournalDamaged, FormatTooNew."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files, self.path = files, path
        self._handle = files.open(path)
        try:
            self.size = files.size(self._handle)
            self.head = self._read_head()
        except BaseException:
            files.close(self._handle)
            raise
        self.end = _HEADER.size
        """Where the last whole frame that was read ends."""
        self.torn = False
        self.sequence = self.head.sequence

    def _damaged(self, problem: str, at: int) -> JournalDamaged:
        return JournalDamaged(
            f"journal {self.path} is damaged at byte {at}: {problem}; "
            f"commit {self.path.name.split('-')[-1]} is whole{ADVICE}"
        )

    def _read_head(self) -> JournalHead:
        data = self._files.pread(self._handle, _HEADER.size, 0)
        if len(data) < _HEADER.size or data[:8] != MAGIC or crc32c(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise self._damaged("its header fails its checksum", 0)
        _, version, _, kernel, line, commit, sequence, engram, _ = _HEADER.unpack(data)
        if version > FORMAT_VERSION:
            raise FormatTooNew(
                f"journal {self.path} has format {version}, and this EngramDB reads up to {FORMAT_VERSION}: "
                "use a newer EngramDB"
            )
        if self.path.name != f"{line}-{commit}":
            raise self._damaged(f"it belongs to line {line}, commit {commit}", 0)
        return JournalHead(kernel, line, commit, sequence, engram)

    def frames(self, expected: JournalHead) -> Iterator[Frame]:
        """Whole frames in order, up to a torn end. ``expected``: what the head must be for them to apply.

        Raises JournalDamaged, and KernelMismatch if there is a frame and another kernel version wrote it.
        """
        if (self.head.engram, self.head.sequence) != (expected.engram, expected.sequence):
            raise self._damaged("it belongs to another engram or another commit", 0)
        at = self.end
        while (frame := self._frame_at(at)) is not None:
            flags, sequence, tick, body = frame
            at += _FRAME.size + len(body)
            if flags & _END:
                continue  # the next writer writes over it
            if self.head.kernel != expected.kernel:
                raise KernelMismatch(
                    f"journal {self.path} was written by kernel version {self.head.kernel}, and this is version "
                    f"{expected.kernel}: open, checkpoint and close the engram with an EngramDB "
                    f"of kernel version {self.head.kernel}"
                )
            if sequence != self.sequence + 1:
                raise self._damaged(f"frame {sequence} follows frame {self.sequence}", self.end)
            self.sequence, self.end = sequence, at
            yield _decode_body(body, sequence, tick, copied=bool(flags & _COPIED))
        if at < self.size:
            self._refuse_damage(at)
            self.torn = True

    def _frame_at(self, at: int) -> tuple[int, int, int, bytes] | None:
        """``(flags, sequence, tick, body)``, or None where no whole frame begins."""
        head = self._files.pread(self._handle, _FRAME.size, at)
        if len(head) < _FRAME.size or head[:4] != _MARK:
            return None
        _, flags, body_bytes, sequence, tick, body_crc, head_crc = _FRAME.unpack(head)
        if crc32c(head[:-4]) != head_crc or at + _FRAME.size + body_bytes > self.size:
            return None
        body = self._files.pread(self._handle, body_bytes, at + _FRAME.size)
        if len(body) < body_bytes or crc32c(body) != body_crc:
            return None
        return flags, sequence, tick, body

    def _refuse_damage(self, bad: int) -> None:
        """Raise JournalDamaged if behind ``bad`` lies a whole later frame, written after all before it were synced."""
        at = bad + 1
        while at < self.size:
            block = self._files.pread(self._handle, _BLOCK + len(_MARK) - 1, at)
            place = block.find(_MARK)
            while place >= 0:
                frame = self._frame_at(at + place)
                if frame is not None and frame[0] & _SYNCED and frame[1] > self.sequence:
                    raise self._damaged(
                        f"the frame after {self.sequence} fails its checksum, and whole ones follow", bad
                    )
                place = block.find(_MARK, place + 1)
            at += _BLOCK

    def bytes_between(self, begin: int, end: int) -> bytes:
        """The bytes of the file, as they are."""
        return self._files.pread(self._handle, end - begin, begin)

    def whole_behind(self) -> int:
        """Of a journal that was read up to damage: how many whole frames lie behind it."""
        at, found = self.end + 1, 0
        while at < self.size:
            frame = self._frame_at(at)
            if frame is not None and frame[1] > self.sequence and not frame[0] & _END:
                found += 1
                at += _FRAME.size + len(frame[3])
                continue
            block = self._files.pread(self._handle, _BLOCK, at + 1)
            place = block.find(_MARK)
            at += 1 + place if place >= 0 else max(len(block) - len(_MARK), 1)
        return found

    def close(self) -> None:
        self._files.close(self._handle)


class JournalWriter:
    """Appends to a journal that was read to its end. ``sync``: fsync each frame before it is acknowledged."""

    def __init__(self, files: Files, path: Path, *, end: int, sequence: int, sync: bool, fresh: bool = False) -> None:
        """``end``, ``sequence``: of the last frame. ``fresh``: the journal was created, and so synced, just now."""
        self._files, self.path, self._sync = files, path, sync
        self._end, self.sequence = end, sequence
        self._handle = files.open(path, write=True)
        if fresh:
            return
        try:
            with disk_full(path.parent, end):
                if files.size(self._handle) > end:  # an end mark, or a torn frame that was never acknowledged
                    files.truncate(self._handle, end)
                files.fsync(self._handle)  # a frame marked as synced vouches for all before it
        except BaseException:
            files.close(self._handle)
            raise

    @property
    def end(self) -> int:
        """Where the next frame goes."""
        return self._end

    def frames_after(self, end: int) -> bytes:
        """The frames from byte ``end``, where one begins, as they are."""
        return self._files.pread(self._handle, self._end - end, end)

    def append(self, kind: str, tick: int, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> int:
        """The frame's sequence. After DiskFull the journal is as it was; after an OSError it must not be used."""
        end = self._end
        try:
            self._write(_SYNCED * self._sync, self.sequence + 1, tick, _encode_body(kind, meta, arrays))
            if self._sync:
                self._files.fsync(self._handle)
        except BaseException:
            self._end = end  # the next frame is written over this one, whatever there is of it
            raise
        self.sequence += 1
        return self.sequence

    def _write(self, flags: int, sequence: int, tick: int, body: bytes) -> None:
        head = _FRAME.pack(_MARK, flags, len(body), sequence, tick, crc32c(body), 0)[:-4]
        data = b"".join([head, struct.pack("<I", crc32c(head)), body])
        with disk_full(self.path.parent, len(data)):
            try:
                self._files.write(self._handle, data, self._end)
            except OSError:
                self._files.truncate(self._handle, self._end)
                raise
        self._end += len(data)

    def close(self, *, mark: bool) -> None:
        """``mark``: sync and write an end mark, so that damage to the last frame can be told from a torn write."""
        try:
            if mark:
                with contextlib.suppress(OSError, DiskFull):  # it only helps to detect damage; nothing depends on it
                    self._files.fsync(self._handle)
                    self._write(_SYNCED | _END, self.sequence, 0, b"")
                    self._files.fsync(self._handle)
        finally:
            self._files.close(self._handle)
