"""First spikes: when each neuron spoke first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import as_ids
from engramdb.decoding.spikes import Window, batches

_NEVER = np.iinfo(np.int64).max


def first_spikes(spikes: Any, ids: Any, window: Window | None = None) -> npt.NDArray[np.int64]:
    """The tick of the first spike of each of ``ids`` in ``window`` (both ends included): int64 (n,), -1 for none."""
    wanted, back = np.unique(as_ids(ids), return_inverse=True)
    first = np.full(len(wanted), _NEVER, dtype=np.int64)
    for tick, who in batches(spikes, window):
        if len(wanted) and len(who):
            place = np.minimum(np.searchsorted(wanted, who), len(wanted) - 1)
            there = wanted[place] == who
            np.minimum.at(first, place[there], tick[there])
    return np.where(first == _NEVER, -1, first)[back]
