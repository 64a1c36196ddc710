"""Which leaf versions any kept commit can see, over the whole table of them, a range of ids at a time.

A line is looked at through its *bounds*: the numbers of its kept commits. The version n of a leaf is seen there if some
bound lies in [n, the leaf's next version). A version that a seen delta lies on is needed too, and so on down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.store.catalog import Catalog
from engramdb.store.pack import DELTA, TOMBSTONE

_COLUMNS = ("low", "number", "kind", "base_line", "base", "pack", "length")
_ROWS_A_RANGE = 1 << 18
_FIRST, _LAST = -(1 << 63), (1 << 63) - 1

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Versions:
    """Rows of one line with ``begin <= low <= end``, sorted by (low, number); ``low`` as the catalog keeps it.

    ``kept``: which of them anything needs. All int64 (n,), but ``kept`` bool.
    """

    line: int
    begin: int
    end: int
    low: Numbers
    number: Numbers
    kind: Numbers
    base_line: Numbers
    base: Numbers
    pack: Numbers
    length: Numbers
    kept: Mask


def versions(
    catalog: Catalog, bounds: Mapping[int, Numbers], parents: Mapping[int, int | None]
) -> Iterator[list[Versions]]:
    """All leaf versions, one range of ids after the other, and in each line by line.

    ``bounds``: of each kept line, sorted. ``parents``: of each line that exists. Rows of other lines are not kept.
    """
    lines = _lines(catalog)
    begin = _FIRST
    while lines:
        end = _end_of_range(catalog, lines, begin)
        needed: dict[int, list[tuple[Numbers, Numbers]]] = {}
        found = []
        for line in reversed(lines):  # a delta lies on a version of its own line or of an older one
            rows = _read(catalog, line, begin, end)
            seen = _seen(rows, bounds.get(line, np.empty(0, np.int64)))
            for low, number in needed.pop(line, []):
                seen[_places(rows, low, number)] = True
            _mark_beneath(line, rows, seen, needed)
            if parents.get(line, line) is None:
                seen &= ~_ending_nothing(rows, seen)
            found.append(Versions(line, begin, end, **dict(zip(_COLUMNS, rows.T, strict=True)), kept=seen))
        yield found
        if end == _LAST:
            return
        begin = end + 1


def _lines(catalog: Catalog) -> list[int]:
    """Lines that have versions, by number; also such as the table of lines does not have any more."""
    found: list[int] = []
    while rows := catalog.rows(
        "SELECT line FROM versions WHERE line > ? ORDER BY line LIMIT 1", (found[-1] if found else _FIRST,)
    ):
        found.append(int(rows[0][0]))
    return found


def _end_of_range(catalog: Catalog, lines: Sequence[int], begin: int) -> int:
    """The last ``low`` of a range that holds about as many rows as fit into memory together."""
    rows_a_line = max(_ROWS_A_RANGE // len(lines), 256)
    ends = [_LAST]
    for line in lines:
        ends += [
            low for (low,) in catalog.rows(
                f"SELECT low FROM versions WHERE line = ? AND low >= ? ORDER BY low LIMIT 1 OFFSET {rows_a_line}",
                (line, begin),
            )
        ]  # fmt: skip
    return min(ends)


def _read(catalog: Catalog, line: int, begin: int, end: int) -> Numbers:
    rows = catalog.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM versions WHERE line = ? AND low BETWEEN ? AND ? ORDER BY low, number",
        (line, begin, end),
    )
    return np.array(rows, np.int64).reshape(-1, len(_COLUMNS))


def _seen(rows: Numbers, bounds: Numbers) -> Mask:
    """Which versions some bound sees, without what lies beneath deltas."""
    low, number = rows[:, 0], rows[:, 1]
    until = np.full(number.size, _LAST)
    again = np.flatnonzero(low[1:] == low[:-1])
    until[again] = number[again + 1]
    place = np.searchsorted(bounds, number)
    seen = place < bounds.size
    seen[seen] = bounds[place[seen]] < until[seen]
    return seen


def _mark_beneath(line: int, rows: Numbers, seen: Mask, needed: dict[int, list[tuple[Numbers, Numbers]]]) -> None:
    """Mark what the seen deltas lie on, and note in ``needed`` what that is in other lines."""
    fresh = np.flatnonzero(seen & (rows[:, 2] == DELTA))
    while fresh.size:
        low, base_line, base = rows[fresh, 0], rows[fresh, 3], rows[fresh, 4]
        for other in np.unique(base_line[base_line != line]).tolist():
            there = base_line == other
            needed.setdefault(other, []).append((low[there], base[there]))
        beneath = _places(rows, low[base_line == line], base[base_line == line])
        beneath = np.unique(beneath[~seen[beneath]])
        seen[beneath] = True
        fresh = beneath[rows[beneath, 2] == DELTA]


def _places(rows: Numbers, low: Numbers, number: Numbers) -> Numbers:
    """Positions of those (low, number) that are there."""
    lows, low_rank = np.unique(rows[:, 0], return_inverse=True)
    numbers, number_rank = np.unique(rows[:, 1], return_inverse=True)
    at_low, at_number = np.searchsorted(lows, low), np.searchsorted(numbers, number)
    there = (at_low < lows.size) & (at_number < numbers.size)
    there[there] = (lows[at_low[there]] == low[there]) & (numbers[at_number[there]] == number[there])
    keys = low_rank * numbers.size + number_rank  # increasing, as the rows are
    wanted = at_low[there] * numbers.size + at_number[there]
    place = np.minimum(np.searchsorted(keys, wanted), max(keys.size - 1, 0))
    return place[keys[place] == wanted]


def _ending_nothing(rows: Numbers, seen: Mask) -> Mask:
    """Tombstones with no kept version before them, in a line without a parent: what they end is gone."""
    kept = np.flatnonzero(seen)
    first = np.ones(kept.size, bool)
    first[1:] = rows[kept[1:], 0] != rows[kept[:-1], 0]
    ending = np.zeros(seen.size, bool)
    ending[kept[first & (rows[kept, 2] == TOMBSTONE)]] = True
    return ending
