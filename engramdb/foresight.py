"""Foresight: whose rows will be needed soon, asked for before they are."""

from __future__ import annotations

import numpy as np

from engramdb.kernels import near, slots
from engramdb.workers import Workers
from engramdb.workingset import Int64Array, WorkingSet

_NEAR_BUFFER = 1 << 13
_NEAR_FRACTION = np.float32(0.25)  # of the threshold: rows of neurons beyond are read ahead
_SCAN_TICKS = 4  # such neurons are looked for once in so many: those of one leaf are then read together
_PAUSE_TICKS = 16  # without reading ahead, where no room was left for what came in
_JUDGED_TICKS, _VAIN_TICKS = 64, 128  # without it where, in so many ticks, far more rows were missed than read in time
_GRACE_TICKS = 64  # in which reading ahead may come to work before it is judged


class Foresight:
    """Asks the working set to read ahead, as long as that pays. The potential is the predictor."""

    def __init__(self, working_set: WorkingSet, workers: Workers) -> None:
        self._working_set = working_set
        self._workers = workers
        self._ahead_from = 0
        self._judged = (0, 0)

    def take_in(self, tick: int) -> None:
        """Install what has been read ahead; where there is no room for it, read nothing more for a while."""
        arrived = self._working_set.prefetch.arrived()
        if arrived and not self._working_set.take_in(arrived):
            self._ahead_from = tick + _PAUSE_TICKS
        if tick % _JUDGED_TICKS == 0:
            # where what is active barely fits, rows are dropped before their use, and reading ahead doubles the reads
            counts, (misses, in_time) = self._working_set.counts, self._judged
            self._judged = counts["misses"], counts["prefetch_hits"]
            tried = tick - self._ahead_from >= _GRACE_TICKS
            if tried and counts["misses"] - misses > 4 * (counts["prefetch_hits"] - in_time):
                self._ahead_from = tick + _VAIN_TICKS

    def ask(self, fired: Int64Array, tick: int) -> None:
        """Ask for the rows of neurons that have just fired, and of those that will fire soon."""
        working_set = self._working_set
        counters, projecting = working_set.slots.counters, working_set.layers.projecting
        if not projecting.all():
            fired = fired[projecting[working_set.slots.block_layer[fired >> slots.BLOCK_SHIFT]]]
        all_there = counters[slots.N_ROWS] == counters[slots.N_USED] or not projecting.any()
        if all_there or tick < self._ahead_from or working_set.prefetch.room == 0:
            return
        wanted = np.empty(len(fired), dtype=np.int64)
        n = near.unread(working_set.slots, working_set.records, fired, wanted)
        if working_set.read_ahead(wanted[:n], urgent=True) == n and tick % _SCAN_TICKS == 0:
            working_set.read_ahead(self._near(), urgent=False)

    def _near(self) -> Int64Array:
        """Slots that may fire before they are looked for again, and whose row is neither there nor being read."""
        held, records = self._working_set.slots, self._working_set.records
        thresholds = self._working_set.layers.thresholds

        def part(_: int, start: int, stop: int) -> list[Int64Array]:
            found = []
            while start < stop:
                buffer = np.empty(min(_NEAR_BUFFER, (stop - start) * slots.BLOCK), dtype=np.int64)
                n, start = near.near(held, records, *thresholds, _NEAR_FRACTION, start, stop, buffer)
                found.append(buffer[:n])
            return found

        n_blocks = int(held.counters[slots.N_BLOCKS])
        parts = [piece for found in self._workers.each(part, n_blocks, self._workers.least_blocks) for piece in found]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
