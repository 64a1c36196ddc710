"""Single columns of leaves, for scans that look at few: nothing else of a leaf is decoded, and no row is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engramdb.store.cache import Cache
from engramdb.store.changes import find_in, given
from engramdb.store.leaf import STATE_PREFIX, decode_array, decode_delta
from engramdb.store.pack import DELTA, LEAF, Array, BadRecord
from engramdb.store.reader import LeafReader
from engramdb.store.records import KEEP, Records
from engramdb.store.versions import LeafRef


class ColumnReader:
    """Reads columns of leaf versions by name: ``id``, ``row_kind``, ``degree`` and ``state.<field>``; keeps the latest.

    Arrays have one value a neuron of the leaf, by id, and are not to be changed.
    """

    def __init__(self, reader: LeafReader) -> None:
        self._reader = reader
        self.cache: Cache[Array] = Cache(0)

    def read(self, ref: LeafRef, names: Sequence[str]) -> dict[str, Array]:
        """The columns ``names``; those that the leaf does not have are left out. Raises LeafDamaged."""
        found: dict[str, Array] = {}
        for name in names:
            column = self.cache.get((ref.pack, ref.offset, name))
            if column is not None:
                found[name] = column
        missing = [name for name in names if name not in found]
        if missing:
            fresh = self._fresh(ref, missing)
            for name, column in fresh.items():
                self.cache.put((ref.pack, ref.offset, name), column)
            found |= fresh
        return found

    def _fresh(self, ref: LeafRef, names: list[str]) -> dict[str, Array]:
        try:
            columns = self._assembled(ref, names)
        except BadRecord:
            columns = None  # what is wrong, and what can be done, the reader says
        return self._of_records(self._reader.read(ref, query=True), names) if columns is None else columns

    def _assembled(self, ref: LeafRef, names: list[str]) -> dict[str, Array] | None:
        """From a whole version and deltas that change nothing but state; None where it takes more."""
        above: list[Records] = []
        record, now = self._reader.record(ref)
        while now.kind == DELTA:
            changes = decode_delta(record)
            if (changes.row_kind != KEEP).any():
                return None
            above.append(changes)
            beneath = self._reader.beneath(now)
            if beneath is None:
                return None
            record, now = self._reader.record(beneath)
        if now.kind != LEAF:
            return None
        columns = {name: decode_array(record, name) for name in names if name in record.columns}
        if above:
            ids = decode_array(record, "id")
            for changes in reversed(above):
                place, there = find_in(ids, changes.ids)
                if not there.all():
                    return None
                for name, column in columns.items():
                    field = name.removeprefix(STATE_PREFIX)
                    if field != name and field in changes.state:
                        mask = given(changes, field)
                        column[place[mask]] = changes.state[field][mask]
        return columns

    def _of_records(self, records: Records, names: list[str]) -> dict[str, Array]:
        columns: dict[str, Array] = {}
        for name in names:
            field = name.removeprefix(STATE_PREFIX)
            if field != name:
                if field in records.state:
                    columns[name] = records.state[field]
            elif name == "degree":
                columns[name] = np.diff(records.indptr).astype(np.uint32)
            else:
                columns[name] = records.ids if name == "id" else records.row_kind
        return columns
