"""The working set: who is in RAM, within a hard budget of bytes.

A neuron that has potential, input or refractoriness holds a *slot*; one with a history holds a *record* besides, and
its *row* of synapses when that is loaded. Slots at rest, records and rows can go at any time without changing a
result: the store and the wiring rules give them again. When the budget is reached, silent rows go first, then counts
are written back and slots at rest are freed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.errors import BudgetExceeded
from engramdb.growth.bundle import Bundles
from engramdb.kernels import rows, slots
from engramdb.layertable import LayerTable, synapse_codes
from engramdb.parameters import given
from engramdb.reservation import Reservation
from engramdb.spec import Spec
from engramdb.store import STORED, Store
from engramdb.store import Records as StoredRecords
from engramdb.wiring import Wiring

Int64Array = npt.NDArray[np.int64]

# projection uint16, target uint64, weight float32
Columns = tuple[npt.NDArray[np.uint16], IdArray, npt.NDArray[np.float32]]

SYNAPSE_BYTES = 14
RECORD_BYTES = rows.RECORD.itemsize
_LEAST_INDEX = 64


class WorkingSet:
    """Slots, records and rows of the awake part of an engram.

    ``in_flight`` gives the slots of neurons whose spikes have not all arrived yet: those are never freed.
    """

    def __init__(self, spec: Spec, bundles: Bundles, store: Store, budget_bytes: int, threads: int) -> None:
        self.seed = np.uint64(spec.seed)
        self.store = store
        self.budget_bytes = budget_bytes
        self.recording_bytes = 0
        self.in_flight: Callable[[], Int64Array] = lambda: np.empty(0, dtype=np.int64)
        self.layers = LayerTable.of(spec)
        self.counts = {"rows_loaded": 0, "rows_dropped": 0, "slots_freed": 0, "evictions": 0, "records_written": 0}
        self.codes = synapse_codes(spec, bundles, self.layers.position)
        self.delays = np.unique(self.codes.delay)
        self.wiring = Wiring(spec, bundles)

        n_aux, n_param = self.layers.aux_fields, self.layers.own_constants
        planes = threads * (2 if self.layers.apart else 1)
        self._slot_bytes = 8 + 1 + 4 + 4 + 8 * planes + 4 + 4 * n_aux + 4 * n_param
        declared = sum(bundles.sizes.values())
        affordable = budget_bytes // (self._slot_bytes * slots.BLOCK) + 1
        n_blocks = min(affordable, declared // slots.BLOCK + len(spec.layers) + 1)
        n_slots = n_blocks * slots.BLOCK
        n_synapses = budget_bytes // SYNAPSE_BYTES + 1
        self._block_capacity = n_blocks
        self._synapse_capacity = n_synapses
        counters = np.zeros(slots.N_COUNTERS, dtype=np.int64)
        counters[slots.FREE_BLOCK] = counters[slots.FREE_RECORD] = -1
        counters[slots.INDEX_LIMIT] = _LEAST_INDEX // 2
        self._slot_memory = [Reservation(n_slots, t) for t in (np.uint64, np.uint8, np.float32, np.int32, np.int32)]
        self._input_memory = Reservation(n_slots * planes, np.int64)
        self._block_memory = [Reservation(n_slots * n, np.float32) for n in (n_aux, n_param)]
        ids, used, u, refractory, record = (m.array for m in self._slot_memory)
        sums = self._input_memory.array.reshape(planes, n_slots)
        aux, param = (
            m.array.reshape(n_blocks, n, slots.BLOCK) for m, n in zip(self._block_memory, (n_aux, n_param), strict=True)
        )
        self.slots = slots.Slots(
            id=ids, used=used, u=u, refractory=refractory, input=sums[:threads], inhibition=sums[threads:],
            record=record, aux=aux, param=param,
            block_layer=np.full(n_blocks, -1, dtype=np.int32), block_awake=np.zeros(n_blocks, dtype=np.uint8),
            block_flags=np.zeros(n_blocks, dtype=np.uint8), layer_flags=self.layers.flags,
            index_table=np.zeros(_LEAST_INDEX, dtype=np.uint32),
            free_slot=np.full(len(spec.layers), -1, dtype=np.int64), counters=counters,
        )  # fmt: skip
        self._record_memory = Reservation(n_slots, rows.RECORD)
        self.records = self._record_memory.array
        self._arena_memory = [Reservation(n_synapses, t) for t in (np.uint32, np.uint16, rows.LINK)]
        self.arena = rows.Arena(*(m.array for m in self._arena_memory))

    @property
    def epoch(self) -> int:
        """Counts evictions of slots: what was held in an earlier one may be another neuron's by now."""
        return int(self.slots.counters[slots.EPOCH])

    # ---- accounting

    @property
    def used_bytes(self) -> int:
        counters = self.slots.counters
        return int(
            counters[slots.N_BLOCKS] * slots.BLOCK * self._slot_bytes
            + self.slots.index_table.nbytes
            + counters[slots.N_RECORDS] * RECORD_BYTES
            + counters[slots.ARENA_END] * SYNAPSE_BYTES
            + self.store.cached_bytes
            + self.recording_bytes
        )

    @property
    def free_bytes(self) -> int:
        return self.budget_bytes - self.used_bytes

    def stats(self) -> dict[str, int]:
        """Who is resident, and bytes by kind."""
        counters = self.slots.counters
        n_blocks = int(counters[slots.N_BLOCKS])
        return {
            "resident": int(counters[slots.N_USED]),
            "charged": int(slots.awake_slots(self.slots, np.empty(0, dtype=np.int64))),
            "active": int(counters[slots.N_ROWS]),
            "synapses": int(counters[slots.ARENA_END]),
            "slot_bytes": n_blocks * slots.BLOCK * self._slot_bytes,
            "index_bytes": self.slots.index_table.nbytes,
            "record_bytes": int(counters[slots.N_RECORDS]) * RECORD_BYTES,
            "row_bytes": int(counters[slots.ARENA_END]) * SYNAPSE_BYTES,
            "cache_bytes": self.store.cached_bytes,
            "recording_bytes": self.recording_bytes,
            "used_bytes": self.used_bytes,
            "budget_bytes": self.budget_bytes,
            **self.counts,
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
        done, attempt = 0, -1
        self.renew_limits()
        while True:
            reached = slots.take_many(self.slots, positions, ids, done, out)
            if reached == len(ids):
                return out
            attempt = 0 if reached > done else attempt + 1
            self.more_slots(attempt, out[:reached])
            done = reached

    def more_slots(self, attempt: int, keep: Int64Array) -> None:
        """Let more slots be taken, by means that grow harsher with each vain ``attempt`` (from 0); ``keep`` stay.

        First the arrays grow within the budget, then slots at rest are freed, then rows dropped and records written
        back besides; after that :class:`BudgetExceeded` is raised.
        """
        counters = self.slots.counters
        before = int(counters[slots.BLOCK_LIMIT] + counters[slots.INDEX_LIMIT])
        self.renew_limits()
        if attempt == 0 and counters[slots.BLOCK_LIMIT] + counters[slots.INDEX_LIMIT] > before:
            return
        if attempt > 2:
            raise self.too_small("another neuron")
        self.store.cache_bytes = 0
        if attempt < 2:
            self._release(keep)
        # few freed slots would soon have us here again, and each time costs a pass over all of them
        if attempt == 2 or counters[slots.N_USED] * 8 > counters[slots.N_BLOCKS] * slots.BLOCK * 7:
            self._drop_rows(spare_warm=False, want=1 << 62)
            self._detach_all()
            self._release(keep)
        self.renew_limits()

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
        affordable = counters[slots.N_BLOCKS] + max(0, self.free_bytes) // (slots.BLOCK * self._slot_bytes)
        counters[slots.BLOCK_LIMIT] = min(affordable, self._block_capacity)

    def _release(self, keep: Int64Array) -> None:
        self.counts["evictions"] += 1
        kept_slots = np.unique(np.concatenate([self.in_flight(), keep]))
        self.counts["slots_freed"] += int(slots.release(self.slots, kept_slots))
        self._shrink_index()
        kept = int(self.slots.counters[slots.N_BLOCKS]) * slots.BLOCK
        for memory in self._slot_memory:
            memory.trim(kept)
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
        ids = self.slots.id[wanted]
        order = np.argsort(ids)
        ids, wanted = ids[order], wanted[order]
        for _, part in by_layer(ids):
            self._load_layer(ids[part], wanted[part], evict)

    def _load_layer(self, ids: IdArray, wanted: Int64Array, evict: bool) -> None:
        self.store.cache_bytes = min(self.budget_bytes // 4, self.store.cached_bytes + max(0, self.free_bytes) // 2)
        stored = self.store.find(ids)
        place = np.searchsorted(stored.ids, ids)
        place_in = np.minimum(place, max(0, len(stored.ids) - 1))
        known = stored.ids[place_in] == ids if len(stored.ids) else np.zeros(len(ids), dtype=bool)

        new = np.flatnonzero(self.slots.record[wanted] < 0)
        spike_count = np.zeros(len(new), dtype=np.uint32)
        last_spike = np.zeros(len(new), dtype=np.int64)
        from_store = known[new]
        if from_store.any():
            spike_count[from_store] = stored.state["spike_count"][place_in[new][from_store]]
            last_spike[from_store] = stored.state["last_spike"][place_in[new][from_store]]
        rows.attach(self.slots, self.records, wanted[new], spike_count, last_spike)
        if evict:  # all of them: making room for the first rows must not take the records of those still without
            self.pin(wanted)

        rowless = self.records["offset"][self.slots.record[wanted]] < 0
        written = np.zeros(len(ids), dtype=bool)
        if known.any():
            written[known] = stored.row_kind[place_in[known]] == STORED
        for from_rule in (True, False):
            chosen = np.flatnonzero(rowless & (written != from_rule))
            if len(chosen) == 0:
                continue
            if from_rule:
                made = self.wiring.rows(ids[chosen])
                indptr, columns = made.indptr, (made.projection, made.target, made.weight)
            else:
                taken = stored.take(place[chosen])
                indptr, columns = taken.indptr, (taken.projection, taken.target, taken.weight)
            self._install(wanted[chosen], indptr, columns, evict)

    def _install(self, wanted: Int64Array, indptr: Int64Array, columns: Columns, evict: bool) -> None:
        done = 0
        while True:
            limit = min(
                int(self.slots.counters[slots.ARENA_END]) + max(0, self.free_bytes) // SYNAPSE_BYTES,
                self._synapse_capacity,
            )
            fitted = rows.install(
                self.slots, self.records, self.arena, self.codes,
                wanted[done:], indptr[done:], *columns, limit,
            )  # fmt: skip
            done += fitted
            self.counts["rows_loaded"] += int(fitted)
            if done == len(wanted) or not evict:
                return
            self.make_room(int(indptr[-1] - indptr[done]) * SYNAPSE_BYTES)
            evict = False

    def pin(self, held: Int64Array) -> None:
        """Let no eviction take the records of the slots ``held``, until :meth:`unpin`."""
        record = self.slots.record[held]
        self.records["flags"][record[record >= 0]] |= rows.PINNED

    def unpin(self) -> None:
        """Let go of all that is pinned."""
        self.records["flags"][: self.slots.counters[slots.N_RECORDS]] &= np.uint8(~rows.PINNED & 0xFF)

    def make_room(self, need_bytes: int) -> None:
        """Drop silent rows, then write records back and free slots, until ``need_bytes`` are free if they can be."""
        self.counts["evictions"] += 1
        self.store.cache_bytes = 0
        self._close_gaps()
        if self.free_bytes >= need_bytes:
            return
        want = max(need_bytes, self.budget_bytes // 4) // SYNAPSE_BYTES + 1
        dropped = self._drop_rows(spare_warm=True, want=want)
        if dropped < want and self.free_bytes < need_bytes:
            self._drop_rows(spare_warm=False, want=want - dropped)
        if self.free_bytes < need_bytes:
            self._detach_all()
            self._release(np.empty(0, dtype=np.int64))

    def _drop_rows(self, *, spare_warm: bool, want: int) -> int:
        before = int(self.slots.counters[slots.N_ROWS])
        dropped = int(rows.drop_rows(self.slots, self.records, spare_warm, want))
        self.counts["rows_dropped"] += before - int(self.slots.counters[slots.N_ROWS])
        self._close_gaps()
        return dropped

    def _close_gaps(self) -> None:
        """Move rows together where others were dropped, or taken away with their records."""
        made = int(self.slots.counters[slots.N_RECORDS])
        loaded = np.flatnonzero((self.records["slot"][:made] >= 0) & (self.records["offset"][:made] >= 0))
        if int(self.records["length"][loaded].sum()) == self.slots.counters[slots.ARENA_END]:
            return
        order = loaded[np.argsort(self.records["offset"][loaded], kind="stable")]
        rows.compact(self.slots, self.records, self.arena, order)
        for memory in self._arena_memory:
            memory.trim(int(self.slots.counters[slots.ARENA_END]))

    def _detach_all(self) -> None:
        """Write back and take away every record that is not pinned."""
        self.write_back()
        made = int(self.slots.counters[slots.N_RECORDS])
        flags = self.records["flags"][:made]
        loose = np.flatnonzero((self.records["slot"][:made] >= 0) & (flags & rows.PINNED == 0)
                               & (self.records["offset"][:made] < 0))  # fmt: skip
        rows.detach(self.slots, self.records, loose.astype(np.int64))
        rows.close_up(self.slots, self.records)
        self._record_memory.trim(int(self.slots.counters[slots.N_RECORDS]))

    def forget(self, ids: IdArray) -> None:
        """Take away the records and rows of ``ids`` after writing them back: the store is about to change them."""
        self.write_back()
        held = self.lookup(ids)
        record = self.slots.record[held[held >= 0]].astype(np.int64)
        rows.detach(self.slots, self.records, np.unique(record[record >= 0]))

    def write_back(self) -> int:
        """Hand all counts that the store does not know yet to it; returns how many records."""
        dirty, changes = self._dirty()
        for records in changes():
            self.store.write(records)
        self._written(dirty)
        return len(dirty)

    def take_counts(self) -> Callable[[], list[StoredRecords]]:
        """A copy of all counts that the store does not know yet, which count as written; called, it gives records."""
        dirty, changes = self._dirty()
        self._written(dirty)
        return changes

    def _dirty(self) -> tuple[Int64Array, Callable[[], list[StoredRecords]]]:
        made = int(self.slots.counters[slots.N_RECORDS])
        dirty = np.flatnonzero((self.records["slot"][:made] >= 0) & (self.records["flags"][:made] & rows.DIRTY != 0))
        ids = self.slots.id[self.records["slot"][dirty]]
        counts = {name: self.records[name][dirty] for name in ("spike_count", "last_spike")}

        def changes() -> list[StoredRecords]:
            order = np.argsort(ids)
            return [
                StoredRecords.of_state(ids[order][part], {name: column[order][part] for name, column in counts.items()})
                for _, part in by_layer(ids[order])
            ]

        return dirty, changes

    def _written(self, dirty: Int64Array) -> None:
        self.records["flags"][dirty] &= np.uint8(~rows.DIRTY & 0xFF)
        self.counts["records_written"] += len(dirty)

    # ---- charged neurons

    def charged(self) -> tuple[IdArray, dict[str, npt.NDArray[Any]]]:
        """Ids of all neurons that are not exactly at rest, in no order, and their fields; see :meth:`fields`."""
        self.fill_fresh()
        held = np.empty(int(slots.awake_slots(self.slots, np.empty(0, dtype=np.int64))), dtype=np.int64)
        slots.awake_slots(self.slots, held)
        return self.slots.id[held], self._fields(held)

    def fields(self, ids: IdArray) -> dict[str, npt.NDArray[Any]]:
        """State of ``ids`` at this moment, (n,) by column of the in-flight state; zeros at rest.

        ``u`` and the other fields of the models in use, float32, relative to rest, and ``refractory``, int32.
        """
        held = self.lookup(ids)
        found = np.flatnonzero(held >= 0)
        out: dict[str, npt.NDArray[Any]] = {}
        for name, values in self._fields(held[found]).items():
            out[name] = np.zeros(len(ids), dtype=values.dtype)
            out[name][found] = values
        return out

    def _fields(self, held: Int64Array) -> dict[str, npt.NDArray[Any]]:
        block, lane = held >> slots.BLOCK_SHIFT, held & (slots.BLOCK - 1)
        out: dict[str, npt.NDArray[Any]] = {"u": self.slots.u[held], "refractory": self.slots.refractory[held]}
        for name, having in self.layers.fields.items():
            if name == "u":
                continue
            out[name] = np.zeros(len(held), dtype=np.float32)
            for at, place in having:
                of_layer = np.flatnonzero(self.slots.block_layer[block] == at)
                out[name][of_layer] = self.slots.aux[block[of_layer], place - 1, lane[of_layer]]
        return out

    def charge(self, ids: IdArray, fields: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put neurons, sorted by id, into the state given by column; what is missing is zero."""
        u, refractory = fields["u"], fields["refractory"]
        in_new_blocks = self.slots.counters[slots.N_USED] == 0 and self._reserve(len(ids))
        for layer, where in by_layer(ids):
            at = int(self.layers.position[layer])
            aux = np.zeros((self.slots.aux.shape[1], where.stop - where.start), dtype=np.float32)
            for place, field in enumerate(self.layers.parameters[at].model.state[1:]):
                if field.name in fields:
                    aux[place] = fields[field.name][where]
            if in_new_blocks:
                slots.place(self.slots, at, ids[where], u[where], aux, refractory[where])
                continue
            for start in range(where.start, where.stop, 65536):
                part = slice(start, min(start + 65536, where.stop))
                held = self.hold(ids[part])
                self.slots.u[held] = u[part]
                block, lane = held >> slots.BLOCK_SHIFT, held & (slots.BLOCK - 1)
                for place, values in enumerate(aux):
                    self.slots.aux[block, place, lane] = values[part.start - where.start : part.stop - where.start]
                self.slots.refractory[held] = refractory[part]
                self.slots.block_awake[block] = 1
        self.fill_fresh()

    def refresh(self, ids: IdArray) -> None:
        """Work the constants of ``ids`` out anew: the store has other parameters of theirs now.

        Who never rests with them, and belongs to a layer that is materialized, is awake from now on.
        """
        for layer, where in by_layer(ids):
            own = self.layers.parameters[int(self.layers.position[layer])]
            self.hold(ids[where][own.restless(ids[where], given(self.store, own.columns, ids[where]))])
        held = self.lookup(ids)
        held = held[held >= 0]
        block = held >> slots.BLOCK_SHIFT
        self.slots.used[held] |= slots.FRESH
        self.slots.block_flags[block] |= slots.FRESH
        self.slots.counters[slots.N_FRESH] += len(held)
        self.fill_fresh()

    def fill_fresh(self) -> None:
        """Give slots taken since the last call the constants that are their neurons' own; before any is stepped."""
        n_fresh = int(self.slots.counters[slots.N_FRESH])
        if n_fresh == 0:
            return
        found = np.empty(n_fresh, dtype=np.int64)
        for at, parameters in enumerate(self.layers.parameters):
            if not parameters.own:
                continue
            n = int(slots.fresh(self.slots, at, found))
            rows_of = [name for name in parameters.kernel_constants if name in parameters.own]
            for start in range(0, n, 65536):
                held = found[start : min(start + 65536, n)]
                held = held[np.argsort(self.slots.id[held])]
                ids = self.slots.id[held]
                constants = parameters.constants(ids, given(self.store, parameters.columns, ids))
                values = np.empty((len(rows_of), len(held)), dtype=np.float32)
                for row, name in enumerate(rows_of):
                    values[row] = constants[name]
                restless = np.broadcast_to(np.asarray(constants["restless"], dtype=bool), (len(held),))
                slots.fill(self.slots, held, values, np.ascontiguousarray(restless))
        slots.filled(self.slots)

    def _reserve(self, neurons: int) -> bool:
        """Whether blocks for so many neurons fit into the budget, and the index, which is made large enough now."""
        size = _LEAST_INDEX
        while size < 2 * neurons:
            size *= 2
        blocks = neurons // slots.BLOCK + len(self.slots.free_slot)
        needed = size * self.slots.index_table.itemsize + blocks * slots.BLOCK * self._slot_bytes
        if needed > self.free_bytes or blocks > self._block_capacity - self.slots.counters[slots.N_BLOCKS]:
            return False
        self.slots = self.slots._replace(index_table=np.zeros(size, dtype=np.uint32))
        self.slots.counters[slots.INDEX_LIMIT] = size // 2
        return True

    def too_small(self, what: str) -> BudgetExceeded:
        held = self.stats()
        return BudgetExceeded(
            f"the memory budget of {self.budget_bytes:,} bytes has no room for {what}: {held['charged']:,} charged "
            f"neurons and what they need hold {held['used_bytes']:,} bytes; the state is whole; open with more memory"
        )

    def check_budget(self) -> None:
        """Evict what can go if more than the budget is held; raise :class:`BudgetExceeded` if that is not enough."""
        if self.free_bytes < 0:
            self.make_room(0)
        if self.free_bytes < 0:
            raise self.too_small("what is active at once")
