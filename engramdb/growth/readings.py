"""What the gates of a growth cycle read: how mean W moves, clusters, and loops (B1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engramdb.address import IdArray
from engramdb.growth.drive import Drive
from engramdb.growth.progress import Shape
from engramdb.kernels import rng
from engramdb.query.view import View

if TYPE_CHECKING:
    from engramdb.engine import Engine
    from engramdb.layer import Layer
    from engramdb.topology import Graph

_SEEDS = 16
_MOST_ROWS = 1 << 10  # that a sample reads


_PATCH, _SAMPLE, _ROOTS, _WEDGES = 1000, 2000, 16, 64  # neurons of a patch, of the sampled subgraph; of level 2


class Sight(NamedTuple):
    """What a gauge gets to see: the engram at the end of a tick."""

    view: View
    live: Engine
    layer: Layer
    drive: Drive


Gauge = Callable[[Sight], Shape]
"""A function of the state at that tick, and of nothing else: after a kill it must read the same again."""


def level_of(live: Engine, layer: Layer, spikes_before: int, ticks: int) -> float | None:
    """Mean W of who is active in a void ``layer``; elsewhere spikes a tick since the last reading, ``ticks`` ago.

    None where there is nothing to read: nobody is active, or no tick has passed.
    """
    if layer.name in live.voids:
        sie = live.sie()[layer.name]
        return sie.W if sie.active else None
    return (live.spikes - spikes_before) / ticks if ticks else None


def topology(sight: Sight) -> Shape:
    """Of the three levels of :mod:`engramdb.topology`, small: mean B1 of a patch where most changes, the components of
    a sampled subgraph, and the complexity. Each reading is that of a tracker that has seen nothing before."""
    from engramdb.topology import Settings, Tracker
    from engramdb.topology.moment import Moment

    bounded = Settings(
        patches=1, patch_neurons=_PATCH, sample=_SAMPLE, roots=_ROOTS, clusters="components", sentinels=_WEDGES,
        ring=_SEEDS, hops=1,
    )  # fmt: skip
    read = Tracker(bounded).read(Moment.running(sight.view, sight.live))
    return Shape(float(read.clusters), float(read.b1), read.complexity)


def probe(sight: Sight) -> Shape:
    """Two-hop surroundings of who is driven most: components, and E - V + C, the loops of the graph that was seen.

    Synapses count without direction, and pairs once. Of neurons driven alike those with the smallest hash are taken.
    The complexity is B1 as a part of E.
    """
    graph = _surroundings(sight.view, sight.layer, hottest(sight.drive, sight.view.spec.seed, _SEEDS))
    edges, components = len(graph.u), graph.components
    b1 = edges - len(graph) + components
    return Shape(float(components), float(b1), b1 / edges if edges else 0.0)


GAUGES: dict[str, Gauge] = {"probe": probe, "topology": topology}


def hottest(drive: Drive, seed: int, most: int) -> IdArray:
    """The ``most`` neurons of the largest drive, sorted by id."""
    hashed = np.empty(len(drive.hot), dtype=np.uint64)
    rng.fill_hashes(np.uint64(seed), drive.hot, np.uint64(0), rng.SAMPLED, hashed)
    return np.sort(drive.hot[np.lexsort((hashed, -drive.weight))[:most]])


def _surroundings(view: View, layer: Layer, seeds: IdArray) -> Graph:
    """Of ``seeds`` and what lies within two synapses of them in the layer, as far as so many rows tell."""
    from engramdb.topology import Graph

    known, ring = seeds, seeds
    sources, targets = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for _ in range(2):
        ring = ring[:_MOST_ROWS]
        if not len(ring):
            break
        rows = view.rows(ring)
        own = rows.target >> np.uint64(48) == np.uint64(layer.index)
        sources.append(np.repeat(ring, np.diff(rows.indptr))[own])
        targets.append(rows.target[own])
        ring = np.setdiff1d(targets[-1], known)
        known = np.union1d(known, ring)
    pre, post = np.concatenate(sources), np.concatenate(targets)
    return Graph.of(known, pre, post, np.ones(len(pre)))
