"""The working set: who is in RAM, within a hard budget of bytes.

A neuron that has potential, input or refractoriness holds a *slot*; one with a history holds a *record* besides, and
its *row* of synapses when that is loaded. Slots at rest, records and rows can go at any time without changing a
result: the store and the wiring rules give them again. When the budget is reached, silent rows go first, then counts
are written back and slots at rest are freed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.charges import Charges
from engramdb.errors import BudgetExceeded
from engramdb.eviction import Eviction
from engramdb.growth.bundle import Bundles
from engramdb.keptfields import Sie
from engramdb.kernels import rows, slots
from engramdb.kernels.recent import RECENT
from engramdb.layertable import LayerTable, synapse_codes
from engramdb.learning.tables import tables_of
from engramdb.learning.traces import TRACE_BYTES, Traces
from engramdb.prefetch import Prefetch
from engramdb.reservation import Reservation
from engramdb.rowsource import Rows, RowSource
from engramdb.spec import Spec
from engramdb.store import Records as StoredRecords
from engramdb.store import Store
from engramdb.unwritten import ROWS_AT_ONCE, Unwritten
from engramdb.wiring import Wiring

Int64Array = npt.NDArray[np.int64]

SYNAPSE_BYTES = 14
RECORD_BYTES = rows.RECORD.itemsize
_LEAST_INDEX = 64
_ENOUGH_CODES = rows.MOST_CODES // 8 * 7  # if more stay in use, they would soon be looked through again
_NOBODY: Int64Array = np.empty(0, dtype=np.int64)
_COUNTED = (
    "rows_loaded", "rows_dropped", "slots_freed", "evictions", "records_written",
    "hits", "misses", "prefetched", "prefetch_hits", "prefetch_unused",
)  # fmt: skip


def slot_bytes(layers: LayerTable, stride: int) -> int:
    """Bytes of one slot; ``stride``: words of its history, 0 where nothing is learned."""
    planes = 2 if layers.apart else 1
    own = 8 + 1 + 4 + 4 + 8 * planes + 4 + 4 * layers.aux_fields + 4 * layers.own_constants
    return own + 8 * stride + (4 * RECENT if stride else 0)


class Keeper(Protocol):
    """Who holds what the records of a layer keep while it is in use: receptive vectors, void neurons."""

    tells_apart: ClassVar[bool]
    """Whether :meth:`take` can give what concerns some neurons without the others."""

    @property
    def layer_index(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def give_way(self) -> None:
        """Let go of what can be had again."""

    def take(self, ids: IdArray | None = None) -> Callable[[], list[StoredRecords]]:
        """A copy of what the store does not know yet, which counts as written; called, it gives records.

        ``ids``: it will do if those of these are in it.
        """

    def rows_changed(self, ids: IdArray) -> None:
        """The rows of ``ids``, of any layers, are about to change."""

    def present_fields(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[np.float32]]]:
        """Which of ``ids``, of its layer, are newer here than in the store, and their fields."""

    def standing(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which of ``ids``, of its layer, it is at work on, and which have a record that the store does not know."""

    def sie(self, tick: int) -> Sie | None:
        """How a void layer stood at the end of ``tick``, the last; None of other layers."""


