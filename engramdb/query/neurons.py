"""Neurons as a query shows them: state in the life cycle, fields, degree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray, by_layer, format_id
from engramdb.distribution import draw
from engramdb.spec import Spec
from engramdb.store import STORED, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring
    from engramdb.workingset import WorkingSet


@dataclass(frozen=True)
class Neuron:
    """One neuron. ``state`` is virtual, charged, active or dormant; ``fields`` are its model's, with their units."""

    id: int
    label: str | None
    state: str
    fields: dict[str, int | float]
    out_degree: int

    @property
    def address(self) -> str:
        return format_id(self.id)


@dataclass(frozen=True)
class Neurons:
    """Many neurons, in the order asked for: ``ids`` uint64 (n,), ``state`` n words, ``fields`` name -> (n,)."""

    ids: IdArray
    state: list[str]
    fields: dict[str, npt.NDArray[Any]]
    out_degree: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class Present:
    """The potentials of an engram: those of a live working set, or those a commit kept."""

    def __init__(
        self,
        spec: Spec,
        kept: Mapping[str, npt.NDArray[Any]],
        live: WorkingSet | None,
    ) -> None:
        self._spec = spec
        self._kept = kept
        self._live = live

    def charge(self, ids: IdArray) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """``(u in mV, refractory in ticks)`` of ``ids``; zeros at rest."""
        u = np.zeros(len(ids), dtype=np.float32)
        refractory = np.zeros(len(ids), dtype=np.int32)
        if self._live is not None:
            held = self._live.lookup(ids)
            found, place = held >= 0, held[held >= 0]
            u[found], refractory[found] = self._live.slots.u[place], self._live.slots.refractory[place]
        elif len(self._kept.get("charged_id", ())):
            charged = self._kept["charged_id"]
            place = np.minimum(np.searchsorted(charged, ids), len(charged) - 1)
            found = charged[place] == ids
            u[found] = self._kept["charged_u"][place[found]]
            refractory[found] = self._kept["charged_refractory"][place[found]]
        return u, refractory

    def history(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], History]:
        """Which of ``ids`` have their record in RAM, and for those (in order) what it says."""
        if self._live is None:
            nobody = np.zeros(len(ids), dtype=bool)
            return nobody, History(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, bool), np.empty(0, bool))
        from engramdb.kernels import rows

        held = self._live.lookup(ids)
        record = np.where(held >= 0, self._live.slots.record[np.maximum(held, 0)], -1)
        resident = record >= 0
        found = self._live.records[record[resident]]
        on_top = found["flags"] & rows.ON_TOP != 0
        # who has fired and whose row has not been read yet will have it when the spike arrives
        active = (found["offset"] >= 0) | (on_top & (found["spike_count"] > 0))
        return resident, History(found["spike_count"], found["last_spike"], active, on_top)


@dataclass(frozen=True)
class History:
    """Counts of neurons whose record is in RAM, and whether they are active; arrays of equal length.

    Counts ``on_top`` are those since the store was last asked: they come on top of what it has.
    """

    spike_count: npt.NDArray[np.uint32]
    last_spike: npt.NDArray[np.int64]
    active: npt.NDArray[np.bool_]
    on_top: npt.NDArray[np.bool_]


def look_up(ids: IdArray, spec: Spec, store: Store, wiring: Callable[[], Wiring], present: Present) -> Neurons:
    """The neurons ``ids`` (uint64 (n,), all declared, any order, repeats allowed) of the store and the present."""
    unique, back = np.unique(ids, return_inverse=True)
    u, refractory = present.charge(unique)
    n = len(unique)
    spike_count = np.zeros(n, dtype=np.uint32)
    last_spike = np.zeros(n, dtype=np.int64)
    recorded = np.zeros(n, dtype=bool)
    v = np.empty(n, dtype=np.float32)
    degree = np.empty(n, dtype=np.int64)
    for layer_index, part in by_layer(unique):
        stored = store.find(unique[part], query=True)
        at = part.start + np.searchsorted(unique[part], stored.ids)
        recorded[at] = True
        if len(at):
            spike_count[at] = stored.state["spike_count"]
            last_spike[at] = stored.state["last_spike"]
        written = stored.row_kind == STORED
        degree[at[written]] = np.diff(stored.indptr)[written]
        ruled = np.setdiff1d(np.arange(part.start, part.stop), at[written], assume_unique=True)
        if len(ruled):
            degree[ruled] = wiring().degrees(unique[ruled])
        v[part] = resting_potential(spec, layer_index, unique[part]) + u[part]
    # what is in RAM is newer than what the store has
    resident, history = present.history(unique)
    spike_count[resident] = history.spike_count + np.where(history.on_top, spike_count[resident], np.uint32(0))
    silent_since = history.on_top & (history.last_spike == 0)
    last_spike[resident] = np.where(silent_since, last_spike[resident], history.last_spike)
    recorded[resident] |= history.spike_count > 0
    active = np.zeros(n, dtype=bool)
    active[resident] = history.active
    awake = (u != 0) | (refractory != 0)
    state = np.select([active, recorded & ~awake, awake], ["active", "dormant", "charged"], "virtual")
    fields: dict[str, npt.NDArray[Any]] = {
        "v": v,
        "u": u,
        "refractory": refractory,
        "spike_count": spike_count,
        "last_spike": last_spike,
    }
    return Neurons(ids, state[back].tolist(), {k: x[back] for k, x in fields.items()}, degree[back])


def resting_potential(spec: Spec, layer_index: int, ids: IdArray) -> npt.NDArray[np.float32]:
    """V_inf (mV, float32) of neurons of one layer."""
    layer = spec.layer(layer_index)
    rest = np.float32(models.get(layer.model).constants(layer.params, spec.dt_ms).v_rest)
    bias = layer.params.get("bias", 0.0)
    if isinstance(bias, float):
        return np.full(len(ids), rest + np.float32(bias))
    from engramdb.kernels.rng import BIAS

    return rest + draw(bias, spec.seed, ids, BIAS)
