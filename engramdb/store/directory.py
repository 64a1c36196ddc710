"""The directory: which leaf holds an id, at one place in history.

Leaves divide the ids of a segment between them: a leaf holds ids from its ``low`` up to the next leaf's,
and the first leaf's ``low`` is the segment's first id. ``low`` never changes while a leaf exists.

A segment's leaves are loaded as sorted arrays when it is written to or looked at often; before that, each
lookup is one descent in the catalog, so that opening costs nothing, however many leaves there are.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.store.catalog import Catalog, Row, signed
from engramdb.store.history import Chain
from engramdb.store.leafnumbers import LeafNumbers
from engramdb.store.pack import DELTA, TOMBSTONE
from engramdb.store.versions import NEWEST_SELECTED, SELECTED, TABLE, LeafRef, Table, ref_from, ref_of, table_of

_LOCAL_MASK = (1 << 32) - 1
_SEEKS_BEFORE_LOADING = 1000
_LEAVES_A_SEEK = 8  # that can be loaded in the time of one descent
_PAGE = 4096  # rows of SQLite's, which take ten times the space of a table
_FEW_LINES = 4


class LeafTable:
    """The leaves of one segment, sorted by ``low``."""

    def __init__(self, table: Table) -> None:
        self._rows = table
        self._lows: IdArray = table["low"].copy()
        self._used = table.size

    def __len__(self) -> int:
        return self._used

    def __getitem__(self, position: int) -> LeafRef:
        return ref_of(self._rows[: self._used][position])

    def column(self, name: str) -> npt.NDArray[Any]:
        """One field of all leaves, as TABLE has it; the caller must not change it."""
        return self._rows[name][: self._used]

    @property
    def rows(self) -> Table:
        """All of them as an array, which the caller must not change."""
        return self._rows[: self._used]

    def locate(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """Position of the leaf that would hold each id of this segment; -1 where none would."""
        return np.searchsorted(self._lows, ids, side="right") - 1

    def put(self, refs: Sequence[LeafRef]) -> None:
        """Replace leaves of the same ``low`` and add the others; ``refs`` are sorted by ``low``, the newest of each."""
        ended = [ref.low for ref in refs if ref.kind == TOMBSTONE]
        if ended:
            self._rows = self._rows[: self._used][~np.isin(self._lows, np.array(ended, np.uint64))]
            self._used = self._rows.size
            self._lows = self._rows["low"].copy()
        fresh: Table = np.array([ref for ref in refs if ref.kind != TOMBSTONE], TABLE)
        place = np.searchsorted(self._lows, fresh["low"])
        known = np.zeros(fresh.size, bool)
        inside = place < self._used
        known[inside] = self._lows[place[inside]] == fresh["low"][inside]
        self._rows[place[known]] = fresh[known]
        fresh, place = fresh[~known], place[~known]
        if not fresh.size:
            return
        if place[0] < self._used:
            self._rows = np.insert(self._rows[: self._used], place, fresh)
        else:  # leaves that only come behind: growing by doubling keeps a long import linear
            needed = self._used + fresh.size
            if needed > self._rows.size:
                grown = np.zeros(max(needed, 2 * self._rows.size), TABLE)
                grown[: self._used] = self._rows[: self._used]
                self._rows = grown
            self._rows[self._used : needed] = fresh
        self._used += fresh.size
        self._lows = self._rows["low"][: self._used].copy()


class Directory:
    """The leaves visible along ``chain``, and those the writer has put since."""

    def __init__(self, catalog: Catalog, chain: Chain) -> None:
        self._catalog, self._chain = catalog, chain
        self._tables: dict[int, LeafTable] = {}
        self._seeks: dict[int, int] = {}
        self.unnamed: dict[tuple[int, int], LeafRef] = {}
        """The writer's versions since the last commit, by low and number."""
        self._lock = RLock()  # a thread may commit or compact while another looks up
        self._numbers = LeafNumbers(catalog)

    def locate(self, ids: IdArray) -> list[tuple[LeafRef, int, int]]:
        """``(leaf, start, stop)`` for sorted ids: the leaf holds those of ``ids[start:stop]`` that exist at all."""
        with self._lock:
            return self._locate(ids)

    def _locate(self, ids: IdArray) -> list[tuple[LeafRef, int, int]]:
        found: list[tuple[LeafRef, int, int]] = []
        for segment, start, stop in by_segment(ids):
            table = self._tables.get(segment)
            if table is None:
                start, sought = self._seek_each(segment, ids, start, stop)
                found += sought
            if start < stop:
                table = self.table(segment)
                if len(table):
                    position = table.locate(ids[start:stop])
                    edges = [0, *(np.flatnonzero(np.diff(position)) + 1).tolist(), stop - start]
                    found += [
                        (table[int(position[a])], start + a, start + b)
                        for a, b in itertools.pairwise(edges)
                        if position[a] >= 0
                    ]
        return found

    def _seek_each(
        self, segment: int, ids: IdArray, start: int, stop: int
    ) -> tuple[int, list[tuple[LeafRef, int, int]]]:
        """Look up ids one leaf at a time; ``(where it stopped because that became many, what it found)``."""
        found = []
        while start < stop:
            leaves = self._seek(segment, int(ids[start]))
            if leaves is None:
                break
            end = start + 1
            for ref in leaves:
                end = max(end, start + int(np.searchsorted(ids[start:stop], np.uint64(ref.last), side="right")))
                found.append((ref, start, end))
            start = end
        return start, found

    def _worth_loading(self, segment: int) -> bool:
        """Whether so much was sought that loading all leaves would have cost no more."""
        seeks = self._seeks.get(segment, 0)
        return seeks >= _SEEKS_BEFORE_LOADING and seeks * _LEAVES_A_SEEK >= self._leaves_ever

    @functools.cached_property
    def _leaves_ever(self) -> int:
        return int(self._catalog.meta("next_leaf"))

    def _seek(self, segment: int, neuron: int) -> list[LeafRef] | None:
        """The leaf that would hold it, or none; None where loading all leaves has become cheaper than to find out."""
        upto_low = neuron
        while not self._worth_loading(segment):
            self._seeks[segment] = self._seeks.get(segment, 0) + len(self._chain)
            best: LeafRef | None = None
            for line, upto in self._chain:
                rows = self._catalog.rows(
                    f"SELECT {SELECTED} FROM versions WHERE line = ? AND low BETWEEN ? AND ? AND number <= ? "
                    "ORDER BY low DESC, number DESC LIMIT 1",
                    (line, signed(neuron & ~_LOCAL_MASK), signed(upto_low), upto),
                )
                if rows:
                    ref = ref_from(rows[0])
                    if best is None or ref.low > best.low:
                        best = ref
            if best is not None and best.kind != TOMBSTONE:
                return [best]
            if best is None or best.low & _LOCAL_MASK == 0:
                return []
            upto_low = best.low - 1  # that leaf has ended: its ids are those of the one before it
        return None

    def table(self, segment: int) -> LeafTable:
        """The leaves of a segment (an id without its lowest 32 bits, shifted down), loaded if they are not yet."""
        table = self._tables.get(segment)
        if table is None:
            table = LeafTable(_visible(np.concatenate(list(self._pages(segment)))))
            self._tables[segment] = table
        return table

    def _page(self, line: int, low: int, last: int, upto: int) -> list[Row]:
        """The newest versions of leaves in a line, by ``low``, which like ``last`` is as the catalog keeps it."""
        return self._catalog.rows(
            f"SELECT {NEWEST_SELECTED} FROM versions "
            f"WHERE line = ? AND low BETWEEN ? AND ? AND number <= ? GROUP BY low ORDER BY low LIMIT {_PAGE}",
            (line, low, last, upto),
        )

    def _pages(self, segment: int) -> Iterator[Table]:
        """The newest version of each leaf of a segment in each line, the nearest line first."""
        rows: list[Row] = []
        last = signed(segment << 32 | _LOCAL_MASK)
        for line, upto in self._chain:
            low = signed(segment << 32)
            while True:
                page = self._page(line, low, last, upto)
                rows += page
                if len(rows) >= _PAGE:
                    yield table_of(rows)
                    rows = []
                if len(page) < _PAGE:
                    break
                low = page[-1][1] + 1
        yield table_of(rows)

    def _ranges(self, segment: int) -> Iterator[Table]:
        """All leaves of a segment that is not loaded, by ``low``, a range after the other."""
        low, last = signed(segment << 32), signed(segment << 32 | _LOCAL_MASK)
        while low <= last:
            pages = [self._page(line, low, last, upto) for line, upto in self._chain]
            end = min([page[-1][1] for page in pages if len(page) == _PAGE], default=last)
            yield _visible(table_of([row for page in pages for row in page if row[1] <= end]))
            low = end + 1

    def segments(self, layer: int | None = None) -> list[int]:
        """Segments that have leaves, sorted, as (layer << 16 | segment)."""
        # copied: rows that are made ahead, in a thread, look for their last leaf meanwhile
        found = {segment for segment, table in tuple(self._tables.items()) if len(table)}
        for line, upto in self._chain:
            low = 0
            while low < 1 << 64:
                rows = self._catalog.rows(
                    f"SELECT {SELECTED} FROM versions WHERE line = ? AND low >= ? AND number <= ? ORDER BY low LIMIT 1",
                    (line, signed(low), upto),
                )
                if not rows:
                    break
                segment = ref_from(rows[0]).low >> 32
                found.add(segment)
                low = (segment + 1) << 32
        return sorted(segment for segment in found if layer is None or segment >> 16 == layer)

    def leaves(self, layer: int | None = None) -> Iterator[LeafRef]:
        """All leaves of one layer or of all, by id; those of a segment as they are when it is reached."""
        for segment in self.segments(layer):
            if segment not in self._tables and len(self._chain) <= _FEW_LINES:
                ranges = self._ranges(segment)  # they may be more than fit into memory
            else:
                rows = self.table(segment).rows
                ranges = (rows[start : start + _PAGE] for start in range(0, rows.size, _PAGE))
            for some in ranges:
                yield from map(LeafRef._make, some.tolist())

    def numbered(self, leaf: int) -> LeafRef | None:
        """The leaf of that number, if it is visible here and a commit names it."""
        low = self._numbers.low(leaf)
        found = [] if low is None else self.locate(np.array([low], np.uint64))
        return next((ref for ref, _, _ in found if ref.low == low and ref.leaf == leaf), None)

    def put(self, refs: Iterable[LeafRef]) -> None:
        """New versions by the writer, at most one of each ``low``; unnamed until :meth:`named`."""
        ordered = sorted(refs, key=lambda ref: ref.low)
        self.unnamed.update(((ref.low, ref.commit), ref) for ref in ordered)
        self.replace(ordered)

    def moved(self, refs: Iterable[LeafRef]) -> None:
        """Unnamed versions that lie elsewhere now, or named ones that were compacted: same content, same key."""
        with self._lock:
            current = []
            for ref in sorted(refs, key=lambda ref: ref.low):
                if (ref.low, ref.commit) in self.unnamed:
                    self.unnamed[ref.low, ref.commit] = ref
                table = self.table(ref.low >> 32)
                position = int(table.locate(np.array([ref.low], np.uint64))[0])
                if position >= 0 and table[position][:3] == ref[:3]:  # line, low and commit: it is still the newest
                    current.append(ref)
            self.replace(current)

    def replace(self, ordered: Sequence[LeafRef]) -> None:
        """Let lookups find ``ordered``, sorted by ``low``, instead of what is there."""
        lows = np.array([ref.low for ref in ordered], np.uint64)
        with self._lock:
            for segment, start, stop in by_segment(lows):
                self.table(segment).put(ordered[start:stop])

    def to_name(self) -> list[LeafRef]:
        """The unnamed versions that a commit has to name: the newest of each leaf, and what lies beneath it."""
        newest: dict[int, LeafRef] = {}
        for ref in self.unnamed.values():
            if ref.low not in newest or ref.commit > newest[ref.low].commit:
                newest[ref.low] = ref
        named = []
        for ref in newest.values():
            below: LeafRef | None = ref
            while below is not None:
                named.append(below)
                below = self.unnamed.get((below.low, below.base)) if below.kind == DELTA else None
        return named

    def named(self) -> None:
        """A commit names all versions now."""
        self.unnamed.clear()


def _visible(versions: Table) -> Table:
    """Of each ``low`` the first, without those that have ended; the nearest line's come first.

    An ancestor's version is older than any of a line's own.
    """
    lows = versions["low"]
    if not (lows[1:] > lows[:-1]).all():
        versions = versions[np.unique(lows, return_index=True)[1]]
    ended = versions["kind"] == TOMBSTONE
    return versions[~ended] if ended.any() else versions


def by_segment(ids: IdArray) -> list[tuple[int, int, int]]:
    """``(segment, start, stop)`` of each run of sorted ids that share layer and segment."""
    if not ids.size:
        return []
    first, last = int(ids[0]) >> 32, int(ids[-1]) >> 32
    if first == last:
        return [(first, 0, int(ids.size))]
    segments = ids >> np.uint64(32)
    edges = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), int(ids.size)]
    return [(int(segments[a]), a, b) for a, b in itertools.pairwise(edges)]
