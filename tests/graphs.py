"""Graphs whose topology is known, and the definition of B1 written down plainly."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from engramdb.topology.graph import Graph

Edges = list[tuple[int, int]]


def graph(n: int, edges: Edges, strength: npt.ArrayLike = 1.0) -> Graph:
    """Of ``n`` vertices; an edge is named either way, and as often as one likes."""
    ends = np.array(edges, dtype=np.uint64).reshape(-1, 2)
    return Graph.of(np.arange(n, dtype=np.uint64), ends[:, 0], ends[:, 1], np.broadcast_to(strength, len(ends)))


def tree(n: int) -> tuple[int, Edges]:
    return n, [((i - 1) // 2, i) for i in range(1, n)]


def ring(n: int) -> tuple[int, Edges]:
    return n, [(i, (i + 1) % n) for i in range(n)]


def clique(n: int) -> tuple[int, Edges]:
    return n, list(itertools.combinations(range(n), 2))


def grid(rows: int, columns: int, *, diagonals: bool = False, around: tuple[bool, bool] = (False, False)):
    """A grid of squares; with ``diagonals`` of triangles; ``around``: whether it closes in each direction."""
    edges = []
    steps = [(0, 1), (1, 0), *([(1, 1)] if diagonals else [])]
    for i, j in itertools.product(range(rows), range(columns)):
        for down, right in steps:
            a, b = i + down, j + right
            if (a < rows or around[0]) and (b < columns or around[1]):
                edges.append((i * columns + j, a % rows * columns + b % columns))
    return rows * columns, edges


def octahedron() -> tuple[int, Edges]:
    """A sphere: a hole, but none that a cycle goes around."""
    return 6, [(a, b) for a, b in itertools.combinations(range(6), 2) if a + b != 5]


def known() -> list[tuple[str, tuple[int, Edges], int]]:
    """Names, graphs, and their B1."""
    return [
        ("nothing", (0, []), 0),
        ("points", (5, []), 0),
        ("tree", tree(200), 0),
        ("triangle", ring(3), 0),
        ("square", ring(4), 1),
        ("ring", ring(101), 1),
        ("two rings", (9, [*ring(4)[1], *((4 + a, 4 + b) for a, b in ring(5)[1])]), 2),
        ("clique", clique(20), 0),
        ("octahedron", octahedron(), 0),
        ("grid of squares", grid(7, 9), 6 * 8),
        ("grid of triangles", grid(7, 9, diagonals=True), 0),
        ("cylinder", grid(6, 9, diagonals=True, around=(False, True)), 1),
        ("torus", grid(7, 9, diagonals=True, around=(True, True)), 2),
        ("torus of squares", grid(5, 6, around=(True, True)), 5 * 6 + 1),
        ("complete and bipartite", (7, [(a, b) for a in range(3) for b in range(3, 7)]), 6),
        ("the projective plane", projective_plane(), 1),
    ]


def projective_plane() -> tuple[int, Edges]:
    """Over Z/2 it has a B1 of 1. Its six-vertex triangulation, whose triangles are cut so that no others appear."""
    six = ["124", "235", "341", "452", "513", "126", "236", "346", "456", "516"]
    faces = [tuple(int(c) - 1 for c in face) for face in six]
    corners = {frozenset(part) for face in faces for size in (1, 2, 3) for part in itertools.combinations(face, size)}
    number = {part: i for i, part in enumerate(sorted(corners, key=lambda part: (len(part), sorted(part))))}
    pairs = [(number[a], number[b]) for a in corners for b in corners if a < b]
    return len(number), pairs


def brute_b1(graph: Graph) -> int:
    """The first Betti number over Z/2, by the definition: dim ker of one boundary map less the rank of the next."""
    n, edges = len(graph), list(zip(graph.u.tolist(), graph.v.tolist(), strict=True))
    near = [set() for _ in range(n)]
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    place = {edge: i for i, edge in enumerate(edges)}
    filled = [(a, b, c) for a, b in edges for c in near[a] & near[b] if c > b]
    first = [1 << a | 1 << b for a, b in edges]
    second = [1 << place[a, b] | 1 << place[a, c] | 1 << place[b, c] for a, b, c in filled]
    return len(edges) - _rank(first) - _rank(second)


def _rank(rows: list[int]) -> int:
    basis: dict[int, int] = {}
    for row in rows:
        while row and (top := row.bit_length()) in basis:
            row ^= basis[top]
        if row:
            basis[row.bit_length()] = row
    return len(basis)
