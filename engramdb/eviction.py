"""Eviction: what goes first when memory is wanted, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb.kernels import rows, slots
from engramdb.unwritten import ROWS_AT_ONCE

if TYPE_CHECKING:
    from engramdb.workingset import WorkingSet

Int64Array = npt.NDArray[np.int64]

_NOBODY: Int64Array = np.empty(0, dtype=np.int64)


class Eviction:
    """Makes room in a working set; no result depends on what goes."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set
        self._hand = 0  # goes round the records: second chance

    def make_room(self, need_bytes: int) -> None:
        """Make ``need_bytes`` free if that can be: what is silent goes first, then other rows and all cached leaves."""
        working_set = self._working_set
        self.evict_silent(need_bytes)
        if working_set.free_bytes < need_bytes:
            self.trim_cache(0)
            self.drop_rows(
                spare_warm=False, want=(need_bytes - working_set.free_bytes) // working_set.synapse_bytes + 1
            )
        if working_set.free_bytes < need_bytes:
            working_set.settle()
            self.detach_all()
            working_set.release(_NOBODY)
        if working_set.free_bytes < need_bytes:
            self.let_keepers_give_way()

    def let_keepers_give_way(self) -> None:
        working_set = self._working_set
        for keeper in working_set.keepers:
            keeper.give_way()

    def evict_silent(self, need_bytes: int, keep: Int64Array = _NOBODY) -> None:
        """Free ``need_bytes`` or more, as far as silent neurons will do: rows, then what they hold besides."""
        working_set = self._working_set
        working_set.counts["evictions"] += 1
        self.trim_cache(working_set.budget_bytes // 8)
        self.close_gaps()
        if working_set.free_bytes >= need_bytes:
            return
        # more than is needed: each pass costs time that follows all that is held
        wanted_bytes = max(need_bytes, working_set.budget_bytes // 4)
        self.drop_rows(
            spare_warm=True, want=(wanted_bytes - max(0, working_set.free_bytes)) // working_set.synapse_bytes + 1
        )
        counters = working_set.slots.counters
        silent = int(counters[slots.N_RECORDS] - counters[slots.N_ROWS])
        if (
            working_set.free_bytes < wanted_bytes
            and silent * (rows.RECORD.itemsize + working_set.slot_bytes) > working_set.budget_bytes // 8
        ):
            self.detach_all()
            working_set.release(keep)

    def trim_cache(self, nbytes: int) -> None:
        working_set = self._working_set
        working_set.store.cache_bytes = min(working_set.store.cache_bytes, nbytes)

    def drop_rows(self, *, spare_warm: bool, want: int) -> int:
        working_set = self._working_set
        chosen = np.empty(int(working_set.slots.counters[slots.N_RECORDS]), dtype=np.int64)
        n, self._hand = rows.choose_rows(working_set.slots, working_set.records, self._hand, spare_warm, want, chosen)
        chosen = chosen[:n]
        if working_set.tables is not None:
            self._write_learned(chosen)
        dropped, unused = rows.drop_rows(working_set.slots, working_set.records, chosen)
        working_set.counts["rows_dropped"] += len(chosen)
        working_set.counts["prefetch_unused"] += unused
        self.close_gaps()
        return int(dropped)

    def _write_learned(self, chosen: Int64Array) -> None:
        """Write back what was learned in the rows of the records ``chosen``, which are dropped next."""
        working_set = self._working_set
        if working_set.traces is not None:
            self.put_aside(chosen)
        learned = chosen[working_set.records["flags"][chosen] & rows.LEARNED != 0]
        for start in range(0, len(learned), ROWS_AT_ONCE):
            working_set.unwritten.hand_over(np.sort(learned[start : start + ROWS_AT_ONCE]))

    def put_aside(self, record: Int64Array) -> None:
        """Keep the traces of the rows of ``record``, which go."""
        working_set = self._working_set
        assert working_set.traces is not None
        record = record[working_set.records["offset"][record] >= 0]
        working_set.traces.put_aside(
            working_set.slots.id[working_set.records["slot"][record]], *working_set.where(record)
        )

    def close_gaps(self) -> None:
        """Move rows together where others were dropped, or taken away with their records."""
        working_set = self._working_set
        made = int(working_set.slots.counters[slots.N_RECORDS])
        loaded = np.flatnonzero((working_set.records["slot"][:made] >= 0) & (working_set.records["offset"][:made] >= 0))
        if int(working_set.records["length"][loaded].sum()) == working_set.slots.counters[slots.ARENA_END]:
            return
        order = loaded[np.argsort(working_set.records["offset"][loaded], kind="stable")]
        before, length = working_set.where(order) if working_set.traces is not None else (_NOBODY, _NOBODY)
        rows.compact(working_set.slots, working_set.records, working_set.arena, order)
        if working_set.traces is not None:
            end = int(working_set.slots.counters[slots.ARENA_END])
            working_set.traces.moved(before, working_set.records["offset"][order], length, end)
        for memory in working_set.arena_memory:
            memory.trim(int(working_set.slots.counters[slots.ARENA_END]))

    def detach_all(self) -> None:
        """Write back and take away every record that is neither pinned nor has its row, or will have it soon."""
        working_set = self._working_set
        working_set.unwritten.write_counts()
        made = int(working_set.slots.counters[slots.N_RECORDS])
        flags = working_set.records["flags"][:made]
        loose = np.flatnonzero((working_set.records["slot"][:made] >= 0) & (flags & (rows.PINNED | rows.QUEUED) == 0)
                               & (working_set.records["offset"][:made] < 0))  # fmt: skip
        rows.detach(working_set.slots, working_set.records, loose.astype(np.int64))
        rows.close_up(working_set.slots, working_set.records)
        self._hand = 0
        working_set.record_memory.trim(int(working_set.slots.counters[slots.N_RECORDS]))
