"""Folders beside a future engram in which it is made, each held by a lock while its maker lives.

What a killed maker leaves can therefore be told from what another one is at: the next maker of the same engram goes on
in it, or removes it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engramdb import __version__
from engramdb.errors import AlreadyExists, NotFound
from engramdb.kernels import KERNEL_VERSION
from engramdb.store.files import OS_FILES, Files
from engramdb.store.pack import new_name

_LOCK, _PURPOSE = "lock", "purpose"


@contextlib.contextmanager
def workplace(
    path: Path, purpose: Mapping[str, Any] | None = None, *, keep: str = "engram", files: Files = OS_FILES
) -> Iterator[Path]:
    """A folder on the file system of ``path``, removed at the end, whatever it is, with all that is in it.

    ``purpose``: all that the result depends on, as JSON can hold it. Where a maker of ``path`` with the same purpose
    and the same version of EngramDB was killed, it is that one's folder, in which only what is called ``keep`` was
    left; otherwise it is empty, and what killed makers of ``path`` left is gone. Raises :class:`AlreadyExists` where
    something is at ``path``, :class:`NotFound` without a parent folder.
    """
    check_free(path, files)
    same = None if purpose is None else json.dumps({**purpose, "engramdb": __version__, "kernel": KERNEL_VERSION})
    folder: Path | None = None
    lock = -1
    for left, handle in _abandoned(path, files):
        if folder is None and same is not None and _read(left / _PURPOSE) == same:
            folder, lock = left, handle
        else:
            _remove(left)
            files.close(handle)
    if folder is None:
        folder, lock = claim(path, files)
        if same is not None:
            (folder / _PURPOSE).write_text(same, encoding="utf-8")
    try:
        _empty(folder, (_LOCK, _PURPOSE, keep))
        yield folder
    finally:
        _remove(folder)
        files.close(lock)


def check_free(path: Path, files: Files) -> None:
    """Raise :class:`AlreadyExists` where something is at ``path``, :class:`NotFound` without a parent folder."""
    if path.exists() or path.is_symlink():
        clear_abandoned(path, files)  # nobody will go on making what is there
        raise AlreadyExists(f"{path} exists already; choose another path or remove it first")
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent} is not a folder; make it first, or choose another path")


def claim(path: Path, files: Files) -> tuple[Path, int]:
    """A new folder beside ``path``, and the handle that holds its lock: close it when the folder is gone or in place.

    All that is in it is a file called ``lock``.
    """
    while True:
        folder = path.parent / f"{_prefix(path)}{new_name()}"
        files.mkdir(folder)
        try:
            handle = files.create(folder / _LOCK)
        except FileNotFoundError:
            continue  # before there was a lock, another maker took the folder for a dead one's
        except BaseException:
            _remove(folder)
            raise
        if files.flock(handle, exclusive=True) and (folder / _LOCK).exists():
            return folder, handle
        files.close(handle)  # and here, before it was held


def clear_abandoned(path: Path, files: Files) -> None:
    """Remove what makers of ``path`` left that were killed."""
    for folder, handle in _abandoned(path, files):
        _remove(folder)
        files.close(handle)


def put_in_place(made: Path, path: Path, *, files: Files = OS_FILES) -> None:
    """Move the finished engram ``made`` to ``path``, where it is whole from the first moment, and durable on return."""
    taken = f"{path} came to be while it was being made; nothing was changed there"
    if path.exists():  # renaming would replace an empty folder
        raise AlreadyExists(taken)
    try:
        files.replace(made, path)
    except (FileExistsError, NotADirectoryError) as error:
        raise AlreadyExists(taken) from error
    files.fsync_dir(path.parent)


def _prefix(path: Path) -> str:
    return f".{path.name}.making-"


def _abandoned(path: Path, files: Files) -> Iterator[tuple[Path, int]]:
    """Folders of makers of ``path`` that are no more, and the handle that holds each from now on."""
    pattern = "".join(f"[{c}]" if c in "*?[" else c for c in _prefix(path))
    for folder in sorted(path.parent.glob(f"{pattern}*")):
        try:
            handle = files.open(folder / _LOCK, write=True)
        except FileNotFoundError:
            with contextlib.suppress(OSError):  # its maker has just begun, and its lock is there by now
                folder.rmdir()
            continue
        except OSError:
            continue  # another user's
        if files.flock(handle, exclusive=True):
            yield folder, handle
        else:
            files.close(handle)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _remove(folder: Path) -> None:
    """As far as it can be; the lock last, so that a folder without one is empty."""
    _empty(folder, (_LOCK,))
    with contextlib.suppress(OSError):
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _empty(folder: Path, spared: tuple[str, ...]) -> None:
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if entry.name in spared:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
