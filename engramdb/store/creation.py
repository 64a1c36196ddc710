"""Creating an engram: built beside its place and renamed, so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from engramdb.errors import AlreadyExists, EngramError
from engramdb.kernels import KERNEL_VERSION
from engramdb.store.catalog import FILE_NAME, Catalog
from engramdb.store.files import Files, disk_full
from engramdb.store.history import Commit, commit_row, now
from engramdb.store.journal import JournalHead, create_journal, journal_path
from engramdb.store.workplace import check_free, claim, clear_abandoned

_FOLDERS = ("packs", "journal", "pins")


def create_engram(path: Path, spec: str, bundles: str, files: Files) -> None:
    """An engram with one commit at tick 0, durable on return. ``spec`` and ``bundles`` are JSON documents.

    What creations of the same engram left that were killed is removed. Raises AlreadyExists, NotFound where the parent
    folder is missing, DiskFull.
    """
    parent = path.parent
    check_free(path, files)
    try:
        with disk_full(parent, 1 << 17):
            clear_abandoned(path, files)
            unfinished, lock = claim(path, files)
            try:
                _fill(unfinished, spec, bundles, files)
                files.replace(unfinished, path)
                files.fsync_dir(parent)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)  # gone already when all went well
                files.close(lock)
    except OSError as error:
        if path.exists():  # made by another process in the meantime
            raise AlreadyExists(f"{path} exists already; choose another path or remove it first") from error
        raise EngramError(
            f"{path} cannot be created: {error.strerror}; check the disk and the permissions of {parent}"
        ) from error


def _fill(folder: Path, spec: str, bundles: str, files: Files) -> None:
    """All that is in a new engram but the file ``lock``, which is there."""
    for name in _FOLDERS:
        files.mkdir(folder / name)
    engram = os.urandom(16)
    Catalog.create(folder)
    with contextlib.closing(Catalog(folder, write=True)) as catalog, catalog.transaction():
        catalog.put("meta", ("engram", engram.hex()))
        catalog.put("meta", ("spec", spec))
        catalog.put("meta", ("next_leaf", "1"))
        catalog.put("lines", (1, None, None))
        catalog.put("bundles", (1, 1, bundles))
        catalog.put("commits", commit_row(Commit(1, 1, None, 0, now(), "created", 0, 0, 0), None))
        catalog.put("branches", ("main", 1, 1))
    create_journal(files, journal_path(folder, 1, 1), JournalHead(KERNEL_VERSION, 1, 1, 0, engram))
    catalog_file = files.open(folder / FILE_NAME, write=True)
    try:
        files.fsync(catalog_file)
    finally:
        files.close(catalog_file)
    for name in (*_FOLDERS, "."):
        files.fsync_dir(folder / name)
