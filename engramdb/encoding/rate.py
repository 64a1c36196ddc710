"""Rate code: the larger a value, the more spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.encoding.spikes import Spikes, shares, spikes_of
from engramdb.errors import InvalidInput
from engramdb.whole import whole


def rate(
    values: npt.ArrayLike,
    ids: Any,
    *,
    ticks: int,
    hz: tuple[float, float] = (0.0, 100.0),
    lo: float = 0.0,
    hi: float = 1.0,
    at: int = 1,
    amplitude: float = 20.0,
    dt_ms: float = 1.0,
    seed: int | None = None,
) -> Spikes:
    """``values[i]``, between ``lo`` and ``hi``, as spikes of ``ids[i]`` at a rate between the two of ``hz``.

    ``ticks`` ticks from tick ``at``, each of ``dt_ms`` as in the engram (``e.spec.dt_ms``). Without ``seed`` spikes
    come at equal distances, the first after half of one; with it they are Poisson, a function of (seed, id, tick).
    ``amplitude``: of a spike, in mV or what the weights of the model are in.
    """
    share, neurons = shares(values, ids, lo, hi)
    if ticks < 0 or at < 1:
        raise InvalidInput(f"ticks={ticks}, at={at}: ticks from 0, at from 1")
    if not (np.isfinite(hz).all() and 0 <= hz[0] <= hz[1]):
        raise InvalidInput(f"hz={hz}: give the rate at lo and that at hi, from 0 and not falling")
    if not 0 < dt_ms < np.inf:
        raise InvalidInput(f"dt_ms={dt_ms}: give how long a tick is, in ms")
    if seed is not None and not 0 <= whole(seed, "seed", of="its own") < 1 << 64:
        raise InvalidInput(f"seed={seed}: give a whole number from 0 to 2^64 - 1")
    rates = (hz[0] + share * (hz[1] - hz[0])) * (dt_ms / 1000.0)
    if len(rates) and not 0 <= rates.min() <= rates.max() <= 1000:
        raise InvalidInput(f"hz={hz}: rates must be from 0 to {1e6 / dt_ms:g} Hz")
    if seed is None:
        counts = np.floor(rates * ticks + 0.5).astype(np.int64)
        place = np.repeat(np.arange(len(neurons)), counts)
        nth = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        when = np.minimum(np.floor((nth + 0.5) / rates[place]).astype(np.int64), ticks - 1)
        return spikes_of(neurons[place], at + when, amplitude)
    from engramdb.kernels import poisson

    rates = np.where(rates < poisson.LEAST_RATE, 0.0, rates)
    empty = np.empty(0, dtype=np.int64)
    drawn = (np.uint64(seed), np.uint64(0), neurons, rates, at, at + ticks - 1)
    n = int(poisson.trains(*drawn, empty, empty))
    place, when = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    poisson.trains(*drawn, place, when)
    return spikes_of(neurons[place], when, amplitude)
