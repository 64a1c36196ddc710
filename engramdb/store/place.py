"""Where a handle stands: one commit, seen along one line."""

from __future__ import annotations

from dataclasses import dataclass

from engramdb.store.catalog import Catalog
from engramdb.store.directory import Directory
from engramdb.store.history import Commit, History
from engramdb.store.labels import LabelIndex
from engramdb.store.pack import Packs
from engramdb.store.reverse import ReverseIndex
from engramdb.store.traces import TraceIndex


@dataclass(frozen=True)
class Place:
    """``line`` is the line that would be written to: right after a fork the commit still lies in an ancestor.

    ``bundles`` is the bundles document. ``directory`` also holds what the writer has put since the commit.
    """

    line: int
    commit: Commit
    directory: Directory
    bundles: str
    labels: LabelIndex
    traces: TraceIndex
    reverse: ReverseIndex

    @classmethod
    def at(cls, catalog: Catalog, packs: Packs, line: int, commit: int) -> Place:
        history = History(catalog)
        chain = history.chain(line, commit)
        return cls(
            line=line,
            commit=history.commit(commit),
            directory=Directory(catalog, chain),
            bundles=history.bundles(chain),
            labels=LabelIndex(catalog, packs, chain),
            traces=TraceIndex(catalog, packs, chain),
            reverse=ReverseIndex(catalog, packs, chain),
        )
