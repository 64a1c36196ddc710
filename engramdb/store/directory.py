"""The directory: which leaf holds an id, at one place in history.

Leaves divide the ids of a segment between them: a leaf holds ids from its ``low`` up to the next leaf's,
and the first leaf's ``low`` is the segment's first id. ``low`` never changes while a leaf exists.

A segment's leaves are loaded as sorted arrays when it is written to or looked at often; before that, each
lookup is one descent in the catalog, so that opening costs nothing, however many leaves there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.store.catalog import Catalog, signed
from engramdb.store.history import Chain
from engramdb.store.versions import NEWEST_SELECTED, SELECTED, TABLE, LeafRef, Table, ref_of, table_of

_LOCAL_MASK = (1 << 32) - 1
_SEEKS_BEFORE_LOADING = 1000  # a descent takes about 15 us, loading a leaf's row about 3


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

    def locate(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """Position of the leaf that would hold each id (ids of this segment; the table must not be empty)."""
        return np.searchsorted(self._lows, ids, side="right") - 1

    def put(self, refs: Sequence[LeafRef]) -> None:
        """Replace leaves of the same ``low`` and add the others; ``refs`` are sorted by ``low``."""
        fresh: Table = np.array(refs, TABLE)
        place = np.searchsorted(self._lows, fresh["low"])
        known = np.zeros(len(refs), bool)
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
        self._unnamed: dict[int, LeafRef] = {}

    def locate(self, ids: IdArray) -> list[tuple[LeafRef, int, int]]:
        """``(leaf, start, stop)`` for sorted ids: the leaf holds those of ``ids[start:stop]`` that exist at all."""
        found: list[tuple[LeafRef, int, int]] = []
        for segment, start, stop in by_segment(ids):
            table = self._tables.get(segment)
            if table is None and self._seeks.get(segment, 0) < _SEEKS_BEFORE_LOADING:
                start, sought = self._seek_each(segment, ids, start, stop)
                found += sought
            if start < stop:
                table = self.table(segment)
                if len(table):
                    position = table.locate(ids[start:stop])
                    edges = [0, *(np.flatnonzero(np.diff(position)) + 1).tolist(), stop - start]
                    found += [(table[int(position[a])], start + a, start + b) for a, b in itertools.pairwise(edges)]
        return found

    def _seek_each(
        self, segment: int, ids: IdArray, start: int, stop: int
    ) -> tuple[int, list[tuple[LeafRef, int, int]]]:
        """Look up ids one leaf at a time; ``(where it stopped because that became many, what it found)``."""
        found = []
        while start < stop and self._seeks.get(segment, 0) < _SEEKS_BEFORE_LOADING:
            self._seeks[segment] = self._seeks.get(segment, 0) + 1
            ref = self._seek(int(ids[start]))
            end = start + 1
            if ref is not None:
                end = max(end, start + int(np.searchsorted(ids[start:stop], np.uint64(ref.last), side="right")))
                found.append((ref, start, end))
            start = end
        return start, found

    def _seek(self, neuron: int) -> LeafRef | None:
        best: LeafRef | None = None
        for line, upto in self._chain:
            rows = self._catalog.rows(
                f"SELECT {SELECTED} FROM versions WHERE line = ? AND low BETWEEN ? AND ? AND number <= ? "
                "ORDER BY low DESC, number DESC LIMIT 1",
                (line, signed(neuron & ~_LOCAL_MASK), signed(neuron), upto),
            )
            if rows:
                ref = ref_of(table_of(rows)[0])
                if best is None or ref.low > best.low:
                    best = ref
        return best

    def table(self, segment: int) -> LeafTable:
        """The leaves of a segment (an id without its lowest 32 bits, shifted down), loaded if they are not yet."""
        table = self._tables.get(segment)
        if table is None:
            parts = []
            for line, upto in self._chain:
                rows = self._catalog.rows(
                    f"SELECT {NEWEST_SELECTED} FROM versions "
                    "WHERE line = ? AND low BETWEEN ? AND ? AND number <= ? GROUP BY low",
                    (line, signed(segment << 32), signed(segment << 32 | _LOCAL_MASK), upto),
                )
                parts.append(table_of(rows))
            together = np.concatenate(parts)
            # the first of equals is the nearest line's, and an ancestor's version is older than any of its own
            _, newest = np.unique(together["low"], return_index=True)
            table = LeafTable(together[newest])
            self._tables[segment] = table
        return table

    def segments(self, layer: int | None = None) -> list[int]:
        """Segments that have leaves, sorted, as (layer << 16 | segment)."""
        found = {segment for segment, table in self._tables.items() if len(table)}
        for line, upto in self._chain:
            low = 0
            while low < 1 << 64:
                rows = self._catalog.rows(
                    f"SELECT {SELECTED} FROM versions WHERE line = ? AND low >= ? AND number <= ? ORDER BY low LIMIT 1",
                    (line, signed(low), upto),
                )
                if not rows:
                    break
                segment = ref_of(table_of(rows)[0]).low >> 32
                found.add(segment)
                low = (segment + 1) << 32
        return sorted(segment for segment in found if layer is None or segment >> 16 == layer)

    def leaves(self, layer: int | None = None) -> Iterator[LeafRef]:
        """All leaves of one layer or of all, by id."""
        for segment in self.segments(layer):
            table = self.table(segment)
            for position in range(len(table)):
                yield table[position]

    def put(self, refs: Iterable[LeafRef]) -> None:
        """New versions by the writer; unnamed until :meth:`named`."""
        ordered = sorted(refs, key=lambda ref: ref.low)
        lows = np.array([ref.low for ref in ordered], np.uint64)
        for segment, start, stop in by_segment(lows):
            self.table(segment).put(ordered[start:stop])
        self._unnamed.update((ref.low, ref) for ref in ordered)

    @property
    def unnamed(self) -> list[LeafRef]:
        """Versions that no commit names yet."""
        return list(self._unnamed.values())

    def named(self) -> None:
        """A commit names all versions now."""
        self._unnamed.clear()


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
