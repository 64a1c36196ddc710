"""From changes to leaf versions in the writer's private pack.

A change that is small beside its leaf becomes a delta: the changed neurons, and of those only what changed. A larger
one becomes a new whole version, cut in two where it has grown too large.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from engramdb.address import LOCAL_BITS, SEGMENT_BITS
from engramdb.errors import DiskFull, InvalidInput, LeafDamaged
from engramdb.store.changes import apply, born, compose, find_in, given, with_own
from engramdb.store.directory import Directory, by_segment
from engramdb.store.leaf import LeafPolicy, encode_delta, encode_leaf, encode_tombstone
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE, Identity, PackWriter
from engramdb.store.reader import LeafReader
from engramdb.store.records import (
    FIELD,
    FORGOTTEN,
    GENERATED,
    KEEP,
    OWN,
    Columns,
    Records,
    check_same_columns,
    columns_of,
    concatenate,
)
from engramdb.store.versions import LeafRef

DEEPEST = 4
"""Deltas on top of one another, at most: each costs a reader one more record."""

LAYER_SHIFT = SEGMENT_BITS + LOCAL_BITS
_WORTH = 2  # a delta is written where a whole version has at least so many times its bytes
_ROOMY = 2  # neighbours are joined when together they fill less than one leaf divided by this

PackOf = Callable[[], tuple[int, PackWriter]]


@dataclass
class LeafWriter:
    """Writes into the pack that ``pack_of`` gives, for ``line``; new versions get ``number``, new leaves ``next_leaf``.

    ``number`` grows where a version that no commit names yet gets a delta; a commit takes it as its own number.
    ``neurons`` and ``synapses`` count what is materialized.
    """

    directory: Directory
    reader: LeafReader
    policy: LeafPolicy
    pack_of: PackOf
    line: int
    number: int
    next_leaf: int
    neurons: int
    synapses: int

    def __post_init__(self) -> None:
        self._columns: dict[int, Columns] = {}  # of each layer that was written to

    def write(self, changes: Records) -> None:
        """Merge into leaves; all of it or, when an exception leaves, nothing."""
        columns = self._checked_columns(changes)
        _, pack = self.pack_of()
        end, next_leaf, number = pack.end, self.next_leaf, self.number
        written: list[LeafRef] = []
        shrunk: list[int] = []
        neurons = synapses = 0
        try:
            for segment, start, stop in by_segment(changes.ids):
                for old, part in self._by_leaf(segment, changes.part(start, stop)):
                    fresh = list(self._write_leaf(segment, old, part))
                    written += fresh
                    neurons += sum(ref.rows for ref in fresh)
                    synapses += sum(ref.synapses for ref in fresh)
                    if old is not None and fresh and fresh[0].low == old.low:
                        neurons -= old.rows
                        synapses -= old.synapses
                        if fresh[0].rows < old.rows:
                            shrunk.append(old.low)
        except BaseException:
            pack.rewind(end)
            self.next_leaf, self.number = next_leaf, number
            raise
        self.directory.put(written)
        self._columns[int(changes.ids[0]) >> LAYER_SHIFT] = columns
        self.neurons += neurons
        self.synapses += synapses
        for low in shrunk:
            self._join(low)

    def accepts(self, changes: Records) -> bool:
        """Whether ``changes``, written later and together with others, are not refused then, whoever is stored by then.

        So it is where nobody is forgotten and whoever is new gets all columns. Raises InvalidInput, LeafDamaged.
        """
        layer = int(changes.ids[0]) >> LAYER_SHIFT
        if layer not in self._columns:
            if next(self.directory.leaves(layer), None) is None:
                return False  # the first to be written say which columns there are
            self._columns[layer] = self._checked_columns(changes)
        needed = {name for name in self._checked_columns(changes) if not name.startswith((OWN, FIELD))}
        return needed <= changes.state.keys() - changes.kept.keys() and not (changes.row_kind == FORGOTTEN).any()

    def _checked_columns(self, changes: Records) -> Columns:
        """The state columns of the layer, which are the same in all its records. Raises InvalidInput."""
        layer = int(changes.ids[0]) >> LAYER_SHIFT
        own = columns_of(changes)
        known = self._columns.get(layer)
        if known is None:
            some = next(self.directory.leaves(layer), None)
            known = own if some is None else columns_of(self.reader.read(some))
        if not own.items() <= known.items():
            raise InvalidInput(f"state columns differ within one layer: {known} and {own}")
        return known

    def _by_leaf(self, segment: int, changes: Records) -> Iterator[tuple[LeafRef | None, Records]]:
        table = self.directory.table(segment)
        if not len(table):
            yield None, changes
            return
        position = table.locate(changes.ids)
        edges = [0, *(np.flatnonzero(np.diff(position)) + 1).tolist(), len(changes)]
        for start, stop in itertools.pairwise(edges):
            where = int(position[start])
            yield None if where < 0 else table[where], changes.part(start, stop)

    def _write_leaf(self, segment: int, old: LeafRef | None, changes: Records) -> Iterator[LeafRef]:
        """A new version of ``old`` with ``changes`` in it, and the leaves that split off."""
        pieces: Iterator[Records | None]
        if old is not None and self._is_full(old, changes):
            pieces = itertools.chain([None], self._filled(Records.empty(), born(changes)))
        elif old is not None and self._appends(old, changes):
            pieces = self._filled(self.reader.read(old), born(changes))
        elif old is not None:
            delta = self._delta(old, changes)
            if delta is not None:
                yield from delta
                return
            whole = apply(self.reader.read(old), changes)
            if not len(whole):
                yield self._tombstone(old)
                return
            pieces = iter([whole.part(*edges) for edges in self._halves(whole)])
        else:
            changes = born(changes)
            pieces = self._filled(Records.empty(), changes) if len(changes) else iter(())
        low: int | None = segment << 32 if old is None else old.low
        leaf: int | None = None if old is None else old.leaf
        for piece in pieces:
            if piece is not None:
                yield self._whole(piece, int(piece.ids[0]) if low is None else low, leaf)
            low = leaf = None

    def _is_full(self, old: LeafRef, changes: Records) -> bool:
        """Whether all of ``changes`` come behind the leaf, which surely has no room for the first of them."""
        if int(changes.ids[0]) <= old.last:
            return False
        cost = max(self._leaf_bytes(old, changes), old.rows * -(-self.policy.nbytes // self.policy.rows))
        return cost + int(self.policy.costs(changes.part(0, 1))[0]) > self.policy.nbytes

    def _appends(self, old: LeafRef, changes: Records) -> bool:
        """Whether all of ``changes`` come behind the leaf, and are too many for a delta."""
        return int(changes.ids[0]) > old.last and self._bytes(changes) * _WORTH >= self._leaf_bytes(old, changes)

    def _filled(self, stored: Records, fresh: Records) -> Iterator[Records | None]:
        """``stored`` and what comes behind it, in full leaves. None: it has no room, and stays as it is."""
        edges = self.policy.fill(np.concatenate([self.policy.costs(stored), self.policy.costs(fresh)]))
        size = len(stored)
        for start, stop in itertools.pairwise(edges):
            if stop == size and start == 0:
                yield None
            elif start >= size:
                yield fresh.part(start - size, stop - size)
            else:
                yield concatenate([stored.part(start, min(stop, size)), fresh.part(0, max(stop - size, 0))])

    def _halves(self, whole: Records) -> Iterator[tuple[int, int]]:
        return itertools.pairwise(self.policy.halve(self.policy.costs(whole)))

    # sizes, before encoding

    def _bytes(self, changes: Records) -> int:
        state = sum(
            int(np.count_nonzero(given(changes, name))) * (column.nbytes // max(len(changes), 1))
            for name, column in changes.state.items()
        )
        return 12 * len(changes) + state + 8 * changes.synapses

    def _leaf_bytes(self, ref: LeafRef, like: Records) -> int:
        state = sum(column.nbytes for column in like.state.values()) // max(len(like), 1)
        return (12 + state) * ref.rows + 8 * ref.synapses

    # deltas

    def _delta(self, old: LeafRef, changes: Records) -> list[LeafRef] | None:
        """``old`` with ``changes`` on top; an empty list if they change nothing, None where it should be whole."""
        if self._bytes(changes) * _WORTH > self._leaf_bytes(old, changes):
            return None
        rows, synapses, first, last = old.rows, old.synapses, old.first, old.last
        dense = old.rows == old.last - old.first + 1
        if not (dense and old.first <= int(changes.ids[0]) and int(changes.ids[-1]) <= old.last
                and (changes.row_kind == KEEP).all()):  # fmt: skip
            stored = self.reader.read(old)
            changes = _settled(stored, changes)
            if not len(changes):
                return []
            place, known = find_in(stored.ids, changes.ids)
            replaced = known & (changes.row_kind != KEEP)
            gone = known & (changes.row_kind == FORGOTTEN)
            rows += int(np.count_nonzero(~known)) - int(np.count_nonzero(gone))
            synapses += changes.synapses - int(np.diff(stored.indptr)[place[replaced]].sum())
            if rows == 0:
                return [self._tombstone(old)]
            left = np.delete(stored.ids, place[gone])
            ends = np.concatenate([left[:1], left[-1:], changes.ids[~known][:1], changes.ids[~known][-1:]])
            first, last = int(ends.min()), int(ends.max())
            if rows > self.policy.rows or (
                self._leaf_bytes(old._replace(rows=rows, synapses=synapses), stored) > self.policy.nbytes
            ):
                return None
        below: LeafRef | None = old
        depth = old.depth + 1
        if old.commit == self.number and old.kind == DELTA:
            changes, below, depth = compose(self.reader.changes(old), changes), self.reader.beneath(old), old.depth
        if depth > DEEPEST and below is not None:
            older, below = self.reader.merged(below)
            changes, depth = compose(older, changes), 1
        if below is None or self._bytes(changes) * _WORTH > self._leaf_bytes(old, changes):
            return None
        if below.commit == self.number:
            self.number += 1
        identity = Identity(
            kind=DELTA, line=self.line, commit=self.number, leaf=old.leaf, base=below.commit, content=self.number,
            low=old.low, first=first, last=last, rows=rows, synapses=synapses,
        )  # fmt: skip
        return [self._put(identity, *encode_delta(changes, identity), base_line=below.line, depth=depth)]

    def _whole(self, records: Records, low: int, leaf: int | None) -> LeafRef:
        if leaf is None:
            leaf, self.next_leaf = self.next_leaf, self.next_leaf + 1
        data, crc = encode_leaf(records, line=self.line, commit=self.number, leaf=leaf, low=low)
        identity = Identity(
            kind=LEAF, line=self.line, commit=self.number, leaf=leaf, low=low,
            first=int(records.ids[0]), last=int(records.ids[-1]), rows=len(records), synapses=records.synapses,
        )  # fmt: skip
        return self._put(identity, data, crc)

    def _tombstone(self, old: LeafRef) -> LeafRef:
        data, crc = encode_tombstone(line=self.line, commit=self.number, leaf=old.leaf, low=old.low)
        identity = Identity(TOMBSTONE, self.line, self.number, leaf=old.leaf, low=old.low, first=old.low, last=old.low)
        return self._put(identity, data, crc)

    def _put(self, identity: Identity, data: bytes, crc: int, *, base_line: int = 0, depth: int = 0) -> LeafRef:
        pack_number, pack = self.pack_of()
        i = identity
        return LeafRef(
            line=i.line, low=i.low, commit=i.commit, leaf=i.leaf, first=i.first, last=i.last, kind=i.kind,
            base_line=base_line, base=i.base, depth=depth,
            pack=pack_number, offset=pack.append(data), length=len(data), header_crc=crc,
            rows=i.rows, synapses=i.synapses,
        )  # fmt: skip

    # neighbours

    def _leaf_cost(self, ref: LeafRef) -> int:
        """What the policy counts, without state columns that are (n,); see :meth:`LeafPolicy.costs`."""
        wide = sum(np.dtype(t).itemsize * math.prod(w) for t, w in self._columns.get(ref.low >> 48, {}).values() if w)
        return max((12 + wide) * ref.rows + 8 * ref.synapses, ref.rows * self.policy.nbytes // self.policy.rows)

    def _join(self, low: int) -> None:
        """Join the leaf at ``low`` with its neighbours while together they are small: forgetting leaves no husks."""
        _, pack = self.pack_of()
        end = pack.end
        table = self.directory.table(low >> 32)
        here = int(table.locate(np.array([low], np.uint64))[0])
        for left in (here, here - 1):
            if left < 0 or left + 1 >= len(table):
                continue
            one, other = table[left], table[left + 1]
            cost = self._leaf_cost(one) + self._leaf_cost(other)
            if cost * _ROOMY > self.policy.nbytes:
                continue
            try:
                joined = self._whole(concatenate([self.reader.read(one), self.reader.read(other)]), one.low, one.leaf)
                ended = self._tombstone(other)
            except (DiskFull, LeafDamaged, OSError):
                pack.rewind(end)  # what was written stays; it only takes one leaf more
                return
            self.directory.put([joined, ended])
            return


def _settled(stored: Records, changes: Records) -> Records:
    """``changes`` with nothing left open: neurons that are new say so, unknown ones are not forgotten again."""
    _, known = find_in(stored.ids, changes.ids)
    if known.all():
        return changes
    fresh = born(changes.take(np.flatnonzero(~known)), stored.state)
    if len(fresh):
        check_same_columns(stored, fresh)
    settled = changes.take(np.flatnonzero(known | (changes.row_kind != FORGOTTEN)))
    _, known = find_in(stored.ids, settled.ids)
    settled = with_own(settled, ~known, stored.state)
    settled.row_kind[~known & (settled.row_kind == KEEP)] = GENERATED
    return settled
