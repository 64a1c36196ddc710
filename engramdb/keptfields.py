"""What records keep for a model, as people see it: of stored neurons, and of those of whom nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.layer import Layer
from engramdb.parameters import parameters_of_layer
from engramdb.spec import Spec
from engramdb.store import FIELD, Records, Store
from engramdb.store.optional import optional_columns
from engramdb.weights import INT8

if TYPE_CHECKING:
    from engramdb.workingset import Keeper

Float32Array = npt.NDArray[np.float32]


class Sie(NamedTuple):
    """A void layer at the end of a tick: neurons active in it, their mean W, mean r, and the valence that followed."""

    active: int
    W: float
    reward: float
    valence: float


def stored_sie(state: Mapping[str, npt.NDArray[Any]], spec: Spec, layer: Layer, tick: int) -> Sie:
    """How a void ``layer`` stood at the end of ``tick``, by the state of a commit at that tick."""
    place = [one.name for one in spec.layers if one.model == "void"].index(layer.name)
    if "void_sie" not in state:
        return Sie(0, 0.0, 0.0, 0.5)
    last, active, w, reward, valence = state["void_sie"][place].tolist()
    if last == tick:
        return Sie(int(active), w, reward, valence)
    return Sie(0, 0.0, 0.0, float(state["void_valence"][place]))


def at_birth(ids: IdArray, layer: Layer, spec: Spec) -> dict[str, Float32Array]:
    """The fields of ``ids`` before anything happened to them, (n,) by name; the length of vectors."""
    own = parameters_of_layer(layer, spec)
    fields = {}
    for field in own.model.kept:
        if field.birth:
            fields[field.name] = own.drawn(field.birth, own.model.values(layer.params)[field.birth], ids)
        else:
            fields[field.name] = np.zeros(len(ids), dtype=np.float32)
    return fields


def fields_of(ids: IdArray, stored: Records, layer: Layer, spec: Spec) -> dict[str, Float32Array]:
    """The same as the store has them; ``ids``: sorted and distinct, ``stored``: those of them that have a record."""
    fields = at_birth(ids, layer, spec)
    known = np.flatnonzero(np.isin(ids, stored.ids))
    for name, values in fields.items() if len(known) else ():
        column = stored.state[FIELD + name]
        if column.ndim > 1:
            values[known] = lengths(column, layer)
        else:
            given = ~np.isnan(column)
            values[known[given]] = column[given]
    return fields


def fields_now(ids: IdArray, keeper: Keeper, store: Store, layer: Layer, spec: Spec) -> dict[str, Float32Array]:
    """The same at this moment, while ``keeper`` holds what is newer than the store."""
    there, newer = keeper.present_fields(ids)
    elsewhere = ids[~there]
    stored = fields_of(elsewhere, store.find(elsewhere, query=True), layer, spec)
    fields = {}
    for name, values in stored.items():
        fields[name] = np.empty(len(ids), dtype=np.float32)
        fields[name][~there] = values
        if there.any():
            fields[name][there] = newer[name]
    return fields


def nothing_kept(stored: Records) -> npt.NDArray[np.bool_]:
    """Which records have only blanks: nothing that their neurons would not have without."""
    blank = np.ones(len(stored), dtype=bool)
    for name, column in stored.state.items():
        if name.startswith(FIELD):
            blank &= np.isnan(column) if column.ndim == 1 else ~column.any(axis=1)
    return blank


def vectors(ids: IdArray, store: Store, layer: Layer) -> Float32Array:
    """The receptive vectors that the store has of ``ids`` (sorted, distinct, of ``layer``), float32; else zeros."""
    width = optional_columns(layer)[FIELD + "w"].shape[1]
    out = np.zeros((len(ids), width), dtype=np.float32)
    stored = store.find(ids, query=True)
    if len(stored):
        out[np.isin(ids, stored.ids)] = numbers(stored.state[FIELD + "w"], layer)
    return out


def numbers(w: npt.NDArray[Any], layer: Layer) -> Float32Array:
    """Stored vectors as float32."""
    if layer.weights == INT8 and layer.weight_step is not None:
        return np.asarray(w * np.float64(layer.weight_step), dtype=np.float32)
    return w.astype(np.float32)


def lengths(w: npt.NDArray[Any], layer: Layer) -> Float32Array:
    """The Euclidean length of each of some stored vectors, float32."""
    out = np.empty(len(w), dtype=np.float32)
    for start in range(0, len(w), 4096):
        part = numbers(w[start : start + 4096], layer).astype(np.float64)
        out[start : start + 4096] = np.sqrt((part * part).sum(axis=1))
    return out
