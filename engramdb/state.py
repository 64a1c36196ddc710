"""The in-flight state of an engram: what a commit keeps of the present beside the records.

Arrays by name, in one canonical order, so that equal presents are equal bytes:

- ``charged_id`` uint64 sorted, ``charged_u`` float32, ``charged_refractory`` int32: all neurons not at rest;
- ``flight_tick`` int64, ``flight_id`` uint64: spikes under way;
- ``stimulus_start``, ``_stop``, ``_number`` int64, ``_id`` uint64, ``_amplitude`` int64 (2^-32 mV): currents still to
  come, and ``stimulus_next`` int64, the number of the next stimulus, once there was one;
- ``poisson_number``, ``_start``, ``_stop``, ``_neurons`` int64 for each Poisson stimulus, ``poisson_id`` uint64,
  ``_rate`` float64 (events a tick), ``_amplitude`` float32 (mV) for each of its neurons;
- ``train_number``, ``_ticks``, ``_spikes``, ``_amplitudes`` int64 for each part of a given train, ``train_tick``,
  ``_size`` int64 for each tick that has spikes, ``train_id`` uint64 for each spike, ``train_amplitude`` float32 (mV),
  one or all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray

State = dict[str, npt.NDArray[Any]]


def awake_state(ids: IdArray, u: npt.NDArray[np.float32]) -> State:
    """The state of an engram in which ``ids`` (sorted) have potentials ``u`` (mV relative to V_inf); others rest."""
    refractory = np.zeros(len(ids), dtype=np.int32)
    return {**_empty_state(), "charged_id": ids, "charged_u": u, "charged_refractory": refractory}


def _empty_state() -> State:
    ticks = dict.fromkeys(("flight_tick", "stimulus_start", "stimulus_stop", "stimulus_amplitude"), np.int64)
    ids = dict.fromkeys(("charged_id", "flight_id", "stimulus_id"), np.uint64)
    columns = {**ids, "charged_u": np.float32, "charged_refractory": np.int32, **ticks}
    return {name: np.empty(0, dtype=dtype) for name, dtype in columns.items()}


def joined(dtype: npt.DTypeLike, parts: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """``parts`` end to end as ``dtype``; empty where there are none."""
    return np.concatenate([np.empty(0, dtype=dtype), *parts]).astype(dtype, copy=False)
