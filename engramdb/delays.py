"""Delays: given in milliseconds, one for all synapses of a projection or drawn for each; kept in whole ticks.

A distribution is sampled through its quantile table in ticks, and what comes out is rounded, halves to even, to a whole
number of ticks, at least one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.distribution import Distribution, FloatArray, Value, resolved
from engramdb.errors import InvalidInput
from engramdb.models.model import whole_ticks

MAX_TICKS = 65535

DelayArray = npt.NDArray[np.uint16]


def table(delay_ms: Value, dt_ms: float) -> FloatArray:
    """Quantiles of a delay in ticks, not rounded yet: float64 (n,), n >= 1, non-decreasing."""
    return resolved(delay_ms).table() / dt_ms


def delay_range(delay_ms: Value, dt_ms: float) -> tuple[int, int]:
    """The least and the longest delay in ticks that a synapse can have; equal for a plain number."""
    if not isinstance(delay_ms, Distribution):
        ticks = whole_ticks(delay_ms, dt_ms)
        assert ticks is not None, "checked when the spec was made"
        return ticks, ticks
    ends = table(delay_ms, dt_ms)[[0, -1]].astype(np.float32)
    least, longest = (max(1, int(ticks)) for ticks in np.rint(ends))
    return least, longest


def mean_ticks(delay_ms: Value, dt_ms: float) -> int:
    """What a synapse gets for which no delay is given: the mean, rounded to whole ticks within the range."""
    least, longest = delay_range(delay_ms, dt_ms)
    if least == longest:
        return least
    quantiles = table(delay_ms, dt_ms).tolist()
    # the integral of the interpolated table; fsum gives the same bits on every machine
    mean = (math.fsum(quantiles) - (quantiles[0] + quantiles[-1]) / 2) / (len(quantiles) - 1)
    return min(max(round(mean), least), longest)


def in_ticks(delay_ms: Any, n: int, dt_ms: float) -> DelayArray:
    """``delay_ms``, a number or n of them, in whole ticks; :class:`InvalidInput` for one that is no such delay."""
    try:
        given = np.broadcast_to(np.asarray(delay_ms, dtype=np.float64), (n,))
    except (ValueError, TypeError):
        raise InvalidInput(f"delay_ms: expected a number or {n} numbers") from None
    ticks, problem = ticks_of(given, dt_ms)
    wrong = np.flatnonzero(problem)
    if len(wrong):
        raise InvalidInput(
            f"delay {given[wrong[0]]:g} ms: must be a whole number of ticks of {dt_ms:g} ms, 1..{MAX_TICKS}"
        )
    return ticks


def ticks_of(delay_ms: npt.NDArray[np.float64], dt_ms: float) -> tuple[DelayArray, npt.NDArray[np.bool_]]:
    """``(ticks, which are none)``: milliseconds in ticks, and which are no whole number of them in 1..65535."""
    ticks = delay_ms / dt_ms
    nearest = np.rint(ticks)
    with np.errstate(invalid="ignore"):
        fine = (
            (np.abs(ticks - nearest) <= 1e-9 * np.maximum(1.0, np.abs(ticks))) & (nearest >= 1) & (nearest <= MAX_TICKS)
        )
    return np.where(fine, nearest, 1).astype(np.uint16), ~fine


def chosen(delay: DelayArray | None, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> DelayArray | None:
    """``delay[index]``; None, where every synapse has that of its projection, stays None."""
    return None if delay is None else delay[index]


def end_to_end(parts: Sequence[DelayArray | None]) -> DelayArray | None:
    """The delays of ``parts`` one after the other. Parts without synapses may have None among others that do not."""
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None
