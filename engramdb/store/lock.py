"""The writer's lock and the readers' pins: files held by flock, so that a dead process holds nothing.

What is written inside them is only for messages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import weakref
from pathlib import Path

from engramdb.errors import Locked
from engramdb.store.files import Files
from engramdb.store.pack import new_name

_UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT})


# Forked children share what their parent has open. Were theirs not closed, the parent's locks would last as long as
# they live, after it has closed or died.
_held: weakref.WeakSet[WriterLock | Pin] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in list(_held):
        lock.forsake()


os.register_at_fork(after_in_child=_let_go_in_child)


def _holder() -> bytes:
    return f"process {os.getpid()} on {socket.gethostname()}\n".encode()


class WriterLock:
    """Held by the one writer until closed. Raises Locked, naming who holds it."""

    def __init__(self, files: Files, engram: Path) -> None:
        self._files = files
        path = engram / "lock"
        try:
            self._handle = files.open(path, write=True)
        except FileNotFoundError:
            self._handle = files.create(path)
        if not files.flock(self._handle, exclusive=True):
            holder = files.pread(self._handle, 256, 0).decode(errors="replace").strip() or "another process"
            files.close(self._handle)
            raise Locked(f"{engram} is being written by {holder}: wait until it closes, or open it for reading")
        with contextlib.suppress(OSError):  # the lock holds without its text, on a full disk too
            files.truncate(self._handle, 0)
            files.write(self._handle, _holder(), 0)
        _held.add(self)

    def forsake(self) -> None:
        """Close a forked child's copy; the parent's lock holds."""
        _held.discard(self)
        self._files.close(self._handle)

    def close(self) -> None:
        _held.discard(self)
        self._files.close(self._handle)


class Pin:
    """A reader's claim on a commit: nothing that it needs is deleted while the file ``pins/<commit>-<ulid>`` is held.

    Where the folder cannot be written to there is no pin, and no one who could delete anything either.
    """

    def __init__(self, files: Files, engram: Path, commit: int) -> None:
        self._files = files
        self._path: Path | None = None
        while self._path is None:
            path = engram / "pins" / f"{commit}-{new_name()}"
            try:
                handle = files.create(path)
            except OSError as error:
                if error.errno in _UNWRITABLE:
                    return
                raise
            # between the two calls a writer may have taken the file for a dead reader's
            if files.flock(handle, exclusive=False) and path.exists():
                self._handle, self._path = handle, path
                _held.add(self)
            else:
                files.close(handle)

    def forsake(self) -> None:
        """Close a forked child's copy; the parent's pin holds."""
        _held.discard(self)
        self._path = None
        self._files.close(self._handle)

    def close(self) -> None:
        _held.discard(self)
        if self._path is not None:
            with contextlib.suppress(OSError):  # the writer removes what is not held
                self._files.unlink(self._path)
            self._files.close(self._handle)
            self._path = None


def living_pins(files: Files, engram: Path) -> set[int]:
    """The commits at which living readers stand."""
    commits = set()
    for path in sorted((engram / "pins").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # its reader just closed it
            handle = files.open(path)
            try:
                if not files.flock(handle, exclusive=True):
                    commits.add(int(path.name.split("-")[0]))
            finally:
                files.close(handle)
    return commits


def remove_dead_pins(files: Files, engram: Path) -> None:
    """Delete pins that no living reader holds. For the writer."""
    for path in sorted((engram / "pins").iterdir()):
        with contextlib.suppress(OSError):  # its reader just closed it
            handle = files.open(path)
            try:
                if files.flock(handle, exclusive=True):
                    files.unlink(path)
            finally:
                files.close(handle)
