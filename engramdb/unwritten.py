"""What the store does not know yet: counts of spikes, and what was learned in rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb.address import by_layer
from engramdb.kernels import rows, slots
from engramdb.learning.rowsback import learned_rows
from engramdb.store import Records as StoredRecords

if TYPE_CHECKING:
    from engramdb.workingset import WorkingSet

Int64Array = npt.NDArray[np.int64]

ROWS_AT_ONCE = 1 << 15  # that have learned, and are written back together
_COUNTS_AT_ONCE = 1 << 16


class Unwritten:
    """Hands what has changed in a working set to the store, or gives a copy of it."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set

    def write_back(self) -> int:
        """Hand all that the store does not know yet to it; returns of how many records it were counts."""
        working_set = self._working_set
        written = self.write_counts()
        with working_set.prefetch.paused():
            for keeper in working_set.keepers:
                for records in keeper.take()():
                    working_set.store.write(records, retargeted=False)
        return written

    def write_counts(self) -> int:
        """Hand all counts that the store does not know yet to it; returns how many records."""
        working_set = self._working_set
        dirty = self._dirty()
        most = len(dirty) if working_set.tables is None else ROWS_AT_ONCE
        for start in range(0, len(dirty), max(1, most)):
            self.hand_over(dirty[start : start + most])
        return len(dirty)

    def hand_over(self, dirty: Int64Array) -> None:
        """Hand the records ``dirty``, with what was learned in their rows, to the store."""
        working_set = self._working_set
        with working_set.prefetch.paused():
            for records in self._changes(dirty)():
                working_set.store.write(records, retargeted=False)
            self._written(dirty)

    def take(self) -> Callable[[], list[StoredRecords]]:
        """A copy of all that the store does not know yet, which counts as written; called, it gives records."""
        working_set = self._working_set
        kept = [keeper.take() for keeper in working_set.keepers]
        dirty = self._dirty()
        counts = self._changes(dirty)
        self._written(dirty)

        def changes() -> list[StoredRecords]:
            return [*counts(), *(records for take in kept for records in take())]

        return changes

    def _dirty(self) -> Int64Array:
        """Records of which the store does not know all, rising."""
        working_set = self._working_set
        made = int(working_set.slots.counters[slots.N_RECORDS])
        flags = working_set.records["flags"][:made] & (rows.DIRTY | rows.LEARNED)
        return np.flatnonzero((working_set.records["slot"][:made] >= 0) & (flags != 0))

    def _changes(self, dirty: Int64Array) -> Callable[[], list[StoredRecords]]:
        """A copy of what the store is to know of the records ``dirty``."""
        working_set = self._working_set
        self._complete(dirty[working_set.records["flags"][dirty] & rows.ON_TOP != 0])
        ids = working_set.slots.id[working_set.records["slot"][dirty]]
        counts = {name: working_set.records[name][dirty] for name in ("spike_count", "last_spike")}
        learned = working_set.records["flags"][dirty] & rows.LEARNED != 0
        if learned.any():
            return learned_rows(working_set, dirty, learned, ids, counts)

        def changes() -> list[StoredRecords]:
            order = np.argsort(ids)
            return [
                StoredRecords.of_state(ids[order][part], {name: column[order][part] for name, column in counts.items()})
                for _, part in by_layer(ids[order])
            ]

        return changes

    def _complete(self, on_top: Int64Array) -> None:
        """Add what the store has to the counts of the records ``on_top`` of it."""
        working_set = self._working_set
        ids = working_set.slots.id[working_set.records["slot"][on_top]]
        order = np.argsort(ids)
        for start in range(0, len(order), _COUNTS_AT_ONCE):
            part = order[start : start + _COUNTS_AT_ONCE]
            rows.add_base(working_set.records, on_top[part], *working_set.source.counts(ids[part]))

    def _written(self, dirty: Int64Array) -> None:
        working_set = self._working_set
        working_set.records["flags"][dirty] &= ~(rows.DIRTY | rows.LEARNED)
        working_set.counts["records_written"] += len(dirty)
