"""Parameters of the neurons of a layer: those that all share, and what each has drawn for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray
from engramdb.distribution import Distribution, draw
from engramdb.layer import Layer
from engramdb.state import column_of

_FIXED_PURPOSES = {"bias": 5, "v_init": 6}  # those of kernels.rng, from before there were others


def purpose(name: str) -> np.uint64:
    """What random numbers for the parameter ``name`` are for; the numbers in ``kernels.rng`` are all below 2^63."""
    if name in _FIXED_PURPOSES:
        return np.uint64(_FIXED_PURPOSES[name])
    digest = hashlib.sha256(name.encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little") | 1 << 63)


class LayerParameters:
    """Parameters, and the constants that follow from them, of the neurons of ``layer``."""

    def __init__(self, layer: Layer, seed: int, dt_ms: float) -> None:
        self.model = models.get(layer.model)
        self._seed, self._dt_ms = seed, dt_ms
        self._values = self.model.values(layer.params)
        self._varying = {
            name: value
            for name, value in self._values.items()
            if isinstance(value, Distribution) and not self.model.parameters[name].initial
        }
        middle = {name: np.median(value.table(), keepdims=True) for name, value in self._varying.items()}
        self.shared = self.model.constants({**self._values, **middle}, dt_ms)
        """The layer's constants; of those that differ from neuron to neuron, some (1,)."""
        self.own = tuple(name for name, value in self.shared.items() if np.ndim(value))
        """Names of the constants that differ from neuron to neuron."""
        self.kernel_constants = (*self.model.kernel_constants, "refractory_ticks")
        """Names of the constants that kernels take, in their order."""
        self.initial = {
            self.model.parameters[name].initial: (name, value)
            for name, value in self._values.items()
            if self.model.parameters[name].initial and value is not None
        }
        """Parameter and value by the field that a neuron is born with."""

    def drawn(self, name: str, value: object, ids: IdArray) -> npt.NDArray[np.float32]:
        """What each neuron of ``ids`` has as the parameter ``name``, a number or a distribution."""
        return draw(value, self._seed, ids, purpose(name))

    def constants(self, ids: IdArray) -> Mapping[str, Any]:
        """Constants by name; numbers, or arrays (n,) of those in ``own``."""
        if not self.own:
            return self.shared
        own = {name: self.drawn(name, value, ids).astype(np.float64) for name, value in self._varying.items()}
        return self.model.constants({**self._values, **own}, self._dt_ms)

    def born(self, ids: IdArray) -> dict[str, npt.NDArray[np.float32]]:
        """What the neurons ``ids`` are born with, relative to rest, by column of the state; without those left out."""
        absolute = {shown.name: shown for shown in self.model.absolute}
        columns = {field.name: column_of(place, field.name) for place, field in enumerate(self.model.state)}
        fields = {}
        for name, (parameter, value) in self.initial.items():
            drawn = self.drawn(parameter, value, ids)
            if name in absolute:
                fields[columns[absolute[name].of]] = drawn - self.constant(absolute[name].rest, ids)
            else:
                fields[columns[name]] = drawn
        return fields

    def constant(self, name: str, ids: IdArray) -> npt.NDArray[np.float32]:
        """The constant ``name`` of each neuron of ``ids``, float32 (n,)."""
        value = np.asarray(self.constants(ids)[name] if name in self.own else self.shared[name], dtype=np.float32)
        return np.broadcast_to(value, (len(ids),))

    def restless(self, ids: IdArray) -> npt.NDArray[np.bool_]:
        """Which of ``ids`` never come to rest."""
        value = self.constants(ids)["restless"] if "restless" in self.own else self.shared["restless"]
        return np.broadcast_to(np.asarray(value, dtype=bool), (len(ids),))
