"""Random commands: a function of (seed, number), given to an engram and, in another process, to its twin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

import engramdb
from engramdb import Engram, Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from tests.networks import ids_of

# How often each comes. Growing is rare, or the network would not stay small.
KINDS = {
    "stimulate": 20, "stop_stimuli": 6, "run": 30, "set_weight": 12, "connect": 8, "connect_delayed": 8,
    "set_parameters": 8, "forget": 6, "checkpoint": 5, "checkpoint_behind": 8, "snapshot": 5, "delete_snapshot": 2,
    "restore": 4, "branch": 3, "switch": 4, "delete_branch": 2, "compact": 4, "gc": 4, "reopen": 4, "grow": 2,
    "grow_written": 2,
}  # fmt: skip
INHIBITORY, EXCITATORY = 0, 7  # layer indices
OWN = ("bias", "tau")  # the parameters of each neuron of the second layer
EVER = 1 << 62  # the last tick of a current without end


def spec(seed: int) -> Spec:
    """Two layers of different models, with narrow weights and delays of 1 to 8 ticks, most of them of each synapse.

    The layer that grows has the highest ids, and parameters of each neuron.
    """
    wiring = SmallWorld(k=6, long_fraction=0.2, span=12, weight=(1.0, 8.0))
    return Spec(
        seed=seed,
        layers=[
            Layer("inh", index=INHIBITORY, model="izhikevich", segments=[60], weights="int8", weight_step=0.08),
            Layer(
                "exc", index=EXCITATORY, segments=[100, 100], wiring=wiring, delay_ms=(1.0, 6.0), weights="float16",
                columns=OWN,
            ),
        ],
        projections=[
            Projection("exc", "inh", FixedOutdegree(k=4), weight=(4.0, 16.0)),
            Projection("inh", "exc", FixedOutdegree(k=4), weight=(0.5, 4.0), delay_ms=3.0, sign=-1),
            Projection("inh", "inh", Explicit(), weight=1.0, delay_ms=(1.0, 8.0), sign=-1),
        ],
    )  # fmt: skip


Name = TypeVar("Name", str, int)


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

    def one_of(self, names: Iterable[Name]) -> Name | None:
        """One of some names or numbers; None where there is none."""
        known = sorted(names)
        return known[self.places(0, len(known))[0]] if known else None

    def pairs(self, twin_ids: np.ndarray, targets_of: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(pre, post, weight) of a change of synapses; inhibitory neurons get weights of their sign."""
        pre = twin_ids[self.places(0, len(twin_ids))]
        if self.kind != "set_weight":
            post = twin_ids[self.places(1, len(twin_ids))]
        else:
            rows = [targets_of(int(p)) for p in pre]  # type: ignore[operator]
            some = np.array([len(row) > 0 for row in rows])
            post = np.array([row[int(x * len(row))] for row, x in zip(rows, self.draws[1], strict=True) if len(row)])
            pre, post = pre[some], post.astype(np.uint64)
        sign = np.where(pre >> np.uint64(48) == INHIBITORY, -1.0, 1.0)
        return pre, post, (sign * self.draws[2, : len(pre)] * 9.0).astype(np.float32)

    def delays(self, spec: Spec, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        """Ticks of each pair of ids, of those that its projection may have."""
        ranges = np.array([spec.delay_range(spec.all_projections[n]) for n in projections_of(spec, pre, post)])
        return ranges[:, 0] + (self.draws[3, : len(pre)] * (np.diff(ranges)[:, 0] + 1)).astype(np.int64)

    def own(self, n: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Places of ``n``, and what the neurons there are given of their own; NaN takes it back."""
        places = np.unique(self.places(0, n))
        bias, tau = self.draws[1, : len(places)] * 18.0 - 4.0, self.draws[2, : len(places)] * 30.0 + 3.0
        return places, {"bias": np.where(bias > 12.0, np.nan, bias), "tau": np.where(tau > 28.0, np.nan, tau)}


def projections_of(spec: Spec, pre: np.ndarray, post: np.ndarray) -> list[int]:
    """Which projection joins the layers of each pair of ids."""
    joined = {(p.pre, p.post): number for number, p in reversed(list(enumerate(spec.all_projections)))}
    layers = [[spec.layer(int(neuron) >> 48).name for neuron in ids] for ids in (pre, post)]
    return [joined[pair] for pair in zip(*layers, strict=True)]


@dataclass(frozen=True)
class Input:
    """What a command ``stimulate`` gives: a current, Poisson input or a train, begun within ten ticks.

    Most is over soon, some lasts for a long run, and some currents (``duration`` None) until they are stopped.
    """

    kind: str
    places: np.ndarray
    amplitude: np.ndarray
    later: int
    duration: int | None
    rates: np.ndarray
    ticks: np.ndarray

    @classmethod
    def of(cls, command: Command, n: int) -> Input:
        kind = ("current", "poisson", "train")[int(command.draws[0, -1] * 3)]
        places = command.places(0, n)
        if kind == "poisson":
            places = np.unique(places)
        m, lasting = len(places), command.draws[3, 0]
        duration: int | None = 1 + int(lasting * 4)
        if lasting > 0.5:
            duration = None if kind == "current" and lasting > 0.9 else int(lasting * 60)
        return cls(
            kind, places, (command.draws[1, :m] * 40.0).astype(np.float32), later=1 + int(command.draws[2, 0] * 5),
            duration=duration, rates=command.draws[2, :m] * 0.6 + 0.001,
            ticks=(command.draws[3, :m] * 4).astype(int),
        )  # fmt: skip

    def last(self, start: int) -> int:
        """The last tick, if the first is ``start``."""
        if self.kind == "train":
            return start + int(self.ticks.max())
        return EVER if self.duration is None else start + self.duration - 1


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
    elif command.kind == "stop_stimuli":
        number = command.one_of(stimulus.number for stimulus in e.stimuli())
        if number is not None:
            e.stop_stimuli(number)
    elif command.kind in ("set_weight", "connect", "connect_delayed"):
        pre, post, weight = command.pairs(ids, lambda neuron: e.synapses(neuron).targets)
        if command.kind == "connect_delayed":
            e.connect(pre, post, weight, command.delays(e.spec, pre, post) * e.spec.dt_ms)
        elif len(pre):
            (e.connect if command.kind == "connect" else e.set_weight)(pre, post, weight)
    elif command.kind == "set_parameters":
        own = ids[ids >> np.uint64(48) == EXCITATORY]
        places, values = command.own(len(own))
        e.set_parameters(own[places], **values)
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
        e = engramdb.open(e.location, "r+", memory=e.memory, durability=durability, branch=branch)
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
