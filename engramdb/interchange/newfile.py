"""A file that is made beside its place and moved there when it is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engramdb.errors import DiskFull, InvalidInput
from engramdb.store.files import OS_FILES, is_disk_full
from engramdb.store.workplace import put_in_place, workplace

_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Where to write what shall be the file ``out``: whole and durable on return, or not there at all.

    Raises AlreadyExists, NotFound (the parent folder), DiskFull, and InvalidInput where the folder refuses.
    """
    with in_words(out), workplace(out) as work:
        made = work / out.name
        yield made
        _sync(made)
        put_in_place(made, out)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """As :func:`new_file`, a folder with files, to be filled."""
    with in_words(out), workplace(out) as work:
        made = work / "made"
        made.mkdir()
        yield made
        for folder, _, names in os.walk(made):
            for name in names:
                _sync(Path(folder, name))
            OS_FILES.fsync_dir(Path(folder))
        put_in_place(made, out)


def _sync(path: Path) -> None:
    handle = OS_FILES.open(path)
    try:
        OS_FILES.fsync(handle)
    finally:
        OS_FILES.close(handle)


@contextmanager
def in_words(out: Path) -> Iterator[None]:
    """What the file system says of ``out``, in our words. Libraries wrap what it says in texts of their own."""
    try:
        yield
    except PermissionError as error:
        raise InvalidInput(f"{error.filename or out}: permission denied") from error
    except (OSError, RuntimeError) as error:
        full = isinstance(error, OSError) and is_disk_full(error)
        if not full and not any(words in str(error) for words in _FULL):
            raise
        raise DiskFull(
            f"disk full: {out.parent} has no room for {out.name}; nothing was left there: free some space and repeat"
        ) from error
