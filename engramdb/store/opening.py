"""What a handle needs before it stands somewhere: the lock or a pin, and where the branch's head is."""

from __future__ import annotations

from pathlib import Path

from engramdb.errors import CatalogDamaged, JournalDamaged, NotFound, ReadOnly
from engramdb.kernels import KERNEL_VERSION
from engramdb.store.catalog import Catalog
from engramdb.store.files import Files
from engramdb.store.history import Branch, History
from engramdb.store.journal import JournalHead
from engramdb.store.lock import Pin, WriterLock
from engramdb.store.upkeep.retention import thinning


def take_lock(files: Files, engram: Path) -> WriterLock:
    """Raises Locked, and ReadOnly where the folder cannot be written to."""
    try:
        return WriterLock(files, engram)
    except OSError as error:
        raise ReadOnly(f"{engram} cannot be written to: {error.strerror}; open it for reading") from error


def head_of(catalog: Catalog, name: str) -> Branch:
    """The branch, whose head is there. Raises NotFound, CatalogDamaged."""
    history = History(catalog)
    branch = history.branch(name)
    try:
        history.commit(branch.head)
    except NotFound as error:
        raise CatalogDamaged(
            f"{catalog.path} is damaged: the head of branch {name} is missing; restore it from a copy"
        ) from error
    return branch


def expected_head(catalog: Catalog, branch: Branch) -> JournalHead:
    """The header that the journal of a branch must have. Raises CatalogDamaged, NotFound."""
    commit = History(catalog).commit(branch.head)
    engram = bytes.fromhex(catalog.meta("engram"))
    return JournalHead(KERNEL_VERSION, branch.line, branch.head, commit.sequence, engram)


def check_journals(engram: Path) -> None:
    """Raises JournalDamaged where their folder is missing: a new one would hide that commands are lost."""
    if not (engram / "journal").is_dir():
        raise JournalDamaged(
            f"{engram} has no folder journal any more, and what was done since the last commits is lost with it: "
            "restore the engram from a copy, or go on from these commits with verify --repair --drop-lost"
        )


def pinned(files: Files, engram: Path, catalog: Catalog, at: str | int | None, branch: str) -> tuple[int, int, Pin]:
    """``(line, commit, pin)`` of a snapshot, a commit or a branch's head.

    Pin first, then look whether the commit is there: then it stays there. Raises NotFound.
    """
    history = History(catalog)
    while True:
        if at is None:
            head = head_of(catalog, branch)
            line, number = head.line, head.head
        else:
            number = history.resolve(at)
            line = history.commit(number).line
        pin = Pin(files, engram, number)
        going = number in thinning(catalog)
        if not going and catalog.rows("SELECT 1 FROM commits WHERE number = ?", (number,)):
            return line, number, pin
        pin.close()  # thinned out between the two: look again where the head or the snapshot is now
        if going and not isinstance(at, str | None):
            raise NotFound(f"there is no commit {number} any more: gc is thinning it out; log --all lists what is kept")


def pack_name(catalog: Catalog, pack: int) -> str:
    """The file name of a pack without its ending; of one that the catalog does not name, a name that no file has."""
    rows = catalog.select("packs", "WHERE pack = ?", (pack,))
    return str(rows[0][1]) if rows else f"number {pack}"
