r"""RE-VGSP: plasticity of three factors, gated by the phases of spikes and by how coherent they are.

Each synapse has an eligibility e. Each pair of an arrival and a postsynaptic spike, as in
:mod:`~engramdb.learning.stdp`, adds to it

.. math:: PI = \begin{cases} a_+ e^{-\Delta t / \tau_+} & \Delta t > 0 \\ -a_- e^{\Delta t / \tau_-} & \Delta t < 0
          \end{cases} \cdot \frac{1 + \cos(\phi_{pre} - \phi_{post})}{2}, \qquad \phi = 2 \pi f t_{spike},

and in each tick it decays, :math:`e \leftarrow \gamma e`, with a :math:`\gamma` that is constant within an interval:

.. math:: \gamma = \mathrm{clip}(0.95 + 0.1 (PLV - 0.5), 0, 0.999), \qquad
          PLV = \left| \mathrm{mean}\, e^{i \phi} \right|

over the spikes of the postsynaptic layer in the interval before (0 where there were none). A reward R changes all
weights at once:

.. math:: w \leftarrow \mathrm{clip}(w + \eta(R)\, e - \lambda |\eta(R)|\, w), \qquad
          \eta(R) = \mathrm{sign}(R)\, \eta \cdot 2 \sigma(1.5 R).

Rewards are given by the user, and, where ``reward_from`` names a void layer, by its self-improvement engine: behind the
last tick of each interval, the mean over its ticks of what that layer's reward was (0 in ticks with nobody active).

A reward of zero changes nothing. A synapse without eligibility is not part of what is rewarded: its weight does not
decay either, so that neurons that never fired stay virtual. The rule is that of the project's source documents
(resonance-enhanced valence-gated synaptic plasticity); eligibility traces gated by a later reward: Izhikevich 2007,
"Solving the distal reward problem".

Exactly: pairs end where those of STDP do. Sums over pairs are integers in 2^-32, the phase factor one in 2^-20. An
eligibility is a float32, kept as of the beginning of the interval; at its end it is multiplied by gamma to the number
of ticks, and is zero where that leaves less than 2^-24.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engramdb.learning.rule import Bounded, Int64Array, Problem, decaying, positive, window_problems
from engramdb.models.exponential import exp
from engramdb.models.model import whole_ticks

MOST_INTERVAL_TICKS = 512  # gamma is 0.9 at least: beyond it float32 would not hold what is added late
PHASE_UNIT = float(1 << 20)


@dataclass(frozen=True)
class ReVGSP(Bounded):
    """RE-VGSP.

    - ``a_plus``, ``a_minus``, ``tau_plus_ms``, ``tau_minus_ms``: of pairs, as in STDP; here without a unit.
    - ``f_hz``: frequency of the phase.
    - ``eta``: learning rate, in the unit of weights; ``decay``: lambda.
    - ``interval_ms``: for which gamma is constant, a whole number of ticks.
    - ``reward_from``: the name of a void layer whose rewards this rule gets; None = the user's only.
    """

    rule: ClassVar[str] = "re_vgsp"

    a_plus: float = 1.0
    a_minus: float = 1.05
    tau_plus_ms: float = 20.0
    tau_minus_ms: float = 20.0
    f_hz: float = 8.0
    eta: float = 0.01
    decay: float = 0.001
    interval_ms: float = 100.0
    reward_from: str | None = None

    def problems(self, dt_ms: float) -> list[Problem]:
        found = (
            self.not_numbers("reward_from")
            or self.bound_problems()
            or positive(self, "tau_plus_ms", "tau_minus_ms", "interval_ms", "eta")
            or window_problems(self, dt_ms, "tau_plus_ms", "tau_minus_ms")
        )
        for name, most in (("a_plus", 100.0), ("a_minus", 100.0), ("f_hz", 1e6), ("decay", 1.0)):
            if not found and not 0 <= getattr(self, name) <= most:
                found = [(name, f"must be 0..{most:g}, not {getattr(self, name):g}")]
        if not found and not 1 <= (whole_ticks(self.interval_ms, dt_ms) or 0) <= MOST_INTERVAL_TICKS:
            problem = f"{self.interval_ms:g} ms must be 1..{MOST_INTERVAL_TICKS} whole ticks of {dt_ms:g} ms"
            found = [("interval_ms", problem)]
        return found

    def plus(self, dt_ms: float) -> Int64Array:
        """What a pair adds but for its phases, by ticks from arrival to postsynaptic spike, in 2^-32."""
        return decaying(self.a_plus, self.tau_plus_ms, dt_ms)

    def minus(self, dt_ms: float) -> Int64Array:
        """What a pair takes away but for its phases, by ticks from postsynaptic spike to arrival, in 2^-32."""
        return decaying(self.a_minus, self.tau_minus_ms, dt_ms)

    def phase(self, ticks: int, dt_ms: float) -> Int64Array:
        """(1 + cos) / 2 of the difference of phases by ticks between two spikes, up to ``ticks``, in 2^-20."""
        turns = [math.fmod(self.f_hz * dt_ms / 1000.0 * n, 1.0) for n in range(ticks + 1)]
        return np.rint([(1.0 + math.cos(2.0 * math.pi * t)) / 2.0 * PHASE_UNIT for t in turns]).astype(np.int64)

    def turned(self, tick: int, dt_ms: float) -> tuple[int, int]:
        """cos and sin of the phase of a spike in ``tick``, in 2^-30."""
        angle = 2.0 * math.pi * math.fmod(self.f_hz * dt_ms / 1000.0 * tick, 1.0)
        return round(math.cos(angle) * 2**30), round(math.sin(angle) * 2**30)

    @staticmethod
    def gamma(cos: int, sin: int, spikes: int) -> float:
        """The decay after an interval of so many ``spikes``, whose :meth:`turned` sum up to ``cos`` and ``sin``."""
        plv = math.sqrt(float(cos) ** 2 + float(sin) ** 2) / 2.0**30 / spikes if spikes else 0.0
        return min(max(0.95 + 0.1 * (plv - 0.5), 0.0), 0.999)

    def rate(self, reward: float) -> float:
        """eta(R)."""
        return math.copysign(self.eta * 2.0 / (1.0 + float(exp(-1.5 * reward))), reward) if reward else 0.0
