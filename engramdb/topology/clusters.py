"""Level 1: the clusters of a sampled subgraph, and the graph that they form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.extras import extra
from engramdb.kernels import rng
from engramdb.topology import homology
from engramdb.topology.graph import Graph, Shape
from engramdb.topology.moment import Moment
from engramdb.topology.sample import snowball
from engramdb.topology.settings import Settings

_FINEST = 8  # resolutions of 4^0 to 4^8 are tried
_NEURONS_A_SUPERNODE = 10


@dataclass(frozen=True)
class Coarse:
    """What was sampled at ``tick``, and the graph of its clusters.

    ``sampled``: the subgraph. ``clusters``: how many communities it has at resolution 1; or, where components were
    asked for, how many of those. ``shape`` and ``b1``: of the cluster graph, whose vertices are the communities at
    ``resolution``, joined where any of their neurons are; where components were asked for, of the sample itself.
    """

    tick: int
    sampled: Shape
    clusters: int
    resolution: float
    shape: Shape
    b1: int

    @property
    def holes_per_edge(self) -> float:
        """B1 of the cluster graph divided by its edges."""
        return self.b1 / self.shape.edges if self.shape.edges else 0.0


def coarse(moment: Moment, settings: Settings) -> Coarse:
    """Level 1 at ``moment``. The sample grows from the same random neurons whenever it is taken."""
    roots = moment.chosen(settings.roots, rng.TOPOLOGY_ROOT)
    sample = snowball(moment, roots, settings.sample).at_least(settings.least)
    sampled = sample.shape
    if settings.clusters == "components" or not len(sample.u):
        return Coarse(moment.tick, sampled, sampled.components, 0.0, sampled, homology.b1(sample))
    wanted = min(settings.supernodes, len(sample) // _NEURONS_A_SUPERNODE)
    with _Communities(sample, moment).prepared() as communities:
        found = {0: communities.at(1.0)}
        least, most = 0, _FINEST
        if found[0].max() + 1 < wanted:
            while most - least > 1:  # the coarsest resolution that gives as many as wanted
                middle = (least + most) // 2
                found[middle] = communities.at(4.0**middle)
                least, most = (least, middle) if found[middle].max() + 1 >= wanted else (middle, most)
            if most not in found:
                found[most] = communities.at(4.0**most)
            least = most
    graph = contracted(sample, found[least])
    clusters = int(found[0].max()) + 1
    return Coarse(moment.tick, sampled, clusters, 4.0**least, graph.shape, homology.b1(graph))


def contracted(graph: Graph, cluster: npt.NDArray[np.int64]) -> Graph:
    """The graph of the clusters 0..c-1, ``cluster`` (n,) of each vertex: two are as strongly joined as all their
    members together."""
    ids = np.arange(int(cluster.max(initial=-1)) + 1, dtype=np.uint64)
    ends = cluster.astype(np.uint64)
    return Graph.of(ids, ends[graph.u], ends[graph.v], graph.strength, add=True)


class _Communities:
    """Communities of a graph by Leiden's algorithm, which keeps each of them connected.

    Traag, Waltman & van Eck 2019, "From Louvain to Leiden: guaranteeing well-connected communities", as networkit has
    it. On one thread and with a seed of its own it is a function of the graph. The number of threads is set back.
    """

    def __init__(self, graph: Graph, moment: Moment) -> None:
        self._seed = int(rng.hash_u64(moment.seed, np.uint64(0), np.uint64(1), rng.TOPOLOGY_ROOT)) >> 33
        self._kit: Any = extra("networkit", "networkit", "topology", 'measure with clusters="components"')
        strength = np.where(graph.strength > 0, graph.strength, 0.0)
        ends = graph.u.astype(np.uint64), graph.v.astype(np.uint64)
        self._graph = self._kit.GraphFromCoo((strength, ends), n=len(graph), weighted=True, directed=False)

    @contextmanager
    def prepared(self) -> Iterator[_Communities]:
        threads = self._kit.getMaxNumberOfThreads()
        self._kit.setNumberOfThreads(1)
        try:
            yield self
        finally:
            self._kit.setNumberOfThreads(threads)

    def at(self, resolution: float) -> npt.NDArray[np.int64]:
        """The community of each vertex, numbered by the smallest of its vertices."""
        self._kit.setSeed(self._seed, False)
        found = self._kit.community.ParallelLeiden(self._graph, gamma=resolution)
        found.run()
        community = np.array(found.getPartition().getVector(), dtype=np.int64)
        _, first, back = np.unique(community, return_index=True, return_inverse=True)
        number = np.empty(len(first), dtype=np.int64)
        number[np.argsort(first, kind="stable")] = np.arange(len(first))
        return number[back]
