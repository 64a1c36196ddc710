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
from engramdb.bursts import Burst, Bursts
from engramdb.delivery import Delivery, joined
from engramdb.errors import BudgetExceeded, EngramError
from engramdb.flight import Flight, Stretches
from engramdb.foresight import Foresight
from engramdb.growth.bundle import Bundles
from engramdb.growth.standing import SPIKES, Standing
from engramdb.keptfields import Sie
from engramdb.kernels import burst as kernel
from engramdb.kernels import deliver, rows, slots
from engramdb.learning.plasticity import Plasticity
from engramdb.models.kernel import step_of
from engramdb.receptive import Currents, Receptive
from engramdb.spec import Spec
from engramdb.state import State, charged_fields, charged_state
from engramdb.stimuli.pending import Stimuli
from engramdb.store import Store
from engramdb.stretch import NOBODY, Stretch
from engramdb.voids import VoidLayer
from engramdb.workers import Workers
from engramdb.workingset import Int64Array, WorkingSet

_FIRED_BUFFER = 1 << 15
_CALM_TICKS = 1 << 14  # without evictions, before bursts begin again: they read nothing ahead


class Engine:
    """Runs ticks over a working set; ``tick`` is the last one completed."""

    # that read rows ahead: 1, or 0 for none
    reading_threads = 1

    def __init__(self, spec: Spec, bundles: Bundles, store: Store, *, budget_bytes: int, threads: int) -> None:
        self.tick = 0
        self.spikes = 0  # in all ticks since a growth cycle has been there to ask
        self.spec = spec
        self.working_set = WorkingSet(spec, bundles, store, budget_bytes, threads, reading_threads=self.reading_threads)
        self.working_set.in_flight = self._in_flight
        self.stimuli = Stimuli(self.working_set)
        self.flight = Flight(spec, self.working_set)
        self.learning = Plasticity(self.working_set) if spec.learns else None
        layers = self.working_set.layers
        self._steps = [(step_of(model), layers.of_model(model)) for model in layers.models]
        self._workers = Workers(threads)
        self.delivery = Delivery(self.working_set, self.flight, self.learning, self._workers)
        self._foresight = Foresight(self.working_set, self._workers)
        self.receptive: dict[str, Receptive] = {}
        self.voids: dict[str, VoidLayer] = {}
        for at, layer in enumerate(spec.layers):
            if layer.model == "dense_lif":
                self.receptive[layer.name] = Receptive(spec, layer, self.working_set, self._workers)
            elif layer.model == "void":
                self.voids[layer.name] = VoidLayer(spec, layer, at, self.working_set, self._workers)
        self.working_set.keepers = [*self.receptive.values(), *self.voids.values()]
        self.fired_ids: IdArray = np.empty(0, dtype=np.uint64)
        self.last_fired = NOBODY
        self.bursts = Bursts(self.working_set, self.flight, self.stimuli)
        self._cycle: Standing | None = None
        self._broken_at: int | None = None
        self._evictions = self._calm_from = 0

    @property
    def last_fired(self) -> Int64Array:
        """Slots that fired in the last tick, valid until slots are freed."""
        return self._last_fired

    @last_fired.setter
    def last_fired(self, fired: Int64Array) -> None:
        self._last_fired = fired
        if self.receptive:  # who learns is asked between ticks, when slots may have been freed
            self.fired_ids = np.sort(self.working_set.slots.id[fired])

    @property
    def cycle(self) -> Standing | None:
        """Where the growth cycle stands, which lives as long as what is in flight."""
        return self._cycle

    @cycle.setter
    def cycle(self, standing: Standing | None) -> None:
        self._cycle = standing
        self.working_set.growth_bytes = 0 if standing is None else standing.nbytes

    def close(self) -> None:
        self.working_set.prefetch.close()
        self._workers.close()

    def settle(self) -> None:
        """Read nothing ahead any more until the next tick: somebody else is about to use the store."""
        self.working_set.settle()

    def _in_flight(self) -> Int64Array:
        held = [*self.flight.held(), *self.stimuli.held()]
        if self.learning is not None:
            held += self.learning.held()
        return np.concatenate(held) if held else np.empty(0, dtype=np.int64)

    # ---- ticks

    def advance(self, most: int) -> Stretch:
        """Run at least one tick and at most ``most``: as many as can be had in one go, where nothing fails.

        What :meth:`step` would raise as :class:`BudgetExceeded` is in the result, with the ticks run before.
        """
        self._check_whole()
        quiet = self._quiet_ticks(most)
        if quiet:
            self.tick += quiet
            self.last_fired = NOBODY
            self.flight.let_go(self.tick)
            self.stimuli.settle(self.tick)
            try:
                self.working_set.check_budget()  # nobody needs more, but what is recorded grows
            except BudgetExceeded as error:
                return Stretch(quiet, exceeded=error)
            return Stretch(quiet)
        before = self.tick
        try:
            if self._can_burst():
                burst = self.bursts.run(self.tick + 1, most)
                if burst is not None:
                    stretch = self._settle_burst(burst)
                    if stretch.ticks or stretch.exceeded:
                        return stretch
            fired = self.step()
        except BudgetExceeded as error:
            # the tick is complete, what followed it did not fit; or it has not begun
            fired = self.last_fired if self.tick > before else NOBODY
            return Stretch(self.tick - before, np.full(self.tick - before, len(fired)), fired, error)
        return Stretch(1, np.array([len(fired)]), fired)

    def _can_burst(self) -> bool:
        """Whether ticks need nothing that only Python can do: nothing is learned, no row read ahead, nobody void."""
        return self.learning is None and not self.voids and not self._memory_is_short()

    def _memory_is_short(self) -> bool:
        """Whether something was evicted of late, so that rows have to be read ahead."""
        evictions = self.working_set.counts["evictions"]
        if evictions != self._evictions:
            self._evictions, self._calm_from = evictions, self.tick + _CALM_TICKS
        return self.tick < self._calm_from

    def _quiet_ticks(self, most: int) -> int:
        """How many of the next ``most`` ticks change nothing: all rest, no spike arrives, no input comes."""
        if len(self.last_fired) or any(layer.any_active for layer in self.voids.values()):
            return 0
        coming = [self.flight.next_tick(self.tick), self.stimuli.next_tick(self.tick)]
        ticks = min([most, *(tick - self.tick - 1 for tick in coming if tick is not None)])
        held = self.working_set.slots
        return 0 if ticks <= 0 or held.block_awake[: held.counters[slots.N_BLOCKS]].any() else ticks

    def _settle_burst(self, burst: Burst) -> Stretch:
        """Take over what a burst has done, and complete the tick in which it may stand."""
        first, ticks, exceeded = self.tick + 1, burst.ticks, None
        for number in range(max(0, ticks - self.flight.longest_delay), ticks):
            self.flight.emit(first + number, burst.fired(number))
        self.tick += ticks
        self.flight.let_go(self.tick)
        self.delivery.events += burst.events
        self.spikes += int(burst.ends[ticks] - burst.ends[0])
        self.working_set.counts["hits"] += burst.arrived
        self.last_fired = burst.fired(ticks - 1) if ticks else self.last_fired
        self.stimuli.settle(self.tick)
        ends, fired = burst.ends[: ticks + 1], burst.spikes[burst.ends[0] : burst.ends[ticks]]
        counts = np.diff(ends)
        before = self.tick
        try:
            if burst.stands == kernel.BROKEN:
                self._take_back()
            elif burst.stands == kernel.DELIVERED:
                self._stimulate_and_step(before + 1)
            elif burst.stands == kernel.FIRED:
                self._broken_at = before
                self._complete(before + 1, burst.fired(ticks))
            else:
                self.working_set.check_budget()
        except BudgetExceeded as error:
            exceeded = error
        if self.tick > before:
            ticks, counts = ticks + 1, np.append(counts, len(self.last_fired))
            fired = np.concatenate([fired, self.last_fired])
        return Stretch(ticks, counts, fired, exceeded)

    def step(self, given: Callable[[], None] | None = None) -> Int64Array:
        """Run one tick; returns the slots that fired, valid until the next call. ``given`` adds input of its own.

        :class:`BudgetExceeded` leaves the engine at a tick boundary: at the one before when raised in delivery, at
        the one after when raised behind it (``tick`` tells). After any other error the engine refuses to go on.
        """
        self._check_whole()
        tick = self.tick + 1
        try:
            self._foresight.take_in(tick)
            if self.learning is not None:
                self.learning.begin(self.tick)
            self.delivery.deliver(tick)
        except BaseException:
            self._take_back()
            raise
        return self._stimulate_and_step(tick, given)

    def _check_whole(self) -> None:
        if self._broken_at is not None:
            raise EngramError(
                f"tick {self._broken_at + 1} could not be completed; close and open the engram again: the journal "
                f"has everything up to tick {self._broken_at}"
            )

    def _stimulate_and_step(self, tick: int, given: Callable[[], None] | None = None) -> Int64Array:
        """The rest of a tick whose spikes are delivered."""
        try:
            if self.voids:
                self.delivery.settle()
            self.stimuli.apply(tick)
            if given is not None:
                given()
            for layer in self.voids.values():
                layer.plan(tick)
        except BaseException:
            self._take_back()
            raise
        self._broken_at = self.tick
        for layer in self.voids.values():
            layer.finish(tick)
        return self._complete(tick, self._step_neurons())

    def _complete(self, tick: int, fired: Int64Array) -> Int64Array:
        """The rest of a tick in which ``fired`` have fired."""
        self.flight.emit(tick, fired)
        self.last_fired = fired
        self.spikes += len(fired)
        self._fire(fired, tick)
        if self.learning is not None:
            self.learning.fire(tick, fired, {name: layer.sie(tick).reward for name, layer in self.voids.items()})
        self._foresight.ask(fired, tick)
        self.flight.depart(tick, fired)
        self.stimuli.settle(tick)
        self.tick = tick
        self._broken_at = None
        self.working_set.check_budget()
        return fired

    def _take_back(self) -> None:
        for layer in self.voids.values():
            layer.give_up()
        self.delivery.empty()
        slots.clear_input(self.working_set.slots)
        self.working_set.unpin()
        if self.learning is not None:
            self.learning.take_back()
        self.flight.reschedule(self.tick)

    def _step_neurons(self) -> Int64Array:
        self.working_set.charges.fill_fresh()
        held, layers = self.working_set.slots, self.working_set.layers

        def part(_: int, start: int, stop: int) -> list[Int64Array]:
            fired = []
            self.delivery.take(start, stop)
            for step, mine in self._steps:
                block = start
                while block < stop:
                    buffer = np.empty(min(_FIRED_BUFFER, (stop - block) * slots.BLOCK), dtype=np.int64)
                    count = np.zeros(1, dtype=np.int64)
                    block = step(held, layers.constants, layers.rows, mine, block, stop, buffer, count)
                    fired.append(buffer[: count[0]])
            return fired

        n_blocks = int(held.counters[slots.N_BLOCKS])
        parts = [piece for fired in self._workers.each(part, n_blocks, self._workers.least_blocks) for piece in fired]
        self.delivery.empty()
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _fire(self, fired: Int64Array, tick: int) -> None:
        """Count spikes, and look where the synapses lie over which they will arrive.

        What the store counts of a neuron without a record is added when its row is read.
        """
        held, records = self.working_set.slots, self.working_set.records
        delay = self.flight.one_delay

        def part(_: int, start: int, stop: int) -> tuple[Int64Array, ...]:
            offsets, lengths, left, without = (np.empty(stop - start, dtype=np.int64) for _ in range(4))
            n, n_left, n_without = deliver.fire(
                held.record, records, fired[start:stop], tick, delay, offsets, lengths, left, without
            )
            return offsets[:n], lengths[:n], left[:n_left], without[:n_without]

        found = list(zip(*self._workers.each(part, len(fired), self._workers.least_rows), strict=True))
        offsets, lengths, left, new = (joined(pieces) for pieces in found)
        rows.attach(held, records, new, rows.DIRTY | rows.WARM | rows.ON_TOP, np.uint32(1), tick)
        # rows that learn are looked at when spikes arrive, and where memory is short they will have moved by then
        if delay and self.learning is None and 2 * len(offsets) > len(fired) and not self._memory_is_short():
            self.flight.lay_out(tick, Stretches(offsets, lengths, left, int(held.counters[slots.N_MOVED])))

    def awake(self) -> IdArray:
        """Ids, sorted, of all neurons that are not at rest or have a spike under way."""
        charged, _ = self.working_set.charges.all()
        flying = [self.working_set.slots.id[held] for held in self.flight.held()]
        return np.unique(np.concatenate([charged, *flying, *(layer.active for layer in self.voids.values())]))

    # ---- receptive vectors, void layers

    def show(self, receptive: Receptive, currents: Currents, k: int) -> IdArray:
        """Run one tick in which a layer gets the ``currents`` of input ``k``; who of it fired, sorted."""
        self.step(lambda: receptive.present(currents, k))
        return self.fired_of(receptive)

    def fired_of(self, receptive: Receptive) -> IdArray:
        """Who of the layer fired in the last tick; ids, sorted."""
        return self.fired_ids[self.fired_ids >> np.uint64(48) == np.uint64(receptive.layer.index)]

    def sie(self) -> dict[str, Sie]:
        """How each void layer stood at the end of the last tick."""
        return {name: layer.sie(self.tick) for name, layer in self.voids.items()}

    def stats(self) -> dict[str, Any]:
        """Those of the working set, and of each void layer."""
        voids = {name: sie._asdict() for name, sie in self.sie().items()}
        return {**self.working_set.stats(), **({"void": voids} if voids else {})}

    # ---- the whole state, for the store

    def settle_learning(self) -> None:
        """Bring what was learned up to the present: before rows are read, written or changed."""
        if self.learning is not None:
            self.learning.settle(self.tick)

    def write_back(self) -> None:
        """Hand all that the store does not know yet of records and rows to it."""
        self.settle_learning()
        self.working_set.unwritten.write_back()

    def state(self) -> State:
        """What the store keeps of the present beside the records; see :mod:`engramdb.state`."""
        return self.freeze()()

    def freeze(self) -> Callable[[], State]:
        """Copy the present; what it returns puts it into order, whatever has happened since, and in any thread."""
        ids, fields = self.working_set.charges.all()
        spikes, input_to_come = self.flight.freeze(), self.stimuli.freeze()
        learned = dict if self.learning is None else self.learning.freeze()
        of_models = self._of_models()
        cycle, spike_count = self._cycle, self.spikes

        def state() -> State:
            return {
                **({} if cycle is None else cycle.arrays(spike_count)),
                **charged_state(ids, fields),
                **flight.state_of(spikes),
                **input_to_come(),
                **learned(),
                **of_models,
            }

        return state

    def load_state(self, tick: int, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Stand at ``tick`` with what :meth:`state` gave then; the working set must be fresh."""
        self.tick = tick
        if self.learning is not None:
            self.learning.load_state(tick, state)
        if not state:
            return
        self.cycle = Standing.of(state)
        self.spikes = int(state[SPIKES][0]) if SPIKES in state else 0
        self.working_set.charges.put(state["charged_id"], charged_fields(state))
        self.flight.load_state(tick, state)
        self.stimuli.load_state(tick, state)
        self.fired_ids = state.get("receptive_fired", self.fired_ids)
        for place, receptive in enumerate(self.receptive.values()):
            receptive.updates = int(state["receptive_updates"][place]) if "receptive_updates" in state else 0
        for place, void in enumerate(self.voids.values()):
            if "void_valence" in state:
                active, last = state["void_active"], state["void_sie"][place]
                own = active[active >> np.uint64(48) == np.uint64(void.layer.index)]
                sie = Sie(int(last[1]), *(float(value) for value in last[2:])) if last[0] else None
                void.load(own, state["void_valence"][place], None if sie is None else (int(last[0]), sie))

    def _of_models(self) -> State:
        """The part of the state that is about receptive vectors and void neurons."""
        state: State = {}
        if self.receptive:
            state["receptive_fired"] = self.fired_ids
            state["receptive_updates"] = np.array([r.updates for r in self.receptive.values()], dtype=np.int64)
        if self.voids:
            voids = list(self.voids.values())
            last = [(0, 0, 0, 0, 0) if v.last is None else (v.last[0], *v.last[1]) for v in voids]
            state["void_active"] = np.sort(np.concatenate([v.active for v in voids]))
            state["void_valence"] = np.array([v.valence for v in voids], dtype=np.float32)
            state["void_sie"] = np.array(last, dtype=np.float64)
        return state
