"""What goes into the reverse index: synapses of stored rows that no wiring rule can be inverted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from engramdb.address import IdArray, by_layer
from engramdb.store import STORED, Records, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring

_ROWS_AT_ONCE = 1 << 13

Advance = Callable[[int], None]
"""Called with how many neurons have been looked at."""


def all_pairs(store: Store, wiring: Callable[[], Wiring], advance: Advance) -> Iterator[tuple[IdArray, IdArray]]:
    """``(target, source)`` of all stored rows but for what their rules generate, by source."""
    return _pairs(store.scan(), wiring, advance)


def touched_pairs(store: Store, wiring: Callable[[], Wiring]) -> Iterator[tuple[IdArray, IdArray]]:
    """The same of the rows that the index does not know well."""
    touched = store.touched()
    parts = (
        store.find(touched[start : min(start + _ROWS_AT_ONCE, part.stop)], query=True)
        for _, part in by_layer(touched)
        for start in range(part.start, part.stop, _ROWS_AT_ONCE)
    )
    return _pairs(parts, wiring, lambda _: None)


def _pairs(
    records: Iterable[Records], wiring: Callable[[], Wiring], advance: Advance
) -> Iterator[tuple[IdArray, IdArray]]:
    done = 0
    for part in records:
        if part.synapses:
            yield unruled(part, wiring())
        done += len(part)
        advance(done)


def unruled(records: Records, wiring: Wiring) -> tuple[IdArray, IdArray]:
    """``(target, source)`` of the synapses of ``records`` whose target is not in the row that the rules generate."""
    stored = np.flatnonzero(records.row_kind == STORED)
    if len(stored) < len(records):
        records = records.take(stored)
    lengths = np.diff(records.indptr)
    made = wiring.rows(records.ids)
    if made.indptr[-1] == 0:
        return records.target, np.repeat(records.ids, lengths)
    if np.array_equal(made.indptr, records.indptr) and np.array_equal(made.target, records.target):
        return records.target[:0], records.ids[:0]
    row = np.repeat(np.arange(len(records)), lengths)
    made_row = np.repeat(np.arange(len(records)), np.diff(made.indptr))
    # (row, target) as one number: the places of both are small, their ids are not
    targets, place = np.unique(np.concatenate([records.target, made.target]), return_inverse=True)
    key = row * len(targets) + place[: len(row)]
    fresh = ~np.isin(key, made_row * len(targets) + place[len(row) :])
    return records.target[fresh], records.ids[row[fresh]]
