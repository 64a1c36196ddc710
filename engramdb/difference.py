"""What differs between two commits of an engram: neurons, synapses, weights, and what was going on.

>>> difference = engramdb.diff("brain.engram", "before", "main")        # doctest: +SKIP
>>> difference.by_layer["cortex"].synapses_reweighted                   # doctest: +SKIP
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.cards import card, table
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.inspect.histogram import Histogram, LinearHistogram
from engramdb.spec import Layer, Spec
from engramdb.store import Store
from engramdb.store.diff import ADDED, REMOVED, ROW, STATE, Changes, Rules
from engramdb.url import located
from engramdb.wiring import Rows, Wiring

if TYPE_CHECKING:
    from engramdb.engram import Engram

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS = 24
_CACHE_BYTES = 16 << 20


@dataclass(frozen=True)
class Place:
    """A commit, by the name that was asked for."""

    name: str
    commit: int
    line: int
    tick: int


@dataclass(frozen=True)
class WeightChange:
    """How weights differ (mV, after minus before) of the synapses that both have; None where no weight differs.

    ``count``, ``mean``, ``std``, ``minimum``, ``maximum`` and the histogram's counts are exact. ``quantiles`` maps
    fractions to values that are estimated to within 1/2048 of the largest change.
    """

    count: int
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    quantiles: dict[float, float]
    histogram: Histogram


@dataclass(frozen=True)
class ChangedIds:
    """Which neurons differ: uint64, increasing. A neuron may be in several of them."""

    added: IdArray
    removed: IdArray
    state_changed: IdArray
    row_changed: IdArray


@dataclass(frozen=True)
class LayerDiff:
    """One layer, before and after. All counts are of neurons but those of synapses.

    - ``added``, ``removed``: have a record after only, before only; the others are virtual there, or not born.
    - ``changed``: have a record in both, and state or row differ; ``state_changed``: the state of these.
    - ``row_changed``: the synapses differ, of added and removed neurons too. A row that is stored and one that the
      wiring rule generates are compared as what they are: rows of synapses.
    - ``synapses_added``, ``synapses_removed``, ``synapses_reweighted``: of all these. A synapse is its source,
      target, projection and delay, and its place among those of the row that share them.
    - ``born``, ``unborn``: declared after only, before only, by growing. ``rewired``: declared in both, but grown
      apart on two branches; the rows that rules generate may differ, and are compared only for those with a record.
    - ``ids``: which they are, where that was asked.
    """

    name: str
    index: int
    added: int
    removed: int
    changed: int
    state_changed: int
    row_changed: int
    synapses_added: int
    synapses_removed: int
    weights: WeightChange
    born: int
    unborn: int
    rewired: int
    ids: ChangedIds | None = None

    @property
    def synapses_reweighted(self) -> int:
        return self.weights.count

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        counts = (self.added, self.removed, self.changed, self.row_changed, self.born, self.unborn, self.rewired)
        return not any(counts)


@dataclass(frozen=True)
class InFlight:
    """What was going on, before and after: a pair of numbers each.

    - ``charged``: neurons not at rest. ``woken``: after only; ``settled``: before only; ``recharged``: in both, but
      with another potential or refractory time.
    - ``spikes``: under way; ``stimuli``: neurons with input still to come, once for each stimulus.
    - ``differing``: names of the state's arrays that are not the same, bit for bit.
    """

    charged: tuple[int, int]
    woken: int
    settled: int
    recharged: int
    spikes: tuple[int, int]
    stimuli: tuple[int, int]
    differing: tuple[str, ...]


@dataclass(frozen=True)
class TracesDiff:
    """Names of traces, sorted: that are there after only, before only, and in both with other neurons."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True)
