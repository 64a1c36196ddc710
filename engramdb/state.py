"""The in-flight state of an engram: what a commit keeps of the present beside the records.

Arrays by name, in one canonical order, so that equal presents are equal bytes:

- ``charged_id`` uint64 sorted, ``charged_u`` float32, ``charged_refractory`` int32: all neurons not at rest;
- ``charged_<field>`` float32: the other fields of the models in use, zero for neurons whose model lacks the field;
  ``charged_u`` is the first field of each model, whatever its name;
- ``flight_tick`` int64, ``flight_id`` uint64: spikes under way;
- ``stimulus_start``, ``_stop``, ``_number`` int64, ``_id`` uint64, ``_amplitude`` int64 (2^-32 mV): currents still to
  come, and ``stimulus_next`` int64, the number of the next stimulus, once there was one;
- ``poisson_number``, ``_start``, ``_stop``, ``_neurons`` int64 for each Poisson stimulus, ``poisson_id`` uint64,
  ``_rate`` float64 (events a tick), ``_amplitude`` float32 (mV) for each of its neurons;
- ``train_number``, ``_ticks``, ``_spikes``, ``_amplitudes`` int64 for each part of a given train, ``train_tick``,
  ``_size`` int64 for each tick that has spikes, ``train_id`` uint64 for each spike, ``train_amplitude`` float32 (mV),
  one or all;
- ``receptive_fired`` uint64 sorted, who fired in the last tick, and ``receptive_updates`` int64 for each ``dense_lif``
  layer, how often it has learned, where there are such layers;
- ``void_active`` uint64 sorted, ``void_valence`` float32 and ``void_sie`` float64 (layers, 5) for each ``void`` layer:
  the last tick in which anybody was active, how many, their mean W and mean r, and the valence then.
- in engrams that learn, where all rows are settled: ``history_tick`` int64, ``history_id`` uint64: spikes that pairs
  may still be closed with; ``error_id`` uint64, ``error_value`` float64: errors of neurons that were given any;
- where a learning rule keeps eligibilities: ``eligible_id`` uint64 sorted, ``eligible_synapses`` int64: rows with any,
  and their lengths; ``eligible_value`` float32: those of all their synapses; ``modulation_gamma`` float64 and
  ``modulation_sums`` int64 (rules, 3): gamma of the interval under way, and cos, sin and number of its spikes so far;
  ``modulation_rewards`` float64 (rules,) where void layers give any: their sum in it so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray

State = dict[str, npt.NDArray[Any]]


def column_of(place: int, field: str) -> str:
    """The name under which the state field at ``place`` of a model is kept; see ``charged_<field>``."""
    return "u" if place == 0 else field


def awake_state(ids: IdArray, fields: Mapping[str, npt.NDArray[Any]]) -> State:
    """The state of an engram in which ``ids`` (sorted) have ``fields`` (by column, "refractory" too); others rest."""
    ticks = dict.fromkeys(("flight_tick", "stimulus_start", "stimulus_stop", "stimulus_amplitude"), np.int64)
    nothing = {**dict.fromkeys(("flight_id", "stimulus_id"), np.uint64), **ticks}
    return {**charged_state(ids, fields), **{name: np.empty(0, dtype=dtype) for name, dtype in nothing.items()}}


def charged_state(ids: IdArray, fields: Mapping[str, npt.NDArray[Any]]) -> State:
    """The part of the state that is about neurons: those of ``ids``, in any order, with ``fields`` by column."""
    order = np.argsort(ids)
    columns = {f"charged_{name}": fields[name][order] for name in sorted(fields, key=_rank)}
    return {"charged_id": ids[order], **columns}


def charged_fields(state: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The columns of a state that are about its charged neurons, without the prefix and without their ids."""
    prefix = "charged_"
    return {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix) and n != "charged_id"}


def _rank(name: str) -> tuple[int, str]:
    return {"u": 0, "refractory": 1}.get(name, 2), name


def joined(dtype: npt.DTypeLike, parts: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """``parts`` end to end as ``dtype``; empty where there are none."""
    return np.concatenate([np.empty(0, dtype=dtype), *parts]).astype(dtype, copy=False)
