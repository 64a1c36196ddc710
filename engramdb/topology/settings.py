"""What a measurement of the topology looks at, and how much of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engramdb.errors import InvalidInput

_LIMITS = {
    "patches": (0, 1024), "patch_neurons": (3, 1_000_000), "sample": (3, 10_000_000), "supernodes": (1, 1_000_000),
    "roots": (1, 4096), "sentinels": (1, 1_000_000), "ring": (1, 65_536), "hops": (0, 4),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """None of these numbers has to grow with the engram, and so the cost of a measurement does not either.

    - ``patches``, ``patch_neurons``: level 0, patches in which B1 is worked out, and how many neurons each has.
    - ``sample``, ``roots``: level 1, the neurons of the sampled subgraph, and from how many random ones it grows.
    - ``supernodes``: so many clusters at least, if the sample has ten times as many neurons, for the cluster graph.
    - ``clusters``: "communities" (Leiden's algorithm; needs networkit), or "components": the sample is not contracted,
      its clusters are its connected components, and no other library is needed.
    - ``refresh_s``: level 1 is measured anew after so much time of the engram, in seconds.
    - ``sentinels``: level 2, neurons whose surroundings are looked at again and again.
    - ``ring``, ``hops``: the probe, how many of the neurons that changed most it remembers, and how far it looks.
    - ``least``: a synapse counts where its strength is as much, see :class:`engramdb.topology.Graph`; 0: all do.
    - ``weights``: of the three levels in the complexity.
    - ``persistence``: keep the lifetimes of the holes of patches as well; needs ripser, and takes up to minutes.
    """

    patches: int = 2
    patch_neurons: int = 5_000
    sample: int = 50_000
    roots: int = 16
    supernodes: int = 5_000
    clusters: Literal["communities", "components"] = "communities"
    refresh_s: float = 60.0
    sentinels: int = 256
    ring: int = 128
    hops: int = 2
    least: float = 0.0
    weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    persistence: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        for name, (low, high) in _LIMITS.items():
            value: object = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise InvalidInput(f"topology: {name}={value}: give a whole number from {low} to {high:,}")
        known: tuple[str, ...] = ("communities", "components")
        if self.clusters not in known:
            raise InvalidInput(f'topology: clusters="{self.clusters}": expected "communities" or "components"')
        if not (math.isfinite(self.refresh_s) and self.refresh_s > 0):
            raise InvalidInput(f"topology: refresh_s={self.refresh_s}: give a number of seconds above 0")
        if not (math.isfinite(self.least) and self.least >= 0):
            raise InvalidInput(f"topology: least={self.least}: give a strength of 0 or more")
        if len(list(self.weights)) != 3 or not all(math.isfinite(w) and w >= 0 for w in self.weights):
            raise InvalidInput(f"topology: weights={self.weights}: give three numbers of 0 or more, one for each level")
