"""Samples of a connectome: the neurons around some, and the graph of all synapses among them."""

from __future__ import annotations

import numpy as np

from engramdb.address import IdArray
from engramdb.topology.graph import Graph
from engramdb.topology.moment import Moment

_ROWS_AT_ONCE = 1 << 13


def snowball(moment: Moment, roots: IdArray, most: int) -> Graph:
    """The graph of ``most`` neurons around ``roots``, and of every synapse from one of them to another.

    It grows along outgoing synapses, ring by ring. Of the last ring as many are taken as there is room for: a random
    choice, but always the same one.
    """
    ring = np.unique(roots)
    known, synapses = ring, _Synapses(moment)
    while len(ring):
        last = len(known) >= most
        targets = synapses.read(ring, known if last else None)
        fresh = np.setdiff1d(targets, known)
        room = most - len(known)
        if len(fresh) > room:
            fresh = np.sort(fresh[np.argsort(moment.order(fresh), kind="stable")[: max(0, room)]])
        known, ring = np.union1d(known, fresh), fresh
    return synapses.graph(known)


def surroundings(moment: Moment, centers: IdArray, hops: int) -> Graph:
    """The graph of all neurons within ``hops`` synapses of ``centers``, and of the synapses out of the nearer ones."""
    ring = np.unique(centers)
    known, synapses = ring, _Synapses(moment)
    for _ in range(hops):
        ring = np.setdiff1d(synapses.read(ring, None), known)
        known = np.union1d(known, ring)
    return synapses.graph(known)


class _Synapses:
    """Synapses as they are read."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._pre: list[IdArray] = [np.empty(0, dtype=np.uint64)]
        self._post: list[IdArray] = [np.empty(0, dtype=np.uint64)]
        self._weight = [np.empty(0, dtype=np.float32)]

    def read(self, ids: IdArray, only: IdArray | None) -> IdArray:
        """Read the rows of ``ids``; their targets, sorted, each once. Kept are synapses onto ``only``, if given."""
        targets = [np.empty(0, dtype=np.uint64)]
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            part = ids[start : start + _ROWS_AT_ONCE]
            rows = self._moment.rows(part)
            pre, post, weight = np.repeat(part, np.diff(rows.indptr)), rows.target, rows.weight
            if only is not None:
                kept = np.isin(post, only)
                pre, post, weight = pre[kept], post[kept], weight[kept]
            self._pre.append(pre)
            self._post.append(post)
            self._weight.append(weight)
            targets.append(np.unique(post))
        return np.unique(np.concatenate(targets))

    def graph(self, ids: IdArray) -> Graph:
        """Of ``ids`` and what was read."""
        pre, post = np.concatenate(self._pre), np.concatenate(self._post)
        graph = Graph.of(ids, pre, post, np.abs(np.concatenate(self._weight)))
        strength = self._moment.strengths(ids[graph.u], ids[graph.v], graph.strength)
        return Graph(ids, graph.u, graph.v, strength)
