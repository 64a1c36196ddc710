"""The tick engine: deliver, stimulate, step, fire.

Results are a function of the spec, the stored state and the stimuli alone: not of the memory budget, not of the
number of threads, and not of how a run is cut into calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import flight
from engramdb.address import IdArray
from engramdb.errors import BudgetExceeded, EngramError
from engramdb.flight import Flight
from engramdb.growth.bundle import Bundles
from engramdb.kernels import deliver, lif, slots
from engramdb.spec import Spec
from engramdb.state import State
from engramdb.stimuli.pending import Stimuli
from engramdb.store import Store
from engramdb.workers import Workers
from engramdb.workingset import Int64Array, WorkingSet

_FIRED_BUFFER = 1 << 15


class Engine:
    """Runs ticks over a working set; ``tick`` is the last one completed."""

    # a part shorter than this costs more to hand to another thread than to do
    least_rows_a_part = 256
    least_blocks_a_part = 256

    def __init__(self, spec: Spec, bundles: Bundles, store: Store, *, budget_bytes: int, threads: int) -> None:
        self.tick = 0
        self.events = 0
        self.last_fired: Int64Array = np.empty(0, dtype=np.int64)
        self.working_set = WorkingSet(spec, bundles, store, budget_bytes, threads)
        self.working_set.in_flight = self._in_flight
        self.stimuli = Stimuli(self.working_set)
        self.flight = Flight(self.working_set)
        self._workers = Workers(threads)
        self._chunk = max(slots.BLOCK, min(1 << 16, budget_bytes // 2048))
        self._broken_at: int | None = None

    def close(self) -> None:
        self._workers.close()

    def _in_flight(self) -> Int64Array:
        held = [*self.flight.held(), *self.stimuli.held()]
        return np.concatenate(held) if held else np.empty(0, dtype=np.int64)

    # ---- one tick

    def step(self) -> Int64Array:
        """Run one tick; returns the slots that fired, valid until the next call.

        :class:`BudgetExceeded` leaves the engine at a tick boundary: at the one before when raised in delivery, at
        the one after when raised behind it (``tick`` tells). After any other error the engine refuses to go on.
        """
        if self._broken_at is not None:
            raise EngramError(
                f"tick {self._broken_at + 1} could not be completed; close and open the engram again: the journal "
                f"has everything up to tick {self._broken_at}"
            )
        tick = self.tick + 1
        try:
            for fired, delay in self.flight.due(tick):
                self._deliver(fired, delay)
            self.stimuli.apply(tick)
        except BaseException:
            self._take_back()
            raise
        self._broken_at = self.tick
        fired = self._step_neurons()
        self.flight.emit(tick, fired)
        self.last_fired = fired
        self._fire(fired, tick)
        self.stimuli.settle(tick)
        self.tick = tick
        self._broken_at = None
        self.working_set.check_budget()
        return fired

    def _take_back(self) -> None:
        slots.clear_input(self.working_set.slots)
        self.working_set.unpin()

    def _deliver(self, fired: Int64Array, delay: int) -> None:
        """Let the spikes of the slots ``fired`` arrive over synapses of ``delay`` ticks, a chunk of rows at a time."""
        working_set = self.working_set
        waiting, most = fired, self._chunk
        while len(waiting):
            chunk, waiting = waiting[:most], waiting[most:]
            missing = np.empty(len(chunk), dtype=np.int64)
            n = deliver.rowless(working_set.slots, working_set.records, chunk, missing)
            if n:
                working_set.pin(chunk)
                working_set.load(missing[:n], evict=True)
                n = deliver.rowless(working_set.slots, working_set.records, chunk, missing)
                if n:
                    ready = np.setdiff1d(chunk, missing[:n], assume_unique=True)
                    if len(ready) == 0:
                        raise working_set.too_small("one row of synapses")
                    chunk, waiting = ready, np.concatenate([missing[:n], waiting])
                working_set.unpin()
            delivered = self._deliver_chunk(chunk, delay)
            if delivered < len(chunk):
                waiting, most = np.concatenate([chunk[delivered:], waiting]), max(1, (len(chunk) - delivered) // 2)

    def _deliver_chunk(self, chunk: Int64Array, delay: int) -> int:
        """Deliver the rows of ``chunk``, which are loaded; returns how many, fewer where they leave too little room.

        A single row that leaves too little raises :class:`BudgetExceeded`.
        """
        working_set = self.working_set
        offsets = np.empty(len(chunk), dtype=np.int64)
        lengths = np.empty(len(chunk), dtype=np.int64)
        done, attempt = 0, -1
        working_set.renew_limits()  # rows have been loaded since they were set
        while True:
            count = np.zeros(1, dtype=np.int64)
            reached = deliver.gather(
                working_set.slots, working_set.records, working_set.arena, working_set.codes, working_set.seed,
                chunk, delay, done, offsets, lengths, count,
            )  # fmt: skip
            self._add_weights(offsets[: count[0]], lengths[: count[0]])
            if reached == len(chunk):
                return reached
            # The rows gathered so far are delivered, so their targets have input and stay; those of the chunk still
            # to come must keep their records.
            working_set.pin(chunk[reached:])
            attempt = 0 if reached > done else attempt + 1
            try:
                working_set.more_slots(attempt, chunk[reached:])
            except BudgetExceeded:
                if len(chunk) == 1:
                    raise
                return reached
            finally:
                working_set.unpin()
            done = reached

    def _add_weights(self, offsets: Int64Array, lengths: Int64Array) -> None:
        link, held = self.working_set.arena.link, self.working_set.slots

        def part(thread: int, start: int, stop: int) -> int:
            rows = offsets[start:stop], lengths[start:stop]
            return int(deliver.deliver(*rows, link, held.input[thread], held.block_awake))

        self.events += sum(self._workers.each(part, len(offsets), self.least_rows_a_part))

    def _step_neurons(self) -> Int64Array:
        held = self.working_set.slots
        constants, refractory = self.working_set.layers.constants, self.working_set.layers.refractory_ticks

        def part(_: int, start: int, stop: int) -> list[Int64Array]:
            fired = []
            while start < stop:
                buffer = np.empty(min(_FIRED_BUFFER, (stop - start) * slots.BLOCK), dtype=np.int64)
                count = np.zeros(1, dtype=np.int64)
                start = lif.step(held, constants, refractory, start, stop, buffer, count)
                fired.append(buffer[: count[0]])
            return fired

        n_blocks = int(held.counters[slots.N_BLOCKS])
        parts = [piece for fired in self._workers.each(part, n_blocks, self.least_blocks_a_part) for piece in fired]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _fire(self, fired: Int64Array, tick: int) -> None:
        working_set = self.working_set
        missing = np.empty(len(fired), dtype=np.int64)
        n = deliver.fire(working_set.slots, working_set.records, fired, tick, missing)
        for start in range(0, n, self._chunk):
            chunk = missing[start : min(n, start + self._chunk)]
            working_set.load(chunk, evict=False)
            left = deliver.fire(
                working_set.slots, working_set.records, chunk, tick, np.empty(len(chunk), dtype=np.int64)
            )
            assert left == 0, "load gives every slot a record"

    def awake(self) -> IdArray:
        """Ids, sorted, of all neurons that are not at rest or have a spike under way."""
        charged, _, _ = self.working_set.charged()
        return np.unique(np.concatenate([charged, *(self.working_set.slots.id[held] for held in self.flight.held())]))

    # ---- the whole state, for the store

    def state(self) -> State:
        """What the store keeps of the present beside the records; see :mod:`engramdb.state`."""
        return self.freeze()()

    def freeze(self) -> Callable[[], State]:
        """Copy the present; what it returns puts it into order, whatever has happened since, and in any thread."""
        ids, u, refractory = self.working_set.charged()
        spikes, input_to_come = self.flight.freeze(), self.stimuli.freeze()

        def state() -> State:
            order = np.argsort(ids)
            return {
                "charged_id": ids[order],
                "charged_u": u[order],
                "charged_refractory": refractory[order],
                **flight.state_of(spikes),
                **input_to_come(),
            }

        return state

    def load_state(self, tick: int, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Stand at ``tick`` with what :meth:`state` gave then; the working set must be fresh."""
        self.tick = tick
        if not state:
            return
        self.working_set.charge(state["charged_id"], state["charged_u"], state["charged_refractory"])
        self.flight.load_state(state)
        self.stimuli.load_state(tick, state)
