"""What drives neurons at this moment: who is hot, and how strong the affinity of two of them is.

In a void layer it is what its next tick begins with: growth da and decay do of each neuron. Elsewhere both are how
recently a neuron has fired, 1 for this tick down to 0. Either way the affinity of i and j is

    S = relu(da_i) relu(da_j) - lambda |do_i - do_j|

All of it is a function of the state at a tick boundary, and of nothing that depends on what is in RAM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.keptfields import fields_now
from engramdb.kernels import void as kernel
from engramdb.query.neurons import Present

if TYPE_CHECKING:
    from engramdb.engine import Engine
    from engramdb.layer import Layer
    from engramdb.spec import Spec

Float32Array = npt.NDArray[np.float32]

RECENT_TICKS = 128
"""A spike longer ago drives nothing."""
SPIKING_COST = np.float32(0.1)
"""lambda where the model has none of its own."""


class Drive(Protocol):
    """Who is ``hot``: uint64, sorted, of one layer, with their ``weight``, float64, none negative."""

    cost: np.float32
    hot: IdArray
    weight: npt.NDArray[np.float64]

    def terms(self, ids: IdArray) -> tuple[Float32Array, Float32Array]:
        """(da, do) of neurons ``ids`` (sorted and distinct) of the layer."""


def drive_of(live: Engine, layer: Layer, spec: Spec) -> Drive:
    """What drives the neurons of ``layer`` now."""
    return _VoidDrive(live, layer, spec) if layer.model == "void" else _SpikeDrive(live, layer)


def affinity(drive: Drive, pre: IdArray, post: IdArray) -> Float32Array:
    """S of each pair ``pre[i]``, ``post[i]``, in any order."""
    ids, place = np.unique(np.concatenate([pre, post]), return_inverse=True)
    growth, decay = drive.terms(ids)
    i, j = place[: len(pre)], place[len(pre) :]
    growth = np.maximum(growth, np.float32(0))
    return np.asarray(growth[i] * growth[j] - drive.cost * np.abs(decay[i] - decay[j]), dtype=np.float32)


class _VoidDrive:
    """Of a void layer: hot is who is active, by relu(da)."""

    def __init__(self, live: Engine, layer: Layer, spec: Spec) -> None:
        self._layer, self._spec = layer, spec
        self._void, self._store = live.voids[layer.name], live.working_set.store
        self._rates = self._void.rates(live.tick + 1)
        self.cost = self._rates.affinity_cost
        self.hot = self._void.active
        self.weight = np.maximum(self.terms(self.hot)[0], np.float32(0)).astype(np.float64)

    def terms(self, ids: IdArray) -> tuple[Float32Array, Float32Array]:
        w = fields_now(ids, self._void, self._store, self._layer, self._spec)["W"]
        growth, decay = np.empty(len(ids), dtype=np.float32), np.empty(len(ids), dtype=np.float32)
        kernel.terms(w, ids, self._rates, growth, decay)
        return growth, decay


class _SpikeDrive:
    """Of neurons that spike: hot is whose spikes have not all arrived yet."""

    cost = SPIKING_COST

    def __init__(self, live: Engine, layer: Layer) -> None:
        self._live, self._present = live, Present(live.spec, {}, live.working_set)
        flying = [ids for _, ids in live.flight.freeze()]
        hot = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *flying]))
        self.hot = hot[hot >> np.uint64(48) == np.uint64(layer.index)]
        self.weight = self.terms(self.hot)[0].astype(np.float64)

    def terms(self, ids: IdArray) -> tuple[Float32Array, Float32Array]:
        _, last_spike = self._live.working_set.source.counts(ids)
        resident, history = self._present.history(self._present.held(ids))
        newer = ~history.on_top | (history.last_spike > 0)
        last_spike[np.flatnonzero(resident)[newer]] = history.last_spike[newer]
        ago = self._live.tick - last_spike
        left = np.where(last_spike > 0, np.maximum(RECENT_TICKS - ago, 0), 0)
        recent = (left / RECENT_TICKS).astype(np.float32)
        return recent, recent