class WorkingSet:
    """Slots, records and rows of the awake part of an engram.

    ``in_flight`` gives the slots of neurons whose spikes have not all arrived yet: those are never freed.
    ``before_release`` is called before slots are, of which some may have input that is not in their sums yet.
    """

    def __init__(
        self, spec: Spec, bundles: Bundles, store: Store, budget_bytes: int, threads: int, *, reading_threads: int = 0
    ) -> None:
        self.seed = np.uint64(spec.seed)
        self.store = store
        self.budget_bytes = budget_bytes
        self.recording_bytes = 0
        self.flight_bytes = 0
        self.outbox_bytes = 0
        self.stimuli_bytes = 0
        self.learning_bytes = 0
        self.growth_bytes = 0
        self.in_flight: Callable[[], Int64Array] = lambda: np.empty(0, dtype=np.int64)
        self.before_release: Callable[[], None] = lambda: None
        self.layers = LayerTable.of(spec)
        self.keepers: list[Keeper] = []
        self._sizes = dict(bundles.sizes)
        self.counts = dict.fromkeys(_COUNTED, 0)
        self.wait_seconds = 0.0
        self.lacking_bytes = 0  # of the last row for which room was made, whether there was enough or not
        self.codes = synapse_codes(spec, bundles, self.layers.position)
        self.source = RowSource(store, Wiring(spec, bundles))
        self.charges, self.unwritten, self.eviction = Charges(self), Unwritten(self), Eviction(self)
        self.prefetch = Prefetch(self.source.read, budget_bytes // 16, reading_threads)
        self.tables = tables_of(spec, bundles) if spec.learns else None

        n_aux, n_param = self.layers.aux_fields, self.layers.own_constants
        planes = 2 if self.layers.apart else 1
        stride = 0 if self.tables is None else self.tables.stride
        self.slot_bytes = slot_bytes(self.layers, stride)
        declared = sum(bundles.sizes.values())
        affordable = budget_bytes // (self.slot_bytes * slots.BLOCK) + 1
        n_blocks = min(affordable, declared // slots.BLOCK + len(spec.layers) + 1)
        n_slots = n_blocks * slots.BLOCK
        keeps_traces = self.tables is not None and self.tables.keeps_traces
        self.synapse_bytes = SYNAPSE_BYTES + (TRACE_BYTES if keeps_traces else 0)
        n_synapses = budget_bytes // self.synapse_bytes + 1
        self.traces = Traces(n_synapses) if keeps_traces else None
        self._block_capacity = n_blocks
        self._synapse_capacity = n_synapses
        counters = np.zeros(slots.N_COUNTERS, dtype=np.int64)
        counters[slots.FREE_BLOCK] = counters[slots.FREE_RECORD] = -1
        counters[slots.INDEX_LIMIT] = _LEAST_INDEX // 2
        self._slot_memory = [Reservation(n_slots, t) for t in (np.uint64, np.uint8, np.float32, np.int32, np.int32)]
        self._input_memory = Reservation(n_slots * planes, np.int64)
        self._block_memory = [Reservation(n_slots * n, np.float32) for n in (n_aux, n_param)]
        self._history_memory = Reservation(n_slots * stride, np.uint64)
        self.history = self._history_memory.array
        self._recent_memory = Reservation(n_slots * RECENT if stride else 0, np.uint32)
        self.recent = self._recent_memory.array
        ids, used, u, refractory, record = (m.array for m in self._slot_memory)
        sums = self._input_memory.array
        aux, param = (
            m.array.reshape(n_blocks, n, slots.BLOCK) for m, n in zip(self._block_memory, (n_aux, n_param), strict=True)
        )
        self.slots = slots.Slots(
            id=ids, used=used, u=u, refractory=refractory, input=sums[:n_slots], inhibition=sums[n_slots:],
            record=record, aux=aux, param=param,
            block_layer=np.full(n_blocks, -1, dtype=np.int32), block_awake=np.zeros(n_blocks, dtype=np.uint8),
            block_flags=np.zeros(n_blocks, dtype=np.uint8), layer_flags=self.layers.flags,
            index_table=np.zeros(_LEAST_INDEX, dtype=np.uint32),
            free_slot=np.full(len(spec.layers), -1, dtype=np.int64), counters=counters,
        )  # fmt: skip
        self.record_memory = Reservation(n_slots, rows.RECORD)
        self.records = self.record_memory.array
        self.arena_memory = [Reservation(n_synapses, t) for t in (np.uint32, np.uint16, rows.LINK)]
        self.arena = rows.Arena(*(m.array for m in self.arena_memory))

    @property
    def epoch(self) -> int:
        """Counts evictions of slots: what was held in an earlier one may be another neuron's by now."""
        return int(self.slots.counters[slots.EPOCH])

    # ---- accounting

    @property
    def used_bytes(self) -> int:
        counters = self.slots.counters
        return int(
            counters[slots.N_BLOCKS] * slots.BLOCK * self.slot_bytes
            + self.slots.index_table.nbytes
            + counters[slots.N_RECORDS] * RECORD_BYTES
            + counters[slots.ARENA_END] * self.synapse_bytes
            + self._cache_bytes
            + self._buffer_bytes
            + self.recording_bytes
            + self.flight_bytes
            + self.outbox_bytes
            + self.stimuli_bytes
            + self.learning_bytes
            + self.growth_bytes
            + (0 if self.traces is None else self.traces.nbytes)
            + self.kept_bytes
        )

    @property
    def kept_bytes(self) -> int:
        """Receptive vectors and void neurons."""
        return sum(keeper.nbytes for keeper in self.keepers)

    def declared(self, layer_index: int) -> int:
        """How many neurons a layer has."""
        return sum(size for (index, _), size in self._sizes.items() if index == layer_index)

    @property
    def _cache_bytes(self) -> int:
        """What decoded leaves take; all they may take while a thread decodes more."""
        cached = self.store.cached_bytes
        return max(cached, self.store.cache_bytes) if self.prefetch.busy else cached

    @property
    def _buffer_bytes(self) -> int:
        """Rows that have been read ahead and wait to be installed."""
        return self.prefetch.nbytes

    @property
    def free_bytes(self) -> int:
        return self.budget_bytes - self.used_bytes

    def stats(self) -> dict[str, Any]:
        """Who is resident, bytes by kind, and how often a row was there when a spike needed it.

        ``hits`` and ``misses`` count rows that spikes arrived over, ``wait_s`` the time that the misses took. Of
        ``prefetched`` rows ``prefetch_hits`` were used, and ``prefetch_unused`` dropped before.
        """
        counters = self.slots.counters
        n_blocks = int(counters[slots.N_BLOCKS])
        return {
            "resident": int(counters[slots.N_USED]),
            "charged": int(slots.awake_slots(self.slots, np.empty(0, dtype=np.int64))),
            "active": int(counters[slots.N_ROWS]),
            "synapses": int(counters[slots.ARENA_END]),
            "slot_bytes": n_blocks * slots.BLOCK * self.slot_bytes,
            "index_bytes": self.slots.index_table.nbytes,
            "record_bytes": int(counters[slots.N_RECORDS]) * RECORD_BYTES,
            "row_bytes": int(counters[slots.ARENA_END]) * self.synapse_bytes,
            "cache_bytes": self._cache_bytes,
            "query_bytes": self.store.query_bytes,
            "buffer_bytes": self._buffer_bytes,
            "recording_bytes": self.recording_bytes,
            "flight_bytes": self.flight_bytes + self.outbox_bytes,
            "stimuli_bytes": self.stimuli_bytes,
            "learning_bytes": self.learning_bytes + (0 if self.traces is None else self.traces.nbytes),
            "growth_bytes": self.growth_bytes,
            "kept_bytes": self.kept_bytes,
            "used_bytes": self.used_bytes,
            "budget_bytes": self.budget_bytes,
            **self.counts,
            "wait_s": self.wait_seconds,
        }

    # ---- slots

    def lookup(self, ids: IdArray) -> Int64Array:
        """Slots of ``ids``; -1 where a neuron holds none."""
        out = np.empty(len(ids), dtype=np.int64)
        slots.find_many(self.slots, ids, out)
        return out

    def hold(self, ids: IdArray) -> Int64Array:
        """Slots of ``ids``, newly taken (at rest) where there were none.

        They stay valid until the next call that may free slots; raises :class:`BudgetExceeded`.
        """
        out = np.empty(len(ids), dtype=np.int64)
        positions = self.layers.position[(ids >> np.uint64(48)).astype(np.int64)]
        done, attempt = 0, 0
        self.renew_limits()
        while True:
            reached = slots.take_many(self.slots, positions, ids, done, out)
            if reached == len(ids):
                return out
            attempt = self.more_slots(0 if reached > done else attempt, out[:reached])
            done = reached

    def more_slots(self, attempt: int, keep: Int64Array) -> int:
        """Let more slots be taken, by means that grow harsher with each vain ``attempt`` (from 0); ``keep`` stay.

        First the arrays grow within the budget, as often as they can: that is no attempt, for a long row needs many
        doublings. Then slots at rest are freed and what is silent goes, then all rows and records that are not pinned;
        after that :class:`BudgetExceeded` is raised. Returns the attempt that comes next if this one is in vain.
        """
        counters = self.slots.counters
        before = int(counters[slots.BLOCK_LIMIT] + counters[slots.INDEX_LIMIT])
        self.renew_limits()
        if counters[slots.BLOCK_LIMIT] + counters[slots.INDEX_LIMIT] > before:
            return attempt
        if attempt > 1:
            # a block of slots, and the index, which may have to double
            raise self.too_small("another neuron", slots.BLOCK * self.slot_bytes + self.slots.index_table.nbytes)
        if attempt < 1:
            self.release(keep)
            # few freed slots would soon have us here again, and each time costs a pass over all of them
            if counters[slots.N_USED] * 8 > counters[slots.N_BLOCKS] * slots.BLOCK * 7:
                self.eviction.evict_silent(self.budget_bytes // 8, keep)
        else:
            self.settle()
            self.eviction.trim_cache(0)
            self.eviction.drop_rows(spare_warm=False, want=1 << 62)
            self.eviction.detach_all()
            self.release(keep)
            self.eviction.let_keepers_give_way()
        self.renew_limits()
        return attempt + 1

    def renew_limits(self) -> None:
        """Let the index and the blocks grow as far as the budget allows at this moment.

        To be called before slots are taken: what was loaded since the last call has left less room. The index is kept
        half empty; where it cannot be doubled it may fill to seven eighths.
        """
        counters = self.slots.counters
        if counters[slots.N_USED] >= len(self.slots.index_table) // 2:
            if self.free_bytes >= self.slots.index_table.nbytes:
                self.slots = self.slots._replace(index_table=np.zeros(2 * len(self.slots.index_table), dtype=np.uint32))
                slots.reindex(self.slots)
                counters[slots.INDEX_LIMIT] = len(self.slots.index_table) // 2
            else:
                counters[slots.INDEX_LIMIT] = len(self.slots.index_table) * 7 // 8
        affordable = counters[slots.N_BLOCKS] + max(0, self.free_bytes) // (slots.BLOCK * self.slot_bytes)
        counters[slots.BLOCK_LIMIT] = min(affordable, self._block_capacity)

    def release(self, keep: Int64Array) -> None:
        self.counts["evictions"] += 1
        self.before_release()
        kept_slots = np.unique(np.concatenate([self.in_flight(), keep]))
        self.counts["slots_freed"] += int(slots.release(self.slots, kept_slots))
        self.records["flags"][: self.slots.counters[slots.N_RECORDS]] &= ~rows.RESOLVED
        self._shrink_index()
        kept = int(self.slots.counters[slots.N_BLOCKS]) * slots.BLOCK
        for memory in self._slot_memory:
            memory.trim(kept)
        if self.tables is not None:
            self._history_memory.trim(kept * self.tables.stride)
            self._recent_memory.trim(kept * RECENT)
        for memory, n in zip(self._block_memory, (self.layers.aux_fields, self.layers.own_constants), strict=True):
            memory.trim(kept * n)

    def _shrink_index(self) -> None:
        """Halve the index while it would still be less than half full, if memory is short."""
        size = len(self.slots.index_table)
        while size > _LEAST_INDEX and self.slots.counters[slots.N_USED] < size // 4:
            size //= 2
        if size < len(self.slots.index_table) and self.free_bytes < self.budget_bytes // 8:
            self.slots = self.slots._replace(index_table=np.zeros(size, dtype=np.uint32))
            slots.reindex(self.slots)
            self.slots.counters[slots.INDEX_LIMIT] = size // 2

    # ---- records and rows

    def load(self, wanted: Int64Array, *, evict: bool) -> None:
        """Give the slots ``wanted`` (distinct) their records and, as far as room can be had, their rows.

        With ``evict`` room is made, and the records are pinned until :meth:`unpin`; without it rows are only loaded
        into free room. Records are always made: they are what counts spikes.
        """
        order = np.argsort(self.slots.id[wanted])
        wanted = wanted[order]
        new = wanted[self.slots.record[wanted] < 0]
        rows.attach(self.slots, self.records, new, rows.WARM | rows.ON_TOP, np.uint32(0), 0)
        if evict:  # all of them: making room for the first rows must not take the records of those still without
            self.pin(wanted)
        self._allow_cache()
        for part in self.source.read(self.slots.id[wanted]):
            self._install(self.lookup(part.ids), part, evict)

    def _allow_cache(self) -> None:
        """Let decoded leaves take a part of what is free; an eighth of the budget is theirs until memory is short."""
        cached = self.store.cached_bytes
        allowed = min(self.budget_bytes // 4, cached + max(0, self.free_bytes) // 2)
        self.store.cache_bytes = max(allowed, min(self.store.cache_bytes, self.budget_bytes // 8))

    def _install(self, held: Int64Array, part: Rows, evict: bool) -> int:
        """Put rows into the arena for the slots ``held``, which have records; returns how many fitted."""
        rows.add_base(self.records, self.slots.record[held].astype(np.int64), part.spike_count, part.last_spike)
        columns = part.projection, part.target, part.weight, part.delay
        done = installed = out_of_codes = 0
        while True:
            limit = min(
                int(self.slots.counters[slots.ARENA_END]) + max(0, self.free_bytes) // self.synapse_bytes,
                self._synapse_capacity,
            )
            before = int(self.slots.counters[slots.N_ROWS])
            lacking = _NOBODY if self.traces is None else self._rowless(held)
            fitted = int(rows.install(
                self.slots, self.records, self.arena, self.codes, held[done:], part.indptr[done:], *columns, limit
            ))  # fmt: skip
            if self.traces is not None:
                self._bring_traces(held[lacking])
            done += fitted if fitted >= 0 else -1 - fitted
            installed += int(self.slots.counters[slots.N_ROWS]) - before
            if done == len(held) or not evict:
                break
            if fitted < 0:
                if out_of_codes == 2:
                    self._check_codes(held[done])
                    break
                self._free_codes(enough=0 if out_of_codes else _ENOUGH_CODES)
                out_of_codes += 1
                continue
            self.eviction.make_room(int(part.indptr[-1] - part.indptr[done]) * self.synapse_bytes)
            self.lacking_bytes = int(part.indptr[done + 1] - part.indptr[done]) * self.synapse_bytes
            evict = False
        self.counts["rows_loaded"] += installed
        return done

    def _rowless(self, held: Int64Array) -> Int64Array:
        """Places in ``held``, slots with records, of those whose row is not loaded."""
        return np.flatnonzero(self.records["offset"][self.slots.record[held]] < 0)

    def _bring_traces(self, held: Int64Array) -> None:
        """Give the rows of the slots ``held`` that have just been put into the arena the traces that they had."""
        assert self.traces is not None
        record = self.slots.record[held]
        there = self.records["offset"][record] >= 0
        self.traces.installed(self.slots.id[held[there]], *self.where(record[there]))

    def where(self, record: npt.NDArray[Any]) -> tuple[Int64Array, Int64Array]:
        """Offset and length, int64, of the rows of ``record``."""
        return self.records["offset"][record], self.records["length"][record].astype(np.int64)

    def _free_codes(self, enough: int) -> None:
        """Take back the codes that no loaded row uses; where those left over are more than ``enough``, drop rows too.

        Which rows were loaded before thus never decides whether another can be.
        """
        self.eviction.close_gaps()
        if rows.renumber(self.slots, self.arena, self.codes) > enough:
            self.eviction.drop_rows(spare_warm=False, want=1 << 62)
            rows.renumber(self.slots, self.arena, self.codes)

    def _check_codes(self, held: np.int64) -> None:
        """Refuse a row for which there are too few codes though no other is loaded: it can wait for nothing."""
        if self.slots.counters[slots.N_ROWS] == 0:
            raise BudgetExceeded(
                f"the synapses of neuron {format_id(int(self.slots.id[held]))} have more combinations of projection, "
                f"target segment and delay than memory can tell apart, {rows.MOST_CODES:,}; the state is whole; let "
                "delays take fewer values"
            )

    # ---- reading ahead

    def read_ahead(self, held: Int64Array, *, urgent: bool) -> int:
        """Ask for the rows of the slots ``held`` (distinct); returns for how many, the first ones, there was room."""
        held = held[: self.prefetch.room]
        if len(held) == 0:
            return 0
        new = held[self.slots.record[held] < 0]
        if len(new) * RECORD_BYTES > self.free_bytes:
            return 0
        if len(new):
            rows.attach(self.slots, self.records, new, rows.ON_TOP, np.uint32(0), 0)
        self.records["flags"][self.slots.record[held]] |= rows.QUEUED
        if not self.prefetch.busy:
            self._allow_cache()
        self.prefetch.ask(self.slots.id[held], urgent=urgent)
        return len(held)

    def take_in(self, arrived: Sequence[Rows]) -> bool:
        """Install rows that were read ahead, where there is room or what is silent leaves some; whether it sufficed.

        No row that has been used since the last eviction goes for them.
        """
        needed = sum(len(part.target) for part in arrived) * self.synapse_bytes
        if self.free_bytes < needed:
            self.eviction.evict_silent(needed)
        enough = self.free_bytes >= needed
        flags = self.records["flags"]
        for part in arrived:
            held = self.lookup(part.ids)
            record = np.where(held >= 0, self.slots.record[np.maximum(held, 0)], -1)
            there = np.flatnonzero(record >= 0)
            flags[record[there]] &= ~rows.QUEUED
            wanted = there[self.records["offset"][record[there]] < 0]
            fitted = self._install(held[wanted], part if len(wanted) == len(held) else part.take(wanted), evict=False)
            flags[record[wanted[:fitted]]] |= rows.AHEAD | rows.WARM
            self.counts["prefetched"] += fitted
        return enough

    def settle(self) -> None:
        """Forget what was to be read ahead, before the store changes; on return no thread reads."""
        self.prefetch.settle()
        self.records["flags"][: self.slots.counters[slots.N_RECORDS]] &= ~rows.QUEUED

    def pin(self, held: Int64Array) -> None:
        """Let no eviction take the records of the slots ``held``, until :meth:`unpin`."""
        record = self.slots.record[held]
        self.records["flags"][record[record >= 0]] |= rows.PINNED

    def unpin(self) -> None:
        """Let go of all that is pinned."""
        self.records["flags"][: self.slots.counters[slots.N_RECORDS]] &= ~rows.PINNED

    def forget(self, ids: IdArray) -> None:
        """Take away the records and rows of ``ids`` after writing them back: the store is about to change them.

        Nothing else is written back, where it can be told apart: the cost follows ``ids``.
        """
        self.settle()
        apart = all(keeper.tells_apart for keeper in self.keepers)
        if not apart:
            self.unwritten.write_back()
        held = self.lookup(ids)
        record = self.slots.record[held[held >= 0]].astype(np.int64)
        record = np.unique(record[record >= 0])
        dirty = record[self.records["flags"][record] & (rows.DIRTY | rows.LEARNED) != 0]
        for start in range(0, len(dirty), ROWS_AT_ONCE):
            self.unwritten.hand_over(dirty[start : start + ROWS_AT_ONCE])
        with self.prefetch.paused():
            for keeper in self.keepers:
                for records in keeper.take(ids)() if apart else ():
                    self.store.write(records, retargeted=False)
                keeper.rows_changed(ids)
        if self.traces is not None:
            self.eviction.put_aside(record)
        rows.detach(self.slots, self.records, record)

    def reserve(self, neurons: int) -> bool:
        """Whether blocks for so many neurons fit into the budget, and the index, which is made large enough now."""
        size = _LEAST_INDEX
        while size < 2 * neurons:
            size *= 2
        blocks = neurons // slots.BLOCK + len(self.slots.free_slot)
        needed = size * self.slots.index_table.itemsize + blocks * slots.BLOCK * self.slot_bytes
        if needed > self.free_bytes or blocks > self._block_capacity - self.slots.counters[slots.N_BLOCKS]:
            return False
        self.slots = self.slots._replace(index_table=np.zeros(size, dtype=np.uint32))
        self.slots.counters[slots.INDEX_LIMIT] = size // 2
        return True

    def too_small(self, what: str, needed_bytes: int) -> BudgetExceeded:
        """The error when ``needed_bytes`` more cannot be had for ``what``, whatever is evicted."""
        held, enough = self.stats(), self.budget_bytes + needed_bytes
        return BudgetExceeded(
            f"the memory budget of {self.budget_bytes:,} bytes has no room for {what}: {held['charged']:,} charged "
            f"neurons and what they need hold {min(held['used_bytes'], self.budget_bytes):,} bytes, and "
            f"{needed_bytes:,} more are needed; the state is whole; open with {enough:,} bytes or more"
        )

    def check_budget(self) -> None:
        """Evict what can go if more than the budget is held; raise :class:`BudgetExceeded` if that is not enough.

        What queries keep goes before anything of the engine's: they must not show in what it evicts.
        """
        free = self.free_bytes
        if self.store.gathering and free < self.budget_bytes // 2:
            # a copy of what is here, so no more than what is here: otherwise it might not fit a moment later
            self.store.wait_for_gathering()
            free = self.free_bytes
        if 0 <= free >= self.store.query_bytes:
            return  # in nearly every tick
        if self.store.query_bytes > free:
            self.store.query_cache_bytes = max(0, free) // 2
        if self.free_bytes < 0:  # leaves that are being decoded may take less
            self.eviction.trim_cache(max(0, self.store.cache_bytes + self.free_bytes))
        if self.free_bytes < 0:
            self.settle()
            self.eviction.make_room(0)
        if self.free_bytes < 0:
            raise self.too_small("what is active at once", -self.free_bytes)
