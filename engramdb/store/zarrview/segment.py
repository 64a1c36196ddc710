"""``/<layer>/<segment>``: the stored neurons of a segment as regular arrays, put together from leaves on demand.

What has no record does not appear: a neuron that nobody has touched is a function of seed, bundle and id. Arrays
are chunked regularly whatever the leaves are: a chunk is cut out of the leaves that it overlaps, which the counts of
all leaves, added up once for each segment, find by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.errors import LeafDamaged
from engramdb.layer import Layer
from engramdb.store.directory import LeafTable
from engramdb.store.leaf import STATE_PREFIX
from engramdb.store.pack import LEAF, BadRecord
from engramdb.store.records import FIELD, GENERATED, OWN, STORED, IndexArray, Records
from engramdb.store.store import Store
from engramdb.store.versions import LeafRef
from engramdb.store.zarrview.column import array_of, read_array
from engramdb.store.zarrview.tree import Array, Bytes, Form, Group, keys_of

NEURON, SYNAPSE, ROW_EDGE = "neuron", "synapse", "neuron+1"
NEURONS_A_CHUNK, SYNAPSES_A_CHUNK = 1 << 16, 1 << 20
CHUNK_BYTES = 1 << 23
"""No chunk takes more than this: where state columns are wide, all arrays over neurons get fewer neurons a chunk."""

_VIRTUAL = (
    "Only neurons with a record appear. All others of the declared neurons are virtual: at rest, with the row that the "
    "layer's wiring rule generates, and nothing is stored of them."
)
_JOIN = (
    "Neuron i is id[i] with the values at i of every array over neurons; its outgoing synapses are those from "
    "indptr[i] (included) to indptr[i + 1] (excluded) of target, weight and projection. A generated row is not stored, "
    "and has length 0 here."
)


@dataclass(frozen=True)
class Column:
    """One array of a segment: its name in records (``state.<field>`` of a state column), and what its values are."""

    name: str
    dimension: str
    dtype: np.dtype[Any]
    width: tuple[int, ...] = ()

    @property
    def field(self) -> str | None:
        """The state column it is."""
        return self.name.removeprefix(STATE_PREFIX) if self.name.startswith(STATE_PREFIX) else None

    @property
    def entry_bytes(self) -> int:
        """Bytes of one neuron or synapse."""
        return self.dtype.itemsize * math.prod(self.width)


_IDENTITY = (
    Column("id", NEURON, np.dtype("<u8")),
    Column("row_kind", NEURON, np.dtype("u1")),
)
_ROWS = (
    Column("indptr", ROW_EDGE, np.dtype("<u8")),
    Column("target", SYNAPSE, np.dtype("<u8")),
    Column("weight", SYNAPSE, np.dtype("<f4")),
    Column("projection", SYNAPSE, np.dtype("<u2")),
)
_DELAY = Column("delay", SYNAPSE, np.dtype("<u2"))
_DESCRIBED: dict[str, dict[str, Any]] = {
    "id": {"description": "neuron id: layer << 48 | segment << 32 | local; strictly increasing"},
    "row_kind": {
        "description": "stored: the row is in target, weight and projection; generated: it is what the layer's wiring "
        "rule generates, and no synapse of it is stored",
        "flag_values": [STORED, GENERATED],
        "flag_meanings": "stored generated",
    },
    "indptr": {"description": "where each row begins in target, weight and projection, and where the last one ends"},
    "target": {"description": "id of the neuron onto which the synapse leads"},
    "weight": {"description": "synaptic weight", "units": "mV"},
    "projection": {"description": "position in the list of projections that the root group has"},
    "delay": {"description": "ticks from the spike of the source until the weight arrives", "units": "ticks"},
}


class Segment(Group):
    """One segment at one commit. Leaves are counted, and columns looked at, when they are first needed."""

    def __init__(self, store: Store, layer: Layer, segment: int, about: Mapping[str, Any]) -> None:
        self._store, self._layer, self._segment, self._about = store, layer, segment, about
        self._lock = Lock()

    # what it is

    def attributes(self) -> dict[str, Any]:
        return {
            **self._about,
            "layer": self._layer.name,
            "layer_index": self._layer.index,
            "segment": self._segment,
            "model": self._layer.model,
            "neurons": self._store.bundles.sizes.get((self._layer.index, self._segment), 0),
            "stored_neurons": self.count(NEURON),
            "stored_synapses": self.count(SYNAPSE),
            "virtual": _VIRTUAL,
            "join": _JOIN,
            "coordinates": "id",
        }

    def names(self) -> Iterator[str]:
        return iter(self.columns)

    def child(self, name: str) -> SegmentArray | None:
        column = self.columns.get(name)
        return None if column is None else SegmentArray(self, column, self._described(column))

    def _described(self, column: Column) -> dict[str, Any]:
        if column.field is None:
            return _DESCRIBED[column.name]
        about: dict[str, Any] = {"field": column.field.removeprefix(FIELD)}
        model = models.get(self._layer.model)
        for field in model.fields:
            if field.name == about["field"]:
                about |= {"description": field.doc, "units": field.unit}
        if column.field.startswith(FIELD):
            about |= self._kept(column)
        parameter = model.parameters.get(column.field.removeprefix(OWN)) if column.field.startswith(OWN) else None
        if parameter is not None:
            about |= {"description": f"{parameter.doc}; NaN: that of its layer", "units": parameter.unit}
        return about

    def _kept(self, column: Column) -> dict[str, Any]:
        """What is to be known of what records keep for a model beside its meaning."""
        if not column.width:
            return {"missing": "NaN: nothing has happened to the neuron yet"}
        about: dict[str, Any] = {"description": "receptive vector"}
        if self._layer.weight_step is not None:
            about["scale_factor"] = self._layer.weight_step
        return about

    @property
    def columns(self) -> dict[str, Column]:
        """All arrays by their keys: ids, state columns, rows."""
        with self._lock:
            return self._columns

    @cached_property
    def _columns(self) -> dict[str, Column]:
        # where every synapse has the delay of its projection, the list in the root group says it
        rows = (*_ROWS, _DELAY) if self._store.spec.varying_delays else _ROWS
        own = [column.name for column in (*_IDENTITY, *rows)]
        found = self._state_columns()
        # what a model keeps is called by its own name, where no other column has that
        shown = {name.removeprefix(FIELD): name for name in found}
        shown = shown if len(shown) == len(found) else {name: name for name in found}
        state = {
            key: Column(
                STATE_PREFIX + shown[name], NEURON, found[shown[name]][0].newbyteorder("<"), found[shown[name]][1]
            )
            for key, name in keys_of(list(shown), own).items()
        }
        return {column.name: column for column in _IDENTITY} | state | {column.name: column for column in rows}

    def _state_columns(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Type and width of each state column, by the first leaf that is not damaged. Raises LeafDamaged if all are."""
        damage: LeafDamaged | None = None
        for position in range(len(self._leaves)):
            ref = self._leaves[position]
            try:
                if ref.kind != LEAF:
                    state = self._store.reader.read(ref).state
                    return {name: (values.dtype, values.shape[1:]) for name, values in state.items()}
                record, _ = self._store.reader.record(ref)
                return {
                    name.removeprefix(STATE_PREFIX): (entry.dtype, entry.shape[1:])
                    for name, entry in record.columns.items()
                    if name.startswith(STATE_PREFIX)
                }
            except BadRecord as error:
                damage = damage or self._store.reader.damaged(ref, error)
            except LeafDamaged as error:
                damage = damage or error
        if damage is not None:
            raise damage
        return {}

    # how much of it there is, and where

    def count(self, dimension: str) -> int:
        """Stored neurons or synapses, or edges of rows."""
        with self._lock:
            return int(self._totals[dimension][-1]) + (dimension == ROW_EDGE)

    def chunk(self, dimension: str) -> int:
        """Entries of a chunk, at least 1; one chunk holds all where there are few."""
        widest = max(column.entry_bytes for column in self.columns.values())
        most = SYNAPSES_A_CHUNK if dimension == SYNAPSE else NEURONS_A_CHUNK
        while dimension != SYNAPSE and most > 1 and most * widest > CHUNK_BYTES:
            most //= 2
        return max(1, min(most, self.count(dimension)))

    @cached_property
    def _leaves(self) -> LeafTable:
        return self._store.directory.table(self._layer.index << 16 | self._segment)

    @cached_property
    def _totals(self) -> dict[str, IndexArray]:
        """How many neurons and synapses lie before each leaf, and in all of them."""
        totals = {}
        for dimension, name in ((NEURON, "rows"), (SYNAPSE, "synapses")):
            totals[dimension] = np.zeros(len(self._leaves) + 1, np.int64)
            np.cumsum(self._leaves.column(name), out=totals[dimension][1:])
        return totals | {ROW_EDGE: totals[NEURON]}

    def values(self, column: Column, start: int, stop: int) -> npt.NDArray[Any]:
        """Entries ``start`` (included) to ``stop`` (excluded) of a column. Raises LeafDamaged."""
        with self._lock:
            leaves, totals, synapses = self._leaves, self._totals[column.dimension], self._totals[SYNAPSE]
        out = np.empty((stop - start, *column.width), column.dtype)
        if column.dimension == ROW_EDGE and start < stop == int(totals[-1]) + 1:
            out[-1] = synapses[-1]
        stop = min(stop, int(totals[-1]))
        position = int(np.searchsorted(totals, start, side="right")) - 1
        while position < len(leaves) and totals[position] < stop:
            before, behind = int(totals[position]), int(totals[position + 1])
            low, high = max(start, before), min(stop, behind)
            if low < high:
                part = self.part_of(leaves[position], column)[low - before : high - before]
                out[low - start : high - start] = part
                if column.dimension == ROW_EDGE:
                    out[low - start : high - start] += np.uint64(synapses[position])
            position += 1
        return out

    def leaves(self) -> Iterator[tuple[LeafRef, Records]]:
        """Every leaf whole, in order. Raises LeafDamaged."""
        for position in range(len(self._leaves)):
            yield self._leaves[position], self._store.reader.read(self._leaves[position], cached=False)

    def part_of(self, ref: LeafRef, column: Column, records: Records | None = None) -> npt.NDArray[Any]:
        """The values that a leaf has of a column; of ``indptr`` from 0 and without the last.

        ``records``: the leaf, if it has been read. Raises LeafDamaged.
        """
        reader = self._store.reader
        try:
            values = read_array(reader, ref, column.name) if records is None else array_of(records, column.name)
            if column.dimension == ROW_EDGE:
                values = values[:-1].view(np.uint64)
            expected = ref.synapses if column.dimension == SYNAPSE else ref.rows
            if values.shape != (expected, *column.width) or values.dtype != column.dtype:
                raise BadRecord(f"{column.name} is {values.dtype} {values.shape}, unlike in the leaves before it")
        except BadRecord as error:
            raise reader.damaged(ref, error) from error
        return values


