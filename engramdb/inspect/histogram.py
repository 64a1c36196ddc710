"""Histograms of streams in constant memory; the order in which values come does not matter.

>>> degrees = PowerHistogram()
>>> degrees.add(np.array([0, 1, 5, 6]))
>>> degrees.result().counts
(1, 1, 0, 2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Histogram:
    """``counts[i]`` values lie in ``edges[i] <= value < edges[i + 1]``; one edge more than counts, or neither."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class PowerHistogram:
    """Counts of whole numbers >= 0 by power of two: 0, 1, 2-3, 4-7, ... up to 2^63."""

    def __init__(self) -> None:
        self._counts = np.zeros(65, dtype=np.int64)

    def add(self, values: npt.NDArray[np.integer[Any]]) -> None:
        """Count ``values``: any shape, whole numbers in 0..2^53 (frexp is exact there)."""
        _, exponent = np.frexp(values.astype(np.float64))
        self._counts += np.bincount(exponent.ravel(), minlength=65)

    def result(self) -> Histogram:
        """Up to the last bin that holds something."""
        used = np.flatnonzero(self._counts)
        if not used.size:
            return Histogram((), ())
        last = int(used[-1])
        edges = (0.0, *(float(2**power) for power in range(last + 1)))
        return Histogram(edges, tuple(self._counts[: last + 1].tolist()))


class LinearHistogram:
    """Counts of finite numbers in bins of equal width that adapt to the range seen.

    The width is a power of two and bins begin at its multiples. A value beyond the range doubles the width
    and adds neighbours up, so the counts are exact, and the same in whatever order the values came.
    """

    HALF = 4096
    """Bins on either side of zero."""

    _FIRST_EXPONENT = -40

    def __init__(self) -> None:
        self._exponent = self._FIRST_EXPONENT
        self._counts = np.zeros(2 * self.HALF, dtype=np.int64)

    def add(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Count ``values``: any shape, finite."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        while low < -self.HALF * 2.0**self._exponent or high >= self.HALF * 2.0**self._exponent:
            self._double()
        bins = np.floor(np.ldexp(values.astype(np.float64), -self._exponent)).astype(np.int64) + self.HALF
        self._counts += np.bincount(bins.ravel(), minlength=2 * self.HALF)

    def _double(self) -> None:
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts[:] = 0
        self._counts[self.HALF // 2 : self.HALF // 2 + self.HALF] = merged
        self._exponent += 1

    def quantile(self, fraction: float) -> float:
        """Below it lie ``fraction`` (0 to 1) of the values, estimated: wrong by 1/2048 of the largest in size at most.

        NaN where there are no values.
        """
        total = int(self._counts.sum())
        if not total:
            return float("nan")
        below = np.cumsum(self._counts)
        at = int(np.searchsorted(below, max(fraction * total, 0.5)))
        inside = (fraction * total - float(below[at] - self._counts[at])) / float(self._counts[at])
        return float(np.ldexp(at - self.HALF + min(max(inside, 0.0), 1.0), self._exponent))

    def result(self, bins: int = 24) -> Histogram:
        """At most ``bins`` (2 or more) bins from the least to the greatest value seen."""
        used = np.flatnonzero(self._counts)
        if not used.size:
            return Histogram((), ())
        first, last = int(used[0]) - self.HALF, int(used[-1]) - self.HALF
        exponent = self._exponent
        numbers, counts = used - self.HALF, self._counts[used]
        while last - first + 1 > bins:
            first, last, numbers, exponent = first >> 1, last >> 1, numbers >> 1, exponent + 1
        found = np.bincount(numbers - first, weights=counts, minlength=last - first + 1)
        edges = tuple(float(np.ldexp(float(edge), exponent)) for edge in range(first, last + 2))
        return Histogram(edges, tuple(int(value) for value in found))
