"""Exact first Betti numbers of flag complexes, and the lifetimes of their holes.

**What B1 is.** The flag (clique) complex of a graph has its vertices and edges, and is filled wherever vertices are all
joined to one another. Its first Betti number over Z/2 counts the independent cycles that no triangles fill:

    B1 = E - V + C - rank of the boundary map from triangles to edges.

A tree and a clique have none, a ring of n > 3 has one, a filled grid of triangles none, a torus two.

**The filtration.** An edge of strength s enters at 1/s, a triangle with its last edge: strong ties first. ``b1`` is
that of the complex at one threshold, which holds the edges of at least a given strength.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from engramdb.errors import InvalidInput
from engramdb.extras import extra
from engramdb.kernels import flag
from engramdb.topology.graph import Graph


def b1(graph: Graph) -> int:
    """B1 of the flag complex of all edges of ``graph``, exact.

    Dominated edges are taken away first, which leaves the homotopy type as it is; of what remains the rank is worked
    out, by triangles or by the edges outside of a spanning forest, whichever are fewer: cycles are told apart by those.
    """
    n, m = len(graph), len(graph.u)
    alive = np.ones(m, dtype=np.uint8)
    edges = m - int(flag.collapse(graph.u, graph.v, *graph.rows, alive))
    label, tree = np.empty(n, dtype=np.int32), np.empty(m, dtype=np.uint8)
    cycles = edges - n + int(flag.components(n, graph.u, graph.v, alive, label, tree))
    if not cycles:
        return 0
    count = int(flag.triangles(graph.u, graph.v, *graph.rows, alive, np.empty((0, 3), dtype=np.int32)))
    found = np.empty((count, 3), dtype=np.int32)
    flag.triangles(graph.u, graph.v, *graph.rows, alive, found)
    counted = (alive != 0) & (tree == 0)
    place = np.cumsum(counted, dtype=np.int32) - np.int32(1)
    entry = found.ravel()
    inside = counted[entry]
    triangle, row = np.repeat(np.arange(count, dtype=np.int32), 3)[inside], place[entry[inside]]
    if count <= cycles:
        return cycles - int(flag.rank(cycles, _starts(triangle, count), row, min(count, cycles)))
    order = np.argsort(row, kind="stable")
    return cycles - int(flag.rank(count, _starts(row, cycles), triangle[order], min(count, cycles)))


def _starts(column: npt.NDArray[np.int32], columns: int) -> npt.NDArray[np.int64]:
    indptr = np.zeros(columns + 1, dtype=np.int64)
    np.cumsum(np.bincount(column, minlength=columns), out=indptr[1:])
    return indptr


def bars(graph: Graph) -> npt.NDArray[np.float64]:
    """Birth and death of every hole as edges enter at 1/strength, float64 (h, 2), sorted; inf = never filled.

    By ripser (Bauer 2021, "Ripser: efficient computation of Vietoris-Rips persistence barcodes"); its values are
    float32. How many are alive at a threshold is B1 there. Takes up to minutes where thousands are never filled.
    """
    ripser = extra("ripser", "ripser", "topology")
    sparse = extra("scipy.sparse", "scipy", "topology")
    if not (graph.strength > 0).all():
        raise InvalidInput("persistence: some synapses have weight 0, and 1/0 is no threshold; give least= above 0")
    if not len(graph.u):
        return np.empty((0, 2))
    entry = np.tile(1.0 / graph.strength, 2)
    ends = np.concatenate([graph.u, graph.v]), np.concatenate([graph.v, graph.u])
    distances = sparse.csr_matrix((entry, ends), shape=(len(graph), len(graph)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it takes a wide matrix for a list of points
        found = np.asarray(ripser.ripser(distances, distance_matrix=True, maxdim=1)["dgms"][1], dtype=np.float64)
    return found[np.lexsort((found[:, 1], found[:, 0]))]
