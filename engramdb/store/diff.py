"""What differs between two places in history: neurons and synapses, streamed in the order of ids.

Only leaves that differ are read: a leaf that both places see in the same version (line, low, number) holds the same
neurons in both. Where both versions of a leaf lie on top of a common one, only the neurons that the deltas between
name are compared. Everything else is compared by id, so that leaves may have been split or joined in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.delays import DelayArray, chosen
from engramdb.errors import InvalidInput
from engramdb.store.changes import find_in
from engramdb.store.directory import Directory
from engramdb.store.pack import DELTA
from engramdb.store.reader import LeafReader
from engramdb.store.records import STORED, IndexArray, Records, gather
from engramdb.store.versions import LeafRef, Table, ref_of

ADDED, REMOVED, STATE, ROW = 1, 2, 4, 8
"""What differs about a neuron, as bits. ADDED: it has a record in the later place only, REMOVED: in the earlier one
only. STATE: both have one, and a state column differs. ROW: its synapses differ, stored or generated."""

Mask = npt.NDArray[np.bool_]


class Rows(Protocol):
    """Rows of n neurons end to end: int64 (n + 1,), uint16 (nnz,), uint64 (nnz,), float32 (nnz,), uint16 (nnz,).

    ``delay``: None where every synapse has that of its projection.
    """

    @property
    def indptr(self) -> IndexArray: ...
    @property
    def projection(self) -> npt.NDArray[np.uint16]: ...
    @property
    def target(self) -> IdArray: ...
    @property
    def weight(self) -> npt.NDArray[np.float32]: ...
    @property
    def delay(self) -> DelayArray | None: ...


@dataclass(frozen=True)
class Rules:
    """The rows of neurons that have none of their own stored, before and after.

    ``same``: which of some ids are known to have equal ones in both, so that they need not be generated. ``before`` and
    ``after`` take ids (uint64 (n,), increasing) and give the row of each, empty where the neuron does not exist.
    """

    same: Callable[[IdArray], Mask]
    before: Callable[[IdArray], Rows]
    after: Callable[[IdArray], Rows]


def _no_rows(ids: IdArray) -> Rows:
    return Records.of_state(ids, {})


NO_RULES = Rules(lambda ids: np.ones(ids.size, bool), _no_rows, _no_rows)
"""Where no rule generates synapses."""


@dataclass(frozen=True)
class Changes:
    """Neurons of one segment that differ: ``ids`` uint64 (n,), increasing, and ``what`` uint8 (n,), bits as above.

    The synapses of all of them: how many only the later place has, how many only the earlier one, and of those that
    both have with another weight how much it grew (float64, mV). A synapse is the same in both if its source, target,
    projection and delay are, and its place among those of the row that share them.
    """

    ids: IdArray
    what: npt.NDArray[np.uint8]
    synapses_added: int
    synapses_removed: int
    weight_change: npt.NDArray[np.float64]

    @property
    def segment(self) -> int:
        """Layer and segment of all of them, as (layer << 16 | segment)."""
        return int(self.ids[0]) >> 32


def differences(
    before: Directory, after: Directory, reader: LeafReader, layer: int | None, rules: Rules
) -> Iterator[Changes]:
    """Everything that differs, by id, in memory for a few leaves. Raises LeafDamaged."""
    for segment in sorted({*before.segments(layer), *after.segments(layer)}):
        older, newer = _differing(before.table(segment).rows, after.table(segment).rows)
        only = _restricted(older, newer, reader)
        for one, other in _side_by_side(_records(older, reader, only), _records(newer, reader, only)):
            changes = compare(one, other, rules)
            if changes.ids.size:
                yield changes


def _differing(before: Table, after: Table) -> tuple[Table, Table]:
    """The leaves that only one of the two places sees in that version."""
    _, one, other = np.intersect1d(before["low"], after["low"], assume_unique=True, return_indices=True)
    same = (before["line"][one] == after["line"][other]) & (before["commit"][one] == after["commit"][other])
    return np.delete(before, one[same]), np.delete(after, other[same])


def _restricted(before: Table, after: Table, reader: LeafReader) -> Callable[[int], IdArray | None]:
    """For the ``low`` of a leaf: the only neurons of it that can differ, or None where all can."""
    _, one, other = np.intersect1d(before["low"], after["low"], assume_unique=True, return_indices=True)
    deltas = (before["kind"][one] == DELTA) | (after["kind"][other] == DELTA)
    pairs = {int(before["low"][i]): (i, j) for i, j in zip(one[deltas], other[deltas], strict=True)}
    asked: dict[int, IdArray | None] = {}

    def only(low: int) -> IdArray | None:
        if low in asked:  # by the other side, which asks once too
            return asked.pop(low)
        if low in pairs:
            older, newer = pairs[low]
            asked[low] = _changed_since_common(ref_of(before[older]), ref_of(after[newer]), reader)
        return asked.get(low)

    return only


def _changed_since_common(one: LeafRef, other: LeafRef, reader: LeafReader) -> IdArray | None:
    """The neurons that the deltas name which lead from a common version to ``one`` and to ``other``."""
    down, up = _beneath(one, reader), _beneath(other, reader)
    places = [(ref.line, ref.commit) for ref in up]
    for depth, ref in enumerate(down):
        if (ref.line, ref.commit) in places:
            deltas = down[:depth] + up[: places.index((ref.line, ref.commit))]
            try:
                reader.read(ref)  # what both lie on is then in the cache, and read once
                return np.unique(np.concatenate([reader.changes(delta).ids for delta in deltas]))
            except InvalidInput:  # compacted while we look: there are no deltas any more
                return None
    return None


def _beneath(ref: LeafRef, reader: LeafReader) -> list[LeafRef]:
    """``ref`` and the versions beneath it."""
    found = [ref]
    while found[-1].kind == DELTA and (below := reader.beneath(found[-1])) is not None and len(found) <= ref.depth:
        found.append(below)
    return found


def _records(table: Table, reader: LeafReader, only: Callable[[int], IdArray | None]) -> Iterator[Records]:
    for entry in table:
        ref = ref_of(entry)
        ids = only(ref.low)
        records = reader.read(ref)
        if ids is not None:
            place, there = find_in(records.ids, ids)
            records = records.take(place[there])
        if len(records):
            yield records


def _side_by_side(before: Iterator[Records], after: Iterator[Records]) -> Iterator[tuple[Records, Records]]:
    """Records of two streams, cut so that a pair holds the same range of ids."""
    one, other = next(before, None), next(after, None)
    while one is not None or other is not None:
        if one is None or other is None:
            yield one or Records.empty(), other or Records.empty()
            one, other = next(before, None), next(after, None)
            continue
        end = min(one.ids[-1], other.ids[-1])
        cut_one, cut_other = (int(np.searchsorted(r.ids, end, side="right")) for r in (one, other))
        yield one.part(0, cut_one), other.part(0, cut_other)
        one = one.part(cut_one, len(one)) if cut_one < len(one) else next(before, None)
        other = other.part(cut_other, len(other)) if cut_other < len(other) else next(after, None)


# two sets of records


def compare(before: Records, after: Records, rules: Rules) -> Changes:
    """What differs between two sets of records of one segment."""
    ids = np.union1d(before.ids, after.ids)
    place_before, in_before = find_in(before.ids, ids)
    place_after, in_after = find_in(after.ids, ids)
    what = np.where(in_before, np.where(in_after, 0, REMOVED), ADDED).astype(np.uint8)
    both = np.flatnonzero(in_before & in_after)
    state = _state_differs(before, place_before[both], after, place_after[both])
    what[both[state]] |= STATE
    stored_before, stored_after = _stored(before, place_before, in_before), _stored(after, place_after, in_after)
    ruled = np.flatnonzero(~stored_before & ~stored_after)
    open_ = np.ones(ids.size, bool)
    open_[ruled] = ~rules.same(ids[ruled])
    asked = np.flatnonzero(open_)
    one = _rows(before, place_before[asked], stored_before[asked], ids[asked], rules.before)
    other = _rows(after, place_after[asked], stored_after[asked], ids[asked], rules.after)
    differ = np.flatnonzero(_rows_differ(one, other))
    added, removed, rows_of_change, weight_change = _match(_take(one, differ), _take(other, differ))
    differ = differ[(added + removed + np.bincount(rows_of_change, minlength=differ.size)) > 0]
    what[asked[differ]] |= ROW
    found = np.flatnonzero(what)
    return Changes(ids[found], what[found], int(added.sum()), int(removed.sum()), weight_change)


def _stored(records: Records, place: IndexArray, there: Mask) -> Mask:
    stored = np.zeros(there.size, bool)
    stored[there] = records.row_kind[place[there]] == STORED
    return stored


def _state_differs(before: Records, at: IndexArray, after: Records, other: IndexArray) -> Mask:
    """Bit for bit, of neurons that both have."""
    differs = np.full(at.size, bool(at.size) and before.state.keys() != after.state.keys())
    for name in before.state.keys() & after.state.keys():
        left, right = before.state[name], after.state[name]
        if (left.dtype, left.shape[1:]) != (right.dtype, right.shape[1:]):
            differs[:] = True
            continue
        differs |= (_bits(left[at]) != _bits(right[other])).any(axis=1)
    return differs


def _bits(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Bytes of each neuron's value: (n, bytes)."""
    contiguous = np.ascontiguousarray(column)
    width = contiguous.dtype.itemsize * int(np.prod(column.shape[1:], dtype=np.int64))
    return contiguous.view(np.uint8).reshape(column.shape[0], width)


