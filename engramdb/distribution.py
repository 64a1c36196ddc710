"""Distributions of weights and parameters, each sampled through a table of its quantiles.

>>> Uniform(0.5, 1.5).bounds()
(0.5, 1.5)

Wherever a distribution is allowed, a number stands for itself and a pair ``(lo, hi)`` for ``Uniform(lo, hi)``. Sampling
interpolates linearly between tabled quantiles: the table is kept with the engram, so no change of a mathematics
library can ever alter a weight that was drawn before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

CELLS = 4096
CLIP_SD = 4.0

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """Base of all distributions. Subclasses give their quantile table and say what is wrong with their numbers."""

    def table(self) -> FloatArray:
        """Quantiles at 0, 1/(n-1), ..., 1: float64 (n,), non-decreasing, n >= 1."""
        raise TypeError(f"{type(self).__name__} has no table: use Uniform, Normal or LogNormal")

    def problem(self) -> str | None:
        """What is wrong with the parameters, or None."""
        for name, value in vars(self).items():
            if not is_number(value):
                return f"{name} must be a number, not {value!r}"
            if not math.isfinite(value):
                return f"{name} must be finite, not {value}"
        return self._problem()

    def _problem(self) -> str | None:
        return None

    def bounds(self) -> tuple[float, float]:
        """Least and greatest value that sampling can give (before it is rounded to float32)."""
        table = self.table()
        return float(table[0]), float(table[-1])

    def sample(self, u: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Values (float32) at ``u`` in [0, 1): the table interpolated in float64, then rounded."""
        table = self.table()
        at = np.asarray(u, dtype=np.float64) * (len(table) - 1)
        if len(table) == 1:
            return np.full(at.shape, table[0], dtype=np.float32)
        cell = at.astype(np.int64)
        low = table[cell]
        return np.asarray(low + (at - cell) * (table[cell + 1] - low), dtype=np.float32)


@dataclass(frozen=True)
class Constant(Distribution):
    """Always ``value``; what a plain number means."""

    value: float

    def table(self) -> FloatArray:
        return np.array([self.value], dtype=np.float64)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Equally likely anywhere in [``lo``, ``hi``)."""

    lo: float
    hi: float

    def table(self) -> FloatArray:
        return np.array([self.lo, self.hi], dtype=np.float64)

    def _problem(self) -> str | None:
        return None if self.lo <= self.hi else f"lo {self.lo} is greater than hi {self.hi}"


@dataclass(frozen=True)
class Normal(Distribution):
    """Normal with ``mean`` and standard deviation ``sd``, cut off at 4 sd on either side."""

    mean: float
    sd: float

    def table(self) -> FloatArray:
        return self.mean + self.sd * _normal_quantiles()

    def _problem(self) -> str | None:
        return None if self.sd >= 0 else f"sd {self.sd} is negative"


@dataclass(frozen=True)
class LogNormal(Distribution):
    """exp of a normal variable with ``mean`` and ``sd`` (both of the logarithm), which is cut off at 4 sd."""

    mean: float
    sd: float

    def table(self) -> FloatArray:
        return np.array([math.exp(self.mean + self.sd * z) for z in _normal_quantiles()], dtype=np.float64)

    def _problem(self) -> str | None:
        if self.sd < 0:
            return f"sd {self.sd} is negative"
        if self.mean + CLIP_SD * self.sd > 700:
            return f"exp(mean + {CLIP_SD:g} sd) is too large; mean and sd are those of the logarithm"
        return None


Value: TypeAlias = float | Distribution
DISTRIBUTIONS: dict[str, type[Distribution]] = {kind.__name__: kind for kind in (Uniform, Normal, LogNormal)}


@lru_cache(maxsize=1)
def _normal_quantiles() -> FloatArray:
    normal = NormalDist()
    inner = [max(-CLIP_SD, normal.inv_cdf(i / CELLS)) for i in range(1, CELLS // 2)]
    quantiles = np.array([-CLIP_SD, *inner, 0.0, *(-z for z in reversed(inner)), CLIP_SD], dtype=np.float64)
    quantiles.flags.writeable = False
    return quantiles


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number of Python or NumPy; a bool is none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def normalized(value: Any) -> Any:
    """A number as float, a pair of numbers as :class:`Uniform`; anything else as it is, for validation to judge."""
    if is_number(value):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(is_number(v) for v in value):
        return Uniform(normalized(value[0]), normalized(value[1]))
    if isinstance(value, Constant):
        return normalized(value.value)
    if isinstance(value, Distribution):
        return type(value)(*(normalized(number) for number in vars(value).values()))
    return value


def resolved(value: object) -> Distribution:
    """The distribution that a number, a pair or a distribution stands for."""
    known = normalized(value)
    return known if isinstance(known, Distribution) else Constant(known)


def problem_with(value: object) -> str | None:
    """Why a normalized value is neither a number nor a distribution that can be sampled; None where it is."""
    if isinstance(value, Distribution) and type(value) is not Distribution:
        return value.problem()
    if not isinstance(value, float):
        return f"must be a number, a pair (lo, hi) or one of {', '.join(DISTRIBUTIONS)}, not {value!r}"
    return Constant(value).problem()


def draw(value: object, seed: int, ids: npt.NDArray[np.uint64], purpose: np.uint64) -> npt.NDArray[np.float32]:
    """What each neuron of ``ids`` draws from ``value``, a number or distribution, for ``purpose``."""
    return sampled(resolved(value).table(), seed, ids, purpose)


def sampled(table: FloatArray, seed: int, ids: npt.NDArray[np.uint64], purpose: np.uint64) -> npt.NDArray[np.float32]:
    """The same from the ``table`` of a distribution."""
    from engramdb.kernels import rng

    hashes = np.empty(len(ids), dtype=np.uint64)
    drawn = np.empty(len(ids), dtype=np.float32)
    rng.fill_hashes(np.uint64(seed), ids, np.uint64(0), purpose, hashes)
    rng.fill_samples(table, hashes, drawn)
    return drawn
