"""Walks along synapses: the surroundings of a neuron, and ways from one neuron to another."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.errors import InvalidInput
from engramdb.query.edges import Direction, Edges, backwards, no_path
from engramdb.query.strength import costs, strongest
from engramdb.query.view import View

By = Literal["hops", "strength"]

FULL_MV = 15.0
"""By default a synapse of so many mV, from rest to threshold of the default model, passes everything on."""


@dataclass(frozen=True)
class Ego:
    """The surroundings of ``center``: ``ids`` uint64 (n,) by hop and then by id, ``hop`` int64 (n,), its distance.

    Edges are all synapses of which both ends are among ``ids``, those within the last hop included: ``pre``, ``post``
    uint64, ``weight`` float32 (mV), ``delay`` int64 (ticks), ``projection`` int64, its number in the spec; all (m,),
    sorted by pre, post, delay and projection. ``truncated``: ``limit`` left neurons out, the farthest, and among those
    the largest ids.
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
    # those of the last hop among themselves too; backwards, the rows of all are had for less than who projects to them
    edges = [*edges, Edges(view, rings[-1], "out")] if direction == "out" else [Edges(view, known, "out")]
    pre, post, weight, delay, projection = (
        np.concatenate([getattr(part, name) for part in edges])
        for name in ("near", "far", "weight", "delay", "projection")
    )
    inside = np.isin(post, known)
    pre, post, weight, delay, projection = (a[inside] for a in (pre, post, weight, delay, projection))
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
    ids, visited = _shortest(view, a, b, limit) if by == "hops" else strongest(view, a, b, full, limit)
    weights = np.empty(len(ids) - 1, dtype=np.float32)
    for place, (pre, post) in enumerate(itertools.pairwise(ids)):
        row = view.rows(np.array([pre], dtype=np.uint64))
        several = row.weight[row.target == np.uint64(post)]
        weights[place] = several[np.argmax(np.abs(several))]  # of several synapses of a pair the strongest counts
    strength = math.exp(-math.fsum(costs(weights, full).tolist()))
    return Path(np.array(ids, dtype=np.uint64), weights, strength, visited)


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
    both_ways = backwards(view)
    while True:
        meeting = np.intersect1d(ahead.ids, behind.ids, assume_unique=True)
        if len(meeting):
            neuron = int(meeting[0])
            return [*reversed(ahead.back(neuron)), *behind.back(neuron)[1:]], len(ahead.ids) + len(behind.ids)
        visited = len(ahead.ids) + len(behind.ids)
        if visited >= limit or not len(ahead.ring) or not len(behind.ring):
            raise no_path(a, b, visited, all_of_them=not len(ahead.ring) or not len(behind.ring))
        # they have not met: whichever side goes one hop on, the two are as near as they can be when they do
        (behind if both_ways and len(behind.ring) < len(ahead.ring) else ahead).grow()
