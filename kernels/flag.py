"""The flag (clique) complex of a graph: collapses that keep its homotopy type, and the rank of a boundary map over Z/2.

A graph of n vertices and m edges is given by its edges ``u < v`` (int32 (m,), sorted by u and then v, each once) and
by the same as rows: ``indptr`` int64 (n + 1,), ``near`` int32 (2m,) sorted in each row, ``edge`` int32 (2m,), the
number of the edge to that neighbour.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit


@njit(cache=True, nogil=True)
def components(n, u, v, alive, label, tree):
    """The number of components over the edges ``alive`` (uint8 (m,)).

    ``label`` (int32 (n,)) becomes the smallest vertex of each vertex's own; ``tree`` (uint8 (m,)) 1 for the edges of a
    spanning forest, 0 for the others.
    """
    for i in range(n):
        label[i] = i
    count = n
    for e in range(u.shape[0]):
        tree[e] = 0
        if not alive[e]:
            continue
        a, b = u[e], v[e]
        while label[a] != a:
            label[a] = label[label[a]]
            a = label[a]
        while label[b] != b:
            label[b] = label[label[b]]
            b = label[b]
        if a != b:
            label[max(a, b)] = min(a, b)
            tree[e] = 1
            count -= 1
    for i in range(n):
        label[i] = label[label[i]]  # what it names is smaller, and has its own already
    return count


@njit(inline="always")
def _between(indptr, near, edge, alive, a, b):
    """The edge from ``a`` to ``b`` if it is there and alive, else -1."""
    low, high = indptr[a], indptr[a + 1]
    while low < high:
        middle = (low + high) >> 1
        if near[middle] < b:
            low = middle + 1
        else:
            high = middle
    if low < indptr[a + 1] and near[low] == b and alive[edge[low]]:
        return edge[low]
    return np.int32(-1)


@njit(inline="always")
def _common(indptr, near, edge, alive, a, b, out, of_a, of_b):
    """How many neighbours ``a`` and ``b`` share over edges alive; ``out`` gets them, ``of_a``, ``of_b`` the edges."""
    if indptr[a + 1] - indptr[a] > indptr[b + 1] - indptr[b]:
        a, b = b, a
        of_a, of_b = of_b, of_a
    n = 0
    for k in range(indptr[a], indptr[a + 1]):
        if alive[edge[k]]:
            other = _between(indptr, near, edge, alive, b, near[k])
            if other >= 0:
                out[n] = near[k]
                of_a[n] = edge[k]
                of_b[n] = other
                n += 1
    return n


@njit(cache=True, nogil=True)
def triangles(u, v, indptr, near, edge, alive, found):
    """How many triangles of edges ``alive`` (uint8 (m,)) there are; their edges fill ``found`` (int32 (t, 3)).

    Written are as many as there is room for, by the two smaller vertices.
    """
    longest = 0
    for i in range(indptr.shape[0] - 1):
        longest = max(longest, indptr[i + 1] - indptr[i])
    shared, one, other = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    n = 0
    for e in range(u.shape[0]):
        if not alive[e]:
            continue
        for k in range(_common(indptr, near, edge, alive, u[e], v[e], shared, one, other)):
            if shared[k] > v[e]:
                if n < found.shape[0]:
                    found[n, 0] = e
                    found[n, 1] = one[k]
                    found[n, 2] = other[k]
                n += 1
    return n


@njit(cache=True, nogil=True)
def collapse(u, v, indptr, near, edge, alive):
    """Take edges away, one by one, that are dominated; ``alive`` (uint8 (m,), 1 at first) tells what stays.

    An edge is dominated where a third vertex is joined to both its ends and to all else that they share. The flag
    complex without it has the same homotopy type (Boissonnat & Pritam 2020, "Edge collapse and persistence of flag
    complexes"). Edges are looked at in order, and again after one beside them has gone. Returns how many have gone.
    """
    m = u.shape[0]
    longest = 0
    for i in range(indptr.shape[0] - 1):
        longest = max(longest, indptr[i + 1] - indptr[i])
    shared, one, other = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    queue = np.arange(m).astype(np.int32)
    waits = np.ones(m, np.uint8)
    head, waiting, gone = 0, m, 0
    while waiting:
        e = queue[head]
        head = head + 1 if head + 1 < m else 0
        waiting -= 1
        waits[e] = 0
        n = _common(indptr, near, edge, alive, u[e], v[e], shared, one, other)
        dominated = False
        for i in range(n):
            dominated = True
            for k in range(n):
                if k != i and _between(indptr, near, edge, alive, shared[i], shared[k]) < 0:
                    dominated = False
                    break
            if dominated:
                break
        if dominated:
            alive[e] = 0
            gone += 1
            for k in range(n):
                for beside in (one[k], other[k]):
                    if not waits[beside]:
                        waits[beside] = 1
                        at = head + waiting
                        queue[at if at < m else at - m] = beside
                        waiting += 1
    return gone


@njit(cache=True, nogil=True)
def rank(rows, indptr, entry, most):
    """The rank over Z/2 of a matrix of ``rows`` rows: column i has ones at ``entry[indptr[i]:indptr[i + 1]]``.

    ``indptr``: int64; ``entry``: int32, each row at most once in a column. By column reduction, as for persistent
    homology (Edelsbrunner, Letscher & Zomorodian 2002). It ends where ``most`` is reached, which is a bound.
    """
    column = np.zeros((rows + 63) >> 6, np.uint64)  # the one that is reduced, a bit a row
    start, stop = np.full(rows, -1, np.int64), np.zeros(rows, np.int64)  # of the reduced ones, by their last row
    pool = np.empty(max(64, entry.shape[0]), np.int32)
    end, found = 0, 0
    for i in range(indptr.shape[0] - 1):
        if found >= most:
            break
        top, low = np.int64(-1), np.int64(column.shape[0])  # words of the column that may not be zero
        for k in range(indptr[i], indptr[i + 1]):
            row = np.int64(entry[k])
            column[row >> 6] ^= np.uint64(1) << np.uint64(row & 63)
            top, low = max(top, row >> 6), min(low, row >> 6)
        pivot = np.int64(-1)
        while top >= low:
            word = column[top]
            if word == 0:
                top -= 1
                continue
            pivot = (top << 6) + _highest(word)
            if start[pivot] < 0:
                break
            low = min(low, np.int64(pool[start[pivot]]) >> 6)
            for k in range(start[pivot], stop[pivot]):
                row = np.int64(pool[k])
                column[row >> 6] ^= np.uint64(1) << np.uint64(row & 63)
        if top < low:
            continue  # it depends on those before
        found += 1
        start[pivot] = end
        for at in range(low, top + 1):
            word = column[at]
            while word:
                bit = word & (~word + np.uint64(1))
                if end == pool.shape[0]:
                    larger = np.empty(2 * end, np.int32)
                    larger[:end] = pool
                    pool = larger
                pool[end] = (at << 6) + _highest(bit)
                end += 1
                word ^= bit
            column[at] = np.uint64(0)
        stop[pivot] = end
    return found


@njit(inline="always")
def _highest(word):
    """The place of the highest bit that is set, of one that is not 0."""
    bit = np.int64(0)
    for shift in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(shift):
            word = word >> np.uint64(shift)
            bit += shift
    return bit
