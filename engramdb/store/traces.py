"""Named traces: sets of neurons, each one record in a pack, and what of them is visible where.

A trace at (line, commit) is its newest row in that line not after the commit, else in the parent line not after the
fork; a row without neurons says that the name was forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engramdb.address import IdArray
from engramdb.errors import Damaged, NotFound
from engramdb.store.catalog import Catalog, Row
from engramdb.store.history import Chain
from engramdb.store.pack import TRACE, BadRecord, Identity, Packs, Record, encode_record

_UINT64 = np.dtype(np.uint64)


class TraceRef(NamedTuple):
    """A row of the table ``traces``. ``neurons`` is 0 where the name was forgotten; then it lies nowhere."""

    line: int
    commit: int
    name: str
    tick: int
    created: str
    neurons: int
    pack: int | None = None
    offset: int | None = None
    length: int | None = None
    header_crc: int | None = None


def encode_trace(ids: IdArray, *, line: int, commit: int) -> tuple[bytes, int]:
    """``(record, CRC of its header)``; ``ids`` increase strictly, and there is at least one."""
    identity = Identity(TRACE, line, commit, content=commit, first=int(ids[0]), last=int(ids[-1]), rows=ids.size)
    return encode_record(identity, {"id": ids})


def decode_trace(record: Record) -> IdArray:
    """Raises :class:`~engramdb.store.pack.BadRecord`."""
    identity = record.identity
    if identity.kind != TRACE:
        raise BadRecord(f"it is a record of kind {identity.kind}, not a trace")
    ids = record.column("id", _UINT64, (identity.rows,))
    if not ids.size or (ids[1:] <= ids[:-1]).any() or (ids[0], ids[-1]) != (identity.first, identity.last):
        raise BadRecord("its ids do not increase, or are not those of its header")
    return ids


def read_trace(packs: Packs, ref: TraceRef) -> IdArray:
    """The neurons of a trace. Raises Damaged, naming where."""
    assert ref.pack is not None
    assert ref.offset is not None
    assert ref.length is not None
    assert ref.header_crc is not None
    try:
        ids = decode_trace(packs.read(ref.pack, ref.offset, ref.length, ref.header_crc))
        if ids.size != ref.neurons:
            raise BadRecord("it is not the trace that the catalog names")
        return ids
    except BadRecord as error:
        raise Damaged(
            f'trace "{ref.name}" in packs/{packs.path(ref.pack).name} at {ref.offset}: {error}; imprint it anew'
        ) from error


def visible(catalog: Catalog, chain: Chain) -> dict[str, TraceRef]:
    """The newest row of each name along ``chain``, those of names that were forgotten too."""
    found: dict[str, TraceRef] = {}
    if catalog.has("traces"):
        having = {line for (line,) in catalog.rows("SELECT DISTINCT line FROM traces")}
        for line, upto in reversed(chain):  # the nearest line comes last, and counts
            if line in having:
                rows: list[Row] = catalog.select(
                    "traces", "WHERE line = ? AND number <= ? ORDER BY number", (line, upto)
                )
                found.update((row[2], TraceRef(*row)) for row in rows)
    return found


class TraceIndex:
    """The traces of one place in history. ``pending`` has those of the writer that no commit names yet."""

    def __init__(self, catalog: Catalog, packs: Packs, chain: Chain, pending: Sequence[TraceRef] = ()) -> None:
        self._catalog, self._packs, self._chain, self._pending = catalog, packs, chain, pending

    def refs(self) -> dict[str, TraceRef]:
        """By name, in the order of names."""
        found = visible(self._catalog, self._chain)
        found.update((ref.name, ref) for ref in self._pending)
        return {name: found[name] for name in sorted(found) if found[name].neurons}

    def ref(self, name: str) -> TraceRef:
        """Raises NotFound, naming those there are."""
        refs = self.refs()
        if name not in refs:
            known = ", ".join(list(refs)[:8]) + ", ..." * (len(refs) > 8)
            raise NotFound(f'there is no trace "{name}"; known: {known or "none"}')
        return refs[name]

    def ids(self, ref: TraceRef) -> IdArray:
        """The neurons of a trace. Raises Damaged."""
        try:
            return read_trace(self._packs, ref)
        except Damaged:
            key = (ref.line, ref.commit, ref.name)
            moved = self._catalog.select("traces", "WHERE line = ? AND number = ? AND name = ?", key)
            if not moved or TraceRef(*moved[0]) == ref:
                raise
            return read_trace(self._packs, TraceRef(*moved[0]))  # gc has moved it
