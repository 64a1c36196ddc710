"""One array of a leaf: read from disk without decoding the others, as far as the leaf's deltas allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.store.changes import find_in
from engramdb.store.leaf import GIVEN_PREFIX, STATE_PREFIX, decode_array
from engramdb.store.pack import DELTA, LEAF, BadRecord, Record
from engramdb.store.reader import LeafReader
from engramdb.store.records import KEEP, Records
from engramdb.store.versions import LeafRef

Array = npt.NDArray[Any]


def read_array(reader: LeafReader, ref: LeafRef, name: str) -> Array:
    """``reader.read(ref)``'s array of that name, as :func:`array_of` has it.

    Deltas that change state columns only, as runs write them, are applied to the one column. Under any other the leaf
    is read as a whole. Raises LeafDamaged.
    """
    above: list[Record] = []
    now = ref
    try:
        while True:
            record, now = reader.record(now)
            if now.kind == LEAF:
                break
            beneath = reader.beneath(now) if now.kind == DELTA else None
            if beneath is None or beneath.rows != now.rows or (record.column("row_kind") != KEEP).any():
                return array_of(reader.read(ref), name)
            above.append(record)
            now = beneath
        values = decode_array(record, name)
        for changes in reversed(above):
            if name in changes.columns:
                _patch(values, decode_array(record, "id"), changes, name)
        return values
    except BadRecord as error:
        raise reader.damaged(now, error) from error


def _patch(values: Array, ids: npt.NDArray[np.uint64], changes: Record, name: str) -> None:
    if not name.startswith(STATE_PREFIX):
        return  # the ids and kinds of the delta itself
    changed, fresh = changes.column("id"), changes.column(name)
    given = GIVEN_PREFIX + name.removeprefix(STATE_PREFIX)
    if given in changes.columns:
        changed = changed[changes.column(given)]
    place, there = find_in(ids, changed)
    if not there.all() or fresh.shape != (changed.size, *values.shape[1:]) or fresh.dtype != values.dtype:
        raise BadRecord(f"column {name} does not fit the version beneath it")
    values[place] = fresh


def array_of(records: Records, name: str) -> Array:
    """One array of records by its name there, ``state.<field>`` of a state column. Raises BadRecord where it lacks."""
    if name.startswith(STATE_PREFIX):
        found = records.state.get(name.removeprefix(STATE_PREFIX))
        if found is None:
            raise BadRecord(f"column {name} is missing")
        return found
    arrays: dict[str, Array] = {
        "id": records.ids,
        "row_kind": records.row_kind,
        "indptr": records.indptr,
        "target": records.target,
        "weight": records.weight,
        "projection": records.projection,
        "delay": np.empty(0, np.uint16) if records.delay is None else records.delay,
    }
    return arrays[name]
