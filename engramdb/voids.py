"""Void neurons of one layer: those that are active, and those whose neighbours are, within the memory budget.

A tick is planned before anything changes, and then done: what does not fit into memory ends the run at the tick
before, with the state whole. What is not active can go at any time: its fields are handed to the store, or nobody has
ever changed them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.errors import BudgetExceeded
from engramdb.keptfields import Sie, fields_of
from engramdb.kernels import rng, sie
from engramdb.kernels import void as kernel
from engramdb.layer import Layer
from engramdb.models.sine import sine_of_turns
from engramdb.parameters import parameters_of_layer
from engramdb.reservation import Reservation
from engramdb.spec import Spec
from engramdb.store import FIELD, Records
from engramdb.workers import Workers
from engramdb.workingset import WorkingSet

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

FIELDS = ("W", "mu", "var", "prev_W")
START_VALENCE = 0.5
_ENTRY_BYTES = kernel.ENTRY.itemsize + 4 * 1 + 4 + 8 + 4  # flags, stimulus, row
_MEMBER_BYTES = 8  # of one that is active, in a tick: new W and |dW|
_LEAST_INDEX = 64
_ROWS_AT_ONCE = 1 << 14
_LEAST_A_PART = 2048
_NOBODY: Int32Array = np.empty(0, dtype=np.int32)


@dataclass
class _Plan:
    """A tick that is worked out and not done yet."""

    new_w: Float32Array
    change: Float32Array
    greatest: np.float32
    farthest: np.float32


def rates_at(spec: Spec, values: Mapping[str, Any], tick: int) -> kernel.Rates:
    """What ``tick`` of a void layer with the parameters ``values`` is worked out with."""
    modulation = np.float32(1.0 + float(values["phase"]) * sine_of_turns(float(values["frequency"]) * tick))
    key = rng.hash_u64(np.uint64(spec.seed), np.uint64(tick), np.uint64(0), rng.VOID_NOISE)
    rates = {name: np.float32(values[name]) for name in ("alpha", "beta", "noise", "affinity_cost")}
    return kernel.Rates(**rates, modulation=modulation, key=np.uint64(key))


class VoidLayer:
    """The void neurons of ``layer``, which stands at ``position`` among the layers."""

    tells_apart: ClassVar[bool] = True

    def __init__(self, spec: Spec, layer: Layer, position: int, working_set: WorkingSet, workers: Workers) -> None:
        self.layer, self._spec, self._position = layer, spec, position
        self._working_set, self._workers = working_set, workers
        values = parameters_of_layer(layer, spec).values(np.empty(0, dtype=np.uint64))
        self._theta, self._most = np.float32(values["theta"]), int(values["k_active"])
        self._values = values
        self.valence = np.float32(START_VALENCE)
        self._last: tuple[int, Sie] | None = None  # of the last tick in which anybody was active

        budget = working_set.budget_bytes
        capacity = max(1, min(working_set.declared(layer.index), budget // _ENTRY_BYTES + 1))
        types: list[Any] = [kernel.ENTRY, np.uint8, np.uint8, np.float32, np.int64, np.int32, np.bool_]
        self._memory = [Reservation(capacity, dtype) for dtype in types]
        self._near_memory = Reservation(budget // 4 + 1, np.int32)
        entry, active, mark, stimulus, offset, length, self._dirty = (memory.array for memory in self._memory)
        self._voids = kernel.Voids(
            entry, active, mark, stimulus, offset, length, self._near_memory.array,
            np.zeros(_LEAST_INDEX, dtype=np.uint32),
        )  # fmt: skip
        self._n = self._near_end = 0
        # entries, which are numbered anew where memory gets short: "active" between ticks, the others in one
        self._lists: dict[str, Int32Array] = {"active": _NOBODY}
        self._drive: Float32Array = np.empty(0, dtype=np.float32)  # of those in the list "next"
        self._plan: _Plan | None = None
        self._planning = False
        self._scratch = np.empty(1 << 16, dtype=np.int64)

    # ---- what others ask

    @property
    def layer_index(self) -> int:
        return self.layer.index

    @property
    def nbytes(self) -> int:
        listed = 4 * sum(len(entries) for entries in self._lists.values()) + 4 * len(self._drive)
        members = _MEMBER_BYTES * len(self._lists.get("members", _NOBODY))
        held = self._n * _ENTRY_BYTES + 4 * self._near_end + self._voids.table.nbytes + listed + members
        return held if self._n else 0

    @property
    def active(self) -> IdArray:
        """Ids of the active set that the next tick begins with, sorted."""
        return np.sort(self._voids.entry["id"][self._lists["active"]])

    @property
    def any_active(self) -> bool:
        return len(self._lists["active"]) > 0

    def sie(self, tick: int) -> Sie:
        """How the layer stood at the end of ``tick``, the last; nobody's mean is 0, and without anybody v stays."""
        if self._last is not None and self._last[0] == tick:
            return self._last[1]
        return Sie(0, 0.0, 0.0, float(self.valence))

    def present_fields(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], dict[str, Float32Array]]:
        """Which of ``ids`` are in RAM, and their fields."""
        found = np.empty(len(ids), dtype=np.int32)
        kernel.find_many(self._voids, ids, found)
        there = found >= 0
        return there, {name: self._voids.entry[name][found[there]] for name in FIELDS}

    def standing(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which of ``ids`` are in the active set, and which have changed since the store was told."""
        found = np.empty(len(ids), dtype=np.int32)
        kernel.find_many(self._voids, ids, found)
        return (found >= 0) & (self._voids.active[found] != 0), (found >= 0) & self._dirty[found]

    # ---- memory

    def rows_changed(self, ids: IdArray) -> None:
        """The rows of ``ids`` are about to change: read them anew. What lies in ``near`` of them is let go later."""
        found = np.empty(len(ids), dtype=np.int32)
        kernel.find_many(self._voids, ids, found)
        self._voids.offset[found[found >= 0]] = -1

    def _let_rows_go(self) -> None:
        self._voids.offset[: self._n] = -1
        self._near_end = 0

    def give_way(self) -> None:
        """Let go of everybody who is not active, and of all rows; a tick that is being planned does so by itself."""
        if not self._planning:
            self._compact()

    def take(self, ids: IdArray | None = None) -> Callable[[], list[Records]]:
        """A copy of the fields that the store does not know yet, which count as written; called, it gives records.

        ``ids``: only of these.
        """
        if ids is None:
            changed = np.flatnonzero(self._dirty[: self._n])
        else:
            found = np.empty(len(ids), dtype=np.int32)
            kernel.find_many(self._voids, ids, found)
            found = found[found >= 0]
            changed = found[self._dirty[found]].astype(np.int64)
        if not len(changed):
            return list
        entries = self._voids.entry[changed]
        self._dirty[changed] = False

        def records() -> list[Records]:
            ordered = entries[np.argsort(entries["id"])]
            return [Records.of_state(ordered["id"].copy(), {
                "spike_count": np.zeros(len(ordered), np.uint32), "last_spike": np.zeros(len(ordered), np.int64),
                **{FIELD + name: ordered[name].copy() for name in FIELDS},
            })]  # fmt: skip

        return records

    def _compact(self) -> None:
        """Keep those who are active, or marked in the tick that is planned; write back the others. No row stays."""
        voids, n = self._voids, self._n
        self._let_rows_go()
        kept = (voids.active[:n] | voids.mark[:n]) != 0
        if kept.all():
            return
        if self._dirty[:n][~kept].any():
            with self._working_set.prefetch.paused():
                for records in self.take()():
                    self._working_set.store.write(records)
        place = np.cumsum(kept, dtype=np.int32) - np.int32(1)
        for column in (voids.entry, voids.active, voids.mark, voids.stimulus, self._dirty):
            column[: place[-1] + 1] = column[:n][kept]
            column[place[-1] + 1 : n] = 0
        self._n = int(place[-1]) + 1
        self._lists = {name: place[entries] for name, entries in self._lists.items()}
        for memory in self._memory:
            memory.trim(self._n)
        self._near_memory.trim(0)
        self._reindex(_LEAST_INDEX)

    def _reindex(self, size: int) -> None:
        while size < 2 * self._n:
            size *= 2
        self._voids = self._voids._replace(table=np.zeros(size, dtype=np.uint32))
        kernel.enter(self._voids, 0, self._n)

    def _room(self, nbytes: int) -> bool:
        """Whether so many bytes more can be had from what others hold."""
        if nbytes > self._working_set.free_bytes:
            self._working_set.eviction.make_room(nbytes)
        return nbytes <= self._working_set.free_bytes

    def _entries(self, ids: IdArray) -> Int32Array | None:
        """The entries of ``ids`` (sorted, distinct), made where there are none; None where there is no room."""
        found = np.empty(len(ids), dtype=np.int32)
        kernel.find_many(self._voids, ids, found)
        missing = np.flatnonzero(found < 0)
        if not len(missing):
            return found
        size, stop = len(self._voids.table), self._n + len(missing)
        grown = size
        while grown < 2 * stop:
            grown *= 2
        if stop > len(self._voids.entry) or not self._room(len(missing) * _ENTRY_BYTES + 4 * (grown - size)):
            return None
        fields = self._stored(ids[missing])
        fresh = self._voids.entry[self._n : stop]
        fresh["id"] = ids[missing]
        for name in FIELDS:
            fresh[name] = fields[name]
        self._voids.offset[self._n : stop] = -1
        first, self._n = self._n, stop
        if grown > size:
            self._reindex(grown)
        else:
            kernel.enter(self._voids, first, stop)
        found[missing] = np.arange(first, stop, dtype=np.int32)
        return found

    def _stored(self, ids: IdArray) -> dict[str, Float32Array]:
        """The fields of ``ids`` as the store has them, or as of neurons that were never active."""
        return fields_of(ids, self._working_set.store.find(ids), self.layer, self._spec)

    def _needed(self, ids: IdArray) -> Int32Array:
        """As :meth:`_entries`, where everybody who can go does; raises BudgetExceeded."""
        found = self._entries(ids)
        if found is None:
            self._compact()
            found = self._entries(ids)
        if found is None:
            raise self._too_small(len(ids) * _ENTRY_BYTES)
        return found

    def _too_small(self, nbytes: int) -> BudgetExceeded:
        return self._working_set.too_small(f'the void neurons of layer "{self.layer.name}"', nbytes)

    # ---- a tick

    def plan(self, tick: int) -> None:
        """Work out ``tick``: what changes, and who is active next. Nothing lasts of it yet; raises BudgetExceeded."""
        self._planning = True
        try:
            self._join()
            members = self._lists["members"]
            if not len(members):
                self._take_back()
                return
            rates, gate = self.rates(tick), self.valence
            new_w, change = np.empty(len(members), np.float32), np.empty(len(members), np.float32)

            def part(_: int, start: int, stop: int) -> tuple[np.float32, np.float32]:
                most = kernel.drive(self._voids, members, rates, gate, start, stop, new_w, change)
                return np.float32(most[0]), np.float32(most[1])

            most = self._workers.each(part, len(members), _LEAST_A_PART)
            sources, drive = np.empty(len(members), np.int32), np.empty(len(members), np.float32)
            n = int(kernel.retain(self._voids, members, change, self._theta, sources, drive))
            self._lists["left"] = self._lists["next"] = sources[:n]
            self._drive = drive[:n]
            self._spread(rates)
            self._choose()
            self._plan = _Plan(new_w, change, max(one[0] for one in most), max(one[1] for one in most))
        except BaseException:
            self._take_back()
            raise
        finally:
            self._planning = False

    def rates(self, tick: int) -> kernel.Rates:
        """What ``tick`` is worked out with."""
        return rates_at(self._spec, self._values, tick)

    def _join(self) -> None:
        """The active set of the tick: that of before, and whom something has reached."""
        held = self._working_set.slots
        slots, amounts = np.empty(1 << 10, np.int64), np.empty(1 << 10, np.int64)
        while (n := int(kernel.stimulated(held, self._position, slots, amounts))) > len(slots):
            slots, amounts = np.empty(n, np.int64), np.empty(n, np.int64)
        if n:
            ids = held.id[slots[:n]]
            order = np.argsort(ids)
            entries = self._needed(ids[order])
            self._voids.stimulus[entries] = (amounts[:n][order] * 2.0**-32).astype(np.float32)
            fresh = entries[self._voids.active[entries] == 0]
            self._voids.active[fresh] = 1
            self._lists["joined"] = fresh
        else:
            self._lists["joined"] = _NOBODY
        active, joined = self._lists["active"], self._lists["joined"]
        self._lists["members"] = np.concatenate([active, joined]) if len(joined) else active

    def _spread(self, rates: kernel.Rates) -> None:
        """Mark the neighbours of those who stay; rows that are not loaded come in as far as there is room at a time."""
        while len(self._lists["left"]):
            lists = self._lists
            n, neighbours = kernel.loaded(self._voids, lists["left"])
            if n:
                there = self._voids.offset[lists["left"]] >= 0 if n < len(lists["left"]) else slice(None)
                ready = lists["left"][there]
                lists["left"] = lists["left"][~there] if isinstance(there, np.ndarray) else _NOBODY
                added, drive = self._spread_from(ready, rates) if neighbours else (_NOBODY, self._drive[:0])
                if len(added):
                    lists["next"] = np.concatenate([lists["next"], added])
                    self._drive = np.concatenate([self._drive, drive])
            if len(lists["left"]):
                self._load_some()

    def _spread_from(self, sources: Int32Array, rates: kernel.Rates) -> tuple[Int32Array, Float32Array]:
        def part(_: int, start: int, stop: int) -> tuple[Int32Array, Float32Array]:
            most = int(self._voids.length[sources[start:stop]].sum(dtype=np.int64))
            found, drive = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.float32)
            n = int(kernel.spread(self._voids, sources, start, stop, rates, found, drive))
            return found[:n], drive[:n]

        parts = self._workers.each(part, len(sources), _LEAST_A_PART)
        found, drive = (one[0] if len(one) == 1 else np.concatenate(one) for one in zip(*parts, strict=True))
        n = int(kernel.each_once(self._voids, found, drive))
        return found[:n], drive[:n]

    def _load_some(self) -> None:
        """Load the rows of the first of those who are left; at least one, or BudgetExceeded."""
        most, compacted = _ROWS_AT_ONCE, False
        while True:
            ids = np.sort(self._voids.entry["id"][self._lists["left"][:most]])
            if self._load(ids):
                return
            if not compacted:
                self._choose()  # who is not among the best so far will not be in the end
                self._compact()
                compacted = True
            elif most == 1:
                raise self._too_small(_ENTRY_BYTES)
            else:
                most = max(1, most // 8)

    def _load(self, ids: IdArray) -> bool:
        """Whether some of the rows of ``ids`` could be loaded."""
        some = False
        for rows in self._working_set.source.read(ids):
            targets, place = np.unique(rows.target, return_inverse=True)
            entries = self._entries(targets)
            end = self._near_end + len(place)
            if entries is None or end > len(self._voids.near) or not self._room(4 * len(place)):
                return some
            own = np.empty(len(rows.ids), dtype=np.int32)
            kernel.find_many(self._voids, rows.ids, own)
            self._voids.near[self._near_end : end] = entries[place]
            self._voids.offset[own] = self._near_end + rows.indptr[:-1]
            self._voids.length[own] = np.diff(rows.indptr)
            self._near_end = end
            some = True
        return some

    def _choose(self) -> None:
        """Of those who are marked, let only as many go on as may be active, those of the largest drive."""
        candidates = self._lists["next"]
        if len(candidates) <= self._most:
            return
        drive, side = self._drive, np.empty(len(candidates), np.uint8)
        least = np.uint32(kernel.rank(drive, self._most, self._scratch))
        above = int(kernel.choose(drive, least, side))
        level = np.flatnonzero(side == 1)
        if above + len(level) > self._most:  # of equal drives the smaller ids
            behind = np.argsort(self._voids.entry["id"][candidates[level]])[self._most - above :]
            side[level[behind]] = 0
        kept, kept_drive = np.empty(self._most, np.int32), np.empty(self._most, np.float32)
        kernel.part_with(self._voids, candidates, drive, side, kept, kept_drive)
        self._lists["next"], self._drive = kept, kept_drive

    def finish(self, tick: int) -> None:
        """Do what was planned for ``tick``; nothing in it can fail."""
        plan = self._plan
        if plan is None:
            return
        members = self._lists["members"]

        def part(_: int, start: int, stop: int) -> tuple[int, int]:
            sums = sie.settle(self._voids, members, plan.new_w, plan.change, plan.greatest, plan.farthest, start, stop)
            return int(sums[0]), int(sums[1])

        sums = self._workers.each(part, len(members), _LEAST_A_PART)
        reward, total = (sum(one[i] for one in sums) / 2**32 / len(members) for i in (0, 1))
        self.valence = np.float32(min(max(0.7 * float(self.valence) + 0.3 * (0.5 + 0.5 * reward), 0.0), 1.0))
        self._dirty[members] = True
        following = self._lists["next"]
        if not kernel.ordered(following):  # so that memory is read in order, and neighbours lie near one another
            following = np.sort(following)
        self._clear()
        self._voids.active[following] = 1
        self._lists = {"active": following}
        self._last = tick, Sie(len(members), total, reward, float(self.valence))

    def _clear(self) -> None:
        kernel.clear(self._voids, self._lists["members"], self._lists["next"])
        self._plan, self._drive = None, self._drive[:0]

    def _take_back(self) -> None:
        """Be as before the tick that was planned."""
        joined = self._lists.get("joined", _NOBODY)
        self._voids.mark[: self._n] = 0
        self._voids.stimulus[: self._n] = 0
        self._voids.active[joined] = 0
        self._plan = None
        self._lists = {"active": self._lists["active"]}

    def give_up(self) -> None:
        """The tick that was planned will not be done."""
        if self._plan is not None:
            self._take_back()

    # ---- the in-flight state

    def load(self, active: IdArray, valence: np.float32, last: tuple[int, Sie] | None) -> None:
        """Stand where a commit stood; nobody must be here yet."""
        self.valence, self._last = valence, last
        entries = self._needed(active)
        self._voids.active[entries] = 1
        self._lists["active"] = entries

    @property
    def last(self) -> tuple[int, Sie] | None:
        """The last tick in which anybody was active, and how it ended."""
        return self._last
