"""Rates: how many spikes, of whom, in a window."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import as_ids
from engramdb.decoding.spikes import Window, batches
from engramdb.errors import InvalidInput


def counts(spikes: Any, ids: Any, window: Window | None = None) -> npt.NDArray[np.int64]:
    """Spikes of each of ``ids`` (distinct) in the ticks ``window``, both included: int64 (n,)."""
    wanted = as_ids(ids)
    order = np.argsort(wanted)
    ranked = wanted[order]
    if (ranked[1:] == ranked[:-1]).any():
        raise InvalidInput("ids: each only once")
    found = np.zeros(len(wanted), dtype=np.int64)
    for _, who in batches(spikes, window):
        if len(ranked) and len(who):
            place = np.minimum(np.searchsorted(ranked, who), len(ranked) - 1)
            found += np.bincount(place[ranked[place] == who], minlength=len(ranked))
    out = np.empty_like(found)
    out[order] = found
    return out


def rates(spikes: Any, ids: Any, window: Window, dt_ms: float | None = None) -> npt.NDArray[np.float64]:
    """Mean rate of each of ``ids`` in Hz over the ticks ``window``, both included: float64 (n,).

    ``dt_ms``: how long a tick is. A run knows it; for arrays and files it is 1 where nothing else is said.
    """
    if dt_ms is None:
        dt_ms = getattr(spikes, "dt_ms", 1.0)
    ticks = window[1] - window[0] + 1
    if ticks < 1:
        raise InvalidInput(f"window={window}: give its first and its last tick")
    return counts(spikes, ids, window) / (ticks * dt_ms / 1000.0)


def group_counts(spikes: Any, groups: Mapping[Hashable, Any], window: Window | None = None) -> dict[Hashable, int]:
    """Spikes of each group of neurons; groups may share neurons."""
    members = {name: as_ids(group) for name, group in groups.items()}
    everyone = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *members.values()]))
    found = counts(spikes, everyone, window)
    return {name: int(found[np.searchsorted(everyone, group)].sum()) for name, group in members.items()}
