"""A folder beside a future engram in which it is made, and which leaves no trace, not even after a kill."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engramdb.errors import AlreadyExists, NotFound
from engramdb.store.files import OS_FILES, Files

_LOCK = "lock"


@contextlib.contextmanager
def workplace(path: Path, *, files: Files = OS_FILES) -> Iterator[Path]:
    """A new empty folder on the file system of ``path``, removed at the end with all that is in it.

    First removes what imports to the same path left that were killed: their folders are those that nobody holds the
    lock of. Raises :class:`AlreadyExists` where something is at ``path``, :class:`NotFound` without a parent folder.
    """
    if path.exists() or path.is_symlink():
        raise AlreadyExists(f"{path} exists already; choose another path")
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent} is no folder: make it first, or choose another path")
    prefix = f".{path.name}.import-"
    for left in sorted(path.parent.glob(f"{_escaped(prefix)}*/{_LOCK}")):
        _remove_unless_held(left, files)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        lock = files.create(work / _LOCK)
        try:
            files.flock(lock, exclusive=True)
            yield work
        finally:
            files.close(lock)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def publish(made: Path, path: Path, *, files: Files = OS_FILES) -> None:
    """Move the finished engram ``made`` to ``path``, where it is whole from the first moment, and durable on return."""
    if path.exists():  # renaming would replace an empty folder
        raise AlreadyExists(f"{path} came to be while the import was running; nothing was changed there")
    try:
        made.rename(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise AlreadyExists(f"{path} came to be while the import was running; nothing was changed there") from error
    files.fsync_dir(path.parent)


def _remove_unless_held(lock: Path, files: Files) -> None:
    try:
        handle = files.open(lock, write=True)
    except OSError:
        return  # gone, or another user's
    try:
        if files.flock(handle, exclusive=True):
            shutil.rmtree(lock.parent, ignore_errors=True)
    finally:
        files.close(handle)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
