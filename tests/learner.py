"""Learning in plain NumPy: every synapse in every tick, every pair of spikes looked at anew.

It shares the tables of the rules with the engine, which tests of their own hold against the equations, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engramdb import Engram, Hebbian
from engramdb.learning import Bounded, Scaling
from engramdb.query.synapses import whole_rows
from tests.networks import ids_of
from tests.simulator import FIXED, Simulator


@dataclass
class Learner:
    """``which``: the projection of each synapse of a simulator; ``rules``: by projection, its learning rules."""

    which: np.ndarray
    rules: dict[int, tuple[Bounded, Scaling | None, float]]
    dt: float
    errors: dict[int, float] = field(default_factory=dict)

    def arrive(self, s: Simulator) -> None:
        """What the spikes that arrive in the next tick do to the synapses they arrive over."""
        t = s.tick + 1
        arriving = self._arriving(s, t)
        for number, (pairs, scaling, sign) in self.rules.items():
            mine = np.flatnonzero(arriving & (self.which == number))
            if not isinstance(pairs, Hebbian):
                table = pairs.minus(self.dt)
                amount = np.zeros(len(mine), dtype=np.int64)
                for ago in range(1, len(table)):
                    if (fired := s.fired_at.get(t - ago)) is not None:
                        amount += table[ago] * fired[s.post[mine]]
                own = sign * s.weight[mine].astype(np.float64)
                step = amount / FIXED
                own = own - (step * (own - pairs.w_min) if getattr(pairs, "update", "") == "multiplicative" else step)
                self._set(s, mine[amount != 0], pairs, sign, own[amount != 0])
            if scaling is not None:
                rows = np.stack([s.pre[mine], s.delay[mine]])
                for row in np.unique(rows, axis=1).T:
                    self._scale(s, mine[(rows == row[:, None]).all(axis=0)], pairs, scaling, sign)

    def fire(self, s: Simulator) -> None:
        """What the spikes of the tick that is over do to the synapses onto those who fired."""
        t = s.tick
        closing = s.fired_at[t][s.post]
        for number, (pairs, _, sign) in self.rules.items():
            mine = np.flatnonzero(closing & (self.which == number))
            table = pairs.plus(self.dt)
            amount = np.zeros(len(mine), dtype=np.int64)
            for ago in range(len(table)):
                amount += table[ago] * self._arriving(s, t - ago)[mine]
            own = sign * s.weight[mine].astype(np.float64)
            if isinstance(pairs, Hebbian):
                error = np.array([self.errors.get(int(i), 1.0) for i in s.ids[s.post[mine]]])
                own = own + pairs.eta * error
            else:
                step = amount / FIXED
                own = own + (step * (pairs.w_max - own) if pairs.update == "multiplicative" else step)
            self._set(s, mine[amount != 0], pairs, sign, own[amount != 0])

    def _arriving(self, s: Simulator, t: int) -> np.ndarray:
        """Over which synapses a spike arrives in tick ``t``; bool by synapse."""
        arriving = np.zeros(len(s.pre), dtype=bool)
        for delay in np.unique(s.delay):
            if (fired := s.fired_at.get(t - int(delay))) is not None:
                arriving |= (s.delay == delay) & fired[s.pre]
        return arriving

    def _scale(self, s: Simulator, row: np.ndarray, pairs: Bounded, scaling: Scaling, sign: float) -> None:
        mean = sign * float(np.rint(s.weight[row].astype(np.float64) * FIXED).astype(np.int64).sum()) / FIXED / len(row)
        if mean > 0:
            factor = 1.0 + scaling.rate * (scaling.mean / mean - 1.0)
            self._set(s, row, pairs, sign, sign * s.weight[row].astype(np.float64) * factor)

    @staticmethod
    def _set(s: Simulator, which: np.ndarray, pairs: Bounded, sign: float, own: np.ndarray) -> None:
        s.weight[which] = (sign * np.minimum(np.maximum(own, pairs.w_min), pairs.w_max)).astype(np.float32)
        s.fixed[which] = np.rint(s.weight[which].astype(np.float64) * FIXED).astype(np.int64)


def learner_of(engram: Engram) -> Learner | None:
    """What learns in an engram, by synapse in the order of ``edges_of``; None where nothing does."""
    spec, ids = engram.spec, ids_of(engram)
    if not spec.learns:
        return None
    which = [
        whole_rows(ids[ids >> np.uint64(48) == layer.index], engram._store, engram._wiring).projection
        for layer in spec.layers
    ]
    rules = {}
    for number, projection in enumerate(spec.all_projections):
        if projection.plasticity:
            (pairs,) = (rule for rule in projection.plasticity if isinstance(rule, Bounded))
            scaling = next((rule for rule in projection.plasticity if isinstance(rule, Scaling)), None)
            rules[number] = pairs, scaling, float(projection.sign or 1)
    return Learner(np.concatenate(which), rules, spec.dt_ms)
