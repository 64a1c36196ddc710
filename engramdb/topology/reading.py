"""A reading: what a measurement of the topology gave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.topology.clusters import Coarse
from engramdb.topology.graph import Shape
from engramdb.topology.patches import Patch
from engramdb.topology.probe import Probed
from engramdb.topology.sentinels import Sentinels


@dataclass(frozen=True)
class Parts:
    """The three parts of the complexity, each from 0 to 1, before they are weighted.

    ``patches``: holes per edge, the mean of the patches. ``clusters``: holes per edge of the cluster graph.
    ``sentinels``: the share of wedges on a hole.
    """

    patches: float
    clusters: float
    sentinels: float


@dataclass(frozen=True)
class Reading:
    """The topology at the end of ``tick``.

    ``energy``: where |dW| came from, "void", "rows", "spikes" or "none"; see :mod:`engramdb.topology.energy`.
    ``mean_dw``: its mean in a tick. ``coarse`` is as of its own tick: it is not measured anew every time.
    """

    tick: int
    neurons: int
    energy: str
    mean_dw: float
    weights: tuple[float, float, float]
    patches: tuple[Patch, ...]
    coarse: Coarse
    sentinels: Sentinels
    probe: Probed

    @property
    def parts(self) -> Parts:
        shares = [patch.holes_per_edge for patch in self.patches]
        return Parts(math.fsum(shares) / len(shares) if shares else 0.0, self.coarse.holes_per_edge,
                     self.sentinels.holes)  # fmt: skip

    @property
    def complexity(self) -> float:
        """The weighted sum of the three parts."""
        parts = self.parts
        return math.fsum(
            weight * part
            for weight, part in zip(self.weights, (parts.patches, parts.clusters, parts.sentinels), strict=True)
        )

    @property
    def b1(self) -> float:
        """Mean B1 of the patches; 0 without any."""
        return sum(patch.b1 for patch in self.patches) / len(self.patches) if self.patches else 0.0

    @property
    def clusters(self) -> int:
        """Clusters of the sampled subgraph; see :class:`Coarse`."""
        return self.coarse.clusters

    @property
    def shape(self) -> Shape:
        """All patches taken together; the entropy is the mean of theirs."""
        shapes = [patch.shape for patch in self.patches]
        entropy = math.fsum(shape.degree_entropy for shape in shapes) / len(shapes) if shapes else 0.0
        return Shape(
            neurons=sum(shape.neurons for shape in shapes), edges=sum(shape.edges for shape in shapes),
            components=sum(shape.components for shape in shapes), triangles=sum(shape.triangles for shape in shapes),
            degree_entropy=entropy,
        )  # fmt: skip

    def row(self) -> dict[str, int | float]:
        """The numbers of a trend, by name; those of :data:`COLUMNS`."""
        parts, shape = self.parts, self.shape
        values = (
            self.tick, self.complexity, parts.patches, parts.clusters, parts.sentinels, self.mean_dw, self.b1,
            shape.cycle_rank, shape.triangles_per_edge, shape.degree_entropy, self.coarse.tick, self.clusters,
            self.coarse.sampled.components, self.coarse.b1, self.sentinels.closed, self.probe.shape.neurons,
            self.probe.shape.cycle_rank, self.probe.mean_dw,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, the ids of seeds too; for JSON."""
        whole = {**_plain(self), "complexity": self.complexity, "parts": _plain(self.parts), "b1": self.b1}
        return {**whole, "clusters": self.clusters, "shape": _plain(self.shape)}


COLUMNS: dict[str, Any] = {
    "tick": np.int64, "complexity": np.float64, "patches": np.float64, "coarse": np.float64, "sentinels": np.float64,
    "mean_dw": np.float64, "b1": np.float64, "cycle_rank": np.int64, "triangles_per_edge": np.float64,
    "degree_entropy": np.float64, "coarse_tick": np.int64, "clusters": np.int64, "components": np.int64,
    "coarse_b1": np.int64, "closed": np.float64, "probe_neurons": np.int64, "probe_cycle_rank": np.int64,
    "probe_mean_dw": np.float64,
}  # fmt: skip
"""Of a trend: name -> dtype. ``patches``, ``coarse`` and ``sentinels`` are the parts of the complexity."""


def trend(readings: Sequence[Reading]) -> dict[str, npt.NDArray[Any]]:
    """Readings as arrays (n,) by the names of :data:`COLUMNS`, to be plotted."""
    rows = [reading.row() for reading in readings]
    return {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in COLUMNS.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        plain = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, Shape):
            plain |= {"cycle_rank": value.cycle_rank, "triangles_per_edge": value.triangles_per_edge}
        if isinstance(value, Patch):
            plain["seed"] = str(value.seed)  # an id is text in JSON
        return plain
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray) else value
