"""Which branches need something at their head: the present, as opposed to what only history needs."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from engramdb.errors import EngramError
from engramdb.store.catalog import Catalog
from engramdb.store.directory import Directory
from engramdb.store.history import Branch, Chain, History
from engramdb.store.labels import BlockRef
from engramdb.store.pack import DELTA
from engramdb.store.reader import LeafReader
from engramdb.store.traces import TraceRef, visible
from engramdb.store.versions import SELECTED, LeafRef, ref_of, table_of


class Presence:
    """Looks at the heads of all branches, for the few things that turn out to be damaged."""

    def __init__(self, catalog: Catalog, reader: LeafReader) -> None:
        self._catalog, self._reader = catalog, reader
        self._history = History(catalog)

    @cached_property
    def heads(self) -> list[tuple[Branch, Chain, Directory]]:
        """Every branch whose line can be followed, what is visible there, and its leaves."""
        found = []
        for branch in self._history.branches():
            try:
                chain = self._history.chain(branch.line, branch.head)
            except EngramError:
                continue  # the catalog is damaged there, and that is a problem of its own
            found.append((branch, chain, Directory(self._catalog, chain)))
        return found

    def of_version(self, ref: LeafRef) -> list[str]:
        """Branches whose head sees the version, or a delta above it."""
        return [branch.name for branch, _, directory in self.heads if self._needs(directory, ref)]

    def _needs(self, directory: Directory, wanted: LeafRef) -> bool:
        try:
            for found, _, _ in directory.locate(np.array([wanted.low], np.uint64)):
                below: LeafRef | None = found
                for _ in range(found.depth + 1):
                    if below is None or below.low != wanted.low:
                        break
                    if (below.line, below.commit) == (wanted.line, wanted.commit):
                        return True
                    below = self._reader.beneath(below) if below.kind == DELTA else None
        except EngramError:
            return True  # nobody can tell
        return False

    def of_commit(self, number: int) -> list[str]:
        """Branches that stand at a commit."""
        return [branch.name for branch, _, _ in self.heads if branch.head == number]

    def of_labels(self, block: BlockRef) -> list[str]:
        """Branches whose head sees a block of labels."""
        return [
            branch.name
            for branch, chain, _ in self.heads
            if any(line == block.line and block.commit <= upto for line, upto in chain)
        ]

    def of_trace(self, ref: TraceRef) -> list[str]:
        """Branches whose head has the trace."""
        return [branch.name for branch, chain, _ in self.heads if visible(self._catalog, chain).get(ref.name) == ref]

    def of_pack(self, pack: int) -> list[str]:
        """Branches whose head needs a record in a pack."""
        names: set[str] = set()
        for row in self._catalog.rows(f"SELECT {SELECTED} FROM versions WHERE pack = ?", (pack,)):
            if len(names) == len(self.heads):
                break
            names.update(self.of_version(ref_of(table_of([row])[0])))
        for row in self._catalog.select("labels", "WHERE pack = ?", (pack,)):
            names.update(self.of_labels(BlockRef.of_row(row)))
        for row in self._catalog.select("traces", "WHERE pack = ?", (pack,)):
            names.update(self.of_trace(TraceRef(*row)))
        for commit, _ in self._history.commits("WHERE state_pack = ?", (pack,)):
            names.update(self.of_commit(commit.number))
        return sorted(names)
