"""Plasticity: learning while the engine ticks, see :mod:`engramdb.kernels.plasticity`.

Rows in RAM have the weights of the moment in which they were last settled, and so have those in the store. When that
was follows from the spikes of the row's own neuron, which are remembered for a while, and from the tick in which all
rows were settled last: a commit has all of them settled, so it keeps weights as they are and nothing but the spikes of
the last horizon beside them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.flight import Int32Array
from engramdb.kernels import arrival, deliver, history, re_vgsp, rows, slots
from engramdb.kernels import plasticity as kernel
from engramdb.kernels.pairs import TICKS
from engramdb.kernels.recent import RECENT
from engramdb.learning.outcomes import Modulation
from engramdb.state import State
from engramdb.store import STORED
from engramdb.stretch import NOBODY
from engramdb.workingset import Int64Array, WorkingSet

_ROWS_AT_ONCE = 1 << 14
_REFRESHED_TICKS = 1 << 30


class Plasticity:
    """What the rows of ``working_set`` learn; for one engine."""

    def __init__(self, working_set: WorkingSet) -> None:
        assert working_set.tables is not None
        self._working_set, self._tables = working_set, working_set.tables
        self._now = self._settled = self._refreshed = 0
        # of neurons whose rows learn: (tick, slots that fired), for a horizon
        self._spikes: deque[tuple[int, Int64Array]] = deque()
        self._spikes_bytes = 0
        # rows that are still to be settled in the tick self._settling, or whose windows close
        self._unsettled: Int64Array = NOBODY
        self._settling, self._is_settling, self._rewarded = 0, False, False
        self._closing: Int64Array = NOBODY
        # of the rows settled in this tick: slots, places in the row, lengths, weights and traces before
        self._before: list[tuple[Int64Array, Int64Array, Int64Array, npt.NDArray[np.float32], npt.NDArray[Any]]] = []
        self._traces = working_set.traces
        self._trace = np.empty(0, dtype=re_vgsp.TRACE) if self._traces is None else self._traces.array
        self._scales = bool(self._tables.rules.scale_rate.any())
        self._pairs = bool((self._tables.rules.kind != kernel.ELIGIBLE).any())
        self._modulation = (
            None
            if self._traces is None
            else Modulation(self._tables.modulated, self._tables.posts, self._tables.horizon, self._tables.dt_ms)
        )
        self._error_ids: IdArray = np.empty(0, dtype=np.uint64)
        self._error_values: npt.NDArray[np.float64] = np.empty(0, dtype=np.float64)

    def held(self) -> list[Int64Array]:
        """Slots whose spikes are remembered: they must stay where they are."""
        stride = self._tables.stride
        used = int(self._working_set.slots.counters[slots.N_BLOCKS]) * slots.BLOCK
        last = self._working_set.history[: used * stride : stride].astype(np.int64)
        return [np.flatnonzero((last > 0) & (last > self._now - self._tables.remembered))]

    # ---- in a tick

    def begin(self, now: int) -> None:
        """Complete what has to be before the next tick: ``now`` is the last one. Raises BudgetExceeded."""
        self._finish()
        if self._modulation is not None:
            self._modulation.go_on(now)
        self._close(now)
        if now - self._refreshed >= _REFRESHED_TICKS:
            on, tables = self._working_set, self._tables
            used = int(on.slots.counters[slots.N_BLOCKS]) * slots.BLOCK
            history.refresh(on.history, on.recent, tables.stride, used, now - tables.remembered, now)
            self._refreshed = now

    def arrive(
        self,
        fired: Int64Array,
        delay: Int32Array,
        left: Int64Array,
        offsets: Int64Array,
        lengths: Int64Array,
        tick: int,
    ) -> None:
        """Settle the rows over which spikes arrive in ``tick``, before they deliver; see the kernel. Any thread."""
        if len(offsets) == 0:
            return
        on = self._working_set
        weight = np.empty(int(lengths.sum()), dtype=np.float32)
        trace = np.empty(len(weight) if self._traces is not None else 0, dtype=re_vgsp.TRACE)
        rows = on.slots.record, on.records, on.arena, on.codes
        rules, stride = self._tables.rules, self._tables.stride
        lengths = lengths.copy()
        own = np.delete(fired, left) if len(left) else fired
        # where all delays are one and no row is empty, the stretches are whole rows, those of ``own``
        whole = self._tables.one_delay and self._modulation is None and len(own) == len(offsets)
        if whole:
            slot, first = own, np.zeros(len(own), dtype=np.int64)
        else:
            slot, first = np.empty(len(offsets), dtype=np.int64), np.empty(len(offsets), dtype=np.int64)
            at = fired, delay, left, offsets, lengths
            arrival.sources(*rows, self._trace, *at, slot, first, weight, trace)
        self._before.append((slot, first, lengths, weight, trace))
        stretches = slot, offsets, lengths
        if self._pairs:
            kept = weight if whole else weight[:0]
            recent = on.history, on.recent, stride
            longest = int(lengths.max())
            ticks = 2 * self._tables.window + 2
            scratch = (np.empty(ticks, dtype=np.int64), np.empty(ticks + TICKS, dtype=np.float64),
                       np.empty((longest + 2) * RECENT, dtype=np.uint32))  # fmt: skip
            of_rules = rules, self._errors, self._clock
            arrival.arrive(*rows, on.slots.id, *recent, *of_rules, *stretches, tick, kept, *scratch)
        if self._modulation is not None:
            re_vgsp.arrive(
                *rows, self._trace, on.history, stride, rules, self._clock, self._modulation.outcomes, *stretches, tick
            )
        if self._scales:
            kernel.scale(*rows, rules, *stretches)

    def fire(self, tick: int, fired: Int64Array, rewards: Mapping[str, float]) -> None:
        """Remember the slots that ``fired`` in ``tick``, which is complete but for that.

        ``rewards``: of void layers, by name.
        """
        on, tables = self._working_set, self._tables
        self._before.clear()
        if self._modulation is not None:
            layer = on.slots.block_layer[fired >> slots.BLOCK_SHIFT]
            self._modulation.fire(tick, np.bincount(layer, minlength=len(tables.learning)), rewards)
        history.fire(on.history, on.recent, tables.stride, fired, tick, on.slots.block_layer, tables.noted)
        self._remember(tick, fired)
        self._now = tick
        self._account()

    def _remember(self, tick: int, fired: Int64Array) -> None:
        """Keep those of the slots that ``fired`` in ``tick`` whose rows learn."""
        learning = self._tables.learning
        if not learning.all():
            fired = fired[learning[self._working_set.slots.block_layer[fired >> slots.BLOCK_SHIFT]] != 0]
        if len(fired):
            self._spikes.append((tick, fired))
            self._spikes_bytes += fired.nbytes

    def take_back(self) -> None:
        """Undo what arrivals have done in a tick that could not be completed."""
        on = self._working_set
        for slot, first, lengths, weight, trace in reversed(self._before):
            record = on.slots.record[slot]
            offset = np.where(record >= 0, on.records["offset"][np.maximum(record, 0)], -1)
            stops = np.cumsum(lengths)
            for i in range(len(slot)):
                own = slice(stops[i] - lengths[i], stops[i])
                if offset[i] >= 0:
                    at = offset[i] + first[i]
                    on.arena.link["weight"][at : at + lengths[i]] = weight[own]
                    on.records["flags"][record[i]] |= rows.LEARNED
                    if self._traces is not None:
                        self._trace[at : at + lengths[i]] = trace[own]
                else:
                    self._write_again(on.slots.id[slot[i] : slot[i] + 1], int(first[i]), weight[own], trace[own])
        self._before.clear()
        self._account()

    def _write_again(
        self, neuron_id: IdArray, first: int, weight: npt.NDArray[np.float32], trace: npt.NDArray[Any]
    ) -> None:
        """Give synapses of a row that was dropped in this tick, from ``first`` on, their ``weight`` and ``trace``."""
        on = self._working_set
        if self._traces is not None:
            kept = self._traces.aside(int(neuron_id[0]))
            if kept is None:
                kept = np.zeros(first + len(trace), dtype=re_vgsp.TRACE)  # short: installing fills the rest
            kept[first : first + len(trace)] = trace
            self._traces.keep(int(neuron_id[0]), kept)
        with on.prefetch.paused():
            stored = on.store.find(neuron_id)
            if len(stored) and stored.row_kind[0] == STORED:
                stored = stored.copy()
                stored.weight[first : first + len(weight)] = weight
                on.store.write(stored)

    # ---- settling

    def settle(self, now: int) -> None:
        """Bring the weights of all rows to the tick ``now``, the last one, in RAM or in the store.

        Raises BudgetExceeded; what is left is then settled before the next tick.
        """
        self._finish()
        if self._settled == now and not self._rewarded:
            return
        self._close(now)
        if self._modulation is not None:
            self._modulation.go_on(now)
        recent = [own for tick, own in self._spikes if tick > now - self._tables.horizon]
        self._unsettled = np.unique(np.concatenate([NOBODY, *recent, self._eligible()]))
        self._settling, self._is_settling = now, True
        self._finish()

    def _eligible(self) -> Int64Array:
        """Slots, taken where there are none, of all neurons in whose rows something is eligible."""
        on = self._working_set
        if self._traces is None:
            return NOBODY
        aside = on.hold(self._traces.ids_aside)
        made = int(on.slots.counters[slots.N_RECORDS])
        record = np.empty(made, dtype=np.int64)
        n = re_vgsp.eligible(on.records, made, self._trace, record)
        return np.concatenate([aside, on.records["slot"][record[:n]].astype(np.int64)])

    def _finish(self) -> None:
        if not self._is_settling:
            return
        while len(self._unsettled):
            self._unsettled = self._settle_some(self._unsettled, self._settling, closing=False)
        self._settled, self._is_settling, self._rewarded = self._settling, False, False
        if self._modulation is not None and self._traces is not None:
            self._modulation.forget()
            self._traces.all_met(int(self._working_set.slots.counters[slots.ARENA_END]))
        self._account()

    def _close(self, now: int) -> None:
        """Settle the rows whose windows have closed by the end of the tick ``now``."""
        on, stride = self._working_set, self._tables.stride
        while True:
            while len(self._closing):
                self._closing = self._settle_some(self._closing, now, closing=True)
            if not self._spikes or self._spikes[0][0] > now - self._tables.horizon:
                return
            tick, own = self._spikes.popleft()
            self._spikes_bytes -= own.nbytes
            silent = np.empty_like(own)
            self._closing = silent[: history.last_in(on.history, stride, own, tick, silent)].copy()

    def _settle_some(self, held: Int64Array, tick: int, *, closing: bool) -> Int64Array:
        """Settle rows of ``held`` as far as they can be in RAM at once; returns the others."""
        on = self._working_set
        chunk = held[:_ROWS_AT_ONCE]
        missing = np.empty(len(chunk), dtype=np.int64)
        n, _ = deliver.rowless(on.slots, on.records, chunk, missing)
        if n:
            on.pin(chunk)
            try:
                for last_try in (False, True):
                    on.load(missing[:n].copy(), evict=True)
                    n, _ = deliver.rowless(on.slots, on.records, chunk, missing)
                    if n < len(chunk) or last_try:
                        break
                    on.settle()  # what is read ahead holds memory too
            finally:
                on.unpin()
            late = np.isin(chunk, missing[:n])
            if late.all():
                raise on.too_small("one row of synapses that learns", on.lacking_bytes)
        else:
            late = np.zeros(len(chunk), dtype=bool)
        rows, stride, rules = (on.slots, on.records, on.arena, on.codes), self._tables.stride, self._tables.rules
        if self._pairs:
            kernel.settle(*rows, on.history, stride, rules, self._errors, self._clock, chunk[~late], tick, closing)
        if self._modulation is not None:
            re_vgsp.settle(
                *rows, self._trace, on.history, stride, rules, self._clock, self._modulation.outcomes, chunk[~late],
                tick, closing,
            )  # fmt: skip
        return np.concatenate([chunk[late], held[len(chunk) :]])

    @property
    def _clock(self) -> kernel.Clock:
        return kernel.Clock(np.int64(self._settled), np.int64(self._tables.window), np.int64(self._tables.horizon))

    @property
    def _errors(self) -> kernel.Errors:
        return kernel.Errors(self._error_ids, self._error_values)

    def _account(self) -> None:
        outcomes = 0 if self._modulation is None else self._modulation.nbytes
        lists = self._spikes_bytes + self._unsettled.nbytes + self._closing.nbytes
        self._working_set.learning_bytes = lists + outcomes

    # ---- rewards and errors

    def reward(self, value: float, now: int) -> None:
        """Give all rules that rewards modulate the reward ``value`` behind the tick ``now``."""
        if self._modulation is not None and value != 0.0:
            self._finish()
            self._modulation.reward(value, now)
            self._rewarded = True

    def set_error(self, ids: IdArray, values: npt.NDArray[np.float64], now: int) -> None:
        """Let the neurons ``ids`` (sorted, distinct) have the errors ``values`` from the next tick on."""
        self.settle(now)
        kept = ~np.isin(self._error_ids, ids)
        own = values != 1.0  # what a neuron has that was given none
        together = np.concatenate([self._error_ids[kept], ids[own]])
        order = np.argsort(together)
        self._error_ids = together[order]
        self._error_values = np.concatenate([self._error_values[kept], values[own]])[order]

    # ---- the state, for the store

    def freeze(self) -> Callable[[], State]:
        """Copy the spikes that are still to be remembered when all rows are settled, and the errors."""
        on, stride = self._working_set, self._tables.stride
        since = self._now - self._tables.horizon + 1
        used = int(on.slots.counters[slots.N_BLOCKS]) * slots.BLOCK
        last = on.history[: used * stride : stride].astype(np.int64)
        held = np.flatnonzero((last >= max(since, 1)) & (on.slots.used[:used] != 0))
        nothing = np.empty(0, dtype=np.int64)
        n = history.spikes_of(on.history, stride, held, since, nothing, nothing)
        ticks, places = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        history.spikes_of(on.history, stride, held, since, ticks, places)
        ids = on.slots.id[held[places]]
        more: State = {}
        if len(self._error_ids):
            more = {"error_id": self._error_ids, "error_value": self._error_values}
        if self._modulation is not None and self._traces is not None:
            made = int(on.slots.counters[slots.N_RECORDS])
            record = np.empty(made, dtype=np.int64)
            record = record[: re_vgsp.eligible(on.records, made, self._trace, record)]
            where = on.records["offset"][record], on.records["length"][record].astype(np.int64)
            more |= self._traces.freeze(on.slots.id[on.records["slot"][record]], *where)
            more |= self._modulation.state()

        def state() -> State:
            order = np.lexsort((ids, ticks))
            return {"history_tick": ticks[order], "history_id": ids[order], **more}

        return state

    def load_state(self, now: int, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Stand at the tick ``now`` with what :meth:`freeze` gave then; all rows are settled."""
        on, tables = self._working_set, self._tables
        self._now = self._settled = self._refreshed = now
        if "error_id" in state:
            self._error_ids, self._error_values = state["error_id"], state["error_value"]
        if self._modulation is not None and self._traces is not None:
            self._modulation.load_state(now, state)
            self._traces.load_state(state)
        if "history_tick" not in state:
            return
        for tick in np.unique(state["history_tick"]).tolist():
            start, stop = np.searchsorted(state["history_tick"], [tick, tick + 1])
            fired = on.hold(state["history_id"][start:stop])
            history.fire(on.history, on.recent, tables.stride, fired, tick, on.slots.block_layer, tables.noted)
            self._remember(tick, fired)
        self._account()
