"""The probe: a ring of the neurons that changed most, and what lies around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engramdb.address import IdArray
from engramdb.topology.energy import Energy
from engramdb.topology.graph import Shape
from engramdb.topology.moment import Moment
from engramdb.topology.sample import surroundings
from engramdb.topology.settings import Settings

_FRESH = 4  # one in so many of the ring is replaced at a reading, at most


class Ring:
    """The last ``size`` neurons that were among those with the largest |dW|, the latest first, each once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.ids: IdArray = np.empty(0, dtype=np.uint64)

    def push(self, ids: IdArray) -> None:
        """Let ``ids`` (distinct, the first first) in; as many of the oldest fall out."""
        older = self.ids[~np.isin(self.ids, ids)]
        self.ids = np.concatenate([ids, older])[: self._size]

    def fill(self, energy: Energy, moment: Moment) -> None:
        """Let the top of a moment in: a part of the ring, and all of it while it is empty."""
        count = max(1, self._size // _FRESH) if len(self.ids) else self._size
        self.push(energy.top(count, moment))


@dataclass(frozen=True)
class Probed:
    """The ego-nets of the ``neurons`` in the ring, as one graph.

    ``shape``: of all within so many synapses of any of them, and the synapses out of the nearer ones. ``strength``:
    the mean of its edges. ``mean_dw``: of the neurons in the ring, in a tick.
    """

    neurons: int
    shape: Shape
    strength: float
    mean_dw: float


def probe(moment: Moment, ring: Ring, energy: Energy, settings: Settings) -> Probed:
    """Inspect the neurons in ``ring`` and their surroundings, and nothing else."""
    graph = surroundings(moment, ring.ids, settings.hops).at_least(settings.least)
    own = energy.of(ring.ids) if energy.kind in ("void", "rows") else np.zeros(len(ring.ids))
    strength = float(graph.strength.mean()) if len(graph.u) else 0.0
    return Probed(len(ring.ids), graph.shape, strength, float(own.mean()) if len(own) else 0.0)
