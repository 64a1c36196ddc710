"""Leaves: records of one segment as the columns of one pack record, and where to cut them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.delays import DelayArray
from engramdb.store.changes import given
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE, BadRecord, Identity, Record, encode_record
from engramdb.store.records import GENERATED, STORED, Records
from engramdb.store.targets import StepArray, from_steps, spans, to_steps

STATE_PREFIX, GIVEN_PREFIX = "state.", "given."
_NEURON_BYTES = 12  # id and degree
_SYNAPSE_BYTES = 8  # weight and target
_BOOL, FLOAT32 = np.dtype(np.bool_), np.dtype(np.float32)
UINT8, UINT16, UINT32, UINT64 = (np.dtype(f"u{nbytes}") for nbytes in (1, 2, 4, 8))


@dataclass(frozen=True)
class LeafPolicy:
    """When a leaf is full: at ``rows`` neurons or ``nbytes`` (12 + 8 per synapse + state), whichever is first."""

    rows: int = 8192
    nbytes: int = 1 << 20

    def costs(self, records: Records) -> npt.NDArray[np.int64]:
        """What each neuron takes of ``nbytes``; never less than a ``rows``-th."""
        state = sum(column.nbytes for column in records.state.values()) // max(len(records), 1)
        costs = _NEURON_BYTES + state + _SYNAPSE_BYTES * np.diff(records.indptr)
        return np.maximum(costs, -(-self.nbytes // self.rows))

    def fill(self, costs: npt.NDArray[np.int64]) -> list[int]:
        """Edges of pieces, each as full as it can be; a neuron too large for a leaf has one to itself."""
        total = np.cumsum(costs)
        edges = [0]
        while edges[-1] < costs.size:
            before = int(total[edges[-1] - 1]) if edges[-1] else 0
            edges.append(max(edges[-1] + 1, int(np.searchsorted(total, before + self.nbytes, side="right"))))
        return edges

    def halve(self, costs: npt.NDArray[np.int64]) -> list[int]:
        """Edges of pieces of about equal cost, as few as it takes, so that each has room to grow."""
        total = np.cumsum(costs)
        pieces = -(-int(total[-1]) // self.nbytes)
        targets = total[-1] * np.arange(1, pieces, dtype=np.int64) // pieces
        cuts = sorted({0, int(costs.size), *np.searchsorted(total, targets, side="left").tolist()})
        edges = [0]
        for start, stop in itertools.pairwise(cuts):
            edges += [start + edge for edge in self.fill(costs[start:stop])[1:]]
        return edges


def encode_leaf(records: Records, *, line: int, commit: int, leaf: int, low: int) -> tuple[bytes, int]:
    """``(record, CRC of its header)`` of a whole version; ``records`` must not be empty."""
    identity = Identity(
        kind=LEAF, line=line, commit=commit, leaf=leaf, content=commit, low=low,
        first=int(records.ids[0]), last=int(records.ids[-1]), rows=len(records), synapses=records.synapses,
    )  # fmt: skip
    state = {STATE_PREFIX + name: column for name, column in records.state.items()}
    return encode_record(identity, {"id": records.ids, "row_kind": records.row_kind, **state, **_row_columns(records)})


def encode_delta(changes: Records, identity: Identity) -> tuple[bytes, int]:
    """``(record, CRC of its header)`` of a version that says what changed; ``identity`` is of the leaf with that done.

    A state column that no neuron changes is left out, and so are the row columns where no row does. Where only some
    neurons change it, ``given.<field>`` says which, and ``state.<field>`` has their values.
    """
    columns: dict[str, npt.NDArray[Any]] = {"id": changes.ids, "row_kind": changes.row_kind}
    for name, column in changes.state.items():
        mask = given(changes, name)
        if mask.all():
            columns[STATE_PREFIX + name] = column
        elif mask.any():
            columns[GIVEN_PREFIX + name] = mask
            columns[STATE_PREFIX + name] = column[mask]
    if ((changes.row_kind == STORED) | (changes.row_kind == GENERATED)).any():
        columns |= _row_columns(changes)
    return encode_record(identity, columns)


def encode_tombstone(*, line: int, commit: int, leaf: int, low: int) -> tuple[bytes, int]:
    """``(record, CRC of its header)`` of the version that ends a leaf."""
    identity = Identity(TOMBSTONE, line, commit, leaf=leaf, content=commit, low=low, first=low, last=low)
    return encode_record(identity, {})


def _row_columns(records: Records) -> dict[str, npt.NDArray[Any]]:
    degree = np.diff(records.indptr).astype(np.uint32)
    step, far = to_steps(records.ids, records.indptr, records.target)
    return {
        "degree": degree,
        "projection": records.projection,
        "target_step": step,
        "target_far": far,
        "weight": records.weight,
        **({} if records.delay is None else {"delay": records.delay}),
    }


def decode_leaf(record: Record) -> Records:
    """The records of a whole version. Raises :class:`~engramdb.store.pack.BadRecord`."""
    identity = record.identity
    if identity.kind != LEAF:
        raise BadRecord(f"it is a record of kind {identity.kind}, not a leaf")
    rows, synapses = identity.rows, identity.synapses
    ids = record.column("id", UINT64, (rows,))
    state = {}
    for name, entry in record.columns.items():
        if name.startswith(STATE_PREFIX):
            if entry.shape[:1] != (rows,):
                raise BadRecord(f"column {name} has shape {entry.shape} for {rows} neurons")
            state[name.removeprefix(STATE_PREFIX)] = record.column(name)
    row_kind = record.column("row_kind", UINT8, (rows,))
    return Records(ids, state, row_kind, *_decode_rows(record, ids, synapses), delay=_decode_delay(record, synapses))


def decode_array(record: Record, name: str) -> npt.NDArray[Any]:
    """One array of a whole version's records, by its name there (``state.<field>``), without decoding the others.

    Raises :class:`~engramdb.store.pack.BadRecord`.
    """
    if name not in ("indptr", "target"):
        return record.column(name)
    indptr = decode_indptr(record, record.identity.rows, record.identity.synapses)
    if name == "indptr":
        return indptr
    return _decode_targets(record, record.column("id", UINT64, (record.identity.rows,)), indptr)


def decode_delta(record: Record) -> Records:
    """The changes of a version that says what changed. Raises :class:`~engramdb.store.pack.BadRecord`."""
    if record.identity.kind != DELTA:
        raise BadRecord(f"it is a record of kind {record.identity.kind}, not a delta")
    ids = record.column("id")
    rows = ids.size
    record.column("id", UINT64, (rows,))
    changes = Records.of_state(ids, {})
    changes.row_kind = record.column("row_kind", UINT8, (rows,))
    for column in record.columns:
        if not column.startswith(STATE_PREFIX):
            continue
        name = column.removeprefix(STATE_PREFIX)
        values = record.column(column)
        if GIVEN_PREFIX + name in record.columns:
            mask = record.column(GIVEN_PREFIX + name, _BOOL, (rows,))
            if values.shape[:1] != (np.count_nonzero(mask),):
                raise BadRecord(f"column {column} has shape {values.shape} for {np.count_nonzero(mask)} neurons")
            whole = np.zeros((rows, *values.shape[1:]), values.dtype)
            whole[mask] = values
            changes.state[name], changes.kept[name] = whole, ~mask
        elif values.shape[:1] == (rows,):
            changes.state[name] = values
        else:
            raise BadRecord(f"column {column} has shape {values.shape} for {rows} neurons")
    if "degree" in record.columns:
        synapses = math.prod(record.columns["weight"].shape) if "weight" in record.columns else 0
        changes.indptr, changes.projection, changes.target, changes.weight = _decode_rows(record, ids, synapses)
        changes.delay = _decode_delay(record, synapses)
    return changes


def _decode_rows(
    record: Record, ids: IdArray, synapses: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], IdArray, npt.NDArray[np.float32]]:
    indptr = decode_indptr(record, ids.size, synapses)
    return (
        indptr,
        record.column("projection", UINT16, (synapses,)),
        _decode_targets(record, ids, indptr),
        record.column("weight", FLOAT32, (synapses,)),
    )


def _decode_delay(record: Record, synapses: int) -> DelayArray | None:
    """None where every synapse has the delay of its projection."""
    return record.column("delay", UINT16, (synapses,)) if "delay" in record.columns else None


def decode_indptr(record: Record, rows: int, synapses: int) -> npt.NDArray[np.int64]:
    """Where rows begin and the last one ends, (rows + 1,). Raises :class:`~engramdb.store.pack.BadRecord`."""
    degree = record.column("degree", UINT32, (rows,))
    indptr = spans(degree)
    if indptr[-1] != synapses:
        raise BadRecord(f"its degrees add up to {indptr[-1]}, not to {synapses}")
    return indptr


def decode_steps(record: Record, synapses: int) -> tuple[StepArray, IdArray]:
    """``(steps, far targets)``, perhaps parts of ``record.data``. Raises :class:`~engramdb.store.pack.BadRecord`."""
    far = record.column("target_far")
    if far.dtype != UINT64 or far.ndim != 1:
        raise BadRecord(f"column target_far is {far.dtype} {far.shape}")
    step = record.column("target_step", own=False)
    if step.shape != (synapses,) or step.dtype.kind != "i":
        raise BadRecord(f"column target_step is {step.dtype} {step.shape}")
    return step, far


def _decode_targets(record: Record, ids: IdArray, indptr: npt.NDArray[np.int64]) -> IdArray:
    step, far = decode_steps(record, int(indptr[-1]))
    try:
        return from_steps(ids, indptr, step, far)
    except ValueError as error:
        raise BadRecord(str(error)) from error
