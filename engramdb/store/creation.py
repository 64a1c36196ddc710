"""Creating an engram: built beside its place and renamed, so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from engramdb.errors import AlreadyExists, EngramError, NotFound
from engramdb.kernels import KERNEL_VERSION
from engramdb.store.catalog import FILE_NAME, Catalog
from engramdb.store.files import Files, disk_full
from engramdb.store.history import Commit, commit_row, now
from engramdb.store.journal import JournalHead, create_journal, journal_path
from engramdb.store.pack import new_name

_FOLDERS = ("packs", "journal", "pins")


def create_engram(path: Path, spec: str, bundles: str, files: Files) -> None:
    """An engram with one commit at tick 0, durable on return. ``spec`` and ``bundles`` are JSON documents.

    Raises AlreadyExists, NotFound where the parent folder is missing, DiskFull.
    """
    parent = path.parent
    if path.exists() or path.is_symlink():
        raise AlreadyExists(f"{path} exists already; choose another path or remove it first")
    if not parent.is_dir():
        raise NotFound(f"{parent} is not a folder; make it first")
    unfinished = parent / f".{path.name}.{new_name()}"
    try:
        with disk_full(parent, 1 << 17):
            files.mkdir(unfinished)
            _fill(unfinished, spec, bundles, files)
            files.replace(unfinished, path)
            files.fsync_dir(parent)
    except OSError as error:
        if path.exists():  # made by another process in the meantime
            raise AlreadyExists(f"{path} exists already; choose another path or remove it first") from error
        raise EngramError(
            f"{path} cannot be created: {error.strerror}; check the disk and the permissions of {parent}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # gone already when all went well


def _fill(folder: Path, spec: str, bundles: str, files: Files) -> None:
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
    files.close(files.create(folder / "lock"))
    catalog_file = files.open(folder / FILE_NAME, write=True)
    try:
        files.fsync(catalog_file)
    finally:
        files.close(catalog_file)
    for name in (*_FOLDERS, "."):
        files.fsync_dir(folder / name)