class Diff:
    """What differs between two commits. ``by_layer``: by the layer's name, in the order of the spec."""

    path: Path
    before: Place
    after: Place
    by_layer: dict[str, LayerDiff]
    in_flight: InFlight
    traces: TracesDiff = field(default_factory=TracesDiff)

    @property
    def same(self) -> bool:
        """Whether neurons, synapses, named traces and what is in flight are the same."""
        layers = all(layer.same for layer in self.by_layer.values())
        return layers and not self.in_flight.differing and self.traces.same

    def _repr_html_(self) -> str:
        said = (
            "added",
            "removed",
            "changed",
            "row_changed",
            "synapses_added",
            "synapses_removed",
            "synapses_reweighted",
        )
        rows = [(name, *(getattr(layer, field) for field in said)) for name, layer in self.by_layer.items()]
        note = "nothing differs" if self.same else f"commit {self.before.commit:,} to {self.after.commit:,}"
        return card("difference", note, table(("layer", *(field.replace("_", " ") for field in said)), rows))

    def changes(self, layer: str | None = None) -> Iterator[Changes]:
        """The neurons that differ, by id, of one layer or of all: read again, in memory for a few leaves.

        Each part has ``ids`` and ``what``, bits ADDED, REMOVED, STATE and ROW of :mod:`engramdb.store.diff`.
        Raises NotFound if one of the commits is not kept any more.
        """
        with ExitStack() as opened:
            before, after = (
                opened.enter_context(Store.open(self.path, at=place.commit, cache_bytes=_CACHE_BYTES))
                for place in (self.before, self.after)
            )
            index = None if layer is None else after.spec.layer(layer).index
            yield from after.differences(before, index, _rules(before, after))


def diff(
    engram: str | os.PathLike[str] | Engram | Store,
    a: str | int,
    b: str | int,
    *,
    layer: str | None = None,
    ids: bool = False,
) -> Diff:
    """What differs from ``a`` to ``b``: names of snapshots or branches, or numbers of commits.

    ``engram``: a path, or an open :class:`Engram`. Of a branch its last commit is meant; a snapshot of the same name
    goes before it. ``layer``: the name of one; default all. ``ids``: keep which neurons differ, in memory; without it
    the memory does not grow with what differs. Only leaves that differ are read.

    Raises NotAnEngram, NotFound (snapshot, branch, commit or layer), LeafDamaged.
    """
    if isinstance(engram, (str, os.PathLike)):
        path = located(engram)
    else:
        path = engram.path if isinstance(engram, Store) else engram.location
    with ExitStack() as opened:
        before, after = (opened.enter_context(Store.open(path, at=place, cache_bytes=_CACHE_BYTES)) for place in (a, b))
        spec = after.spec
        layers = spec.layers if layer is None else [spec.layer(layer)]
        rules = _rules(before, after)
        grown = _Grown(before.bundles, after.bundles)
        found = {}
        for one in layers:
            counter = _Counter(keep_ids=ids)
            for changes in after.differences(before, one.index, rules):
                counter.add(changes)
            found[one.name] = counter.result(one, grown)
        in_flight, traces = _in_flight(before, after), _traces(before, after)
        return Diff(path, _place(before, a), _place(after, b), found, in_flight, traces)


def _place(store: Store, asked: str | int) -> Place:
    return Place(str(asked), store.commit.number, store.commit.line, store.commit.tick)


