"""A cursor over the rows that exist, by id, a bounded number at a time.

Of neurons that spike these are the stored ones: a rule's rows have never changed. Which rows are stored is a matter of
history alone, once what was learned has been written back; so is where the cursor goes. Leaves without any are not
read. Of a void layer they are the rows of the active neurons: nobody else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.query.view import View
from engramdb.store import STORED, Records, Store
from engramdb.store.records import concatenate

_LEAVES_AT_ONCE = 1024  # of which the directory is asked whether they hold any synapse
_LAST = (1 << 32) - 1


@dataclass(frozen=True)
class Passed:
    """Rows with ids from the cursor to before ``cursor``, which is 0 where the last of all was passed.

    ``ids`` uint64 (n,) sorted; ``indptr`` int64 (n + 1,); ``target`` uint64 and ``weight`` float32 (nnz,).
    """

    ids: IdArray
    indptr: npt.NDArray[np.int64]
    target: IdArray
    weight: npt.NDArray[np.float32]
    cursor: int

    @property
    def lapped(self) -> bool:
        """Whether this was the end of a round."""
        return self.cursor == 0


def stored_rows(store: Store, layer_index: int, cursor: int, most: int) -> Passed:
    """The next stored rows of a layer from the id ``cursor`` on that have synapses, at most so many.

    What was learned must have been written back. Raises LeafDamaged.
    """
    found: list[Records] = []
    follows = 0
    for records in _full(store, layer_index, max(cursor, layer_index << 48)):
        left = most - sum(map(len, found))
        found.append(records.part(0, min(left, len(records))))
        if left < len(records):
            follows = int(records.ids[left])
            break
    rows = concatenate(found)
    return Passed(rows.ids, rows.indptr, rows.target, rows.weight, follows)


def _full(store: Store, layer_index: int, at: int) -> Iterator[Records]:
    """All stored rows with synapses from the id ``at`` on, leaf by leaf."""
    store.settle()
    for segment in store.directory.segments(layer_index):
        if (segment << 32 | _LAST) < at:
            continue
        table = store.directory.table(segment)
        first = int(np.searchsorted(table.column("last"), np.uint64(at)))
        for place in range(first, len(table), _LEAVES_AT_ONCE):
            synapses = table.column("synapses")[place : place + _LEAVES_AT_ONCE]
            for leaf in (place + np.flatnonzero(synapses)).tolist():
                records = store.reader.read(table[leaf], query=True)
                full = (records.row_kind == STORED) & (np.diff(records.indptr) > 0)
                rows = np.flatnonzero(full & (records.ids >= np.uint64(at)))
                if len(rows):
                    yield records.take(rows)


def rows_of(view: View, neurons: IdArray, cursor: int, most: int) -> Passed:
    """The rows of the next of ``neurons`` (uint64, sorted, of one layer) from the id ``cursor`` on, at most so many."""
    start = int(np.searchsorted(neurons, np.uint64(cursor)))
    ids = neurons[start : start + most]
    follows = int(neurons[start + most]) if start + most < len(neurons) else 0
    if not len(ids):
        return Passed(ids, np.zeros(1, np.int64), ids, np.empty(0, np.float32), follows)
    rows = view.rows(ids)
    return Passed(ids, rows.indptr, rows.target, rows.weight, follows)
