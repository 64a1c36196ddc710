"""The twin of an engram that gets commands (:mod:`tests.commands`): what it must be, from the plain simulator."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np

import engramdb
from engramdb import Engram
from engramdb.growth.bundle import Bundles
from engramdb.store import Records
from engramdb.wiring import Wiring
from tests.commands import EXCITATORY, OWN, Command, Input, branch_of, projections_of, spec
from tests.modeltwin import ModelTwin, model_twin_of
from tests.networks import edges_of, ids_of
from tests.simulator import FIXED, narrowed
from tests.test_poisson import twin_train


@dataclass
class State:
    """What a twin remembers of one moment.

    ``stimuli``: how many there were; ``last``: the last tick of each that is not stopped, by number; ``numbers``: whose
    each of the simulator's stimuli is. ``own``: parameters by name, NaN where a neuron of the layer was given none.
    """

    simulator: ModelTwin
    bundles: Bundles
    own: dict[str, np.ndarray]
    log: list[str] = field(default_factory=list)
    stimuli: int = 0
    last: dict[int, int] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)

    def copy(self) -> State:
        return copy.deepcopy(self, {id(part.model): part.model for part in self.simulator.parts})

    @property
    def to_come(self) -> list[int]:
        """Numbers of the stimuli that are not over."""
        return [number for number, last in self.last.items() if last > self.simulator.tick]


class Twin:
    """What an engram must be after some commands, from the plain simulator."""

    def __init__(self, e: Engram) -> None:
        """Of an engram as it was created."""
        self.spec = e.spec
        twin = model_twin_of(e)
        self.longest = max(e.spec.delay_range(projection)[1] for projection in e.spec.all_projections)
        own = {name: np.full(int((twin.ids >> np.uint64(48) == EXCITATORY).sum()), np.nan) for name in OWN}
        self.now = State(twin, Bundles.initial(e.spec), own)
        self.saved: dict[str, State] = {}
        self.branch = "main"
        self.others: dict[str, State] = {}
        """The other branches, as they were left."""
        self.thinned = False
        """Whether commits without a name may have been deleted."""

    def copy(self) -> Twin:
        twin = copy.copy(self)
        twin.now = self.now.copy()
        twin.saved, twin.others = dict(self.saved), dict(self.others)  # what is saved is never changed
        return twin

    @property
    def simulator(self) -> ModelTwin:
        return self.now.simulator

    def apply(self, command: Command) -> None:
        simulator = self.simulator
        n = len(simulator.ids)
        if command.kind == "stimulate":
            self._stimulate(Input.of(command, n))
        elif command.kind == "run":
            self.run(command.ticks)
        elif command.kind == "stop_stimuli":
            self._stop(command.one_of(self.now.to_come))
        elif command.kind in ("set_weight", "connect", "connect_delayed"):
            pre, post, weight = command.pairs(simulator.ids, self._targets)
            delayed = command.kind == "connect_delayed"
            delays = command.delays(self.spec, pre, post).tolist() if delayed else [None] * len(pre)
            for one, other, mv, ticks in zip(*np.searchsorted(simulator.ids, (pre, post)), weight, delays, strict=True):
                self._set(int(one), int(other), mv, ticks)
        elif command.kind == "set_parameters":
            places, values = command.own(len(self.now.own["bias"]))
            for name, given in values.items():
                self.now.own[name][places] = given
            self._follow_own()
        elif command.kind == "checkpoint":
            self.now.log.append(command.name)
        elif command.kind == "snapshot":
            self.saved[command.name] = self.now.copy()
        elif command.kind == "delete_snapshot":
            self.saved.pop(command.one_of(self.saved) or "", None)
        elif command.kind == "restore":
            name = command.one_of(self.saved)
            if name is not None:
                self.now = self.saved[name].copy()
        elif command.kind == "branch":
            self.others[command.name] = self.now.copy()
        elif command.kind == "delete_branch":
            self.others.pop(command.one_of(self.others.keys() - {"main"}) or "", None)
        elif command.kind == "switch":
            self._switch(command.one_of([self.branch, *self.others]) or self.branch)
        elif command.kind == "gc":
            self.thinned = True
        elif command.kind == "forget":
            self._forget(command.stretches(n))
        elif command.kind in ("grow", "grow_written"):
            self._grow(command.neurons, command.kind == "grow_written")

    def run(self, ticks: int) -> tuple[np.ndarray, np.ndarray]:
        simulator = self.simulator
        spikes = simulator.run(ticks)
        for tick in [t for t in simulator.fired_at if t <= simulator.tick - self.longest]:
            del simulator.fired_at[tick]
        self._keep([stop > simulator.tick for _, stop, *_ in simulator.stimuli])
        return spikes

    def _stimulate(self, given: Input) -> None:
        simulator, start = self.simulator, self.simulator.tick + given.later
        number, last = self.now.stimuli, given.last(start)
        if given.kind == "current":
            simulator.stimuli.append((start, last, given.places, given.amplitude))
        elif given.kind == "train":
            for tick in np.unique(given.ticks):
                now = given.ticks == tick
                simulator.stimulate(given.places[now], given.amplitude[now], start + int(tick))
        else:
            for place, rate, amplitude in zip(given.places, given.rates, given.amplitude, strict=True):
                rate = rate * 1000.0 * (self.spec.dt_ms / 1000.0)  # through Hz and back, as the engram has it
                for tick in twin_train(self.spec.seed, number, int(simulator.ids[place]), rate, last):
                    if tick >= start:
                        simulator.stimulate(np.array([place]), np.array([amplitude]), tick)
        self.now.numbers += [number] * (len(simulator.stimuli) - len(self.now.numbers))
        self.now.last[number] = last
        self.now.stimuli += 1

    def _stop(self, number: int | None) -> None:
        state = self.now
        self._keep([of != number for of in state.numbers])
        if number is not None:
            del state.last[number]

    def _keep(self, which: list[bool]) -> None:
        """Those of the simulator's stimuli; what is over would be copied again and again."""
        state = self.now
        state.numbers = list(compress(state.numbers, which))
        state.simulator.stimuli = list(compress(state.simulator.stimuli, which))

    def _follow_own(self) -> None:
        """Let the neurons with parameters of their own have the constants that follow from them."""
        simulator, part = self.simulator, self.simulator.parts[-1]
        values = part.model.values(self.spec.layer(EXCITATORY).params)
        values |= {name: np.where(np.isnan(own), values[name], own) for name, own in self.now.own.items()}
        constants = part.model.constants(values, simulator.dt)
        part.constants = {name: np.float32(constants[name]) for name in part.constants}

    def _switch(self, branch: str) -> None:
        self.others[self.branch] = self.now
        self.branch, self.now = branch, self.others.pop(branch).copy()

    def _forget(self, places: np.ndarray) -> None:
        """Those at rest, with no spike under way, whose rows are what the rules generate."""
        simulator = self.simulator
        resting = np.all([simulator.left == 0, *(values == 0 for values in simulator.fields.values())], axis=0)
        resting[simulator.parts[-1].where] &= np.all([np.isnan(own) for own in self.now.own.values()], axis=0)
        for layer in self.spec.layers:
            longest = max(self.spec.delay_range(p)[1] for p in self.spec.all_projections if p.pre == layer.name)
            own = simulator.ids >> np.uint64(48) == layer.index
            for tick in range(simulator.tick - longest + 1, simulator.tick + 1):
                resting &= ~(own & simulator.fired_at.get(tick, np.zeros(len(resting), dtype=bool)))
        wiring = Wiring(self.spec, self.now.bundles)
        for place in places[resting[places]].tolist():
            rows = wiring.rows(simulator.ids[place : place + 1])
            own = np.flatnonzero(simulator.pre == place)
            made = rows.target, rows.weight, self._delays(rows)
            has = simulator.ids[simulator.post[own]], simulator.weight[own], simulator.delay[own]
            if sorted(zip(*made, strict=True)) == sorted(zip(*has, strict=True)):
                simulator.spike_count[place] = simulator.last_spike[place] = 0

    def _targets(self, pre: int) -> np.ndarray:
        simulator = self.simulator
        own = np.flatnonzero(simulator.pre == np.searchsorted(simulator.ids, np.uint64(pre)))
        post = simulator.ids[simulator.post[own]]
        return post[np.lexsort((post, simulator.delay[own]))]

    def _set(self, pre: int, post: int, weight: np.float32, ticks: int | None) -> None:
        """``ticks``: the delay of the synapses of the pair; None leaves it, and gives new ones the mean."""
        simulator = self.simulator
        weight = narrowed(weight, self.spec.layer(int(simulator.ids[pre]) >> 48))
        pair = np.flatnonzero((simulator.pre == pre) & (simulator.post == post))
        if len(pair) == 0:
            (projection,) = projections_of(self.spec, simulator.ids[[pre]], simulator.ids[[post]])
            self._append(pre, post, weight, self.spec.delays[projection] if ticks is None else ticks)
            return
        simulator.weight[pair] = weight
        simulator.fixed[pair] = np.int64(np.rint(np.float64(weight) * FIXED))
        if ticks is not None:
            simulator.delay[pair] = ticks
            simulator.pre = simulator.pre.copy()  # so that it sorts them anew

    def _delays(self, rows: Records) -> np.ndarray:
        return self.spec.ticks_of(rows.projection, rows.delay)

    def _append(self, pre: object, post: object, weight: object, delay: object) -> None:
        simulator = self.simulator
        simulator.pre = np.append(simulator.pre, pre)
        simulator.post = np.append(simulator.post, post)
        simulator.weight = np.append(simulator.weight, np.asarray(weight, dtype=np.float32))
        simulator.fixed = np.rint(simulator.weight.astype(np.float64) * FIXED).astype(np.int64)
        simulator.delay = np.append(simulator.delay, delay)

    def _grow(self, neurons: int, written: bool) -> None:
        simulator = self.simulator
        self.now.bundles, bundle = self.now.bundles.grow(
            self.spec, "exc", neurons, tick=simulator.tick, materialized=written
        )
        ids = np.arange(bundle.lo, bundle.hi, dtype=np.uint64) | np.uint64(bundle.layer << 48 | bundle.segment << 32)
        assert ids[0] > simulator.ids[-1]
        simulator.ids = np.concatenate([simulator.ids, ids])
        for name in ("left", "spike_count", "last_spike"):
            column = getattr(simulator, name)
            setattr(simulator, name, np.concatenate([column, np.zeros(neurons, dtype=column.dtype)]))
        for name, values in simulator.fields.items():
            simulator.fields[name] = np.concatenate([values, np.zeros(neurons, dtype=np.float32)])
        for name, own in self.now.own.items():
            self.now.own[name] = np.concatenate([own, np.full(neurons, np.nan)])
        part = simulator.parts[-1]
        part.where = slice(part.where.start, len(simulator.ids))
        self._follow_own()
        for tick, fired in simulator.fired_at.items():
            simulator.fired_at[tick] = np.concatenate([fired, np.zeros(neurons, dtype=bool)])
        rows = Wiring(self.spec, self.now.bundles).rows(ids)
        pre = np.repeat(ids, np.diff(rows.indptr))
        self._append(
            np.searchsorted(simulator.ids, pre), np.searchsorted(simulator.ids, rows.target), rows.weight,
            self._delays(rows),
        )  # fmt: skip


