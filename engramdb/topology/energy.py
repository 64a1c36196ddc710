"""Where an engram is changing: |dW|, the void energy, of those neurons that may change.

- **void layers**: the |dW| that the next tick brings to each neuron of the active set, exact: it is a function of W,
  the valence and the noise of that tick, all of which are known.
- **plastic projections** (where no void neuron is active): how far a neuron's row of learned weights has moved, the
  Euclidean norm, per tick. Since the tracker's last reading, for neurons whose row it has seen; at its first reading
  since birth, over projections whose wiring rule can tell what they were born with. Of the neurons that have spikes
  under way, and those seen before, at most 4096 are looked at, always the same.
- **networks that do not learn**: how many spikes of a neuron are under way. That is no dW, and ``mean`` is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.kernels import void
from engramdb.parameters import parameters_of_layer
from engramdb.query.view import Rows
from engramdb.topology.moment import Moment
from engramdb.voids import rates_at
from engramdb.wiring import Rows as Ruled

Float64Array = npt.NDArray[np.float64]

MOST_ROWS = 4096


@dataclass(frozen=True)
class Energy:
    """``kind``: "void", "rows", "spikes" or "none". ``ids``: uint64, sorted, who was looked at; ``value`` float64.

    ``mean``: mean |dW| of a tick over all that were looked at; in mV for rows.
    """

    kind: str
    ids: IdArray
    value: Float64Array
    mean: float

    def top(self, count: int, moment: Moment) -> IdArray:
        """The neurons that change most, the first first; equals in an order that is random, but always the same."""
        some = np.flatnonzero(self.value > 0)
        if len(some) > count:
            least = np.partition(self.value[some], len(some) - count)[len(some) - count]
            some = some[self.value[some] >= least]
        order = np.lexsort((moment.order(self.ids[some]), -self.value[some]))
        return self.ids[some][order][:count]

    def of(self, ids: IdArray) -> Float64Array:
        """That of any ``ids``; 0 of those that were not looked at."""
        if not len(self.ids):
            return np.zeros(len(ids))
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.value[place], 0.0)


@dataclass(frozen=True)
class Seen:
    """Rows of learned weights as they were at ``tick``, of ``ids`` (sorted); ``place``: which row a synapse is of."""

    tick: int
    ids: IdArray
    place: npt.NDArray[np.int64]
    target: IdArray
    weight: npt.NDArray[np.float32]

    def only(self, ids: IdArray) -> Seen:
        """The rows of those of ``ids`` (sorted) that are here, by their place in ``ids``."""
        kept = np.isin(self.ids[self.place], ids)
        place = np.searchsorted(ids, self.ids[self.place[kept]])
        return Seen(self.tick, np.intersect1d(self.ids, ids), place, self.target[kept], self.weight[kept])


def energy(moment: Moment, seen: Seen | None) -> tuple[Energy, Seen | None]:
    """Who changes at ``moment``, and what to remember of rows for the next time."""
    if len(moment.active):
        return _of_voids(moment), seen
    if moment.view.spec.learns:
        return _of_rows(moment, seen)
    ids, spikes = np.unique(moment.fired, return_counts=True)
    return Energy("spikes" if len(ids) else "none", ids, spikes.astype(np.float64), 0.0), None


def _of_voids(moment: Moment) -> Energy:
    ids, spec = moment.active, moment.view.spec
    w, change = moment.w(ids), np.empty(len(ids), dtype=np.float32)
    for index, part in by_layer(ids):
        layer = spec.layer(index)
        values = parameters_of_layer(layer, spec).values(np.empty(0, dtype=np.uint64))
        rates, gate = rates_at(spec, values, moment.tick + 1), np.float32(moment.valence[layer.name])
        void.foreseen(ids[part], w[part], rates, gate, change[part])
    value = change.astype(np.float64)
    return Energy("void", ids, value, float(value.mean()))


def _of_rows(moment: Moment, seen: Seen | None) -> tuple[Energy, Seen]:
    spec = moment.view.spec
    plastic = [number for number, projection in enumerate(spec.all_projections) if projection.plasticity]
    layers = {spec.layer(spec.all_projections[number].pre).index for number in plastic}
    fired = np.unique(moment.fired)
    ids = fired[np.isin(fired >> np.uint64(48), np.array(sorted(layers), dtype=np.uint64))]
    if seen is not None:
        ids = np.union1d(ids, seen.ids)
    if len(ids) > MOST_ROWS:
        ids = np.sort(ids[np.argsort(moment.order(ids), kind="stable")[:MOST_ROWS]])
    now = _of_projections(moment.tick, ids, moment.rows(ids), plastic)
    if seen is None:
        ruled = [number for number in plastic if spec.all_projections[number].rule.virtual]
        there = np.isin(now.projection, ruled)
        born = moment.view.wiring().rows(ids)  # before anything was learned
        one, before = now.seen(there), _of_projections(0, ids, born, ruled).seen()
        known = np.bincount(before.place, minlength=len(ids)) > 0
    else:
        one, before = now.seen(), seen.only(ids)
        known = np.isin(ids, before.ids)
    value = np.where(known, _distance(len(ids), one, before), 0.0) / max(1, moment.tick - before.tick)
    mean = float(value[known].mean()) if known.any() else 0.0
    return Energy("rows" if len(ids) else "none", ids, value, mean), now.seen()


@dataclass(frozen=True)
class _Rows:
    tick: int
    ids: IdArray
    place: npt.NDArray[np.int64]
    projection: npt.NDArray[np.uint16]
    target: IdArray
    weight: npt.NDArray[np.float32]

    def seen(self, only: npt.NDArray[np.bool_] | slice = slice(None)) -> Seen:
        return Seen(self.tick, self.ids, self.place[only], self.target[only], self.weight[only])


def _of_projections(tick: int, ids: IdArray, rows: Rows | Ruled, projections: list[int]) -> _Rows:
    """What ``rows``, those of ``ids`` at ``tick``, have of some projections."""
    place = np.repeat(np.arange(len(ids)), np.diff(rows.indptr))
    kept = np.isin(rows.projection, projections)
    return _Rows(tick, ids, place[kept], rows.projection[kept], rows.target[kept], rows.weight[kept])


def _distance(count: int, one: Seen, other: Seen) -> Float64Array:
    """How far each of ``count`` rows is from what it was, float64; all synapses of a pair count as one."""
    place = np.concatenate([one.place, other.place])
    target = np.concatenate([one.target, other.target])
    change = np.concatenate([one.weight.astype(np.float64), -other.weight.astype(np.float64)])
    if not len(place):
        return np.zeros(count)
    order = np.lexsort((change, target, place))
    place, target, change = place[order], target[order], change[order]
    first = np.flatnonzero((np.diff(place, prepend=-1) != 0) | (np.diff(target, prepend=target[:1]) != 0))
    moved = np.add.reduceat(change, first)
    return np.sqrt(np.bincount(place[first], weights=moved * moved, minlength=count))
