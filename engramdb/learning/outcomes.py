"""Outcomes: ends of intervals and rewards, which all synapses of a rule meet; see ``kernels/re_vgsp.py``.

A rule that has its rewards from a void layer is given one at the end of each interval, behind what ends with it.

They are counted from the tick in which all rows were settled last: what lies before has been met by all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.kernels import re_vgsp as kernel
from engramdb.learning.re_vgsp import ReVGSP
from engramdb.models.model import whole_ticks
from engramdb.state import State

_FIRST = 64
_COLUMNS = ("tick", "kind", "value", "intervals", "gamma", "start")
_SILENT = ReVGSP.gamma(0, 0, 0)


class Modulation:
    """What has happened to the rules ``rules`` (by number; None where a rule is another) since all rows were settled.

    ``posts``: the position of the layer that each projects to; ``horizon``: the most ticks between spikes of a pair.
    """

    def __init__(self, rules: Sequence[ReVGSP | None], posts: Sequence[int], horizon: int, dt_ms: float) -> None:
        self._rules, self._posts, self._dt_ms = rules, posts, dt_ms
        self._own = [(number, rule) for number, rule in enumerate(rules) if rule is not None]
        n = len(rules)
        ticks, decay = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.float64)
        phase = np.zeros((n, horizon + 1), dtype=np.int64)
        for number, rule in self._own:
            ticks[number] = whole_ticks(rule.interval_ms, dt_ms) or 1
            decay[number] = rule.decay
            phase[number] = rule.phase(horizon, dt_ms)
        most = n, _FIRST
        self.outcomes = kernel.Outcomes(
            tick=np.zeros(most, dtype=np.int64), kind=np.zeros(most, dtype=np.uint8),
            value=np.zeros(most, dtype=np.float64), intervals=np.zeros(most, dtype=np.int64),
            gamma=np.zeros(most, dtype=np.float64), start=np.zeros(most, dtype=np.int64), n=np.zeros(n, dtype=np.int64),
            gamma_now=np.full(n, _SILENT), start_now=np.zeros(n, dtype=np.int64), ticks=ticks, decay=decay, phase=phase,
        )  # fmt: skip
        # of the spikes of the interval under way: cos and sin of their phases in 2^-30, and their number
        self._sums = np.zeros((n, 3), dtype=np.int64)
        # the sum of what void layers gave in its ticks
        self._rewards = np.zeros(n, dtype=np.float64)

    @property
    def nbytes(self) -> int:
        return sum(getattr(self.outcomes, name).nbytes for name in _COLUMNS)

    def fire(self, tick: int, fired_by_layer: npt.NDArray[np.int64], rewards: Mapping[str, float]) -> None:
        """Take up what ``tick`` brought, after all ticks before.

        ``fired_by_layer``: spikes, by position of the layer; ``rewards``: of void layers, by name.
        """
        self.go_on(tick - 1)
        for number, rule in self._own:
            spikes = int(fired_by_layer[self._posts[number]])
            if spikes:
                cos, sin = rule.turned(tick, self._dt_ms)
                self._sums[number] += (spikes * cos, spikes * sin, spikes)
            if rule.reward_from is not None:
                self._rewards[number] += rewards.get(rule.reward_from, 0.0)
        self.go_on(tick)

    def go_on(self, now: int) -> None:
        """End the intervals that end up to the tick ``now``, of which those not yet taken up have no spikes."""
        out = self.outcomes
        for number, rule in self._own:
            ticks = int(out.ticks[number])
            while (ended := (now - int(out.start_now[number])) // ticks) > 0:
                # as many as go alike: without spikes gamma stays what it is
                idle = not self._sums[number, 2] and not self._rewards[number]
                alike = ended if out.gamma_now[number] == _SILENT and idle else 1
                self._add(number, int(out.start_now[number]) + ticks, kernel.INTERVAL, 0.0, alike)
                out.gamma_now[number] = rule.gamma(*self._sums[number].tolist())
                out.start_now[number] += alike * ticks
                self._sums[number] = 0
                reward, self._rewards[number] = float(self._rewards[number]) / ticks, 0.0
                if (rate := rule.rate(reward)) != 0.0:
                    self._add(number, int(out.start_now[number]), kernel.REWARD, rate, 0)

    def reward(self, value: float, now: int) -> None:
        """Give the reward ``value`` behind the tick ``now``."""
        self.go_on(now)
        for number, rule in self._own:
            if (rate := rule.rate(value)) != 0.0:
                self._add(number, now, kernel.REWARD, rate, 0)

    def _add(self, number: int, tick: int, kind: int, value: float, count: int) -> None:
        out = self.outcomes
        at = int(out.n[number])
        if at == out.tick.shape[1]:
            columns = {name: getattr(out, name) for name in _COLUMNS}
            grown = {name: np.concatenate([c, np.zeros_like(c)], axis=1) for name, c in columns.items()}
            self.outcomes = out = out._replace(**grown)
        entry = tick, kind, value, count, out.gamma_now[number], out.start_now[number]
        for name, content in zip(_COLUMNS, entry, strict=True):
            getattr(out, name)[number, at] = content
        out.n[number] += 1

    def forget(self) -> None:
        """All synapses have met all outcomes."""
        self.outcomes.n[:] = 0

    def state(self) -> State:
        """``modulation_gamma`` float64 (R,), ``modulation_sums`` int64 (R, 3), and ``modulation_rewards`` float64 (R,)
        where void layers give any.
        """
        state: State = {"modulation_gamma": self.outcomes.gamma_now.copy(), "modulation_sums": self._sums.copy()}
        if any(rule.reward_from is not None for _, rule in self._own):
            state["modulation_rewards"] = self._rewards.copy()
        return state

    def load_state(self, now: int, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.outcomes.start_now[:] = now // self.outcomes.ticks * self.outcomes.ticks
        if "modulation_gamma" in state:
            self.outcomes.gamma_now[:], self._sums[:] = state["modulation_gamma"], state["modulation_sums"]
        if "modulation_rewards" in state:
            self._rewards[:] = state["modulation_rewards"]