class SegmentArray(Array):
    """One column of a segment; the last chunk is filled up with zeros."""

    def __init__(self, segment: Segment, column: Column, attributes: Mapping[str, Any]) -> None:
        self._segment, self.column, self._attributes = segment, column, attributes

    @cached_property
    def form(self) -> Form:
        column, name = self.column, (self.column.field or "").removeprefix(FIELD)
        return Form(
            shape=(self._segment.count(column.dimension), *column.width),
            dtype=column.dtype,
            chunks=(self._segment.chunk(column.dimension), *(max(1, n) for n in column.width)),
            dimensions=(column.dimension, *(f"{name}_{axis}" for axis in range(1, len(column.width) + 1))),
            fill=False if column.dtype.kind == "b" else [0.0, 0.0] if column.dtype.kind == "c" else 0,
            attributes=self._attributes,
        )

    def has(self, chunk: tuple[int, ...]) -> bool:
        return True

    def nbytes(self, chunk: tuple[int, ...]) -> int:
        return self.form.chunks[0] * self.column.entry_bytes

    def read(self, chunk: tuple[int, ...], start: int, stop: int) -> Bytes:
        """Only the leaves that have some of these bytes are read."""
        each, rows = self.column.entry_bytes, self.form.chunks[0]
        first, last = start // each, -(-stop // each)
        begin = chunk[0] * rows
        there = max(first, min(last, self.form.shape[0] - begin))
        values = np.zeros((last - first, *self.column.width), self.column.dtype)
        values[: there - first] = self._segment.values(self.column, begin + first, begin + there)
        return values.reshape(-1).view(np.uint8).data[start - first * each : stop - first * each]
