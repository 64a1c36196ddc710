"""Power laws: y = c x^b through measured points, with the uncertainty of what they say elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# two-sided 95 % points of Student's t, by degrees of freedom
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL95 = 1.96


@dataclass(frozen=True)
class PowerLaw:
    """``exponent`` with its 95 % interval ``low`` to ``high``, infinite where two points leave nothing to judge by.

    Fitted by least squares of logarithms; ``points`` were used.
    """

    exponent: float
    low: float
    high: float
    points: int
    _log_at_mean: float
    _mean: float
    _spread: float
    _error: float
    _t: float

    def at(self, x: float) -> tuple[float, float, float]:
        """The value at ``x``, and the 95 % interval in which the law has it there; infinite as the exponent's."""
        away = math.log(x) - self._mean
        middle = self._log_at_mean + self.exponent * away
        if not math.isfinite(self._t):
            return math.exp(middle), 0.0, math.inf
        half = self._t * self._error * math.sqrt(1 / self.points + away * away / self._spread)
        return math.exp(middle), math.exp(middle - half), math.exp(min(middle + half, 700.0))


def power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The law through points that are all positive; None through fewer than two different x, or where a y is not."""
    if len(set(x)) < 2 or any(value <= 0 or not math.isfinite(value) for value in y):
        return None
    u, v = np.log(np.asarray(x, dtype=np.float64)), np.log(np.asarray(y, dtype=np.float64))
    mean, n = float(u.mean()), len(u)
    spread = float(((u - mean) ** 2).sum())
    slope = float(((u - mean) * (v - v.mean())).sum() / spread)
    rest = v - v.mean() - slope * (u - mean)
    free = n - 2
    if not free:
        return PowerLaw(slope, -math.inf, math.inf, n, float(v.mean()), mean, spread, 0.0, math.inf)
    error = math.sqrt(float((rest**2).sum()) / free)
    t = _T95[free - 1] if free <= len(_T95) else _NORMAL95
    half = t * error / math.sqrt(spread)
    return PowerLaw(slope, slope - half, slope + half, n, float(v.mean()), mean, spread, error, t)