class _Counter:
    def __init__(self, *, keep_ids: bool) -> None:
        self._kept: list[Changes] | None = [] if keep_ids else None
        self._counts = dict.fromkeys(("added", "removed", "changed", "state_changed", "row_changed"), 0)
        self._synapses_added = self._synapses_removed = 0
        self._weights = _Weights()

    def add(self, changes: Changes) -> None:
        what = changes.what
        for name, mask in {
            "added": what & ADDED, "removed": what & REMOVED, "state_changed": what & STATE, "row_changed": what & ROW,
            "changed": what & (ADDED | REMOVED) == 0,
        }.items():  # fmt: skip
            self._counts[name] += int(np.count_nonzero(mask))
        self._synapses_added += changes.synapses_added
        self._synapses_removed += changes.synapses_removed
        self._weights.add(changes.weight_change)
        if self._kept is not None:
            self._kept.append(replace(changes, weight_change=changes.weight_change[:0]))

    def result(self, layer: Layer, grown: _Grown) -> LayerDiff:
        ids = None
        if self._kept is not None:
            all_ids = np.concatenate([np.empty(0, np.uint64), *(part.ids for part in self._kept)])
            what = np.concatenate([np.empty(0, np.uint8), *(part.what for part in self._kept)])
            ids = ChangedIds(*(all_ids[(what & bit) != 0] for bit in (ADDED, REMOVED, STATE, ROW)))
        born, unborn, rewired = grown.of(layer.index)
        return LayerDiff(
            name=layer.name, index=layer.index, **self._counts,
            synapses_added=self._synapses_added, synapses_removed=self._synapses_removed,
            weights=self._weights.result(), born=born, unborn=unborn, rewired=rewired, ids=ids,
        )  # fmt: skip


class _Weights:
    """Count, mean and variance of a stream, by the update of Chan, Golub and LeVeque (1979), and its histogram."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._minimum, self._maximum = math.inf, -math.inf
        self._histogram = LinearHistogram()

    def add(self, values: npt.NDArray[np.float64]) -> None:
        if not values.size:
            return
        mean, total = float(values.mean()), self._count + values.size
        apart = mean - self._mean
        self._squares += float(((values - mean) ** 2).sum()) + apart**2 * self._count * values.size / total
        self._mean += apart * values.size / total
        self._count = total
        self._minimum, self._maximum = min(self._minimum, float(values.min())), max(self._maximum, float(values.max()))
        self._histogram.add(values)

    def result(self) -> WeightChange:
        if not self._count:
            return WeightChange(0, None, None, None, None, {}, Histogram((), ()))
        quantiles = {
            fraction: min(max(self._histogram.quantile(fraction), self._minimum), self._maximum)
            for fraction in QUANTILES
        }
        return WeightChange(
            self._count, self._mean, math.sqrt(self._squares / self._count), self._minimum, self._maximum,
            quantiles, self._histogram.result(_BINS),
        )  # fmt: skip


# rows that are not stored


class _Grown:
    """Where the bundles of two commits agree, and where not. Both begin with those of the spec."""

    def __init__(self, before: Bundles, after: Bundles) -> None:
        self._before, self._after = before, after

    def of(self, layer: int) -> tuple[int, int, int]:
        """``(born, unborn, rewired)`` of the layer with that index."""
        born = unborn = rewired = 0
        sizes_before, sizes_after = self._before.sizes, self._after.sizes
        for segment in {key for key in (*sizes_before, *sizes_after) if key[0] == layer}:
            one, other = sizes_before.get(segment, 0), sizes_after.get(segment, 0)
            born += max(other - one, 0)
            unborn += max(one - other, 0)
            rewired += min(one, other) - sum(stop - start for start, stop in self._same_in.get(segment, []))
        return born, unborn, rewired

    @cached_property
    def _same_in(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Of each (layer, segment): ranges of local ids whose rules are the same in both."""
        known = {_nature(bundle, self._before): bundle.hi for bundle in self._before.bundles}
        same: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for bundle in self._after.bundles:
            hi = known.get(_nature(bundle, self._after))
            if hi is not None:
                same.setdefault((bundle.layer, bundle.segment), []).append((bundle.lo, min(hi, bundle.hi)))
        return same

    def same(self, ids: IdArray) -> npt.NDArray[np.bool_]:
        """Which of ``ids`` have the same rule in both."""
        if self._before == self._after:
            return np.ones(ids.size, bool)
        first, last = self._same_ids
        if not first.size:
            return np.zeros(ids.size, bool)
        place = np.searchsorted(first, ids, side="right") - 1
        return (place >= 0) & (ids <= last[place])

    @cached_property
    def _same_ids(self) -> tuple[IdArray, IdArray]:
        """First and last id of each range in which both have the same rule, sorted."""
        ranges = sorted(
            (layer << 48 | segment << 32 | start, layer << 48 | segment << 32 | stop - 1)
            for (layer, segment), parts in self._same_in.items()
            for start, stop in parts
        )
        first, last = np.array(ranges, np.uint64).reshape(-1, 2).T
        return np.ascontiguousarray(first), np.ascontiguousarray(last)