@dataclass(frozen=True)
class _Csr:
    indptr: IndexArray
    projection: npt.NDArray[np.uint16]
    target: IdArray
    weight: npt.NDArray[np.float32]
    delay: DelayArray | None

    @property
    def row(self) -> IndexArray:
        return np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))


def _take(rows: Rows, index: IndexArray) -> _Csr:
    indptr, synapse = gather(rows.indptr, index)
    delay = chosen(rows.delay, synapse)
    return _Csr(indptr, rows.projection[synapse], rows.target[synapse], rows.weight[synapse], delay)


def _rows(records: Records, place: IndexArray, stored: Mask, ids: IdArray, generate: Callable[[IdArray], Rows]) -> _Csr:
    """The row of each of ``ids``: stored, or as its rule generates it."""
    own = _take(records, place[stored])
    if stored.all():
        return own
    made = generate(ids[~stored])
    lengths = np.empty(ids.size, np.int64)
    lengths[stored], lengths[~stored] = np.diff(own.indptr), np.diff(made.indptr)
    indptr = np.zeros(ids.size + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    of_store = np.repeat(stored, lengths)
    none = own.delay is None and made.delay is None
    rows = _Csr(
        indptr, np.empty(indptr[-1], np.uint16), np.empty(indptr[-1], np.uint64), np.empty(indptr[-1], np.float32),
        None if none else np.empty(indptr[-1], np.uint16),
    )  # fmt: skip
    rows.projection[of_store], rows.projection[~of_store] = own.projection, made.projection
    rows.target[of_store], rows.target[~of_store] = own.target, made.target
    rows.weight[of_store], rows.weight[~of_store] = own.weight, made.weight
    if rows.delay is not None:
        rows.delay[of_store], rows.delay[~of_store] = _delays(own), _delays(made)
    return rows


def _delays(rows: Rows) -> DelayArray:
    """Zeros where every synapse has that of its projection: equal where those are."""
    return np.zeros(rows.target.size, np.uint16) if rows.delay is None else rows.delay


def _rows_differ(one: _Csr, other: _Csr) -> Mask:
    """Which rows are not the same synapses in the same order."""
    lengths = np.diff(one.indptr)
    differ = lengths != np.diff(other.indptr)
    alike = np.flatnonzero(~differ)
    left, right = _take(one, alike), _take(other, alike)
    unlike = (left.target != right.target) | (left.weight != right.weight) | (left.projection != right.projection)
    unlike |= _delays(left) != _delays(right)
    differ[alike] = np.bincount(left.row[unlike], minlength=alike.size) > 0
    return differ


def _match(one: _Csr, other: _Csr) -> tuple[IndexArray, IndexArray, IndexArray, npt.NDArray[np.float64]]:
    """``(added, removed, row, change)``: of each row, how many; and of each synapse that got another weight."""
    rows = one.indptr.size - 1
    row = np.concatenate([one.row, other.row])
    projection = np.concatenate([one.projection, other.projection])
    target = np.concatenate([one.target, other.target])
    delay = np.concatenate([_delays(one), _delays(other)])
    weight = np.concatenate([one.weight, other.weight]).astype(np.float64)
    later = np.repeat([False, True], [one.target.size, other.target.size])
    ordinal = _ordinals(row, delay, projection, target, later)
    order = np.lexsort((later, ordinal, delay, projection, target, row))
    row, later, weight = row[order], later[order], weight[order]
    keys = [key[order] for key in (ordinal, delay, projection, target)]
    pair = row[1:] == row[:-1]
    for key in keys:
        pair &= key[1:] == key[:-1]
    first = np.flatnonzero(pair)
    alone = np.ones(row.size, bool)
    alone[first] = alone[first + 1] = False
    change = weight[first + 1] - weight[first]
    changed = change != 0
    return (
        np.bincount(row[alone & later], minlength=rows),
        np.bincount(row[alone & ~later], minlength=rows),
        row[first][changed],
        change[changed],
    )


def _ordinals(
    row: IndexArray, delay: DelayArray, projection: npt.NDArray[np.uint16], target: IdArray, later: Mask
) -> IndexArray:
    """The place of each synapse among those of its row, on its side, that share delay, projection and target."""
    order = np.lexsort((delay, projection, target, later, row))  # stable: equal ones keep the order of their row
    new = np.ones(row.size, bool)
    for key in (row, later, target, projection, delay):
        new[1:] &= key[order][1:] == key[order][:-1]
    new[:1] = False
    # so far: whether each is like the one before it
    starts = np.flatnonzero(~new)
    place = np.arange(row.size)
    ordinal = np.empty(row.size, np.int64)
    ordinal[order] = place - np.repeat(starts, np.diff(np.append(starts, row.size)))
    return ordinal