def difference(e: Engram, twin: Twin, *, snapshots: bool) -> str | None:
    """The first thing in which the engram is not what its twin says; None if it is the same.

    Tick, how many stimuli there were, every field and parameter of every neuron, every synapse, the named commits, the
    branches; with ``snapshots`` also what each of them holds.
    """
    found = _state_difference(e, twin.now, thinned=twin.thinned)
    if found is not None:
        return found
    branches = {branch.name for branch in e.branches()}
    if (branch_of(e), branches) != (twin.branch, {twin.branch, *twin.others}):
        return f"branch {branch_of(e)} of {branches} instead of {twin.branch} of {twin.others.keys()} besides"
    names = sorted(s.name for s in e.snapshots())
    if names != sorted(twin.saved):
        return f"snapshots {names} instead of {sorted(twin.saved)}"
    if not snapshots:
        return None
    places = [({"at": name}, state) for name, state in twin.saved.items()]
    places += [({"branch": name}, state) for name, state in twin.others.items()]
    for place, state in places:
        with engramdb.open(e.location, **place) as reader:  # type: ignore[arg-type]
            found = _state_difference(reader, state, thinned=twin.thinned)
        if found is not None:
            return f"{place}: {found}"
    return None


def _state_difference(e: Engram, state: State, *, thinned: bool) -> str | None:
    simulator = state.simulator
    if e.tick != simulator.tick:
        return f"tick {e.tick} instead of {simulator.tick}"
    kept = e._kept.get("stimulus_next", np.empty(0))
    given = e._live.stimuli.next_number if e.mode == "r+" else int(kept.max(initial=0))
    if given != state.stimuli:
        return f"{given} stimuli have been given instead of {state.stimuli}"
    if e.mode == "r+" and (to_come := [stimulus.number for stimulus in e.stimuli()]) != state.to_come:
        return f"stimuli {to_come} are to come instead of {state.to_come}"
    ids = ids_of(e)
    if not np.array_equal(ids, simulator.ids):
        return f"{len(ids)} neurons instead of {len(simulator.ids)}"
    neurons = e.neurons(ids)
    for name, expected in (
        *simulator.fields.items(), ("refractory", simulator.left),
        ("spike_count", simulator.spike_count), ("last_spike", simulator.last_spike),
    ):  # fmt: skip
        column = neurons.fields[name]
        if name in simulator.fields:
            column, expected = column.view(np.uint32), expected.view(np.uint32)
        wrong = np.flatnonzero((column != expected) & neurons.has(name))
        if len(wrong):
            at = wrong[0]
            return f"{name} of {len(wrong)} neurons, the first {ids[at]:#x}: {column[at]}, not {expected[at]}"
    part = simulator.parts[-1]
    parameters, shared = e.parameters(ids[part.where]), part.model.values(e.spec.layer(EXCITATORY).params)
    for name, own in state.own.items():
        if not np.array_equal(parameters[name], np.where(np.isnan(own), shared[name], own)):
            return f"{name} of neurons"
    expected_edges = (ids[simulator.pre], ids[simulator.post], simulator.weight, simulator.delay)
    for name, column, expected in zip(
        ("sources", "targets", "weights", "delays"), _sorted(edges_of(e)), _sorted(expected_edges), strict=True
    ):
        if not np.array_equal(column, expected):
            return f"{name} of synapses"
    log = [c.message for c in reversed(e.log()) if c.message.startswith("command")]
    there = iter(state.log)
    if log != state.log and not (thinned and all(name in there for name in log)):
        return f"commits {log} instead of {state.log}"
    return None


def _sorted(edges: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    pre, post, weight, delay = edges
    order = np.lexsort((weight, delay, post, pre))
    return tuple(column[order] for column in edges)


def create(path: Path, seed: int) -> Twin:
    """A new engram at ``path``, closed again, and its twin."""
    with engramdb.create(path, spec(seed)) as e:
        return Twin(e)
