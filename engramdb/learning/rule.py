"""What a learning rule is: parameters in the units of papers, and the tables by ticks that kernels take."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engramdb.distribution import is_number
from engramdb.models.exponential import exp

FIXED = 4294967296.0  # sums over pairs are integers in units of 2^-32
MOST_WINDOW_TICKS = 1 << 14  # spikes of so long ago are remembered for each neuron, a bit a tick
_TABLE_END = 2.0**-14
_LOG_TABLE_END = 9.704060527839234  # -ln of it

Problem = tuple[str, str]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LearningRule:
    """A rule by which the synapses of a projection learn; the equation and its source are in the docstring of each.

    ``rule``: its name in documents. ``pairs``: whether it says what pairs of spikes do; a projection has one such rule
    at most, and others beside it.
    """

    rule: ClassVar[str] = ""
    pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic) or (isinstance(value, int) and not isinstance(value, bool)):
                object.__setattr__(self, field.name, float(value))

    def problems(self, dt_ms: float) -> list[Problem]:
        """``(parameter, problem)`` for each that cannot be as it is."""
        return []

    def not_numbers(self, *but: str) -> list[Problem]:
        """The parameters that are no finite numbers, except those named."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self) if field.name not in but)
        return [(name, f"must be a number, not {value!r}") for name, value in named if not _finite(value)]


@dataclass(frozen=True)
class Bounded(LearningRule):
    """What rules have in common whose weights have bounds.

    ``w_max`` and ``w_min``, in the unit of weights: where the projection has a sign, of magnitudes.
    """

    w_max: float
    w_min: float = 0.0

    def plus(self, dt_ms: float) -> Int64Array:
        """What a pair of an arrival and a later postsynaptic spike does, by ticks between them, in 2^-32."""
        raise NotImplementedError

    def minus(self, dt_ms: float) -> Int64Array:
        """What a pair of a postsynaptic spike and a later arrival does, by ticks between them, in 2^-32."""
        raise NotImplementedError

    def bound_problems(self) -> list[Problem]:
        return [] if self.w_max > self.w_min else [("w_max", f"{self.w_max:g} must lie above w_min, {self.w_min:g}")]


def _finite(value: Any) -> bool:
    return is_number(value) and bool(np.isfinite(value))


def positive(rule: LearningRule, *names: str) -> list[Problem]:
    """Those of the parameters ``names`` that are not greater than zero."""
    return [
        (name, f"must be greater than 0, not {getattr(rule, name):g}") for name in names if getattr(rule, name) <= 0
    ]


def window_ticks(tau_ms: float, dt_ms: float) -> int:
    """The last tick in which exp(-t / tau) is not less than 2^-14: there the window of a pair ends."""
    return int(np.floor(tau_ms / dt_ms * _LOG_TABLE_END))


def window_problems(rule: LearningRule, dt_ms: float, *names: str) -> list[Problem]:
    """Those of the time constants ``names`` whose windows are longer than can be remembered, or have no tick."""
    found = []
    for name in names:
        ticks = window_ticks(getattr(rule, name), dt_ms)
        if not 1 <= ticks <= MOST_WINDOW_TICKS:
            found.append((name, f"its window of {ticks} ticks must be 1..{MOST_WINDOW_TICKS} ticks"))
    return found


def decaying(amplitude: float, tau_ms: float, dt_ms: float) -> Int64Array:
    """``amplitude`` exp(-t / tau) by ticks from 0 to the end of the window, in 2^-32; nothing in tick 0."""
    ticks = np.arange(window_ticks(tau_ms, dt_ms) + 1, dtype=np.float64)
    table = np.rint(amplitude * exp(-ticks * dt_ms / tau_ms) * FIXED).astype(np.int64)
    table[0] = 0
    return table
