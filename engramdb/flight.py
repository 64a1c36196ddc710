"""Spikes under way: who fired in the last ticks, for as long as one of their synapses may still have to deliver.

A spike is held for the longest delay that a synapse of its layer can have, whatever is in RAM; that is what a commit
keeps. Beside it a calendar says which rows are due when: a row that fired is due at its first delay, then at the next
one it has, so that a tick visits the rows that deliver something in it and hardly any others. An entry may come early,
where a row was not loaded or has been changed: then the row is found to have no synapse of that delay, and is due again
at its next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import calendar as kernel
from engramdb.kernels.slots import BLOCK_SHIFT, N_MOVED
from engramdb.spec import Spec
from engramdb.state import joined
from engramdb.workingset import Int64Array, WorkingSet

Int32Array = npt.NDArray[np.int32]

_LEAST_ENTRIES = 256
_EMPTY = kernel.empty(1, 1)
_ENTRY_BYTES, _SPIKE_BYTES = 12, 8


@dataclass(frozen=True)
class Stretches:
    """Where the synapses lie of neurons that fired together: ``offsets`` and ``lengths``, int64, in the arena.

    Right as long as nothing has been ``moved`` since. ``left``: int64, the slots whose rows are still to be looked for.
    """

    offsets: Int64Array
    lengths: Int64Array
    left: Int64Array
    moved: int

    @property
    def nbytes(self) -> int:
        return self.offsets.nbytes + self.lengths.nbytes + self.left.nbytes


class Flight:
    """Slots by the tick in which they fired, and by the tick in which they are due."""

    def __init__(self, spec: Spec, working_set: WorkingSet) -> None:
        self._working_set = working_set
        self._least, self._longest = _delays(spec)
        possible = np.unique(np.concatenate([self._least, self._longest]))
        possible = possible[possible > 0]
        # with one delay for all, the rows due in a tick are those that fired so long ago: no calendar is needed
        self._only = int(possible[0]) if len(possible) == 1 else 0
        self._ages = np.empty(0, dtype=np.int32)  # that one delay, as often as was asked for
        self._lasting = [int(ticks) for ticks in np.unique(self._longest)]
        self._calendar = None if len(possible) < 2 else kernel.empty(int(possible[-1]), _LEAST_ENTRIES)
        # the longest delay, which tells when they are forgotten, and the tick -> slots
        self._fired: dict[tuple[int, int], Int64Array] = {}
        self._spikes = 0  # in all of them
        self._stretches: dict[int, Stretches] = {}  # by the tick in which they are due

    def due(self, tick: int) -> tuple[Int64Array, Int32Array]:
        """Slots whose spikes arrive in ``tick``, and for each after how many ticks; a slot may come several times.

        Neither array is to be written to.
        """
        if self._calendar is None:
            fired = self._fired.get((self._only, tick - self._only), np.empty(0, dtype=np.int64))
            if len(fired) > len(self._ages):
                self._ages = np.full(2 * len(fired), self._only, dtype=np.int32)
            return fired, self._ages[: len(fired)]
        entries = int(self._calendar.due[tick & (len(self._calendar.due) - 1)])
        held, delay = np.empty(entries, dtype=np.int64), np.empty(entries, dtype=np.int32)
        kernel.take(self._calendar, tick, held, delay)
        return held, delay

    @property
    def one_delay(self) -> int:
        """In ticks, of all synapses; 0 where they differ or there are none."""
        return self._only

    def lay_out(self, tick: int, stretches: Stretches) -> None:
        """Remember where the synapses lie over which the spikes of ``tick`` arrive, where all take the same time."""
        left = stretches.left
        if len(left) and not self._longest.all():  # those without synapses have nothing to be looked for
            left = left[self._longest[self._working_set.slots.block_layer[left >> BLOCK_SHIFT]] > 0]
        self._stretches[tick + self._only] = replace(stretches, left=left)
        self._account()

    def laid_out(self, tick: int) -> Stretches | None:
        """Where the synapses lie over which spikes arrive in ``tick``; None where nobody knows, or any more."""
        found = self._stretches.get(tick)
        return found if found and found.moved == self._working_set.slots.counters[N_MOVED] else None

    def for_burst(self, more: int) -> tuple[kernel.Calendar, int, Int32Array, Int32Array]:
        """What a burst needs to know: a calendar with room for ``more`` entries, and the one delay if there is but one.

        Also the least and the longest delay of each layer (int32, by position), 0 where it has no synapses.
        """
        if self._calendar is not None:
            return self._room(more), 0, self._least, self._longest
        # where nobody has synapses any delay will do: nothing is ever due
        return _EMPTY, self._only or 1, self._least, self._longest

    @property
    def longest_delay(self) -> int:
        """In ticks, of all synapses; 0 where there are none."""
        return self._lasting[-1]

    def fired(self, tick: int) -> Int64Array:
        """Slots that fired in ``tick`` and have synapses, where all take the same time."""
        return self._fired.get((self._only, tick), np.empty(0, dtype=np.int64))

    def next_tick(self, after: int) -> int | None:
        """The first tick after ``after`` in which any spike may arrive; None where none ever does."""
        if self._calendar is None:
            return min((at for _, tick in self._fired if (at := tick + self._only) > after), default=None)
        due = np.roll(self._calendar.due, -(after + 1) % len(self._calendar.due))
        return after + 1 + int(np.argmax(due > 0)) if due.any() else None

    def postpone(self, held: Int64Array, delay: Int32Array, following: Int32Array, tick: int) -> None:
        """Let rows that delivered at ``delay`` in ``tick`` be due again at their ``following`` delays; 0 = never."""
        if self._calendar is not None:
            kernel.postpone(self._room(len(held)), held, delay, following, tick)

    def emit(self, tick: int, fired: Int64Array) -> None:
        """Hold the slots that fired in ``tick``, and let go of those whose spikes have arrived everywhere by now."""
        self._hold(tick, fired)
        for lasting in self._lasting:
            self._spikes -= len(self._fired.pop((lasting, tick - lasting), ()))
        self._stretches.pop(tick, None)
        self._account()

    def let_go(self, now: int) -> None:
        """Let go of all spikes that have arrived everywhere by the tick ``now``."""
        for lasting, tick in [key for key in self._fired if sum(key) <= now]:
            self._spikes -= len(self._fired.pop((lasting, tick)))
        for due in [tick for tick in self._stretches if tick <= now]:
            del self._stretches[due]
        self._account()

    def depart(self, tick: int, fired: Int64Array) -> None:
        """Enter the slots that fired in ``tick`` for their first delays; rows are loaded as far as they can be."""
        self._schedule(fired, tick, since=1)

    def reschedule(self, now: int) -> None:
        """Work out anew what is due after the tick ``now``: rows have changed, or a tick was broken off."""
        if self._calendar is None:
            return
        kernel.clear(self._calendar)
        for (_, tick), fired in self._fired.items():
            self._schedule(fired, tick, since=now + 1 - tick)

    def held(self) -> list[Int64Array]:
        """Slots that must stay where they are."""
        return list(self._fired.values())

    def freeze(self) -> list[tuple[int, IdArray]]:
        """A copy of the present, for :func:`state_of`."""
        return [(tick, self._working_set.slots.id[fired]) for (_, tick), fired in self._fired.items()]

    def load_state(self, now: int, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for tick in np.unique(state["flight_tick"]).tolist():
            fired = self._working_set.hold(state["flight_id"][state["flight_tick"] == tick])
            self._hold(tick, fired, now)
        self.reschedule(now)
        self._account()

    def _hold(self, tick: int, fired: Int64Array, now: int | None = None) -> None:
        for lasting, part in self._by_lasting(fired):
            if now is None or tick + lasting > now:
                self._fired[lasting, tick] = part
                self._spikes += len(part)

    def _by_lasting(self, fired: Int64Array) -> Iterable[tuple[int, Int64Array]]:
        """Slots by the longest delay of their layer; those without synapses are left out."""
        if not len(fired):
            return
        if len(self._lasting) == 1:
            if self._lasting[0]:
                yield self._lasting[0], fired
            return
        longest = self._longest[self._working_set.slots.block_layer[fired >> BLOCK_SHIFT]]
        for lasting in self._lasting:
            part = fired[longest == lasting]
            if lasting and len(part):
                yield lasting, part

    def _schedule(self, fired: Int64Array, tick: int, since: int) -> None:
        if self._calendar is not None and len(fired):
            on = self._working_set
            arrays = on.slots, on.records, on.arena, on.codes, fired, tick, since, self._least, self._longest
            kernel.schedule(self._room(len(fired)), *arrays)

    def _room(self, more: int) -> kernel.Calendar:
        """The calendar, with room for so many entries more."""
        assert self._calendar is not None
        needed = int(self._calendar.counters[kernel.IN_USE]) + more
        if needed > len(self._calendar.slot):
            self._calendar = kernel.grown(self._calendar, max(needed, 2 * len(self._calendar.slot)))
        return self._calendar

    def _account(self) -> None:
        entries = 0 if self._calendar is None else len(self._calendar.slot)
        laid_out = sum(stretches.nbytes for stretches in self._stretches.values())
        self._working_set.flight_bytes = self._spikes * _SPIKE_BYTES + entries * _ENTRY_BYTES + laid_out


def _delays(spec: Spec) -> tuple[Int32Array, Int32Array]:
    """The least and the longest delay in ticks of the synapses of each layer's neurons; 0 where they have none."""
    least, longest = (np.zeros(len(spec.layers), dtype=np.int32) for _ in range(2))
    for position, layer in enumerate(spec.layers):
        ranges = [spec.delay_range(p) for p in spec.all_projections if p.pre == layer.name]
        if ranges:
            least[position], longest[position] = min(a for a, _ in ranges), max(b for _, b in ranges)
    return least, longest


def state_of(frozen: Iterable[tuple[int, IdArray]]) -> dict[str, npt.NDArray[Any]]:
    """``flight_tick`` int64 sorted, ``flight_id`` uint64 sorted within a tick."""
    spikes = list(frozen)
    ids = joined(np.uint64, (ids for _, ids in spikes))
    ticks = joined(np.int64, (np.full(len(ids), tick) for tick, ids in spikes))
    order = np.lexsort((ids, ticks))
    return {"flight_tick": ticks[order], "flight_id": ids[order]}
