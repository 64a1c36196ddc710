"""What comes of an input to a layer of receptive vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray


@dataclass(frozen=True, repr=False)
class Forward:
    """Inputs that a layer was shown, one in each of the ticks up to ``tick``.

    - ``ids``: uint64 (n,), sorted: those for whom an input was not exactly zero
    - ``currents``: float32 (n,) of one input, (m, n) of m inputs; mV
    - ``fired``: uint64, sorted: those of the layer that fired in the last tick; a backward pass lets them learn
    - ``spikes``: ``(tick, id)`` of all spikes of the layer, int64 and uint64, sorted
    """

    tick: int
    ids: IdArray
    currents: npt.NDArray[np.float32]
    fired: IdArray
    spikes: tuple[npt.NDArray[np.int64], IdArray]

    def __repr__(self) -> str:
        return f"<Forward: tick {self.tick}, {len(self.ids)} currents, {len(self.fired)} fired>"


@dataclass(frozen=True, repr=False)
class Learned:
    """What a backward pass changed: of ``ids`` (uint64, sorted), who had fired, the receptive vector by ``norms``.

    ``norms``: float32, the Euclidean length of what was added to each vector, as it is stored.
    """

    ids: IdArray
    norms: npt.NDArray[np.float32]

    @property
    def mean(self) -> float:
        """Of the norms; 0 where nobody had fired."""
        return float(self.norms.mean(dtype=np.float64)) if len(self.norms) else 0.0

    @property
    def p95(self) -> float:
        """The norm that 95 of a hundred do not exceed; 0 where nobody had fired."""
        return float(np.percentile(self.norms, 95)) if len(self.norms) else 0.0

    def __repr__(self) -> str:
        return f"<Learned: {len(self.ids)} neurons, mean {self.mean:.3g}, p95 {self.p95:.3g}>"
