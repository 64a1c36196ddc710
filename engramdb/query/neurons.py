"""Neurons as a query shows them: state in the life cycle, fields, degree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray, by_layer, format_id
from engramdb.cards import card, pairs, table
from engramdb.keptfields import fields_now, fields_of
from engramdb.layer import Layer
from engramdb.parameters import given, parameters_of_layer
from engramdb.spec import Spec
from engramdb.state import charged_fields, column_of
from engramdb.store import STORED, Records, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring
    from engramdb.workingset import WorkingSet

_VIRTUAL, _CHARGED, _ACTIVE, _DORMANT = (np.int8(code) for code in range(4))
_STATES = np.array(["virtual", "charged", "active", "dormant"], dtype=object)


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

    def _repr_html_(self) -> str:
        rows = [("synapses", self.out_degree), *self.fields.items()]
        return card(self.label or self.address, f"{self.address if self.label else ''} {self.state}", pairs(rows))


@dataclass(frozen=True)
class Neurons:
    """Many neurons, in the order asked for: ``ids`` uint64 (n,), ``state`` n words, ``fields`` name -> (n,).

    ``fields`` are those of all their models; where a neuron's model has no such field it is not a number. ``models``:
    the name of each neuron's model.
    """

    ids: IdArray
    state: list[str]
    fields: dict[str, npt.NDArray[Any]]
    out_degree: npt.NDArray[np.int64]
    models: list[str]

    def has(self, field: str) -> npt.NDArray[np.bool_]:
        """Whose model has ``field``; bool (n,)."""
        having = {name: any(f.name == field for f in models.get(name).fields) for name in set(self.models)}
        return np.array([having[name] for name in self.models], dtype=bool)

    def __len__(self) -> int:
        return len(self.ids)

    def _repr_html_(self) -> str:
        states = [f"{self.state.count(state):,} {state}" for state in dict.fromkeys(self.state)]
        shown = range(min(len(self), 12))
        rows = [
            (format_id(int(self.ids[i])), self.state[i], self.out_degree[i], *(v[i] for v in self.fields.values()))
            for i in shown
        ]
        header = ("id", "state", "synapses", *self.fields)
        return card(f"{len(self):,} neurons", ", ".join(states), table(header, rows, total=len(self)))


class Present:
    """The state of an engram's neurons: that of a live working set, or what a commit kept."""

    def __init__(
        self,
        spec: Spec,
        kept: Mapping[str, npt.NDArray[Any]],
        live: WorkingSet | None,
    ) -> None:
        self._spec = spec
        self._kept = kept
        self._live = live

    @property
    def commit_state(self) -> Mapping[str, npt.NDArray[Any]]:
        """The in-flight state as a commit kept it; see :mod:`engramdb.state`. Out of date beside a live working set."""
        return self._kept

    def known(self) -> IdArray:
        """Neurons of which more is known here than the store says of them, in no order."""
        if self._live is None:
            return self._kept.get("charged_id", np.empty(0, dtype=np.uint64))
        from engramdb.kernels import slots

        held = self._live.slots
        made = int(held.counters[slots.N_BLOCKS]) * slots.BLOCK
        return held.id[:made][held.used[:made] != 0]

    def held(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """Where a live working set has ``ids`` at this moment; -1 for all of them where there is none."""
        return np.full(len(ids), -1, dtype=np.int64) if self._live is None else self._live.lookup(ids)

    def state(self, ids: IdArray, held: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """State of ``ids``, (n,) by column of the in-flight state, see :meth:`WorkingSet.fields`; zeros at rest.

        ``held``: what :meth:`held` says of them.
        """
        if self._live is not None:
            return self._live.charges.of(held)
        out: dict[str, npt.NDArray[Any]] = {
            "u": np.zeros(len(ids), dtype=np.float32),
            "refractory": np.zeros(len(ids), dtype=np.int32),
        }
        charged = self._kept.get("charged_id", np.empty(0, dtype=np.uint64))
        place = np.minimum(np.searchsorted(charged, ids), max(0, len(charged) - 1))
        found = np.flatnonzero(charged[place] == ids) if len(charged) else np.empty(0, dtype=np.int64)
        for column, values in charged_fields(self._kept).items():
            out[column] = np.zeros(len(ids), dtype=values.dtype)
            out[column][found] = values[place[found]]
        return out

    def fields(self, ids: IdArray, state: Mapping[str, npt.NDArray[Any]], store: Store) -> dict[str, npt.NDArray[Any]]:
        """All fields of the models of ``ids`` but their counts, (n,) by name; NaN where a neuron's model has no such.

        ``ids``: sorted and distinct; ``state``: what :meth:`state` says of them; ``store`` has the parameters that they
        were given of their own.
        """
        out: dict[str, npt.NDArray[Any]] = {}
        for layer_index, part in by_layer(ids):
            own = parameters_of_layer(self._spec.layer(layer_index), self._spec)
            columns = {field.name: column_of(place, field.name) for place, field in enumerate(own.model.state)}
            values = {name: _of(state, column, part) for name, column in columns.items()}
            if own.model.absolute:
                constants = own.constants(ids[part], given(store, own.columns, ids[part]))
                for shown in own.model.absolute:
                    values[shown.name] = np.float32(constants[shown.rest]) + values[shown.of]
            for field in (*own.model.absolute, *own.model.state):
                out.setdefault(field.name, np.full(len(ids), np.nan, dtype=np.float32))[part] = values[field.name]
        return {**out, "refractory": state["refractory"]}

    def kept(
        self, ids: IdArray, stored: Records, layer: Layer, store: Store
    ) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """What records keep of ``ids``, all of one ``layer``, by name; whom their model is at work on; who has changed.

        ``stored``: their records.
        """
        for keeper in () if self._live is None else self._live.keepers:
            if keeper.layer_index == layer.index:
                return fields_now(ids, keeper, store, layer, self._spec), *keeper.standing(ids)
        active = np.isin(ids, self._kept.get("void_active", np.empty(0, dtype=np.uint64)))
        return fields_of(ids, stored, layer, self._spec), active, np.zeros(len(ids), dtype=bool)

    def fields_kept(self, ids: IdArray, layer: Layer, store: Store) -> dict[str, npt.NDArray[np.float32]]:
        """What records keep of ``ids`` (sorted, distinct, of one ``layer``), by name; those in RAM cost no read."""
        for keeper in () if self._live is None else self._live.keepers:
            if keeper.layer_index == layer.index:
                return fields_now(ids, keeper, store, layer, self._spec)
        return fields_of(ids, store.find(ids, query=True), layer, self._spec)

    def history(self, held: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], History]:
        """Which of the neurons ``held`` (see :meth:`held`) have their record in RAM, and for those what it says."""
        if self._live is None:
            none = np.empty(0, dtype=bool)
            return np.zeros(len(held), dtype=bool), History(
                np.empty(0, np.uint32), np.empty(0, np.int64), none, none, np.empty(0, np.int64)
            )
        from engramdb.kernels import rows

        record = np.where(held >= 0, self._live.slots.record[np.maximum(held, 0)], -1)
        resident = record >= 0
        # as rows of words: each record is one miss, where field by field each has several
        words = self._live.records.view(np.uint64).reshape(-1, rows.RECORD.itemsize // 8)
        records = words.take(record[resident], axis=0).reshape(-1).view(rows.RECORD)
        spike_count = records["spike_count"].copy()
        on_top = records["flags"] & rows.ON_TOP != 0
        # who has fired and whose row has not been read yet will have it when the spike arrives
        loaded = records["offset"] >= 0
        active = loaded | (on_top & (spike_count > 0))
        degree = np.where(loaded & ~on_top, records["length"].astype(np.int64), -1)
        return resident, History(spike_count, records["last_spike"].copy(), active, on_top, degree)


@dataclass(frozen=True)
class History:
    """Counts of neurons whose record is in RAM, and whether they are active; arrays of equal length.

    Counts ``on_top`` are those since the store was last asked: they come on top of what it has. ``out_degree``: of
    those of whom RAM knows all, -1 of others.
    """

    spike_count: npt.NDArray[np.uint32]
    last_spike: npt.NDArray[np.int64]
    active: npt.NDArray[np.bool_]
    on_top: npt.NDArray[np.bool_]
    out_degree: npt.NDArray[np.int64]


def look_up(ids: IdArray, spec: Spec, store: Store, wiring: Callable[[], Wiring], present: Present) -> Neurons:
    """The neurons ``ids`` (uint64 (n,), all declared, any order, repeats allowed) of the store and the present."""
    unique, back = np.unique(ids, return_inverse=True)
    n = len(unique)
    spike_count = np.zeros(n, dtype=np.uint32)
    last_spike = np.zeros(n, dtype=np.int64)
    recorded = np.zeros(n, dtype=bool)
    degree = np.empty(n, dtype=np.int64)
    model = np.empty(n, dtype=object)
    active = np.zeros(n, dtype=bool)
    of_records: dict[str, npt.NDArray[Any]] = {}
    held = present.held(unique)
    resident, history = present.history(held)
    whole = resident.copy()  # of whom the store need not be asked
    whole[resident] = history.out_degree >= 0
    degree[resident] = history.out_degree
    recorded |= whole
    for layer_index, part in by_layer(unique):
        layer = spec.layer(layer_index)
        model[part] = layer.model
        keeps = models.get(layer.model).kept
        if not keeps and whole[part].all():
            continue
        stored = store.find(unique[part], query=True)
        if keeps:
            own, active[part], changed = present.kept(unique[part], stored, layer, store)
            recorded[part] |= changed
            for name, values in own.items():
                of_records.setdefault(name, np.full(n, np.nan, dtype=np.float32))[part] = values
        at = part.start + np.searchsorted(unique[part], stored.ids)
        recorded[at] = True
        if len(at):
            spike_count[at] = stored.state["spike_count"]
            last_spike[at] = stored.state["last_spike"]
        written = stored.row_kind == STORED
        degree[at[written]] = np.diff(stored.indptr)[written]
        ruled = np.setdiff1d(np.flatnonzero(~whole[part]) + part.start, at[written], assume_unique=True)
        if len(ruled):
            degree[ruled] = wiring().degrees(unique[ruled])
    # what is in RAM is newer than what the store has
    spike_count[resident] = history.spike_count + np.where(history.on_top, spike_count[resident], np.uint32(0))
    silent_since = history.on_top & (history.last_spike == 0)
    last_spike[resident] = np.where(silent_since, last_spike[resident], history.last_spike)
    recorded[resident] |= history.spike_count > 0
    active[resident] |= history.active
    kept = present.state(unique, held)
    awake = np.zeros(n, dtype=bool)
    for values in kept.values():
        awake |= values != 0

    state = np.where(active, _ACTIVE, np.where(awake, _CHARGED, np.where(recorded, _DORMANT, _VIRTUAL)))
    fields = {**present.fields(unique, kept, store), **of_records, "spike_count": spike_count, "last_spike": last_spike}
    return Neurons(
        ids, _STATES[state[back]].tolist(), {k: x[back] for k, x in fields.items()}, degree[back], model[back].tolist()
    )


def parameters_of(ids: IdArray, spec: Spec, store: Store) -> dict[str, npt.NDArray[np.float64]]:
    """Parameters of ``ids`` (as in :func:`look_up`), float64 (n,) by name; NaN where they are not given, or not had."""
    unique, back = np.unique(ids, return_inverse=True)
    out: dict[str, npt.NDArray[np.float64]] = {}
    for layer_index, part in by_layer(unique):
        own = parameters_of_layer(spec.layer(layer_index), spec)
        values = own.values(unique[part], given(store, own.columns, unique[part]))
        for parameter, value in values.items():
            if parameter in own.initially:
                continue
            column = out.setdefault(parameter, np.full(len(unique), np.nan))
            column[part] = np.nan if value is None else value
    return {name: values[back] for name, values in out.items()}


def _of(state: Mapping[str, npt.NDArray[Any]], column: str, part: slice) -> npt.NDArray[np.float32]:
    """A part of a column of the state; zeros where the state is from before anybody had the field."""
    if column in state:
        return state[column][part]
    return np.zeros(part.stop - part.start, dtype=np.float32)
