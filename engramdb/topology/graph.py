"""The undirected graph of some neurons and the synapses among them, and numbers that describe it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import flag

Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Graph:
    """Vertices 0..n-1; edges ``u < v`` (int32 (m,), sorted, each pair once) with a ``strength`` (float64 (m,)).

    ``ids``: uint64 (n,), sorted, the neurons that the vertices are; of a graph of clusters their numbers.
    """

    ids: IdArray
    u: Int32Array
    v: Int32Array
    strength: Float64Array

    @classmethod
    def of(cls, ids: IdArray, pre: IdArray, post: IdArray, strength: npt.ArrayLike, *, add: bool = False) -> Graph:
        """The graph of ``ids`` (sorted, distinct) and of those synapses ``pre[i] -> post[i]`` that join two of them.

        A neuron's synapses onto itself count for nothing. All synapses of a pair, either way, are one edge: as strong
        as the strongest of them, or, with ``add``, as all together.
        """
        if not len(ids):
            none = np.empty(0, dtype=np.int32)
            return cls(ids, none, none, np.empty(0))
        a, b = (np.minimum(np.searchsorted(ids, end), len(ids) - 1) for end in (pre, post))
        inside = (ids[a] == pre) & (ids[b] == post) & (a != b)
        a, b = a[inside], b[inside]
        key = np.minimum(a, b) * len(ids) + np.maximum(a, b)
        weight = np.asarray(strength, dtype=np.float64)[inside]
        # in the order of their size too, so that equal synapses add up to equal bits wherever they were read
        order = np.lexsort((weight, key))
        key, weight = key[order], weight[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        if add:
            weight = np.add.reduceat(weight, first) if len(first) else weight
        else:
            weight = weight[np.append(first[1:], len(key)) - 1] if len(first) else weight
        key = key[first]
        return cls(ids, (key // len(ids)).astype(np.int32), (key % len(ids)).astype(np.int32), weight)

    def __len__(self) -> int:
        return len(self.ids)

    def at_least(self, strength: float) -> Graph:
        """The same vertices, and the edges of at least that strength; all of them where it is 0."""
        kept = self.strength >= strength
        if strength <= 0 or kept.all():
            return self
        return Graph(self.ids, self.u[kept], self.v[kept], self.strength[kept])

    @cached_property
    def rows(self) -> tuple[npt.NDArray[np.int64], Int32Array, Int32Array]:
        """``(indptr, near, edge)``: the neighbours of each vertex, sorted, and the edges to them."""
        near, back = np.concatenate([self.v, self.u]), np.concatenate([self.u, self.v])
        order = np.lexsort((near, back))
        indptr = np.zeros(len(self) + 1, dtype=np.int64)
        np.cumsum(np.bincount(back, minlength=len(self)), out=indptr[1:])
        edge = np.tile(np.arange(len(self.u), dtype=np.int32), 2)
        return indptr, near[order], edge[order]

    @cached_property
    def components(self) -> int:
        """How many parts there are that no edge joins."""
        every = np.ones(len(self.u), dtype=np.uint8)
        label, tree = np.empty(len(self), dtype=np.int32), np.empty(len(self.u), dtype=np.uint8)
        return int(flag.components(len(self), self.u, self.v, every, label, tree))

    @cached_property
    def shape(self) -> Shape:
        """Its numbers; all but B1 in time that follows the edges."""
        every, nothing = np.ones(len(self.u), dtype=np.uint8), np.empty((0, 3), dtype=np.int32)
        triangles = int(flag.triangles(self.u, self.v, *self.rows, every, nothing))
        return Shape(
            neurons=len(self), edges=len(self.u), components=self.components,
            triangles=triangles, degree_entropy=_entropy(np.diff(self.rows[0])),
        )  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Numbers of a graph of V ``neurons`` (or clusters), E ``edges`` and C ``components``.

    ``triangles``: three vertices, each joined to each. ``degree_entropy``: of how many neighbours a vertex has, in
    bits: 0 where all have as many.
    """

    neurons: int
    edges: int
    components: int
    triangles: int
    degree_entropy: float

    @property
    def cycle_rank(self) -> int:
        """E - V + C: how many independent cycles the graph has, filled or not."""
        return self.edges - self.neurons + self.components

    @property
    def triangles_per_edge(self) -> float:
        """Triangles divided by edges; 0 where there are none."""
        return self.triangles / self.edges if self.edges else 0.0


def _entropy(degrees: npt.NDArray[np.int64]) -> float:
    counts = np.bincount(degrees) if len(degrees) else np.empty(0, dtype=np.int64)
    shares = counts[counts > 0] / max(1, len(degrees))
    return max(0.0, -math.fsum((shares * np.log2(shares)).tolist()))
