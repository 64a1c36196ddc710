"""Memory traces: sets of neurons with a name, what a cue completes to, and how a trace drifts.

A trace is an *engram* in the sense of neuroscience: neurons that fired together. It is recalled by a part of it, the
*cue*: the cue is presented, the network runs, and who fires is compared with every trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from engramdb import timelimit
from engramdb.address import IdArray, by_layer
from engramdb.birth import born_awake
from engramdb.errors import InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.query.view import View
from engramdb.state import awake_state
from engramdb.stimuli import command
from engramdb.store import OWN, Store
from engramdb.store.leaf import STATE_PREFIX
from engramdb.store.whatif import WhatIf

if TYPE_CHECKING:
    from engramdb.engine import Engine

AMPLITUDE = 20.0
"""mV in every tick of the cue: by default a neuron of the model ``lif``, 15 mV from its threshold, fires at once."""
_TICKS_AT_ONCE = 16  # of a recall, between two looks at the clock


@dataclass(frozen=True)
class Trace:
    """A named set of neurons: ``ids`` uint64 (n,), sorted. ``tick``: when it was imprinted; ``created``: ISO 8601, UTC.

    ``a & b``, ``a | b`` and ``a - b`` are the ids that are shared, in either, and only in the first.
    """

    name: str
    ids: IdArray = field(repr=False)
    tick: int
    created: str

    def __len__(self) -> int:
        return len(self.ids)

    def __and__(self, other: Trace) -> IdArray:
        return np.intersect1d(self.ids, other.ids, assume_unique=True)

    def __or__(self, other: Trace) -> IdArray:
        return np.union1d(self.ids, other.ids)

    def __sub__(self, other: Trace) -> IdArray:
        return np.setdiff1d(self.ids, other.ids, assume_unique=True)

    def overlap(self, other: Trace) -> float:
        """Shared neurons as a fraction of all that are in either (Jaccard)."""
        return len(self & other) / len(self | other)


@dataclass(frozen=True)
class Match:
    """How much of a trace of ``size`` neurons was active.

    ``overlap``: the fraction of the trace that fired; ``completed``: of those of it that were not in the cue (not a
    number where all were). ``chance`` and ``completed_chance``: what to expect of both if as many neurons had fired,
    drawn at random from the layers that the trace lies in. ``share``: the fraction of those that fired that belong to
    it.
    """

    name: str
    size: int
    in_cue: int
    overlap: float
    chance: float
    completed: float
    completed_chance: float
    share: float


@dataclass(frozen=True)
class Recall:
    """What a cue brought about in ``ticks`` ticks.

    ``active``: uint64, sorted, who fired at least ``least_spikes`` times, and ``spike_count`` int64, how often.
    ``counts``: int64 (ticks,), spikes in each tick. ``traces``: all of them, best completed first. ``kept``: whether it
    is part of history.
    """

    cue: IdArray
    ticks: int
    least_spikes: int
    active: IdArray
    spike_count: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    traces: tuple[Match, ...]
    kept: bool

    @property
    def best(self) -> Match | None:
        """The trace that was completed best, if any was active beyond chance."""
        first = self.traces[0] if self.traces else None
        return first if first is not None and first.overlap > first.chance else None


@dataclass(frozen=True)
class Drift:
    """How a trace differs between two commits.

    - ``shared``, ``gained``, ``lost``: of its neurons, where it was imprinted anew in between.
    - ``synapses``: among the neurons that both have, before and after; ``added``, ``removed``: pairs of neurons that
      synapses join only after, only before. ``weight``: mean weights (mV) before and after of the pairs joined in both,
      a pair's synapses added up; ``weight_change``: mean size of the difference; ``correlation`` of the weights.
    - ``activity``: neurons that fire when the trace is recalled by the cue, in both, as a fraction of those that fire
      in either; not a number where nobody does.
    """

    name: str
    shared: int
    gained: int
    lost: int
    synapses: tuple[int, int]
    added: int
    removed: int
    weight: tuple[float, float]
    weight_change: float
    correlation: float
    activity: float


def trace(store: Store, name: str) -> Trace:
    """Raises NotFound, Damaged."""
    ref = store.traces.ref(name)
    return Trace(name, store.traces.ids(ref), ref.tick, ref.created)


def traces(store: Store) -> list[Trace]:
    """All of them, by name."""
    return [Trace(name, store.traces.ids(ref), ref.tick, ref.created) for name, ref in store.traces.refs().items()]


def match(fired: IdArray, cue: IdArray, known: Sequence[Trace], bundles: Bundles) -> tuple[Match, ...]:
    """How far ``fired`` (sorted, distinct) completes each of ``known`` traces from ``cue`` (sorted, distinct)."""
    sizes: dict[int, int] = {}
    for (layer, _), neurons in bundles.sizes.items():
        sizes[layer] = sizes.get(layer, 0) + neurons
    found = []
    for one in known:
        layers = [layer for layer, _ in by_layer(one.ids)]
        declared = sum(sizes[layer] for layer in layers)
        here, cued = (ids[np.isin(ids >> np.uint64(48), np.array(layers, np.uint64))] for ids in (fired, cue))
        inside = np.intersect1d(here, one.ids, assume_unique=True)
        in_cue = np.intersect1d(cued, one.ids, assume_unique=True)
        beyond = len(np.setdiff1d(inside, in_cue, assume_unique=True))
        left = len(one.ids) - len(in_cue)
        beside = len(np.setdiff1d(here, cued, assume_unique=True))
        found.append(Match(
            one.name, len(one.ids), len(in_cue),
            overlap=len(inside) / len(one.ids), chance=len(here) / declared,
            completed=beyond / left if left else float("nan"),
            completed_chance=beside / (declared - len(cued)) if declared > len(cued) else float("nan"),
            share=len(inside) / len(fired) if len(fired) else 0.0,
        ))  # fmt: skip
    return tuple(sorted(found, key=lambda m: (-m.overlap, -m.share, m.name)))


@dataclass(frozen=True)
class Presentation:
    """How a cue is presented: ``amplitude`` mV in each of the first ``duration`` of ``ticks`` ticks."""

    ticks: int
    amplitude: Any
    duration: int
    least_spikes: int

    def __post_init__(self) -> None:
        if not 1 <= self.ticks <= 1 << 24:
            raise InvalidInput(f"ticks={self.ticks}: give a whole number from 1 to {1 << 24:,}")
        if not 1 <= self.duration <= self.ticks:
            raise InvalidInput(f"duration={self.duration}: give a whole number of ticks from 1 to ticks={self.ticks}")
        if self.least_spikes < 1:
            raise InvalidInput(f"least_spikes={self.least_spikes}: give 1 or more")


def what_if(
    view: View, tick: int, state: Mapping[str, npt.NDArray[Any]] | None, budget_bytes: int, threads: int
) -> Engine:
    """An engine of its own over what ``view`` sees, from ``state`` or from rest: nothing that it does is kept.

    At rest nobody is charged, no spike is under way and no stimulus to come; but neurons of materialized layers that
    are born with a potential are as they were at birth, and those that never rest are awake.
    """
    from engramdb.engine import Engine

    at_rest = state is None
    if state is None:
        ids, fields = born_awake(view.spec, view.bundles.bundles)
        state = awake_state(ids, fields) if len(ids) else {}
    store = cast(Store, WhatIf(view.store))
    engine = Engine(view.spec, view.bundles, store, budget_bytes=budget_bytes, threads=threads)
    try:
        engine.load_state(tick, state)
        for ids in _given_own(view) if at_rest else ():
            engine.working_set.charges.refresh(ids)  # with a parameter of its own, one may never rest
    except BaseException:
        engine.close()
        raise
    return engine


def _given_own(view: View) -> Iterator[IdArray]:
    """Neurons of materialized layers that have parameters of their own, leaf by leaf."""
    for layer in view.spec.layers:
        names = [STATE_PREFIX + OWN + name for name in layer.columns]
        if layer.materialize and names:
            for ref in view.store.directory.leaves(layer.index):
                columns = view.store.columns.read(ref, ["id", *names])
                given = [~np.isnan(columns[name]) for name in names if name in columns]
                if given and (own := np.logical_or.reduce(given)).any():
                    yield columns["id"][own]


def present(engine: Engine, cue: IdArray, how: Presentation) -> tuple[IdArray, npt.NDArray[np.int64]]:
    """``(ids of all spikes, spikes in each tick)`` of a cue presented to ``engine``, in the ticks that follow."""
    stimulus = command.current(engine.stimuli.next_number, engine.tick, cue, how.amplitude, None, how.duration)
    engine.stimuli.prepared(stimulus.kind, stimulus.meta, stimulus.arrays, engine.tick)()
    spikes: list[IdArray] = [np.empty(0, np.uint64)]
    counts: list[npt.NDArray[np.int64]] = []
    left = how.ticks
    while left:
        timelimit.check()
        stretch = engine.advance(min(left, _TICKS_AT_ONCE))
        counts.append(np.zeros(stretch.ticks, np.int64) if stretch.counts is None else np.asarray(stretch.counts))
        spikes.append(engine.working_set.slots.id[stretch.fired])
        left -= stretch.ticks
        if stretch.exceeded is not None:
            raise stretch.exceeded
    return np.concatenate(spikes), np.concatenate(counts)


def recalled(
    cue: IdArray, spikes: IdArray, counts: npt.NDArray[np.int64], how: Presentation, view: View, *, kept: bool
) -> Recall:
    """What is to be said of the spikes that a cue has brought about."""
    fired, times = np.unique(spikes, return_counts=True)
    enough = times >= how.least_spikes
    fired, times = fired[enough], times[enough]
    matches = match(fired, cue, traces(view.store), view.bundles)
    return Recall(cue, how.ticks, how.least_spikes, fired, times.astype(np.int64), counts, matches, kept)


def drift(before: View, after: View, name: str, active: tuple[IdArray, IdArray]) -> Drift:
    """How the trace differs; ``active``: who fires when it is recalled, before and after."""
    one, other = trace(before.store, name), trace(after.store, name)
    common = one & other
    pairs = [_joined(view, common) for view in (before, after)]
    (key, weight, n), (other_key, other_weight, m) = pairs
    _, here, there = np.intersect1d(key, other_key, assume_unique=True, return_indices=True)
    change = other_weight[there] - weight[here]
    either = np.union1d(*active)
    return Drift(
        name, len(common), len(other - one), len(one - other), (n, m),
        added=len(other_key) - len(there), removed=len(key) - len(here),
        weight=(_mean(weight[here]), _mean(other_weight[there])), weight_change=_mean(np.abs(change)),
        correlation=_correlation(weight[here], other_weight[there]),
        activity=len(np.intersect1d(*active)) / len(either) if len(either) else float("nan"),
    )  # fmt: skip


def _joined(view: View, ids: IdArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int]:
    """Pairs of the n ``ids`` (sorted) that are joined, as pre n + post of their places; sums of weights; synapses."""
    if not len(ids):
        return np.empty(0, np.int64), np.empty(0), 0
    rows = view.rows(ids)
    pre = np.repeat(np.arange(len(ids)), np.diff(rows.indptr))
    post = np.minimum(np.searchsorted(ids, rows.target), len(ids) - 1)
    inside = ids[post] == rows.target
    pairs: npt.NDArray[np.int64] = pre[inside] * len(ids) + post[inside]
    key, place = np.unique(pairs, return_inverse=True)
    weight = np.zeros(len(key))
    np.add.at(weight, place, rows.weight[inside])
    return key, weight, int(np.count_nonzero(inside))


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Pearson's; not a number where one of the two does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])
