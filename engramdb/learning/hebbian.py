r"""Hebbian learning, with an error for each neuron where one is given.

For each spike of the postsynaptic neuron j, the synapses onto it over which a presynaptic spike has arrived within the
window before, or in that very tick, gain

.. math:: \Delta w_{ij} = \eta\, e_j

(Hebb 1949, "The Organization of Behavior"; with :math:`e_j` the delta rule of Widrow & Hoff 1960 for spikes).
:math:`e_j` is 1 unless the neuron was given another, see :meth:`engramdb.Engram.set_error`. Nothing else weakens a
synapse: negative errors do, and :class:`~engramdb.learning.scaling.Scaling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engramdb.learning.rule import MOST_WINDOW_TICKS, Bounded, Int64Array, Problem, positive
from engramdb.models.model import whole_ticks


@dataclass(frozen=True)
class Hebbian(Bounded):
    """Hebbian learning: ``eta``, in the unit of weights, and ``window_ms``, a whole number of ticks."""

    rule: ClassVar[str] = "hebbian"

    eta: float = 0.01
    window_ms: float = 20.0

    def problems(self, dt_ms: float) -> list[Problem]:
        found = self.not_numbers() or self.bound_problems() or positive(self, "window_ms")
        if found:
            return found
        ticks = whole_ticks(self.window_ms, dt_ms)
        if ticks is None or not 1 <= ticks <= MOST_WINDOW_TICKS:
            return [("window_ms", f"{self.window_ms:g} ms must be 1..{MOST_WINDOW_TICKS} whole ticks of {dt_ms:g} ms")]
        return []

    def plus(self, dt_ms: float) -> Int64Array:
        """1 for ticks from arrival to postsynaptic spike that lie in the window."""
        return np.ones(int(whole_ticks(self.window_ms, dt_ms) or 0) + 1, dtype=np.int64)

    def minus(self, dt_ms: float) -> Int64Array:
        """Nothing."""
        return np.zeros(1, dtype=np.int64)
