"""Walks along synapses: the surroundings of a neuron, and ways from one neuron to another."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engramdb import timelimit
from engramdb.address import IdArray, format_id
from engramdb.errors import InvalidInput, NotFound
from engramdb.query.synapses import onto
from engramdb.query.view import View

Direction = Literal["out", "in"]
By = Literal["hops", "strength"]

FULL_MV = 15.0
"""By default a synapse of so many mV, from rest to threshold of the default model, passes everything on."""
_ROWS_AT_ONCE = 1 << 14
_SETTLED_AT_ONCE = 64  # neurons whose rows are read together by the search for a strong path


@dataclass(frozen=True)
class Ego:
    """The surroundings of ``center``: ``ids`` uint64 (n,) by hop and then by id, ``hop`` int64 (n,), its distance.

    Edges are all synapses out of neurons nearer than the last hop (of direction ``in``: onto them) whose other end is
    among ``ids``: ``pre``, ``post`` uint64, ``weight`` float32 (mV), ``delay`` int64 (ticks), ``projection`` int64, its
    number in the spec; all (m,), sorted by pre, post, delay and projection. ``truncated``: ``limit`` left neurons out,
    the farthest, and among those the largest ids.
    """

    center: int
    direction: Direction
    hops: int
    ids: IdArray
    hop: npt.NDArray[np.int64]
    pre: IdArray
    post: IdArray
    weight: npt.NDArray[np.float32]
    delay: npt.NDArray[np.int64]
    projection: npt.NDArray[np.int64]
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Path:
    """A way along synapses: ``ids`` uint64 (n + 1,) with both ends, ``weights`` float32 (n,) in mV.

    ``strength``: the product of min(1, abs(weight) / full) over its synapses. ``visited``: neurons that were looked at.
    """

    ids: IdArray
    weights: npt.NDArray[np.float32]
    strength: float
    visited: int

    @property
    def hops(self) -> int:
        """Synapses on the way; 0 from a neuron to itself."""
        return len(self.weights)


class Edges:
    """Synapses of a set of neurons, in arrays of equal length; ``near`` are the ends that were asked for."""

    def __init__(self, view: View, ids: IdArray, direction: Direction) -> None:
        """``ids``: sorted, distinct."""
        if direction == "out":
            starts = range(0, max(1, len(ids)), _ROWS_AT_ONCE)
            parts = [_sent(view, ids[start : start + _ROWS_AT_ONCE]) for start in starts]
        else:
            found = onto(ids, view.spec, view.store, view.wiring)
            delay = view.spec.ticks_of(found.projection, found.delay)
            parts = [(found.target, found.source, found.weight, delay, found.projection)]
        together = parts[0] if len(parts) == 1 else tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        self.near, self.far, self.weight, self.delay, self.projection = together


def _sent(view: View, ids: IdArray) -> tuple[npt.NDArray[Any], ...]:
    """Both ends, weight, delay in ticks and projection of the synapses out of ``ids``."""
    rows = view.rows(ids)
    near = np.repeat(ids, np.diff(rows.indptr))
    return near, rows.target, rows.weight, view.spec.ticks_of(rows.projection, rows.delay), rows.projection


def ego(view: View, center: int, hops: int, limit: int, direction: Direction) -> Ego:
    """See :meth:`engramdb.Engram.ego`."""
    if direction not in ("out", "in"):
        raise InvalidInput(f'direction="{direction}": expected "out" or "in"')
    if not 0 <= hops <= 1 << 16:
        raise InvalidInput(f"hops={hops}: give a whole number from 0 to 65,536")
    if limit < 1:
        raise InvalidInput(f"limit={limit}: give 1 or more")
    rings = [np.array([center], dtype=np.uint64)]
    known = rings[0]
    edges: list[Edges] = []
    truncated = False
    for _ in range(hops):
        if not len(rings[-1]):
            break
        edges.append(Edges(view, rings[-1], direction))
        fresh = np.setdiff1d(edges[-1].far, known)
        if len(known) + len(fresh) > limit:
            truncated = True
            fresh = fresh[: limit - len(known)]
        rings.append(fresh)
        known = np.union1d(known, fresh)
    near, far, weight, delay, projection = (
        np.concatenate([np.empty(0, dtype), *(getattr(part, name) for part in edges)])
        for name, dtype in (("near", np.uint64), ("far", np.uint64), ("weight", np.float32), ("delay", np.int64),
                            ("projection", np.uint16))
    )  # fmt: skip
    if truncated:
        inside = np.isin(far, known)
        near, far, weight, delay, projection = (a[inside] for a in (near, far, weight, delay, projection))
    pre, post = (near, far) if direction == "out" else (far, near)
    order = np.lexsort((projection, delay, post, pre))
    return Ego(
        center=center, direction=direction, hops=hops,
        ids=np.concatenate(rings), hop=np.repeat(np.arange(len(rings)), [len(ring) for ring in rings]),
        pre=pre[order], post=post[order], weight=weight[order], delay=delay[order],
        projection=projection[order].astype(np.int64), truncated=truncated,
    )  # fmt: skip


def path(view: View, a: int, b: int, by: By, full: float, limit: int) -> Path:
    """See :meth:`engramdb.Engram.path`."""
    if by not in ("hops", "strength"):
        raise InvalidInput(f'by="{by}": expected "hops" or "strength"')
    if not (math.isfinite(full) and full > 0):
        raise InvalidInput(f"full={full}: give a number of mV above 0")
    if limit < 1:
        raise InvalidInput(f"limit={limit}: give 1 or more")
    ids, visited = (_shortest if by == "hops" else _Strongest(full).search)(view, a, b, limit)
    weights = np.empty(len(ids) - 1, dtype=np.float32)
    for place, (pre, post) in enumerate(itertools.pairwise(ids)):
        row = view.rows(np.array([pre], dtype=np.uint64))
        several = row.weight[row.target == np.uint64(post)]
        weights[place] = several[np.argmax(np.abs(several))]  # of several synapses of a pair the strongest counts
    strength = math.exp(-math.fsum(_costs(weights, full).tolist()))
    return Path(np.array(ids, dtype=np.uint64), weights, strength, visited)


def _costs(weight: npt.NDArray[np.float32], full: float) -> npt.NDArray[np.float64]:
    """-log of what each synapse passes on, at least 0; infinite for a weight of 0."""
    with np.errstate(divide="ignore"):
        return -np.log(np.minimum(1.0, np.abs(weight.astype(np.float64)) / full))


def _none(a: int, b: int, visited: int, limit: int) -> NotFound:
    way = f"from {format_id(a)} to {format_id(b)}"
    if visited >= limit:
        return NotFound(f"no path {way} among the {visited:,} neurons that were looked at; give a larger limit")
    return NotFound(f"there is no path {way}: all {visited:,} neurons within reach were looked at")


class _Front:
    """One side of a search by hops: who has been reached, and from whom."""

    def __init__(self, view: View, start: int, direction: Direction) -> None:
        self._view, self._direction = view, direction
        self.ids = self.ring = np.array([start], dtype=np.uint64)
        self.parent = self.ids.copy()  # of each of ids, who are sorted

    def grow(self) -> None:
        """One hop further; of several neurons through which one is reached the smallest id counts."""
        edges = Edges(self._view, self.ring, self._direction)
        order = np.lexsort((edges.near, edges.far))
        far, first = np.unique(edges.far[order], return_index=True)
        near = edges.near[order][first]
        new = ~np.isin(far, self.ids)
        self.ring = far[new]
        ids = np.concatenate([self.ids, self.ring])
        order = np.argsort(ids)
        self.ids, self.parent = ids[order], np.concatenate([self.parent, near[new]])[order]

    def back(self, neuron: int) -> list[int]:
        """From ``neuron`` to where the search began."""
        way = [neuron]
        while (parent := int(self.parent[np.searchsorted(self.ids, np.uint64(way[-1]))])) != way[-1]:
            way.append(parent)
        return way


def _shortest(view: View, a: int, b: int, limit: int) -> tuple[list[int], int]:
    """A path of the fewest synapses: from both ends, always on the side where fewer are to be looked at.

    Without a reverse index the side that would have to scan all stored rows stands still.
    """
    ahead, behind = _Front(view, a, "out"), _Front(view, b, "in")
    backwards = bool(view.store.reverse) or next(iter(view.store.directory.leaves()), None) is None
    while True:
        meeting = np.intersect1d(ahead.ids, behind.ids, assume_unique=True)
        if len(meeting):
            neuron = int(meeting[0])
            return [*reversed(ahead.back(neuron)), *behind.back(neuron)[1:]], len(ahead.ids) + len(behind.ids)
        visited = len(ahead.ids) + len(behind.ids)
        if visited >= limit or not len(ahead.ring) or not len(behind.ring):
            raise _none(a, b, visited, limit if len(ahead.ring) and len(behind.ring) else visited + 1)
        # they have not met: whichever side goes one hop on, the two are as near as they can be when they do
        (behind if backwards and len(behind.ring) < len(ahead.ring) else ahead).grow()


class _Strongest:
    """A path whose synapses pass the most on: Dijkstra's algorithm (1959) over -log(min(1, |w| / full)).

    Equal strengths are decided for fewer hops, and then for smaller ids.
    """

    def __init__(self, full: float) -> None:
        self._full = full

    def search(self, view: View, a: int, b: int, limit: int) -> tuple[list[int], int]:
        cost: dict[int, tuple[float, int]] = {a: (0.0, 0)}
        parent: dict[int, int] = {a: a}
        done: set[int] = set()
        waiting = [(0.0, 0, a)]
        rows: dict[int, tuple[list[int], list[float]]] = {}
        while waiting:
            timelimit.check()
            so_far, hops, neuron = heapq.heappop(waiting)
            if neuron in done:
                continue
            done.add(neuron)
            if neuron == b:
                way = [b]
                while way[-1] != a:
                    way.append(parent[way[-1]])
                return way[::-1], len(done)
            if len(done) >= limit:
                raise _none(a, b, len(done), limit)
            if neuron not in rows:
                # the next in line will most likely be wanted too, and reading them together costs little more
                ids = [neuron, *(other for _, _, other in waiting[:_SETTLED_AT_ONCE])]
                rows = self._rows(view, np.unique(np.array(ids, dtype=np.uint64)))
            for other, step in zip(*rows[neuron], strict=True):
                if other in done:
                    continue
                reached = so_far + step, hops + 1
                known = cost.get(other)
                if known is None or reached < known or (reached == known and neuron < parent[other]):
                    cost[other], parent[other] = reached, neuron
                    heapq.heappush(waiting, (*reached, other))
        raise _none(a, b, len(done), len(done) + 1)

    def _rows(self, view: View, ids: IdArray) -> dict[int, tuple[list[int], list[float]]]:
        """Targets and costs of the row of each of ``ids``, without synapses of weight 0."""
        found = view.rows(ids)
        costs = _costs(found.weight, self._full)
        rows = {}
        for place, neuron in enumerate(ids.tolist()):
            part = slice(int(found.indptr[place]), int(found.indptr[place + 1]))
            passing = np.isfinite(costs[part])
            rows[neuron] = found.target[part][passing].tolist(), costs[part][passing].tolist()
        return rows
