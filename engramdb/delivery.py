"""Delivery: the spikes that are due in a tick arrive over the rows of those that fired."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from engramdb.errors import BudgetExceeded
from engramdb.flight import Flight, Int32Array
from engramdb.kernels import deliver, slots
from engramdb.learning.plasticity import Plasticity
from engramdb.outbox import LINK_BYTES, Outbox
from engramdb.stretch import NOBODY
from engramdb.workers import Workers
from engramdb.workingset import Int64Array, WorkingSet


class Delivery:
    """Adds the weights of rows to the input of their targets, with as many threads as there are ``workers``.

    Rows that are loaded and whose targets all have slots go first; the others are loaded, or get slots, in one thread.
    ``events``: synaptic events so far.
    """

    def __init__(self, working_set: WorkingSet, flight: Flight, learning: Plasticity | None, workers: Workers) -> None:
        self.events = 0
        self._working_set = working_set
        self._flight = flight
        self._learning = learning
        self._workers = workers
        self._outboxes = [Outbox() for _ in range(workers.threads)]
        self._chunk = max(slots.BLOCK, min(1 << 16, working_set.budget_bytes // 2048))
        working_set.before_release = self.settle

    def deliver(self, tick: int) -> None:
        """Let the spikes due in ``tick`` arrive, a chunk of rows at a time."""
        working_set, most = self._working_set, self._chunk
        due, delay = self._flight.due(tick)
        laid_out = self._flight.laid_out(tick)
        if laid_out is not None:
            self._add_weights(laid_out.offsets, laid_out.lengths)
            waiting, delay = laid_out.left, delay[: len(laid_out.left)]
        else:
            waiting, delay = self._deliver_ready(due, delay, tick)
        working_set.counts["hits"] += len(due) - len(waiting)
        while len(waiting):
            chunk, ages, waiting, delay = waiting[:most], delay[:most], waiting[most:], delay[most:]
            missing = np.empty(len(chunk), dtype=np.int64)
            n, first_used = deliver.rowless(working_set.slots, working_set.records, chunk, missing)
            working_set.counts["prefetch_hits"] += first_used
            working_set.counts["hits"] += len(chunk) - n
            if n:
                working_set.pin(chunk)
                self._fetch(np.unique(missing[:n]))
                n, _ = deliver.rowless(working_set.slots, working_set.records, chunk, missing)
                if n == len(chunk):  # what is read ahead holds memory too
                    working_set.settle()
                    working_set.load(np.unique(missing[:n]), evict=True)
                    n, _ = deliver.rowless(working_set.slots, working_set.records, chunk, missing)
                if n:
                    late = np.isin(chunk, missing[:n])
                    if late.all():
                        raise working_set.too_small("one row of synapses", working_set.lacking_bytes)
                    waiting, delay = np.concatenate([chunk[late], waiting]), np.concatenate([ages[late], delay])
                    chunk, ages = chunk[~late], ages[~late]
                working_set.unpin()
            delivered = self._deliver_chunk(chunk, ages, tick)
            if delivered < len(chunk):
                waiting = np.concatenate([chunk[delivered:], waiting])
                delay = np.concatenate([ages[delivered:], delay])
                most = max(1, (len(chunk) - delivered) // 2)

    def _deliver_ready(self, fired: Int64Array, delay: Int32Array, tick: int) -> tuple[Int64Array, Int32Array]:
        """Deliver the rows of ``fired`` that are loaded and need no slots; returns the others, with their delays."""
        held, working_set = self._working_set.slots, self._working_set
        following = np.empty(len(fired), dtype=np.int32)

        def part(_: int, start: int, stop: int) -> tuple[Int64Array, ...]:
            offsets, lengths, left = (np.empty(stop - start, dtype=np.int64) for _ in range(3))
            n, n_left = deliver.gather_ready(
                held.record, working_set.records, working_set.arena, working_set.codes,
                fired[start:stop], delay[start:stop], offsets, lengths, following[start:stop], left,
            )  # fmt: skip
            if self._learning is not None:
                self._learning.arrive(
                    fired[start:stop], delay[start:stop], left[:n_left], offsets[:n], lengths[:n], tick
                )
            return offsets[:n], lengths[:n], left[:n_left] + start

        found = zip(*self._workers.each(part, len(fired), self._workers.least_rows), strict=True)
        offsets, lengths, left = (joined(pieces) for pieces in found)
        self._add_weights(offsets, lengths)
        if len(left):
            ready = np.ones(len(fired), dtype=bool)
            ready[left] = False
            self._flight.postpone(fired[ready], delay[ready], following[ready], tick)
            return fired[left], delay[left]
        self._flight.postpone(fired, delay, following, tick)
        return NOBODY, delay[:0]

    def _deliver_chunk(self, chunk: Int64Array, delay: Int32Array, tick: int) -> int:
        """Deliver the rows of ``chunk``, which are loaded; returns how many, fewer where they leave too little room.

        A single row that leaves too little raises :class:`BudgetExceeded`.
        """
        following = np.empty(len(chunk), dtype=np.int32)
        reached = self._add_rows(chunk, delay, following, tick)
        self._flight.postpone(chunk[:reached], delay[:reached], following[:reached], tick)
        return reached

    def _add_rows(self, chunk: Int64Array, delay: Int32Array, following: Int32Array, tick: int) -> int:
        working_set = self._working_set
        offsets = np.empty(len(chunk), dtype=np.int64)
        lengths = np.empty(len(chunk), dtype=np.int64)
        done, attempt = 0, 0
        working_set.renew_limits()  # rows have been loaded since they were set
        while True:
            count = np.zeros(1, dtype=np.int64)
            reached = deliver.gather(
                working_set.slots, working_set.records, working_set.arena, working_set.codes,
                chunk, delay, done, offsets, lengths, count, following,
            )  # fmt: skip
            if self._learning is not None:
                mine = slice(done, reached)
                stretches = offsets[: count[0]], lengths[: count[0]]
                self._learning.arrive(chunk[mine], delay[mine], NOBODY, *stretches, tick)
            self._add_weights(offsets[: count[0]], lengths[: count[0]])
            if reached == len(chunk):
                return reached
            # The rows gathered so far are delivered, so their targets have input and stay; those of the chunk still
            # to come must keep their records.
            working_set.pin(chunk[reached:])
            try:
                attempt = working_set.more_slots(0 if reached > done else attempt, chunk[reached:])
            except BudgetExceeded:
                if len(chunk) == 1:
                    raise
                return reached
            finally:
                working_set.unpin()
            done = reached

    def _add_weights(self, offsets: Int64Array, lengths: Int64Array) -> None:
        """Add the weights of stretches of the arena to the sums of their targets, or leave them in outboxes."""
        held, link = self._working_set.slots, self._working_set.arena.link
        n_blocks = int(held.counters[slots.N_BLOCKS])
        block_awake, far = held.block_awake[:n_blocks], n_blocks > deliver.NEAR_BLOCKS
        events = int(lengths.sum())
        self.events += events

        def part(thread: int, start: int, stop: int) -> None:
            mine = offsets[start:stop], lengths[start:stop]
            if stop - start < len(offsets):
                first, last = (n_blocks * t // self._workers.threads * slots.BLOCK for t in (thread, thread + 1))
                self._outboxes[thread].deliver(*mine, link, held.input, held.inhibition, block_awake, first, last)
            elif len(held.inhibition):
                deliver.deliver_apart(*mine, link, held.input, held.inhibition, block_awake, far)
            else:
                deliver.deliver(*mine, link, held.input, block_awake, far)

        # where outboxes would take much of the budget, one thread does all
        least = (
            self._workers.least_rows if events * LINK_BYTES <= self._working_set.budget_bytes // 64 else len(offsets)
        )
        self._workers.each(part, len(offsets), max(1, least))
        self._working_set.outbox_bytes = sum(outbox.nbytes for outbox in self._outboxes)

    def take(self, start: int, stop: int) -> None:
        """Add what threads left for each other to the sums of the slots of the blocks ``start`` to ``stop``."""
        held = self._working_set.slots
        for outbox in self._outboxes:
            outbox.take(held.input, held.inhibition, held.block_awake, start * slots.BLOCK, stop * slots.BLOCK)

    def settle(self) -> None:
        """Add all that is still in outboxes to the sums: somebody is about to look at them."""
        self.take(0, int(self._working_set.slots.counters[slots.N_BLOCKS]))
        self.empty()

    def empty(self) -> None:
        for outbox in self._outboxes:
            outbox.filled = 0

    def _fetch(self, missing: Int64Array) -> None:
        """Load the rows of slots that spikes arrive from now, which are pinned."""
        working_set = self._working_set
        began = time.perf_counter()
        working_set.counts["misses"] += len(missing)
        if working_set.prefetch.busy:
            working_set.prefetch.claim(working_set.slots.id[missing])
            working_set.take_in(working_set.prefetch.arrived())
            record = working_set.slots.record[missing]
            missing = missing[(record < 0) | (working_set.records["offset"][record] < 0)]
        if len(missing):
            working_set.load(missing, evict=True)
        working_set.wait_seconds += time.perf_counter() - began


def joined(pieces: Sequence[Int64Array]) -> Int64Array:
    """``pieces`` end to end; a single one is not copied."""
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
