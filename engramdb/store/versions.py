"""Leaf versions as the catalog keeps them: single ones as :class:`LeafRef`, many as a structured array."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.errors import CatalogDamaged, FormatTooNew
from engramdb.store.catalog import VERSION_COLUMNS, Row, signed
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE

SELECTED = ", ".join(VERSION_COLUMNS)
NEWEST_SELECTED = SELECTED.replace("number", "max(number)")
"""For a query grouped by ``low``: SQLite takes the other columns from the row with the largest number."""

_SIGN = np.uint64(1 << 63)
_OFFSET = 1 << 63  # for a signed value, adding it is what _SIGN does
_MAX_LOCAL = np.uint64((1 << 32) - 1)


class LeafRef(NamedTuple):
    """A leaf version: ids ``first`` to ``last`` are in it, and ``low`` is the smallest that may be.

    ``kind``: LEAF is whole; DELTA holds what changed since the version of the same ``low`` that line ``base_line``
    has at commit ``base``, and ``depth`` counts the deltas down to a whole one; TOMBSTONE ends the leaf: its ids are
    the leaf's before it again. ``rows`` and ``synapses`` count the leaf, deltas included. ``base_line``, ``base``
    and ``depth`` are 0 unless it is a delta.
    """

    line: int
    low: int
    commit: int
    leaf: int
    first: int
    last: int
    kind: int
    base_line: int
    base: int
    depth: int
    pack: int
    offset: int
    length: int
    header_crc: int
    rows: int
    synapses: int


_IDS = ("low", "first", "last")
TABLE = np.dtype([(name, np.uint64 if name in _IDS else np.int64) for name in LeafRef._fields])

Table = npt.NDArray[Any]


def table_of(rows: Sequence[Row]) -> Table:
    """Rows of the table ``versions``, columns as SELECTED, as an array of dtype TABLE.

    Raises CatalogDamaged, and FormatTooNew for a kind of version that is still to come.
    """
    if not set(map(type, itertools.chain.from_iterable(rows))) <= {int}:
        raise _damaged("a value is no whole number")
    values = np.fromiter(itertools.chain.from_iterable(rows), np.int64).reshape(-1, len(LeafRef._fields))
    table = np.empty(len(rows), TABLE)
    for column, name in zip(values.T, LeafRef._fields, strict=True):
        table[name] = column.astype(np.uint64) ^ _SIGN if name in _IDS else column
    low, first, last = (table[name] for name in _IDS)
    ordered = (low <= first) & (first <= last) & (last <= low | _MAX_LOCAL)
    if not ordered.all():
        raise _damaged(str(ref_of(table[np.argmin(ordered)])))
    strange_kind = ~np.isin(table["kind"], (LEAF, DELTA, TOMBSTONE))
    if strange_kind.any():
        strange = ref_of(table[np.argmax(strange_kind)])
        raise FormatTooNew(
            f"leaf {strange.leaf} has a version of kind {strange.kind}, unknown to this EngramDB: use a newer one"
        )
    return table


def ref_from(row: Row) -> LeafRef:
    """One row as :func:`table_of` has it, with the same errors, but without arrays: every fault waits for this."""
    if set(map(type, row)) <= {int}:
        line, low, commit, leaf, first, last, *rest = row
        ref = LeafRef(line, low + _OFFSET, commit, leaf, first + _OFFSET, last + _OFFSET, *rest)
        if ref.kind in (LEAF, DELTA, TOMBSTONE) and 0 <= ref.low <= ref.first <= ref.last <= ref.low | int(_MAX_LOCAL):
            return ref
    return ref_of(table_of([row])[0])  # which says what is wrong


def _damaged(problem: str) -> CatalogDamaged:
    return CatalogDamaged(f"a leaf version in the catalog is damaged: {problem}; restore the catalog from a copy")


def ref_of(entry: np.void) -> LeafRef:
    """One entry of a table."""
    return LeafRef(*entry.tolist())


def row_of(ref: LeafRef) -> Row:
    """A leaf version as a row of the table ``versions``."""
    return tuple(signed(value) if name in _IDS else value for name, value in ref._asdict().items())
