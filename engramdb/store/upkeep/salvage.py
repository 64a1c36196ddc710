"""The newest good version of the neurons of a damaged leaf, wherever history has one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.store.catalog import Catalog, signed
from engramdb.store.changes import find_in
from engramdb.store.directory import Directory
from engramdb.store.history import Chain, Commit, History
from engramdb.store.pack import LEAF, TOMBSTONE, BadRecord
from engramdb.store.reader import LeafReader
from engramdb.store.records import Records, concatenate
from engramdb.store.upkeep.recordcheck import Sizes, check_records
from engramdb.store.versions import SELECTED, LeafRef, Table, ref_of, table_of

_LOCAL_MASK = (1 << 32) - 1
Range = tuple[int, int]
"""First and last id, both included."""


@dataclass(frozen=True)
class Source:
    """A version that neurons were taken from. ``tick`` and ``created`` are of the first commit that had it, if kept."""

    line: int
    number: int
    neurons: int
    tick: int | None
    created: str | None


@dataclass(frozen=True)
class Salvaged:
    """What could be found of a leaf: ``records`` and where from. ``uncovered``: ranges of ids of which no version is
    whole. ``lost``: neurons that the leaf had and ``records`` have not; None where the damage hides which."""

    records: Records
    sources: tuple[Source, ...]
    uncovered: tuple[Range, ...]
    lost: IdArray | None


class Salvage:
    """Looks for good versions: first along a branch's own history, newest first, then on other lines.

    A version answers for the range of ids that its leaf had then: neurons of it that the version does not have were not
    stored. ``sizes`` and ``projections`` are what a row may refer to.
    """

    def __init__(self, catalog: Catalog, reader: LeafReader, sizes: Sizes, projections: int) -> None:
        self._catalog, self._reader = catalog, reader
        self._sizes, self._projections = sizes, projections
        self._history = History(catalog)
        self._rows: dict[int, Table] = {}
        self._lows: dict[tuple[int, int, int], IdArray] = {}

    def of(self, damaged: LeafRef, chain: Chain, last: int) -> Salvaged:
        """``last``: the largest id that the leaf may hold."""
        uncovered: list[Range] = [(damaged.low, last)]
        parts: list[Records] = []
        sources: list[Source] = []
        known = self._ids_of(damaged)
        for candidate in self._candidates(damaged, chain, last):
            answers, open_ = _cut(uncovered, (candidate.low, self._end(candidate)))
            if not answers:
                continue
            try:
                records = self._reader.check(candidate)
                check_records(candidate, records, self._sizes, self._projections)
            except BadRecord:
                continue
            inside = np.zeros(len(records), bool)
            for low, high in answers:
                inside |= (records.ids >= np.uint64(low)) & (records.ids <= np.uint64(high))
            if known is not None:  # what has been forgotten since is not to come back
                inside &= find_in(known, records.ids)[1]
            uncovered = open_
            taken = records.take(np.flatnonzero(inside))
            parts.append(taken)
            sources.append(self._source(candidate, len(taken)))
            if not uncovered:
                break
        order = sorted((part for part in parts if len(part)), key=lambda part: int(part.ids[0]))
        records = concatenate(_disjoint(order))
        lost = None if known is None else np.setdiff1d(known, records.ids, assume_unique=True)
        return Salvaged(records, tuple(sources), tuple(uncovered), lost)

    def _ids_of(self, damaged: LeafRef) -> IdArray | None:
        """Which neurons the leaf has, where that part of it can be read."""
        try:
            record, now = self._reader.record(damaged)
            if now.kind != LEAF:
                return None
            ids: IdArray = record.column("id")
        except BadRecord:
            return None
        return ids if ids.dtype == np.uint64 and ids.shape == (damaged.rows,) else None

    def _candidates(self, damaged: LeafRef, chain: Chain, last: int) -> Iterator[LeafRef]:
        """Versions of leaves that hold ids of the range."""
        rows = self._segment(damaged.low >> 32)
        held = (rows["low"] <= np.uint64(last)) & (rows["last"] >= np.uint64(damaged.low))
        own: list[LeafRef] = []
        other: list[LeafRef] = []
        seen = dict(chain)
        for entry in rows[held & (rows["kind"] != TOMBSTONE)]:
            ref = ref_of(entry)
            if (ref.line, ref.low, ref.commit) != (damaged.line, damaged.low, damaged.commit):
                (own if ref.commit <= seen.get(ref.line, -1) else other).append(ref)
        for found in (own, other):
            yield from sorted(found, key=lambda ref: (-ref.commit, ref.low))

    def _segment(self, segment: int) -> Table:
        """All versions of leaves of a segment, on all lines; the last one asked for is kept."""
        if segment not in self._rows:
            first = signed(segment << 32), signed(segment << 32 | _LOCAL_MASK)
            sql = f"SELECT {SELECTED} FROM versions WHERE line = ? AND low BETWEEN ? AND ?"
            parts = [table_of(self._catalog.rows(sql, (line, *first))) for line, _, _ in self._history.lines()]
            self._rows = {segment: np.concatenate(parts)}
        return self._rows[segment]

    def _end(self, ref: LeafRef) -> int:
        """The last id that the leaf could hold when it was written."""
        segment = ref.low >> 32
        place_then = ref.line, ref.commit, segment
        if place_then not in self._lows:
            table = Directory(self._catalog, self._history.chain(ref.line, ref.commit)).table(segment)
            self._lows = {place_then: table.rows["low"]}
        lows = self._lows[place_then]
        place = int(np.searchsorted(lows, np.uint64(ref.low), side="right"))
        return int(lows[place]) - 1 if place < lows.size else segment << 32 | _LOCAL_MASK

    def _source(self, ref: LeafRef, neurons: int) -> Source:
        commit: Commit | None = None
        for found, _ in self._history.commits(
            "WHERE line = ? AND number >= ? ORDER BY number LIMIT 1", (ref.line, ref.commit)
        ):
            commit = found
        return Source(
            ref.line, ref.commit, neurons, None if commit is None else commit.tick,
            None if commit is None else commit.created,
        )  # fmt: skip


def _cut(uncovered: list[Range], extent: Range) -> tuple[list[Range], list[Range]]:
    """``(the parts of uncovered inside extent, the others)``."""
    inside: list[Range] = []
    outside: list[Range] = []
    for low, high in uncovered:
        first, last = max(low, extent[0]), min(high, extent[1])
        if first > last:
            outside.append((low, high))
            continue
        inside.append((first, last))
        outside += [part for part in ((low, first - 1), (last + 1, high)) if part[0] <= part[1]]
    return inside, outside


def _disjoint(parts: list[Records]) -> list[Records]:
    """Parts whose ranges of ids do not interlace, sorted; a part that another lies in the middle of is cut there."""
    if len(parts) < 2:
        return parts
    owner = np.concatenate([np.full(len(part), place) for place, part in enumerate(parts)])
    place = np.concatenate([np.arange(len(part)) for part in parts])
    order = np.argsort(np.concatenate([part.ids for part in parts]), kind="stable")
    owner, place = owner[order], place[order]
    cuts: npt.NDArray[np.int64] = np.flatnonzero(np.diff(owner)) + 1
    return [
        parts[int(owner[start])].part(int(place[start]), int(place[stop - 1]) + 1)
        for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), owner.size], strict=True)
    ]
