"""Parameters of the neurons of a layer: those that all share, and what each has drawn for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray
from engramdb.distribution import Distribution, resolved, sampled
from engramdb.layer import Layer
from engramdb.models import Model
from engramdb.state import column_of
from engramdb.store import OWN, Records, Store

if TYPE_CHECKING:
    from engramdb.spec import Spec

Given: TypeAlias = "Mapping[str, npt.NDArray[np.float64]] | None"
"""Values that neurons were given of their own, (n,) by parameter; NaN where a neuron was given none."""

_FIXED_PURPOSES = {"bias": 5, "v_init": 6}  # those of kernels.rng, from before there were others


def purpose(name: str) -> np.uint64:
    """What random numbers for the parameter ``name`` are for; the numbers in ``kernels.rng`` are all below 2^63."""
    if name in _FIXED_PURPOSES:
        return np.uint64(_FIXED_PURPOSES[name])
    digest = hashlib.sha256(name.encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little") | 1 << 63)


class LayerParameters:
    """Parameters, and the constants that follow from them, of the neurons of ``layer``.

    Where methods take ``given``, that is what :func:`given` has found for the same ids; None where nobody is given any.
    """

    def __init__(self, layer: Layer, seed: int, dt_ms: float) -> None:
        self.model = models.get(layer.model)
        self.columns = tuple(layer.columns)
        self._seed, self._dt_ms = seed, dt_ms
        self._tables: dict[str, npt.NDArray[np.float64]] = {}  # of distributions, once they are drawn from
        self._values = self.model.values(layer.params)
        self._varying = {
            name: value
            for name, value in self._values.items()
            if name in self.columns or (isinstance(value, Distribution) and not self.model.parameters[name].initial)
        }
        middle = {name: np.median(resolved(value).table(), keepdims=True) for name, value in self._varying.items()}
        self.shared = self.model.constants({**self._values, **middle}, dt_ms)
        """The layer's constants; of those that differ from neuron to neuron, some (1,)."""
        self.own = tuple(name for name, value in self.shared.items() if np.ndim(value))
        """Names of the constants that differ from neuron to neuron."""
        self.kernel_constants = (*self.model.kernel_constants, "refractory_ticks")
        """Names of the constants that kernels take, in their order."""
        self.initially = {name for name, parameter in self.model.parameters.items() if parameter.initial}
        """Names of the parameters that say what neurons are born with."""
        self.initial = {
            self.model.parameters[name].initial: (name, value)
            for name, value in self._values.items()
            if self.model.parameters[name].initial and value is not None
        }
        """Parameter and value by the field that a neuron is born with."""

    def drawn(self, name: str, value: object, ids: IdArray) -> npt.NDArray[np.float32]:
        """What each neuron of ``ids`` has as the parameter ``name``, a number or a distribution."""
        if name not in self._tables:
            self._tables[name] = resolved(value).table()
        return sampled(self._tables[name], self._seed, ids, purpose(name))

    def values(self, ids: IdArray, given: Given = None) -> dict[str, Any]:
        """Parameters of ``ids`` by name: numbers, and float64 (n,) of those that differ from neuron to neuron."""
        own = {
            name: self.drawn(name, value, ids).astype(np.float64)
            if isinstance(value, Distribution)
            else np.full(len(ids), value, dtype=np.float64)
            for name, value in self._varying.items()
        }
        for name, values in (given or {}).items():
            own[name] = np.where(np.isnan(values), own[name], values)
        return {**self._values, **own}

    def constants(self, ids: IdArray, given: Given = None) -> Mapping[str, Any]:
        """Constants by name; numbers, or arrays (n,) of those in ``own``."""
        return self.model.constants(self.values(ids, given), self._dt_ms) if self.own else self.shared

    def born(self, ids: IdArray, given: Given = None) -> dict[str, npt.NDArray[np.float32]]:
        """What the neurons ``ids`` are born with, relative to rest, by column of the state; without those left out."""
        absolute = {shown.name: shown for shown in self.model.absolute}
        columns = {field.name: column_of(place, field.name) for place, field in enumerate(self.model.state)}
        fields = {}
        for name, (parameter, value) in self.initial.items():
            drawn = self.drawn(parameter, value, ids)
            if name in absolute:
                rest = self.constant(absolute[name].rest, ids, given)
                fields[columns[absolute[name].of]] = drawn - rest
            else:
                fields[columns[name]] = drawn
        return fields

    def constant(self, name: str, ids: IdArray, given: Given = None) -> npt.NDArray[np.float32]:
        """The constant ``name`` of each neuron of ``ids``, float32 (n,)."""
        value = np.asarray(self.constants(ids, given)[name], dtype=np.float32)
        return np.broadcast_to(value, (len(ids),))

    def restless(self, ids: IdArray, given: Given = None) -> npt.NDArray[np.bool_]:
        """Which of ``ids`` never come to rest."""
        return np.broadcast_to(np.asarray(self.constants(ids, given)["restless"], dtype=bool), (len(ids),))

    def problem(self, ids: IdArray, given: Given) -> tuple[int, str, str] | None:
        """``(place in ids, parameter, problem)`` of the first neuron that cannot be as it is given."""
        for name, values in (given or {}).items():
            parameter = self.model.parameters[name]
            wrong = ~np.isnan(values) & ~((values >= parameter.minimum) & (values <= parameter.maximum))
            if wrong.any():
                limits = f"{parameter.minimum:g}..{parameter.maximum:g} {parameter.unit}"
                return int(np.argmax(wrong)), name, f"{values[wrong][0]:g} is outside {limits}"
        own = self.values(ids, given)
        for i in range(len(ids)):
            one = {name: float(value[i]) if np.ndim(value) else value for name, value in own.items()}
            for name, problem in self.model.check(one, self._dt_ms):
                return i, name, problem
        return None


def parameters_of_layer(layer: Layer, spec: Spec) -> LayerParameters:
    """The parameters of a layer of ``spec``; working them out again for every query would take most of its time."""
    return _made(layer, models.get(layer.model), spec.seed, spec.dt_ms)


@lru_cache(maxsize=1024)
def _made(layer: Layer, _model: Model, seed: int, dt_ms: float) -> LayerParameters:
    return LayerParameters(layer, seed, dt_ms)


def given(store: Store, columns: Iterable[str], ids: IdArray) -> Given:
    """Values of their own that the store has of ``ids`` (sorted, distinct, of one layer), float64 (n,) by parameter.

    NaN where a neuron is given none; None without ``columns``.
    """
    columns = tuple(columns)
    if not columns:
        return None
    stored = store.find(ids, query=True)
    return given_in(stored, columns, np.isin(ids, stored.ids))


def given_in(stored: Records, columns: Iterable[str], there: npt.NDArray[np.bool_]) -> Given:
    """As :func:`given`, of records that were read; ``there``: which of all ids they are of."""
    values = {}
    for name in columns:
        values[name] = np.full(len(there), np.nan)
        if OWN + name in stored.state:
            values[name][there] = stored.state[OWN + name]
    return values or None
