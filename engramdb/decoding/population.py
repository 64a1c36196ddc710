"""Population vectors: each spike votes for what its neuron prefers (Georgopoulos et al. 1986)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.decoding.rates import counts
from engramdb.decoding.spikes import Window
from engramdb.errors import InvalidInput


def population_mean(spikes: Any, ids: Any, preferred: npt.ArrayLike, window: Window | None = None) -> float:
    """The mean of ``preferred[i]``, the value that ``ids[i]`` prefers, over their spikes; NaN without any."""
    votes, values = _votes(spikes, ids, preferred, window)
    return float((votes * values).sum() / votes.sum()) if votes.sum() else math.nan


def population_angle(
    spikes: Any, ids: Any, preferred: npt.ArrayLike, window: Window | None = None
) -> tuple[float, float]:
    """The direction (radians, in (-pi, pi]) and the length (0 to 1) of the mean of unit vectors.

    One vector a spike, at the angle ``preferred[i]`` (radians) of its neuron. (NaN, 0) without spikes.
    """
    votes, angles = _votes(spikes, ids, preferred, window)
    if not votes.sum():
        return math.nan, 0.0
    mean = (votes * np.exp(1j * angles)).sum() / votes.sum()
    return float(np.angle(mean)), float(abs(mean))


def _votes(
    spikes: Any, ids: Any, preferred: npt.ArrayLike, window: Window | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    votes, values = counts(spikes, ids, window), np.asarray(preferred, dtype=np.float64).ravel()
    if len(votes) != len(values):
        raise InvalidInput(f"{len(votes)} ids and {len(values)} preferred values; give as many")
    return votes, values
