"""Fetching a published engram: a folder like any other in the end, there whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from engramdb.errors import Conflict, Damaged, InvalidInput
from engramdb.store.catalog import FILE_NAME, Catalog
from engramdb.store.files import OS_FILES, disk_full
from engramdb.store.history import History
from engramdb.store.remote.catalogcopy import cut_back
from engramdb.store.remote.files import FOLDERS, create_journals, fetch_catalog, read_pointer
from engramdb.store.remote.objects import Objects
from engramdb.store.remote.pointer import AGAIN, PackSum, decode_manifest, pack_object
from engramdb.store.workplace import put_in_place, workplace
from engramdb.url import Options, as_url, options_of

Progress = Callable[[int, int], None]
"""``progress(bytes fetched, bytes to fetch)``, called from another thread."""


@dataclass(frozen=True)
class Download:
    """What :func:`download` fetched: ``packs`` with ``pack_bytes``; the engram stands at ``commit``, ``tick``."""

    url: str
    path: str
    commit: int
    tick: int
    packs: int
    pack_bytes: int


def download(
    url: str | Path,
    path: str | Path,
    *,
    at: str | int | None = None,
    storage_options: Options | None = None,
    progress: Progress | None = None,
) -> Download:
    """Fetch the engram published at ``url`` to ``path``, an engram of its own from then on.

    Every byte is checked on its way. ``at``: a snapshot or commit and its past alone. Raises NotAnEngram, NotFound,
    AlreadyExists, Unreachable, Damaged, DiskFull; then nothing is left at ``path``.
    """
    source = as_url(url)
    if source is None:
        raise InvalidInput(f"{url} is no URL: give one such as s3://bucket/brain.engram, or file:///folder")
    path = Path(path)
    with (
        workplace(path) as work,
        contextlib.closing(Objects(source, options_of(url, storage_options))) as objects,
    ):
        unfinished = work / "engram"
        unfinished.mkdir()
        done = _Fetching(objects, unfinished, progress).run(at)
        _sync(unfinished)
        put_in_place(unfinished, path)
    return Download(source, str(path), *done)


class _Fetching:
    def __init__(self, objects: Objects, folder: Path, progress: Progress | None) -> None:
        self._objects, self._folder = objects, folder
        self._progress = progress or (lambda done, total: None)
        self._fetched = self._to_fetch = 0

    def run(self, at: str | int | None) -> tuple[int, int, int, int]:
        """Commit, tick, packs and their bytes."""
        for name in FOLDERS:
            (self._folder / name).mkdir()
        pointer = fetch_catalog(self._objects, self._folder)
        if at is not None:
            with contextlib.closing(Catalog(self._folder, write=False)) as catalog:
                number = History(catalog).resolve(at)
            cut_back(self._folder, number)
        try:
            sums = decode_manifest(self._objects.get(pointer.manifest.name).data, pointer.manifest, self._objects.url)
            with contextlib.closing(Catalog(self._folder, write=False)) as catalog:
                packs = {name: sums[name] for _, name, _ in catalog.select("packs")}
                (head,) = catalog.select("branches", "WHERE name = 'main'")
                commit = History(catalog).commit(head[2])
            self._to_fetch = sum(pack.nbytes for pack in packs.values())
            with disk_full(self._folder, self._to_fetch):
                self._objects.transfer([self._pack(name, pack) for name, pack in packs.items()])
        except FileNotFoundError as error:
            if not self._objects.missing(error):
                raise
            if read_pointer(self._objects)[0].publication != pointer.publication:
                raise Conflict(f"{self._objects.url} has been published anew meanwhile: repeat") from None
            raise Damaged(f"{error.filename} is missing: {AGAIN}") from None
        create_journals(self._folder)
        OS_FILES.close(OS_FILES.create(self._folder / "lock"))
        return commit.number, commit.tick, len(packs), self._to_fetch

    async def _pack(self, name: str, pack: PackSum) -> None:
        handle = OS_FILES.create(self._folder / "packs" / f"{name}.pack")
        try:
            at = crc = 0
            async for part in self._objects.parts(pack_object(name), pack.nbytes):
                OS_FILES.write(handle, part, at)
                at, crc = at + len(part), google_crc32c.extend(crc, part)
                self._fetched += len(part)
                self._progress(self._fetched, self._to_fetch)
            if (at, crc) != (pack.nbytes, pack.crc):
                raise Damaged(f"{self._objects.url}/{pack_object(name)} is damaged: {AGAIN}")
            OS_FILES.fsync(handle)
        finally:
            OS_FILES.close(handle)


def _sync(folder: Path) -> None:
    handle = OS_FILES.open(folder / FILE_NAME, write=True)
    try:
        OS_FILES.fsync(handle)
    finally:
        OS_FILES.close(handle)
    for name in (*FOLDERS, "."):
        OS_FILES.fsync_dir(folder / name)
