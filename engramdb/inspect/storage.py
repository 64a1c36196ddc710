"""Bytes on disk by kind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engramdb.store import Store
from engramdb.url import UrlPath


@dataclass(frozen=True)
class Storage:
    """Bytes on disk.

    ``catalog`` with its write-ahead log, ``packs`` (all commits), ``journal`` and ``other`` make up ``total``.
    ``leaves``: what this commit's records take of the packs; ``bytes_per_record`` of them, None without records.
    """

    total: int
    catalog: int
    packs: int
    journal: int
    other: int
    leaves: int
    bytes_per_record: float | None


def measure(store: Store) -> Storage:
    """The files of ``store`` as they are now; a writer may be adding to them. Of a published engram, its objects."""
    by_kind = {"catalog": 0, "packs": 0, "journal": 0, "other": 0}
    if isinstance(store.path, UrlPath):
        from engramdb.store.remote.files import RemoteStore

        assert isinstance(store, RemoteStore)
        by_kind |= {"catalog": store.pointer.catalog.bytes, "packs": store.pointer.pack_bytes}
    for folder, _, names in os.walk(store.path):
        for name in names:
            file = Path(folder, name)
            try:
                length = file.stat().st_size
            except FileNotFoundError:  # the writer dropped it between listing and looking
                continue
            kind = file.relative_to(store.path).parts[0].split(".")[0]
            by_kind[kind if kind in by_kind else "other"] += length
    leaves = rows = 0
    for leaf in store.directory.leaves():
        leaves += leaf.length
        rows += leaf.rows
    return Storage(
        total=sum(by_kind.values()),
        **by_kind,
        leaves=leaves,
        bytes_per_record=leaves / rows if rows else None,
    )
