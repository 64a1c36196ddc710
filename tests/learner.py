"""Learning in plain NumPy: every synapse in every tick, every pair of spikes looked at anew.

It shares the tables of the rules with the engine, which tests of their own hold against the equations, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engramdb import Engram, Hebbian, ReVGSP
from engramdb.learning import Bounded, Scaling
from engramdb.models.model import whole_ticks
from engramdb.query.synapses import whole_rows
from tests.networks import ids_of
from tests.simulator import FIXED, Simulator


@dataclass
class Learner:
    """``which``: the projection of each synapse of a simulator; ``rules``: by projection, its learning rules."""

    which: np.ndarray
    rules: dict[int, tuple[Bounded, Scaling | None, float]]
    posts: dict[int, np.ndarray]  # by projection, who belongs to the layer it leads to
    dt: float
    errors: dict[int, float] = field(default_factory=dict)
    # of RE-VGSP: eligibility of each synapse as of the beginning of the interval, gamma and sums of phases by rule
    eligibility: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    gamma: dict[int, float] = field(default_factory=dict)
    sums: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.eligibility = np.zeros(len(self.which), dtype=np.float32)
        for number, (pairs, _, _) in self.rules.items():
            if isinstance(pairs, ReVGSP):
                self.gamma[number], self.sums[number] = pairs.gamma(0, 0, 0), [0, 0, 0]

    def arrive(self, s: Simulator) -> None:
        """What the spikes that arrive in the next tick do to the synapses they arrive over."""
        t = s.tick + 1
        arriving = self._arriving(s, t)
        for number, (pairs, scaling, sign) in self.rules.items():
            mine = np.flatnonzero(arriving & (self.which == number))
            if isinstance(pairs, ReVGSP):
                self._make_eligible(s, number, mine, t, closing=False)
            elif not isinstance(pairs, Hebbian):
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
            if isinstance(pairs, ReVGSP):
                self._make_eligible(s, number, mine, t, closing=True)
                self._end_tick(s, number, pairs)
                continue
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

    def _make_eligible(self, s: Simulator, number: int, mine: np.ndarray, t: int, *, closing: bool) -> None:
        pairs = self.rules[number][0]
        assert isinstance(pairs, ReVGSP)
        table = pairs.plus(self.dt) if closing else pairs.minus(self.dt)
        phase = pairs.phase(len(table) + int(s.delay.max(initial=0)), self.dt)
        amount = np.zeros(len(mine), dtype=np.int64)
        for ago in range(1, len(table)):
            if closing:
                other, apart = self._arriving(s, t - ago)[mine], ago + s.delay[mine].astype(np.int64)
            elif (fired := s.fired_at.get(t - ago)) is not None:
                other, apart = fired[s.post[mine]], np.abs(ago - s.delay[mine].astype(np.int64))
            else:
                continue
            amount += np.where(other, (table[ago] * phase[apart]) >> 20, 0)
        ticks = int(whole_ticks(pairs.interval_ms, self.dt) or 0)
        grown = power(self.gamma[number], t - (t - 1) // ticks * ticks)
        wide = self.eligibility[mine].astype(np.float64) + (amount if closing else -amount) / FIXED / grown
        self.eligibility[mine] = np.where(amount != 0, wide, self.eligibility[mine]).astype(np.float32)

    def _end_tick(self, s: Simulator, number: int, pairs: ReVGSP) -> None:
        spikes = int(s.fired_at[s.tick][self.posts[number]].sum())
        cos, sin = pairs.turned(s.tick, self.dt)
        self.sums[number] = [
            a + b for a, b in zip(self.sums[number], (spikes * cos, spikes * sin, spikes), strict=True)
        ]
        ticks = int(whole_ticks(pairs.interval_ms, self.dt) or 0)
        if s.tick % ticks == 0:
            own = self.which == number
            left = (self.eligibility.astype(np.float64) * power(self.gamma[number], ticks)).astype(np.float32)
            self.eligibility[own] = np.where(np.abs(left) < 2.0**-24, np.float32(0), left)[own]
            self.gamma[number], self.sums[number] = pairs.gamma(*self.sums[number]), [0, 0, 0]

    def reward(self, s: Simulator, value: float) -> None:
        for number, (pairs, _, sign) in self.rules.items():
            if not isinstance(pairs, ReVGSP) or (rate := pairs.rate(value)) == 0:
                continue
            own = np.flatnonzero((self.which == number) & (self.eligibility != 0))
            ticks = int(whole_ticks(pairs.interval_ms, self.dt) or 0)
            present = self.eligibility[own].astype(np.float64) * power(self.gamma[number], s.tick % ticks)
            weight = sign * s.weight[own].astype(np.float64)
            self._set(s, own, pairs, sign, weight + (rate * present - pairs.decay * abs(rate) * weight))

    def follow(self, before: Learner, old: Simulator, new: Simulator) -> None:
        """Go on from ``before``; synapses are known by their ends, projection and place among those that share them."""
        self.errors, self.gamma, self.sums = before.errors, before.gamma, before.sums
        known = dict(zip(before.names(old), before.eligibility, strict=True))
        self.eligibility = np.array([known.get(name, 0) for name in self.names(new)], dtype=np.float32)

    def names(self, s: Simulator) -> list[tuple[int, int, int, int]]:
        seen: dict[tuple[int, int, int], int] = {}
        found = []
        for name in zip(s.ids[s.pre].tolist(), s.ids[s.post].tolist(), self.which.tolist(), strict=True):
            seen[name] = seen.get(name, -1) + 1
            found.append((*name, seen[name]))
        return found

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


def power(base: float, exponent: int) -> float:
    """By squares, as the engine has it."""
    out = 1.0
    while exponent:
        if exponent & 1:
            out *= base
        base *= base
        exponent >>= 1
    return out


def learner_of(engram: Engram) -> Learner | None:
    """What learns in an engram, by synapse in the order of ``edges_of``; None where nothing does."""
    spec, ids = engram.spec, ids_of(engram)
    if not spec.learns:
        return None
    which = [
        whole_rows(ids[ids >> np.uint64(48) == layer.index], engram._store, engram._wiring).projection
        for layer in spec.layers
    ]
    rules, posts = {}, {}
    for number, projection in enumerate(spec.all_projections):
        if projection.plasticity:
            (pairs,) = (rule for rule in projection.plasticity if isinstance(rule, Bounded))
            scaling = next((rule for rule in projection.plasticity if isinstance(rule, Scaling)), None)
            rules[number] = pairs, scaling, float(projection.sign or 1)
            posts[number] = ids >> np.uint64(48) == spec.layer(projection.post).index
    return Learner(np.concatenate(which), rules, posts, spec.dt_ms)