def _nature(bundle: Bundle, bundles: Bundles) -> tuple[Any, ...]:
    """All that the rows of a bundle's neurons depend on."""
    wires = tuple(
        (
            wire.projection, wire.rule, bundles.domains[wire.domain], bundles.tables[wire.table],
            None if wire.delay_table is None else bundles.tables[wire.delay_table],
        )
        for wire in bundle.wires
    )  # fmt: skip
    return bundle.number, bundle.layer, bundle.segment, bundle.lo, bundle.origin, bundle.generator, wires


def _rules(before: Store, after: Store) -> Rules:
    return Rules(
        _Grown(before.bundles, after.bundles).same,
        _generator(before.spec, before.bundles),
        _generator(after.spec, after.bundles),
    )


def _generator(spec: Spec, bundles: Bundles) -> Callable[[IdArray], Rows]:
    """The rows that rules generate, empty for neurons that were not born yet."""
    wired: list[Wiring] = []

    def rows(ids: IdArray) -> Rows:
        if not wired:  # often there is nothing to generate, and nothing to compile
            wired.append(Wiring(spec, bundles))
        there = bundles.exists(ids)
        made = wired[0].rows(ids[there])
        lengths = np.zeros(ids.size, np.int64)
        lengths[there] = np.diff(made.indptr)
        return replace(made, indptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))

    return rows


def _traces(before: Store, after: Store) -> TracesDiff:
    one, other = before.traces.refs(), after.traces.refs()
    changed = [
        name
        for name in one
        if name in other
        and one[name] != other[name]
        and not np.array_equal(before.traces.ids(one[name]), after.traces.ids(other[name]))
    ]
    return TracesDiff(tuple(sorted(other.keys() - one)), tuple(sorted(one.keys() - other)), tuple(changed))


# what is in flight


def _in_flight(before: Store, after: Store) -> InFlight:
    one = before.read_state()
    other = one if before.commit.number == after.commit.number else after.read_state()
    differing = () if one is other else tuple(sorted(n for n in one | other if not _equal(one.get(n), other.get(n))))
    empty = np.empty(0, np.uint64)
    ids_before, ids_after = one.get("charged_id", empty), other.get("charged_id", empty)
    _, at_before, at_after = np.intersect1d(ids_before, ids_after, assume_unique=True, return_indices=True)
    recharged = np.zeros(at_before.size, bool)
    for name in (one.keys() & other.keys()) - {"charged_id"}:
        if name.startswith("charged_"):
            unlike = one[name][at_before] != other[name][at_after]
            recharged |= unlike.any(axis=tuple(range(1, unlike.ndim)))

    def both(*names: str) -> tuple[int, int]:
        before, after = (sum(len(state.get(name, empty)) for name in names) for state in (one, other))
        return before, after

    return InFlight(
        charged=both("charged_id"), woken=len(ids_after) - len(at_after), settled=len(ids_before) - len(at_before),
        recharged=int(np.count_nonzero(recharged)), spikes=both("flight_id"),
        stimuli=both("stimulus_id", "poisson_id", "train_id"), differing=differing,
    )  # fmt: skip


def _equal(one: npt.NDArray[Any] | None, other: npt.NDArray[Any] | None) -> bool:
    one, other = (np.empty(0) if a is None else a for a in (one, other))
    if one.size == other.size == 0:
        return True
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
