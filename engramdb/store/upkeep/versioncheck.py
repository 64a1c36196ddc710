"""verify's part for leaf versions: each record is read, each delta put on what lies beneath it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from engramdb.address import MAX_LOCAL, format_id
from engramdb.growth.bundle import Bundles
from engramdb.store.catalog import Catalog
from engramdb.store.history import Commit, History
from engramdb.store.leaf import decode_delta
from engramdb.store.pack import DELTA, TOMBSTONE, BadRecord
from engramdb.store.reader import LeafReader, describe, good_copies_text
from engramdb.store.upkeep.presence import Presence
from engramdb.store.upkeep.problem import Problem, Report
from engramdb.store.upkeep.recordcheck import Sizes, check_records
from engramdb.store.upkeep.salvage import Salvage
from engramdb.store.versions import SELECTED, LeafRef, ref_of, table_of

_PAGE = 4096
_Key = tuple[int, int, int]  # line, low, number


def stored(catalog: Catalog) -> Iterator[tuple[int, ...]]:
    """All rows of the table ``versions``, by key."""
    condition = f"WHERE (line, low, number) > (?, ?, ?) ORDER BY line, low, number LIMIT {_PAGE}"
    after: tuple[int, ...] = (-(1 << 63), -(1 << 63), -(1 << 63))
    while True:
        rows = catalog.rows(f"SELECT {SELECTED} FROM versions {condition}", after)
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1][:3]


class VersionCheck:
    """Checks leaf versions in the order of their keys, so that what lies beneath a delta has been checked before."""

    def __init__(self, catalog: Catalog, reader: LeafReader, report: Report, packs: Mapping[int, str]) -> None:
        """``packs``: their names by number, which may become known later."""
        self._catalog, self._reader, self._report, self._packs = catalog, reader, report, packs
        self.projections = 1 << 16
        self._history, self._presence = History(catalog), Presence(catalog, reader)
        self._numbers: dict[int, list[int]] = {}
        self._sizes: dict[int, Sizes] = {}
        self._damaged: dict[_Key, int] = {}  # where in the report

    @cached_property
    def _lines(self) -> set[int]:
        return {line for line, _, _ in self._history.lines()}

    def know(self, commit: Commit, sizes: Sizes) -> None:
        """Versions that ``commit`` sees hold neurons of segments of these sizes. In the order of numbers."""
        self._numbers.setdefault(commit.line, []).append(commit.number)
        self._sizes[commit.number] = sizes

    def _sizes_of(self, ref: LeafRef) -> Sizes | None:
        """Of the first commit that sees it: its own may be thinned out. None if there is none."""
        numbers = self._numbers.get(ref.line, [])
        place = bisect.bisect_left(numbers, ref.commit)
        return self._sizes[numbers[place]] if place < len(numbers) else None

    def check(self, row: tuple[int, ...]) -> None:
        """Put what is wrong with one version into the report. Raises CatalogDamaged."""
        ref = ref_of(table_of([row])[0])
        if ref.line not in self._lines:
            note = f"versions of line {ref.line}, which is gone: a gc was cut off, and the next one removes them"
            if note not in self._report.notes:
                self._report.notes.append(note)
            return
        self._report.count(leaves=1, deltas=int(ref.kind == DELTA))
        try:
            root = self._check_delta(ref) if ref.kind == DELTA else None
            if root is not None:  # what it lies on has been told already
                problem = self._report.problems[root]
                self._report.problems[root] = replace(problem, above=[*problem.above, ref.commit])
                self._damaged[ref.line, ref.low, ref.commit] = root
                return
            records = self._reader.check(ref)
            if ref.kind != TOMBSTONE:
                check_records(ref, records, self._sizes_of(ref), self.projections)
        except BadRecord as error:
            self._add(ref, error)
            return
        self._reader.cache.put((ref.pack, ref.offset), records)  # for the deltas on top of it, which come next
        self._report.count(neurons=len(records), synapses=records.synapses)

    def _check_delta(self, ref: LeafRef) -> int | None:
        """The record itself, and what it lies on; the problem of that, if it is damaged. Raises BadRecord."""
        record, now = self._reader.record(ref)
        if now.kind != DELTA:
            return None  # compacted since its row was read
        decode_delta(record)
        beneath = self._reader.beneath(ref)
        if beneath is None:
            raise BadRecord(f"the version beneath it, number {ref.base} of line {ref.base_line}, is missing")
        if self._sizes_of(ref) is not None:  # else no commit sees it: a gc that was interrupted may have taken its line
            seen = self._history.chain(ref.line, ref.commit)
            if not any(line == beneath.line and beneath.commit <= upto for line, upto in seen):
                raise BadRecord(f"it lies on version {beneath.commit} of line {beneath.line}, which it cannot see")
        if (beneath.leaf, beneath.kind == TOMBSTONE) != (ref.leaf, False) or beneath.commit >= ref.commit:
            raise BadRecord(f"it lies on version {beneath.commit}, which is no older one of this leaf")
        if beneath.depth >= ref.depth:  # it may be less deep than that: what lies beneath may have been compacted
            raise BadRecord(f"it is {ref.depth} deltas deep, on a version that is {beneath.depth} deep")
        return self._damaged.get((beneath.line, ref.low, beneath.commit))

    def _add(self, ref: LeafRef, error: BadRecord) -> None:
        good = self._reader.good_copies(ref)
        beneath = self._reader.beneath(ref) if ref.kind == DELTA else None
        whole = beneath is not None and (beneath.line, beneath.low, beneath.commit) not in self._damaged
        heads = self._presence.of_version(ref)
        remedy = good_copies_text(good)
        if beneath is not None and whole:
            remedy += f"; the version beneath it, number {beneath.commit}, is whole"
        if heads and self._covered(ref, heads):
            remedy += ": verify --repair takes the newest good version"
        elif heads:
            remedy += (
                ", nor has any other version of all its neurons: restore the engram from a copy, or give up what has "
                "none with verify --repair --drop-lost"
            )
        kind = "delta of " if ref.kind == DELTA else "end of " if ref.kind == TOMBSTONE else ""
        self._damaged[ref.line, ref.low, ref.commit] = len(self._report.problems)
        self._report.problems.append(
            Problem(
                what=f"{kind}{describe(ref)} of commit {ref.commit} is damaged: {error}",
                where=self._reader.where(ref),
                pack=self._packs.get(ref.pack),
                offset=ref.offset,
                leaf=ref.leaf,
                ids=f"{format_id(ref.first)}-{format_id(ref.last)}",
                good_in=good,
                beneath=beneath.commit if beneath is not None and whole else None,
                heads=heads,
                past=not heads,
                remedy=remedy,
            )
        )

    def _covered(self, ref: LeafRef, heads: list[str]) -> bool:
        """Whether repair finds a good version of all neurons of the leaf, for each of the branches ``heads``."""
        for branch, chain, directory in self._presence.heads:
            if branch.name in heads:
                table = directory.table(ref.low >> 32)
                place = int(table.locate(np.array([ref.low], np.uint64))[0])
                last = int(table.rows["low"][place + 1]) - 1 if place + 1 < len(table) else ref.low | MAX_LOCAL
                sizes = Bundles.from_json(self._history.bundles(chain)).sizes
                salvage = Salvage(self._catalog, self._reader, sizes, self.projections)
                if salvage.of(table[place], chain, last).uncovered:
                    return False
        return True
