"""Random commands: a function of (seed, number), given to an engram and, in another process, to its twin."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engramdb
from engramdb import Engram, Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.growth.bundle import Bundles
from engramdb.wiring import Wiring
from tests.networks import edges_of, ids_of, twin_of
from tests.simulator import FIXED, Simulator, narrowed
from tests.test_poisson import twin_train

# How often each comes. Growing is rare, or the network would not stay small.
KINDS = {
    "stimulate": 20, "run": 30, "set_weight": 12, "connect": 12, "forget": 6, "checkpoint": 5, "checkpoint_behind": 8,
    "snapshot": 5, "delete_snapshot": 2, "restore": 4, "branch": 3, "switch": 4, "delete_branch": 2, "compact": 4,
    "gc": 4, "reopen": 4, "grow": 2, "grow_written": 2,
}  # fmt: skip
INHIBITORY, EXCITATORY = 0, 7  # layer indices


def spec(seed: int) -> Spec:
    """Two layers with delays of 1 to 3 ticks and narrow weights; the one that grows has the highest ids."""
    wiring = SmallWorld(k=6, long_fraction=0.2, span=12, weight=(1.0, 8.0))
    return Spec(
        seed=seed,
        layers=[
            Layer("inh", index=INHIBITORY, segments=[60], weights="int8", weight_step=0.08),
            Layer("exc", index=EXCITATORY, segments=[100, 100], wiring=wiring, delay_ms=2.0, weights="float16"),
        ],
        projections=[
            Projection("exc", "inh", FixedOutdegree(k=2), weight=(1.0, 8.0)),
            Projection("inh", "exc", FixedOutdegree(k=4), weight=(0.5, 4.0), delay_ms=3.0, sign=-1),
            Projection("inh", "inh", Explicit(), weight=1.0, delay_ms=2.0, sign=-1),
        ],
    )


@dataclass(frozen=True)
class Command:
    """``kind``, and numbers in [0, 1) that say which neurons, weights and ticks."""

    number: int
    kind: str
    draws: np.ndarray

    @classmethod
    def of(cls, seed: int, number: int) -> Command:
        random = np.random.default_rng((seed, number))
        kinds, shares = list(KINDS), np.array(list(KINDS.values()), dtype=float)
        kind = kinds[random.choice(len(kinds), p=shares / shares.sum())]
        return cls(number, kind, random.random((4, random.integers(1, 25))))

    @property
    def name(self) -> str:
        return f"command {self.number}"

    @property
    def ticks(self) -> int:
        return 1 + int(self.draws[0, 0] * 80)

    @property
    def neurons(self) -> int:
        return 1 + int(self.draws[0, 0] * 12)

    def places(self, row: int, n: int) -> np.ndarray:
        """Which of ``n``, one for each of the command's draws."""
        return (self.draws[row] * n).astype(np.int64)

    def stretches(self, n: int) -> np.ndarray:
        """Places of ``n``, sorted: eight in a row for each of the command's draws."""
        places: np.ndarray = np.unique(self.places(0, n)[:, None] + np.arange(8))
        return places[places < n]

    def one_of(self, names: Iterable[str]) -> str | None:
        """One of some names; None where there is none."""
        known = sorted(names)
        return known[self.places(0, len(known))[0]] if known else None

    def pairs(self, twin_ids: np.ndarray, targets_of: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(pre, post, weight) of a change of synapses; inhibitory neurons get weights of their sign."""
        pre = twin_ids[self.places(0, len(twin_ids))]
        if self.kind == "connect":
            post = twin_ids[self.places(1, len(twin_ids))]
        else:
            rows = [targets_of(int(p)) for p in pre]  # type: ignore[operator]
            some = np.array([len(row) > 0 for row in rows])
            post = np.array([row[int(x * len(row))] for row, x in zip(rows, self.draws[1], strict=True) if len(row)])
            pre, post = pre[some], post.astype(np.uint64)
        sign = np.where(pre >> np.uint64(48) == INHIBITORY, -1.0, 1.0)
        return pre, post, (sign * self.draws[2, : len(pre)] * 9.0).astype(np.float32)


@dataclass(frozen=True)
class Input:
    """What a command ``stimulate`` gives: a current, Poisson input or a train, over by ten ticks later."""

    kind: str
    places: np.ndarray
    amplitude: np.ndarray
    later: int
    duration: int
    rates: np.ndarray
    ticks: np.ndarray

    @classmethod
    def of(cls, command: Command, n: int) -> Input:
        kind = ("current", "poisson", "train")[int(command.draws[0, -1] * 3)]
        places = command.places(0, n)
        if kind == "poisson":
            places = np.unique(places)
        m = len(places)
        return cls(
            kind, places, (command.draws[1, :m] * 24.0).astype(np.float32), later=1 + int(command.draws[2, 0] * 5),
            duration=1 + int(command.draws[3, 0] * 4), rates=command.draws[2, :m] * 0.6 + 0.001,
            ticks=(command.draws[3, :m] * 4).astype(int),
        )  # fmt: skip


def apply(e: Engram, command: Command, durability: str = "journal") -> Engram:
    """Give ``command`` to the engram, which was opened with ``durability``; returns the engram to go on with."""
    ids = ids_of(e)
    if command.kind == "stimulate":
        given = Input.of(command, len(ids))
        start, who = e.tick + given.later, ids[given.places]
        if given.kind == "current":
            e.stimulate(who, given.amplitude, at=start, duration=given.duration)
        elif given.kind == "poisson":
            e.poisson(who, given.rates * 1000.0, given.amplitude, at=start, duration=given.duration)
        else:
            e.play(who, start + given.ticks, given.amplitude)
    elif command.kind == "run":
        e.run(command.ticks)
    elif command.kind in ("set_weight", "connect"):
        pre, post, weight = command.pairs(ids, lambda neuron: e.synapses(neuron).targets)
        if len(pre):
            (e.connect if command.kind == "connect" else e.set_weight)(pre, post, weight)
    elif command.kind == "forget":
        e.forget(ids[command.stretches(len(ids))])
    elif command.kind == "checkpoint":
        e.checkpoint(command.name)
    elif command.kind == "checkpoint_behind":
        e.checkpoint(wait=False)
    elif command.kind in ("snapshot", "delete_snapshot", "restore", "branch", "delete_branch"):
        _change_history(e, command)
    elif command.kind == "compact":
        e.compact()
    elif command.kind == "gc":
        e.gc(keep_last=command.neurons % 3, keep_days=0.0)
    elif command.kind in ("reopen", "switch"):
        branch = branch_of(e)
        if command.kind == "switch":
            branch = command.one_of(b.name for b in e.branches()) or branch
        e.close()
        e = engramdb.open(e.path, "r+", memory=e.memory, durability=durability, branch=branch)
    else:
        e.grow("exc", command.neurons, materialize=command.kind == "grow_written")
    return e


def branch_of(e: Engram) -> str:
    """The branch that is open."""
    return e._store.branch_name


def _change_history(e: Engram, command: Command) -> None:
    snapshot = command.one_of(s.name for s in e.snapshots())
    branch = command.one_of(b.name for b in e.branches() if b.name not in ("main", branch_of(e)))
    if command.kind == "snapshot":
        e.snapshot(command.name)
    elif command.kind == "branch":
        e.branch(command.name)
    elif command.kind == "delete_snapshot" and snapshot is not None:
        e.delete_snapshot(snapshot)
    elif command.kind == "restore" and snapshot is not None:
        e.restore(snapshot)
    elif command.kind == "delete_branch" and branch is not None:
        e.delete_branch(branch)


@dataclass
class State:
    """What a twin remembers of one moment."""

    simulator: Simulator
    bundles: Bundles
    log: list[str]
    stimuli: int = 0


class Twin:
    """What an engram must be after some commands, from the plain simulator."""

    def __init__(self, e: Engram) -> None:
        """Of an engram as it was created."""
        self.spec = e.spec
        self.now = State(twin_of(e), Bundles.initial(e.spec), [])
        self.saved: dict[str, State] = {}
        self.branch = "main"
        self.others: dict[str, State] = {}
        """The other branches, as they were left."""
        self.thinned = False
        """Whether commits without a name may have been deleted."""

    def copy(self) -> Twin:
        twin = copy.copy(self)
        twin.now = copy.deepcopy(self.now)
        twin.saved, twin.others = dict(self.saved), dict(self.others)  # what is saved is never changed
        return twin

    @property
    def simulator(self) -> Simulator:
        return self.now.simulator

    def apply(self, command: Command) -> None:
        simulator = self.simulator
        n = len(simulator.ids)
        if command.kind == "stimulate":
            self._stimulate(Input.of(command, n))
        elif command.kind == "run":
            self.run(command.ticks)
        elif command.kind in ("set_weight", "connect"):
            for pre, post, weight in zip(*command.pairs(simulator.ids, self._targets), strict=True):
                self._set(int(np.searchsorted(simulator.ids, pre)), int(np.searchsorted(simulator.ids, post)), weight)
        elif command.kind == "checkpoint":
            self.now.log.append(command.name)
        elif command.kind == "snapshot":
            self.saved[command.name] = copy.deepcopy(self.now)
        elif command.kind == "delete_snapshot":
            self.saved.pop(command.one_of(self.saved) or "", None)
        elif command.kind == "restore":
            name = command.one_of(self.saved)
            if name is not None:
                self.now = copy.deepcopy(self.saved[name])
        elif command.kind == "branch":
            self.others[command.name] = copy.deepcopy(self.now)
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
        spikes = self.simulator.run(ticks)
        for tick in [t for t in self.simulator.fired_at if t < self.simulator.tick - 8]:
            del self.simulator.fired_at[tick]
        return spikes

    def _stimulate(self, given: Input) -> None:
        simulator, start = self.simulator, self.simulator.tick + given.later
        if given.kind == "current":
            simulator.stimulate(given.places, given.amplitude, start, given.duration)
        elif given.kind == "train":
            for tick in np.unique(given.ticks):
                now = given.ticks == tick
                simulator.stimulate(given.places[now], given.amplitude[now], start + int(tick))
        else:
            for place, rate, amplitude in zip(given.places, given.rates, given.amplitude, strict=True):
                rate = rate * 1000.0 * (self.spec.dt_ms / 1000.0)  # through Hz and back, as the engram has it
                last = start + given.duration - 1
                for tick in twin_train(self.spec.seed, self.now.stimuli, int(simulator.ids[place]), rate, last):
                    if tick >= start:
                        simulator.stimulate(np.array([place]), np.array([amplitude]), tick)
        self.now.stimuli += 1

    def _switch(self, branch: str) -> None:
        self.others[self.branch] = self.now
        self.branch, self.now = branch, copy.deepcopy(self.others.pop(branch))

    def _forget(self, places: np.ndarray) -> None:
        """Those at rest, with no spike under way, whose rows are what the rules generate."""
        simulator = self.simulator
        resting = (simulator.u == 0) & (simulator.left == 0)
        for layer in self.spec.layers:
            longest = max(self.spec.delay_range(p)[1] for p in self.spec.all_projections if p.pre == layer.name)
            own = simulator.ids >> np.uint64(48) == layer.index
            for tick in range(simulator.tick - longest + 1, simulator.tick + 1):
                resting &= ~(own & simulator.fired_at.get(tick, np.zeros(len(resting), dtype=bool)))
        wiring = Wiring(self.spec, self.now.bundles)
        for place in places[resting[places]].tolist():
            rows = wiring.rows(simulator.ids[place : place + 1])
            own = np.flatnonzero(simulator.pre == place)
            made = rows.target, rows.weight, self.spec.delays[rows.projection]
            has = simulator.ids[simulator.post[own]], simulator.weight[own], simulator.delay[own]
            if sorted(zip(*made, strict=True)) == sorted(zip(*has, strict=True)):
                simulator.spike_count[place] = simulator.last_spike[place] = 0

    def _targets(self, pre: int) -> np.ndarray:
        simulator = self.simulator
        own = np.flatnonzero(simulator.pre == np.searchsorted(simulator.ids, np.uint64(pre)))
        post = simulator.ids[simulator.post[own]]
        return post[np.lexsort((post, simulator.delay[own]))]

    def _set(self, pre: int, post: int, weight: np.float32) -> None:
        simulator = self.simulator
        weight = narrowed(weight, self.spec.layer(int(simulator.ids[pre]) >> 48))
        pair = np.flatnonzero((simulator.pre == pre) & (simulator.post == post))
        if len(pair) == 0:
            names = [self.spec.layer(int(simulator.ids[place]) >> 48).name for place in (pre, post)]
            projection = next(p for p in self.spec.all_projections if [p.pre, p.post] == names)
            self._append(pre, post, weight, self.spec.delay_ticks(projection))
        else:
            simulator.weight[pair] = weight
            simulator.fixed[pair] = np.int64(np.rint(np.float64(weight) * FIXED))

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
        for name in ("u", "left", "spike_count", "last_spike"):
            column = getattr(simulator, name)
            setattr(simulator, name, np.concatenate([column, np.zeros(neurons, dtype=column.dtype)]))
        for name in ("theta", "reset"):
            column = getattr(simulator, name)
            setattr(simulator, name, np.concatenate([column, np.full(neurons, column[-1])]))
        for tick, fired in simulator.fired_at.items():
            simulator.fired_at[tick] = np.concatenate([fired, np.zeros(neurons, dtype=bool)])
        rows = Wiring(self.spec, self.now.bundles).rows(ids)
        pre = np.repeat(ids, np.diff(rows.indptr))
        self._append(
            np.searchsorted(simulator.ids, pre), np.searchsorted(simulator.ids, rows.target), rows.weight,
            self.spec.delays[rows.projection],
        )  # fmt: skip


def difference(e: Engram, twin: Twin, *, snapshots: bool) -> str | None:
    """The first thing in which the engram is not what its twin says; None if it is the same.

    Tick, how many stimuli there were, every field of every neuron, every synapse, the named commits, the branches;
    with ``snapshots`` also what each of them holds.
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
        with engramdb.open(e.path, **place) as reader:  # type: ignore[arg-type]
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
    ids = ids_of(e)
    if not np.array_equal(ids, simulator.ids):
        return f"{len(ids)} neurons instead of {len(simulator.ids)}"
    fields = e.neurons(ids).fields
    for name, expected in (
        ("u", simulator.u.view(np.uint32)), ("refractory", simulator.left),
        ("spike_count", simulator.spike_count), ("last_spike", simulator.last_spike),
    ):  # fmt: skip
        column = fields[name].view(np.uint32) if name == "u" else fields[name]
        wrong = np.flatnonzero(column != expected)
        if len(wrong):
            at = wrong[0]
            return f"{name} of {len(wrong)} neurons, the first {ids[at]:#x}: {column[at]}, not {expected[at]}"
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
