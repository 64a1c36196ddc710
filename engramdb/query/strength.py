"""The strongest path between two neurons: a search from both ends, in batches.

Dijkstra's algorithm (1959) from both ends, by turns (Pohl 1971), but that each turn takes the nearest of a side
together, so that their rows are read in one go and all arithmetic is on arrays. One that was taken too early is taken
again when a better way to it turns up.

The cost of a synapse is -log(min(1, abs(weight) / full)) in whole units of 2^-44, so that the cost of a way is the
same to the last bit from whichever end it is summed, and ways that are equally strong are found to be so. Of those the
one of the fewest hops wins, and then, from the end backwards, the smaller id.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb import timelimit
from engramdb.address import IdArray
from engramdb.query.edges import Direction, Edges, backwards, no_path
from engramdb.query.view import View

UNITS = float(1 << 44)
_FARTHEST = 1 << 60  # units: what costs more counts as this, so that sums keep within 64 bits
_AT_ONCE = 64  # neurons that a turn takes, at least: reading one row costs nearly as much
_SHARE = 4  # the more have been taken the more a turn takes: one for each so many
_SCANNED = 1 << 14  # stored rows without a reverse index that may be scanned in each turn: some milliseconds

Costs = npt.NDArray[np.int64]


class _Label(NamedTuple):
    """How far a neuron is from where a search began; compared in this order."""

    cost: int
    hops: int


_BEYOND = _Label(4 * _FARTHEST, 0)  # farther than whatever can be reached


def costs(weight: npt.NDArray[np.float32], full: float) -> npt.NDArray[np.float64]:
    """-log of what each synapse passes on, at least 0; infinite for a weight of 0."""
    with np.errstate(divide="ignore"):
        return -np.log(np.minimum(1.0, np.abs(weight.astype(np.float64)) / full))


class _Side:
    """What is known from one end: of ``ids`` (sorted) ``cost`` and ``hops``, and who are ``open``: not taken at those.

    Labels less than ``radius``, the least of the open ones, are final, and so is whoever has that one.
    """

    def __init__(self, view: View, start: int, direction: Direction, full: float) -> None:
        self._view, self._direction, self._full = view, direction, full
        self.ids = np.array([start], dtype=np.uint64)
        self.cost = np.zeros(1, dtype=np.int64)
        self.hops = np.zeros(1, dtype=np.int64)
        self.open = np.ones(1, dtype=bool)
        self._taken = np.zeros(1, dtype=bool)
        self.visited = 0
        self.radius = _Label(0, 0)
        self._kept: list[
            tuple[IdArray, IdArray, Costs]
        ] = []  # near, far and cost of synapses that may be of a best way
        # with every turn the sources that the index does not know well are read: turns that are worth it
        self._least = _AT_ONCE if direction == "out" else max(_AT_ONCE, len(view.store.touched()) >> 5)

    @property
    def waiting(self) -> int:
        """How many are open."""
        return int(np.count_nonzero(self.open))

    def grow(self, most: int) -> IdArray:
        """Take the nearest open ones, ``most`` at most; gives those who are nearer now than was known."""
        place = self._nearest(min(most, max(self._least, self.visited // _SHARE)))
        self.open[place] = False
        self.visited += int(np.count_nonzero(~self._taken[place]))
        self._taken[place] = True
        edges = Edges(self._view, self.ids[place], self._direction)
        cost = costs(edges.weight, self._full)
        passing = np.isfinite(cost)
        nearer = self._reach(place, edges.near[passing], edges.far[passing], np.rint(cost[passing] * UNITS))
        self._measure()
        return nearer

    def _nearest(self, count: int) -> npt.NDArray[np.intp]:
        """Places of the ``count`` nearest that are open; of equally near ones those of the smallest ids. Sorted."""
        place = np.flatnonzero(self.open)
        if len(place) <= count:
            return place
        cost = self.cost[place]
        place = place[cost <= np.partition(cost, count - 1)[count - 1]]
        return np.sort(place[np.lexsort((place, self.hops[place], self.cost[place]))[:count]])

    def _reach(
        self, taken: npt.NDArray[np.intp], near: IdArray, far: IdArray, step: npt.NDArray[np.float64]
    ) -> IdArray:
        """Follow the synapses of those at ``taken``."""
        own = taken[np.searchsorted(self.ids[taken], near)]
        cost = np.minimum(self.cost[own] + np.minimum(step, _FARTHEST).astype(np.int64), _FARTHEST)
        hops = self.hops[own] + 1
        ids, cost_of, hops_of = _least(far, cost, hops)
        place = np.searchsorted(self.ids, ids)
        known = np.zeros(len(ids), dtype=bool)
        inside = place < len(self.ids)
        known[inside] = self.ids[place[inside]] == ids[inside]
        before = place[known]
        better = self._before(cost_of[known], hops_of[known], before)
        at, moved = before[better], np.flatnonzero(known)[better]
        self.cost[at], self.hops[at], self.open[at] = cost_of[moved], hops_of[moved], True
        self._insert(place[~known], ids[~known], cost_of[~known], hops_of[~known])
        # a best way has only synapses by which their far end is as near as it is known to be
        there = np.searchsorted(self.ids, far)
        tight = (cost == self.cost[there]) & (hops == self.hops[there])
        self._kept.append((near[tight], far[tight], step[tight].astype(np.int64)))
        return np.concatenate([ids[~known], ids[moved]])

    def _before(self, cost: Costs | int, hops: Costs | int, place: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        return (cost < self.cost[place]) | ((cost == self.cost[place]) & (hops < self.hops[place]))

    def _insert(self, place: npt.NDArray[np.intp], ids: IdArray, cost: Costs, hops: Costs) -> None:
        self.ids = np.insert(self.ids, place, ids)
        self.cost = np.insert(self.cost, place, cost)
        self.hops = np.insert(self.hops, place, hops)
        self.open = np.insert(self.open, place, True)
        self._taken = np.insert(self._taken, place, False)

    def _measure(self) -> None:
        place = np.flatnonzero(self.open)
        if not len(place):
            self.radius = _BEYOND
            return
        cost = self.cost[place]
        least = cost.min()
        self.radius = _Label(int(least), int(self.hops[place[cost == least]].min()))

    def known(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
        """Which of ``ids`` have a label, and where those are."""
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known = self.ids[place] == ids
        return known, place[known]

    def least(self, ids: IdArray) -> tuple[Costs, Costs]:
        """Cost and hops of the least label that each of ``ids`` can have."""
        known, place = self.known(ids)
        final = ~self._before(*self.radius, place)
        known[known] = final
        cost = np.full(len(ids), self.radius.cost, dtype=np.int64)
        hops = np.full(len(ids), self.radius.hops, dtype=np.int64)
        cost[known], hops[known] = self.cost[place[final]], self.hops[place[final]]
        return cost, hops

    def kept(self) -> tuple[IdArray, IdArray, Costs]:
        """Near ends, far ends and costs of all synapses that may be of a best way, by what is known in the end."""
        if not self._kept:
            return np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64)
        near, far, cost = (np.concatenate(column) for column in zip(*self._kept, strict=True))
        here, there = np.searchsorted(self.ids, near), np.searchsorted(self.ids, far)
        tight = np.minimum(self.cost[here] + np.minimum(cost, _FARTHEST), _FARTHEST) == self.cost[there]
        tight &= self.hops[here] + 1 == self.hops[there]
        return near[tight], far[tight], cost[tight]


def _least(far: IdArray, cost: Costs, hops: Costs) -> tuple[IdArray, Costs, Costs]:
    """Each of ``far`` once, sorted, and the least cost and hops by which it is reached."""
    order = np.argsort(far)
    far, cost, hops = far[order], cost[order], hops[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(far)), dtype=bool), np.diff(far) > 0]))
    if not len(first):
        return far, cost, hops
    least = np.minimum.reduceat(cost, first)
    hops[cost > np.repeat(least, np.diff(np.append(first, len(far))))] = np.iinfo(np.int64).max
    return far[first], least, np.minimum.reduceat(hops, first)


def strongest(view: View, a: int, b: int, full: float, limit: int) -> tuple[list[int], int]:
    """The ids of the strongest path, both ends included, and how many neurons were looked at, about ``limit`` at most.

    Without a reverse index the side that would have to scan many stored rows stands still. :class:`NotFound` as
    :func:`no_path` says.
    """
    ahead, behind = _Side(view, a, "out", full), _Side(view, b, "in", full)
    both_ways = backwards(view, _SCANNED)
    best = _Label(0, 0) if a == b else _BEYOND
    while True:
        timelimit.check()
        visited = ahead.visited + behind.visited
        # a better way than the best would leave the known part of one side before it comes into that of the other
        if best <= (ahead.radius.cost + behind.radius.cost, ahead.radius.hops + behind.radius.hops):
            if best == _BEYOND:
                raise no_path(a, b, visited, all_of_them=True)
            return _traced(ahead, behind, a, b, best), visited
        if visited >= limit:
            raise no_path(a, b, visited, all_of_them=False)
        side, other = (behind, ahead) if both_ways and behind.waiting < ahead.waiting else (ahead, behind)
        nearer = side.grow(limit - visited)
        here = side.known(nearer)[1]
        met, there = other.known(nearer)
        here = here[met]
        if len(here):
            cost, hops = side.cost[here] + other.cost[there], side.hops[here] + other.hops[there]
            first = np.lexsort((hops, cost))[0]
            best = min(best, _Label(int(cost[first]), int(hops[first])))


def _traced(ahead: _Side, behind: _Side, a: int, b: int, best: _Label) -> list[int]:
    """The best way among the synapses that both sides kept, whose label is ``best``."""
    pre, post, cost = ahead.kept()
    later, earlier, further = behind.kept()
    pre, post, cost = np.concatenate([pre, earlier]), np.concatenate([post, later]), np.concatenate([cost, further])
    (before, steps), (after, more) = ahead.least(pre), behind.least(post)
    whole, hops = before + np.minimum(cost, _FARTHEST) + after, steps + 1 + more
    of_best = np.flatnonzero((whole < best.cost) | ((whole == best.cost) & (hops <= best.hops)))
    order = of_best[np.argsort(post[of_best])]
    pre, post, cost = pre[order], post[order], cost[order]
    # first those from which the end is reached that way, who are few, and then forwards among them
    rows: dict[int, list[tuple[int, int]]] = {b: []}
    looked_at = [b]
    while looked_at:
        neuron = looked_at.pop()
        part = slice(*np.searchsorted(post, np.array([neuron, neuron + 1], dtype=np.uint64)).tolist())
        for other, step in zip(pre[part].tolist(), cost[part].tolist(), strict=True):
            if other not in rows:
                rows[other] = []
                looked_at.append(other)
            rows[other].append((neuron, step))
    reached, parent, done = {a: _Label(0, 0)}, {a: a}, set()
    waiting = [(reached[a], a)]
    while b not in done:
        so_far, neuron = heapq.heappop(waiting)
        if neuron in done:
            continue
        done.add(neuron)
        for other, step in rows[neuron]:
            label = _Label(so_far.cost + step, so_far.hops + 1)
            known = reached.get(other)
            if known is None or label < known or (label == known and neuron < parent[other]):
                reached[other], parent[other] = label, neuron
                heapq.heappush(waiting, (label, other))
    way = [b]
    while way[-1] != a:
        way.append(parent[way[-1]])
    return way[::-1]
