r"""Homeostasis: synaptic scaling of what one neuron sends.

When a presynaptic spike arrives, and after all other learning, the synapses of its row that it arrives over in that
tick are multiplied by one factor,

.. math:: w \leftarrow w \left(1 + r \left(\frac{\bar w_0}{\bar w} - 1\right)\right),

with :math:`\bar w` their mean and :math:`\bar w_0` the mean that is wanted (multiplicative scaling as in Turrigiano et
al. 1998, with the divisive normalization of Miller & MacKay 1994). It is of rows, not of targets: what a neuron sends
lies together and is in RAM when its spike arrives, what it receives lies in as many rows as it has sources. So it keeps
what a neuron gives to others, for which its targets' synapses compete, and not what a neuron gets. Weights keep their
bounds and their sign; where the mean is not positive nothing happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engramdb.learning.rule import LearningRule, Problem, positive


@dataclass(frozen=True)
class Scaling(LearningRule):
    """Synaptic scaling of rows, beside another rule, which brings the bounds.

    ``mean``: that is wanted, in the unit of weights (of magnitudes where the projection has a sign). ``rate``: the part
    of the way to go with each spike, up to 1.
    """

    rule: ClassVar[str] = "scaling"
    pairs: ClassVar[bool] = False

    mean: float
    rate: float = 0.1

    def problems(self, dt_ms: float) -> list[Problem]:
        found = self.not_numbers() or positive(self, "mean", "rate")
        return found or ([] if self.rate <= 1 else [("rate", f"must be at most 1, not {self.rate:g}")])
