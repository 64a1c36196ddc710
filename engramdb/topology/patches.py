"""Level 0: patches of the connectome where it changes most, and their exact first Betti numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.topology import homology
from engramdb.topology.energy import Energy
from engramdb.topology.graph import Graph, Shape
from engramdb.topology.moment import Moment
from engramdb.topology.sample import snowball
from engramdb.topology.settings import Settings


@dataclass(frozen=True)
class Patch:
    """The neurons around ``seed``, which changed by ``energy`` in a tick: ``b1`` holes, see :mod:`.homology`.

    ``bars``: birth and death of each hole as edges enter at 1/strength, float64 (h, 2); None unless asked for.
    """

    seed: int
    energy: float
    shape: Shape
    b1: int
    bars: npt.NDArray[np.float64] | None = field(default=None, compare=False)  # b1 and shape tell patches apart

    @property
    def holes_per_edge(self) -> float:
        """B1 divided by E: from 0 for trees, cliques and other filled shapes to nearly 1."""
        return self.b1 / self.shape.edges if self.shape.edges else 0.0


def patches(moment: Moment, energy: Energy, candidates: IdArray, settings: Settings) -> tuple[Patch, ...]:
    """Patches around the first of ``candidates`` that lie in no patch before; fewer where all do."""
    found: list[Patch] = []
    covered = np.empty(0, dtype=np.uint64)
    for seed in candidates:
        if len(found) == settings.patches:
            break
        if len(covered) and covered[min(int(np.searchsorted(covered, seed)), len(covered) - 1)] == seed:
            continue
        graph = snowball(moment, np.array([seed], dtype=np.uint64), settings.patch_neurons).at_least(settings.least)
        covered = np.union1d(covered, graph.ids)
        found.append(_measured(graph, int(seed), float(energy.of(np.array([seed], dtype=np.uint64))[0]), settings))
    return tuple(found)


def _measured(graph: Graph, seed: int, energy: float, settings: Settings) -> Patch:
    bars = homology.bars(graph) if settings.persistence else None
    return Patch(seed, energy, graph.shape, homology.b1(graph), bars)
