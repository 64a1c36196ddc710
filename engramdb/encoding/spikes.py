"""What an encoder gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, as_ids
from engramdb.errors import InvalidInput


class Spikes(NamedTuple):
    """``ids`` uint64, ``ticks`` int64 and ``amplitudes`` float32 (mV), all (n,), by tick."""

    ids: IdArray
    ticks: npt.NDArray[np.int64]
    amplitudes: npt.NDArray[np.float32]


def spikes_of(ids: IdArray, ticks: npt.NDArray[Any], amplitudes: Any) -> Spikes:
    """Sorted by tick and id; ``amplitudes`` is a number or one for each."""
    order = np.lexsort((ids, ticks))
    strength = np.broadcast_to(np.asarray(amplitudes, dtype=np.float32), ids.shape)
    return Spikes(ids[order], ticks[order].astype(np.int64), strength[order])


def shares(
    values: npt.ArrayLike, ids: Iterable[int] | npt.ArrayLike, lo: float, hi: float
) -> tuple[npt.NDArray[np.float64], IdArray]:
    """Each value as a share of the way from ``lo`` to ``hi``, clipped to [0, 1], and the ids."""
    given, neurons = np.asarray(values, dtype=np.float64).ravel(), as_ids(ids)
    if len(given) != len(neurons):
        raise InvalidInput(f"{len(given)} values and {len(neurons)} ids; give as many")
    if not np.isfinite(given).all():
        raise InvalidInput("values: must be finite")
    if not lo < hi:
        raise InvalidInput(f"lo={lo} and hi={hi}: lo must be smaller")
    return np.clip((given - lo) / (hi - lo), 0.0, 1.0), neurons
