"""Copies of a catalog: as of one moment, cut back to one commit, compressed for a journey and unpacked after it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

from engramdb.errors import CatalogDamaged
from engramdb.store.catalog import FILE_NAME, Catalog
from engramdb.store.files import disk_full
from engramdb.store.history import Branch, History
from engramdb.store.remote.pointer import AGAIN

_BLOCK = 1 << 20
_LEVEL = 3  # a higher one takes three times as long for a tenth fewer bytes


def copy_catalog(engram: Path, folder: Path) -> None:
    """The catalog of ``engram`` in ``folder``, as of now, beside a writer or not. Raises DiskFull."""
    with contextlib.closing(Catalog(engram, write=False)) as catalog:
        catalog.copy(folder / FILE_NAME)


def cut_back(folder: Path, commit: int) -> None:
    """Leave of the catalog in ``folder`` the past of ``commit`` alone, with one branch, ``main``, that ends there."""
    with contextlib.closing(Catalog(folder, write=True)) as catalog:
        history = History(catalog)
        line = history.commit(commit).line
        catalog.rows("CREATE TEMP TABLE seen (line INTEGER PRIMARY KEY, bound INTEGER)")
        with catalog.transaction():
            catalog.remember_numbers()
            for seen, bound in history.chain(line, commit):
                catalog.rows("INSERT INTO seen VALUES (?, ?)", (seen, bound))
            unseen = "NOT EXISTS (SELECT 1 FROM seen WHERE seen.line = {0}.line AND {0}.number <= seen.bound)"
            for table in ("commits", "bundles", "labels", "versions"):
                catalog.delete(table, f"WHERE {unseen.format(table)}", ())
            catalog.delete("lines", "WHERE line NOT IN (SELECT line FROM seen)", ())
            catalog.delete("snapshots", "WHERE number NOT IN (SELECT number FROM commits)", ())
            catalog.delete("branches", "WHERE name <> 'main'", ())
            branch = Branch("main", line, commit)
            catalog.put("branches", (branch.name, branch.line, branch.head))
            catalog.delete(
                "packs",
                "WHERE pack NOT IN (SELECT pack FROM versions UNION SELECT pack FROM labels"
                " UNION SELECT state_pack FROM commits WHERE state_pack IS NOT NULL)",
                (),
            )
        catalog.rows("VACUUM")


def compress(folder: Path, target: Path) -> str:
    """The catalog in ``folder`` as ``target``, whose SHA-256 is returned. Equal catalogs give equal files."""
    with (
        disk_full(target.parent, (folder / FILE_NAME).stat().st_size),
        (folder / FILE_NAME).open("rb") as catalog,
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
    ):
        while block := catalog.read(_BLOCK):
            packed.write(block)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def unpack(parts: AsyncIterator[bytes], folder: Path, sha256: str, name: str) -> None:
    """The way back from :func:`compress`. Raises CatalogDamaged, naming ``name``, and DiskFull."""
    digest, stream = hashlib.sha256(), zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16: with the head that gzip writes
    with disk_full(folder, _BLOCK), (folder / FILE_NAME).open("wb") as catalog:
        try:
            async for part in parts:
                digest.update(part)
                while part:
                    catalog.write(stream.decompress(part, _BLOCK))
                    part = stream.unconsumed_tail
            catalog.write(stream.flush())
        except zlib.error:
            raise CatalogDamaged(f"{name} is damaged: {AGAIN}") from None
    if digest.hexdigest() != sha256 or not stream.eof:
        raise CatalogDamaged(f"{name} fails its checksum: {AGAIN}")
