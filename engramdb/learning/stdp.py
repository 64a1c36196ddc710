r"""Spike-timing-dependent plasticity of pairs of spikes, all to all.

Each pair of the arrival of a presynaptic spike at tick a and a postsynaptic spike at tick p changes the weight: with
:math:`\Delta t = (p - a)\,dt`,

.. math:: \Delta w = A_+ e^{-\Delta t / \tau_+} \quad (\Delta t > 0), \qquad
          \Delta w = -A_- e^{\Delta t / \tau_-} \quad (\Delta t < 0),

and nothing at :math:`\Delta t = 0` (Song, Miller & Abbott 2000, "Competitive Hebbian learning through
spike-timing-dependent synaptic plasticity"; Gütig et al. 2003 for the dependence on the weight). A pair acts at the
later of its two ticks; pairs that act together are summed first. In one tick, arrivals come before spikes: depression
comes first, and what is delivered is the weight after it. Delays are axonal.

With ``update="additive"`` A is a times the range of weights. With ``"multiplicative"`` it is a times the distance to
the bound that is approached. The exponential is a table by ticks, rounded to 2^-32, that ends where it is below 2^-14:
pairs further apart do nothing. That table is the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engramdb.learning.rule import Bounded, Int64Array, Problem, decaying, positive, window_problems

ADDITIVE, MULTIPLICATIVE = UPDATES = ("additive", "multiplicative")


@dataclass(frozen=True)
class STDP(Bounded):
    """Pair-based STDP.

    - ``a_plus``, ``a_minus``: of potentiation and depression, as parts of the range of weights.
    - ``tau_plus_ms``, ``tau_minus_ms``: time constants.
    - ``update``: "additive" or "multiplicative".
    """

    rule: ClassVar[str] = "stdp"

    a_plus: float = 0.01
    a_minus: float = 0.0105
    tau_plus_ms: float = 20.0
    tau_minus_ms: float = 20.0
    update: str = ADDITIVE

    def problems(self, dt_ms: float) -> list[Problem]:
        found = self.not_numbers("update")
        if self.update not in UPDATES:
            found.append(("update", f'must be "{ADDITIVE}" or "{MULTIPLICATIVE}", not {self.update!r}'))
        return (
            found
            or self.bound_problems()
            or positive(self, "tau_plus_ms", "tau_minus_ms")
            or window_problems(self, dt_ms, "tau_plus_ms", "tau_minus_ms")
            or [
                (name, f"must be 0..1, not {getattr(self, name):g}")
                for name in ("a_plus", "a_minus")
                if not 0 <= getattr(self, name) <= 1
            ]
        )

    @property
    def _range(self) -> float:
        return self.w_max - self.w_min if self.update == ADDITIVE else 1.0

    def plus(self, dt_ms: float) -> Int64Array:
        """What a pair adds, by ticks from arrival to postsynaptic spike, in 2^-32 of the unit of weights."""
        return decaying(self.a_plus * self._range, self.tau_plus_ms, dt_ms)

    def minus(self, dt_ms: float) -> Int64Array:
        """What a pair takes away, by ticks from postsynaptic spike to arrival, in 2^-32 of the unit of weights."""
        return decaying(self.a_minus * self._range, self.tau_minus_ms, dt_ms)
