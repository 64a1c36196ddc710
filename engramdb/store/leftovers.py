"""What a killed writer leaves over, and how the next one removes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from engramdb.errors import CatalogDamaged, EngramError
from engramdb.store.catalog import Catalog
from engramdb.store.files import Files
from engramdb.store.history import History
from engramdb.store.journal import JournalReader
from engramdb.store.lock import remove_dead_pins
from engramdb.store.upkeep.retention import THINNING, thinning


def leftovers(engram: Path, catalog: Catalog) -> Iterator[Path]:
    """Packs that no commit names and journals of no branch's head, by path."""
    named = {f"{name}.pack" for _, name, _ in catalog.select("packs")}
    heads = {f"{branch.line}-{branch.head}" for branch in History(catalog).branches()}
    for folder, known in (("packs", named), ("journal", heads)):
        there = (engram / folder).is_dir()  # verify says so otherwise
        for path in sorted((engram / folder).iterdir()) if there else ():
            if path.name not in known:
                yield path


def remove_leftovers(files: Files, engram: Path, catalog: Catalog) -> None:
    """Delete them, and dead pins. For the writer, under its lock.

    Raises CatalogDamaged, having deleted nothing, where a journal proves that the catalog lost a commit.
    """
    found = list(leftovers(engram, catalog))
    for path in found:
        if path.parent.name == "journal" and _proves_a_lost_commit(files, path, catalog):
            raise CatalogDamaged(
                f"{catalog.path} is damaged: journal {path.name} goes on from a commit that the catalog does not have; "
                "restore the catalog from a copy"
            )
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            files.unlink(path)
    remove_dead_pins(files, engram)
    if thinning(catalog):  # the gc that was about to is dead
        with catalog.transaction():
            catalog.delete("meta", "WHERE key = ?", (THINNING,))


def _proves_a_lost_commit(files: Files, path: Path, catalog: Catalog) -> bool:
    """A frame is only written after its head was committed, unless it was copied from the journal before."""
    try:
        with contextlib.closing(JournalReader(files, path)) as reader:
            if all(frame.copied for frame in reader.frames(reader.head)):
                return False
    except (OSError, EngramError):
        return False  # cut off while it was being created, or not a journal at all
    commit = catalog.select("commits", "WHERE number = ?", (reader.head.commit,))
    return not commit or not catalog.select("lines", "WHERE line = ?", (reader.head.line,))
