"""Bursts: many ticks in one call of a kernel, while everything they need is in RAM; see ``kernels/burst.py``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from engramdb.flight import Flight
from engramdb.kernels import slots
from engramdb.kernels.burst import BOUNDARY, BROKEN, DELIVERED, FIRED, burst
from engramdb.kernels.indirect import address_of
from engramdb.models.kernel import step_of
from engramdb.stimuli.pending import Stimuli
from engramdb.workingset import Int64Array, WorkingSet

_FIRST_TICKS, _MOST_TICKS = 32, 1 << 16
_SECONDS = 0.01  # about as long a burst takes: who waits for its end to stop the run should not notice
_SPARE_SPIKES = 1 << 16
_MOST_IN_VAIN = 31


@dataclass(frozen=True)
class Burst:
    """``ticks`` whole ticks were run, and ``stands`` says what comes next; see :mod:`engramdb.kernels.burst`.

    ``spikes``: int64, the slots that fired; ``ends[i]`` to ``ends[i + 1]`` of them in tick i, and beyond the whole
    ticks in the one that is under way. ``arrived``: how many spikes have been delivered.
    """

    ticks: int
    stands: int
    events: int
    spikes: Int64Array
    ends: Int64Array
    arrived: int

    def fired(self, tick: int) -> Int64Array:
        """A copy of the slots that fired in tick number ``tick`` of the burst."""
        return self.spikes[self.ends[tick] : self.ends[tick + 1]].copy()


class Bursts:
    """Runs bursts of a working set, each about as long as it is good to leave Python alone."""

    # in larger networks calls are nothing beside what they do, even where each has to wait for the interpreter; in
    # smaller ones it takes longer to hand half of the work to another thread than to do it
    most_blocks = 4096

    def __init__(self, working_set: WorkingSet, flight: Flight, stimuli: Stimuli) -> None:
        self._working_set = working_set
        self._flight = flight
        self._stimuli = stimuli
        layers = working_set.layers
        self._mine = np.stack([layers.of_model(model) for model in layers.models])
        self._steps = np.empty(0, dtype=np.int64)
        self._spikes = np.empty(0, dtype=np.int64)
        self._ticks = _FIRST_TICKS
        self._in_vain = self._waiting = 0

    def run(self, first: int, most: int) -> Burst | None:
        """Run up to ``most`` ticks from the tick ``first`` on; None where a burst is not possible or not worth it."""
        working_set = self._working_set
        if int(working_set.slots.counters[slots.N_BLOCKS]) > self.most_blocks:
            return None
        if self._waiting:
            self._waiting -= 1
            return None
        coming = self._stimuli.coming(first, min(most, self._ticks))
        if not coming.ticks:
            return None
        working_set.charges.fill_fresh()
        ticks = coming.ticks
        blocks = int(working_set.slots.counters[slots.N_BLOCKS])
        calendar, delay, least, longest = self._flight.for_burst((blocks + 1) * slots.BLOCK)
        before = [self._flight.fired(first - delay + i) for i in range(delay)]
        if not self._room(sum(len(fired) for fired in before), blocks):
            return None
        ends = np.zeros(delay + ticks + 1, dtype=np.int64)
        for i, fired in enumerate(before):
            ends[i + 1] = ends[i] + len(fired)
            self._spikes[ends[i] : ends[i + 1]] = fired
        working_set.renew_limits()
        layers = working_set.layers
        if not len(self._steps):
            like = working_set.slots, layers.constants, layers.rows, self._mine[0], 0, blocks, self._spikes, ends
            self._steps = np.array([address_of(step_of(model), *like) for model in layers.models], dtype=np.int64)
        began = time.perf_counter()
        done, stands, events = burst(
            self._steps, working_set.slots, working_set.records, working_set.arena, working_set.codes, layers.constants,
            layers.rows, self._mine, calendar, least, longest, delay, first, ticks, coming.held, coming.amplitude,
            coming.ends, coming.slots, coming.amounts, self._spikes, ends,
        )  # fmt: skip
        self._learn(done, ticks, time.perf_counter() - began, vain=not done and stands in (BOUNDARY, BROKEN))
        arrived = ends[done + (stands in (DELIVERED, FIRED))]
        return Burst(done, stands, events, self._spikes, ends[delay:], int(arrived))

    def _room(self, before: int, blocks: int) -> bool:
        """Whether so many spikes, and those of any tick of so many blocks, have room in the buffer."""
        needed = before + 2 * (blocks + 1) * slots.BLOCK
        if needed > len(self._spikes):
            spare = min(_SPARE_SPIKES, self._working_set.budget_bytes // 1024)
            if 24 * (needed + spare) > self._working_set.budget_bytes // 8:
                return False
            self._spikes = np.empty(needed + spare, dtype=np.int64)
        return True

    def _learn(self, done: int, ticks: int, seconds: float, *, vain: bool) -> None:
        """Bursts that get nowhere again and again are not tried for a while; others become as long as they should."""
        self._in_vain = min(_MOST_IN_VAIN, 2 * self._in_vain + 1) if vain else 0
        self._waiting = self._in_vain
        if done == ticks == self._ticks and seconds < _SECONDS / 2:
            self._ticks = min(_MOST_TICKS, 2 * ticks)
        elif seconds > 2 * _SECONDS:
            self._ticks = max(1, self._ticks // 2)
