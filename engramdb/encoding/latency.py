"""Latency code: the larger a value, the sooner its one spike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.encoding.spikes import Spikes, shares, spikes_of
from engramdb.errors import InvalidInput


def latency(
    values: npt.ArrayLike,
    ids: Any,
    *,
    ticks: int,
    lo: float = 0.0,
    hi: float = 1.0,
    at: int = 1,
    amplitude: float = 20.0,
) -> Spikes:
    """``values[i]``, between ``lo`` and ``hi``, as the tick in which ``ids[i]`` gets its spike.

    ``hi`` and more come in tick ``at``, the rest linearly later, the last of ``ticks`` ticks is for values just above
    ``lo``; ``lo`` and less get no spike. ``amplitude``: mV.
    """
    share, neurons = shares(values, ids, lo, hi)
    if ticks < 1 or at < 1:
        raise InvalidInput(f"ticks={ticks}, at={at}: both from 1")
    some = share > 0
    when = at + np.rint((1.0 - share[some]) * (ticks - 1)).astype(np.int64)
    return spikes_of(neurons[some], when, amplitude)
