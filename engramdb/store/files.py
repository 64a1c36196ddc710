"""The file layer: every byte of a pack or a journal passes through here, and tests put a faulty one in its place.

Paths are :class:`pathlib.Path`, open files are integer descriptors, writes name their offset. The calls do
what their POSIX namesakes do and raise :class:`OSError`; :func:`disk_full` turns a full disk into
:class:`~engramdb.errors.DiskFull` where it is known how much was needed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from engramdb.errors import DiskFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Files(Protocol):
    """What the store asks of a file system."""

    @property
    def run_bytes(self) -> int:
        """What one call reads at most where much is read, unless it is asked for a single leaf that is larger."""

    def create(self, path: Path) -> int:
        """A new file, open for reading and writing; FileExistsError if there is one."""

    def open(self, path: Path, *, write: bool = False) -> int:
        """An existing file; FileNotFoundError if there is none."""

    def write(self, handle: int, data: bytes, offset: int) -> None:
        """All of ``data`` at ``offset``; a failure may leave a part of it behind."""

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        """``nbytes`` from ``offset``, fewer only where the file ends."""

    def expect(self, handle: int, nbytes: int, offset: int) -> None:
        """These bytes will be read soon: whoever can begins to fetch them."""

    def size(self, handle: int) -> int: ...

    def truncate(self, handle: int, nbytes: int) -> None: ...

    def fsync(self, handle: int) -> None:
        """Return when the file's content is on stable storage. Its name is durable only after fsync_dir."""

    def close(self, handle: int) -> None: ...

    def fsync_dir(self, path: Path) -> None: ...

    def replace(self, source: Path, target: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def mkdir(self, path: Path) -> None: ...

    def flock(self, handle: int, *, exclusive: bool) -> bool:
        """Take the lock without waiting; False if another holds it. Closing the descriptor gives it back."""


class OsFiles:
    """The real file system."""

    # of more, the processor's caches lose the beginning before it is decoded
    run_bytes = 1 << 19

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def open(self, path: Path, *, write: bool = False) -> int:
        return os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)

    def write(self, handle: int, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(handle, rest, offset)
            rest, offset = rest[written:], offset + written

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        data = os.pread(handle, nbytes, offset)
        if len(data) in (0, nbytes):
            return data
        parts = [data]
        while data:  # a signal or a 2 GiB limit of the kernel can cut a read short
            got = sum(len(part) for part in parts)
            data = os.pread(handle, nbytes - got, offset + got) if got < nbytes else b""
            parts.append(data)
        return b"".join(parts)

    def expect(self, handle: int, nbytes: int, offset: int) -> None:
        if hasattr(os, "posix_fadvise"):  # Linux; elsewhere the system's own reading ahead has to do
            os.posix_fadvise(handle, offset, nbytes, os.POSIX_FADV_WILLNEED)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def truncate(self, handle: int, nbytes: int) -> None:
        os.ftruncate(handle, nbytes)

    def fsync(self, handle: int) -> None:
        full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: plain fsync stops at the drive's cache
        if full is None:
            os.fsync(handle)
        else:
            fcntl.fcntl(handle, full)

    def close(self, handle: int) -> None:
        os.close(handle)

    def fsync_dir(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path)

    def flock(self, handle: int, *, exclusive: bool) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


OS_FILES = OsFiles()


def is_disk_full(error: OSError) -> bool:
    """Whether space, quota or the largest file size ran out."""
    return error.errno in _FULL


@contextlib.contextmanager
def disk_full(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Turn "no space", "quota exceeded" and "file too large" into DiskFull, which says what was needed and where."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFull(
            f"disk full: {needed_bytes:,} more bytes are needed in {folder} ({error.strerror}); "
            "the last commit and the journal are whole: free some space and repeat"
        ) from error
