"""Reading leaves: cached, checked against the catalog, and with damage told as people need it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np

from engramdb.address import IdArray, format_id, unpack
from engramdb.errors import CatalogDamaged, EngramError, InvalidInput, LeafDamaged
from engramdb.store.cache import Cache
from engramdb.store.catalog import Catalog, signed
from engramdb.store.changes import apply, compose, find_in
from engramdb.store.directory import Directory
from engramdb.store.history import History
from engramdb.store.leaf import decode_delta, decode_leaf
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE, BadRecord, Identity, Packs, Record
from engramdb.store.records import Records
from engramdb.store.storedleaf import StoredLeaf
from engramdb.store.versions import SELECTED, LeafRef, ref_from


class BadVersion(BadRecord):
    """The record of one version of a leaf, ``ref``, is not what it should be."""

    def __init__(self, ref: LeafRef, problem: str) -> None:
        super().__init__(problem)
        self.ref = ref


class _Asked:
    """A leaf of which queries took a few rows, so far without decoding all of it.

    The first time it is not kept: what it was read into is used for the next one, for to the system, memory that is new
    costs as much as reading. Who asks twice asks on: then it is kept as it is ``stored``. Decoded it answers three
    times as fast, but decoding it takes as long as dozens of answers: that waits until it is asked for often.
    """

    def __init__(self, stored: StoredLeaf | None) -> None:
        self.stored, self.times = stored, 0
        self.nbytes = 64 + (0 if stored is None else stored.nbytes)


_ONCE = _Asked(None)
_OFTEN, _SPREAD = 1, 2  # the leaves of one question, asked again and again, are not all decoded in the same answer


class LeafReader:
    """Reads leaf versions of any place in history. ``unnamed`` has those of the writer that no commit names yet."""

    def __init__(self, catalog: Catalog, packs: Packs, cache_bytes: int) -> None:
        self._catalog, self._packs = catalog, packs
        self.cache: Cache[Records | StoredLeaf] = Cache(cache_bytes)
        self.queries: Cache[Records | _Asked] = Cache(0)
        """What queries read, apart: they take nothing from whom ``cache`` serves."""
        self.unnamed: Mapping[tuple[int, int], LeafRef] = {}

    def read(self, ref: LeafRef, *, cached: bool = True, query: bool = False) -> Records:
        """The leaf's records, which the caller must not change if ``cached``. Raises LeafDamaged.

        ``query``: they are kept in ``queries``.
        """
        records = self._cached(ref, query=query) if cached else None
        if records is None:
            try:
                records = self.check(ref)
            except BadRecord as error:
                # of a delta, perhaps that of the version it lies on
                raise self.damaged(error.ref if isinstance(error, BadVersion) else ref, error) from error
            if cached:
                (self.queries if query else self.cache).put((ref.pack, ref.offset), records)
        return records

    def read_few(self, ref: LeafRef, wanted: IdArray, *, query: bool = False) -> Records:
        """Those of ``wanted`` (uint64, increasing, few) that are in the leaf, in arrays of their own.

        A leaf that is not cached decoded is cached as it is stored. One that a query asks for is not cached the first
        time, and decoded when it was asked for often. Raises LeafDamaged.
        """
        place = ref.pack, ref.offset
        known = self._cached(ref, query=query)
        asked = self.queries.get(place) if query and known is None else None
        before = asked if isinstance(asked, _Asked) else None
        if known is None and (before is None or before.times < _OFTEN + ref.leaf % _SPREAD):
            with contextlib.suppress(BadRecord, CatalogDamaged):  # what is wrong, and what can be done, shows below
                stored = self.cache.peek(place) or (before and before.stored) or self._stored(ref)
                if isinstance(stored, StoredLeaf):
                    few = _few(stored, wanted)
                    if not query:
                        self.cache.put(place, stored)
                    elif before is None:
                        self.queries.put(place, _ONCE)
                    elif before is _ONCE:
                        self.queries.put(place, _Asked(stored))
                    else:
                        before.times += 1
                    return few
        return _few(self.read(ref, query=query) if known is None else known, wanted)

    def decoded(self, ref: LeafRef) -> Records | None:
        """The leaf, where a query finds it decoded in RAM; the caller must not change it."""
        return self._cached(ref, query=True)

    def _stored(self, ref: LeafRef) -> StoredLeaf | None:
        """A whole version as it is stored; None of another. Raises BadRecord, CatalogDamaged."""
        record, now = self.record(ref)
        return StoredLeaf(record) if now.kind == LEAF else None

    def _cached(self, ref: LeafRef, *, query: bool = False) -> Records | None:
        """The leaf, where it is cached decoded; a query leaves the cache of the engine as it is."""
        place = ref.pack, ref.offset
        own = self.cache.peek(place) if query else self.cache.get(place)
        if isinstance(own, Records):
            return own
        apart = self.queries.get(place)
        return apart if isinstance(apart, Records) else None

    @property
    def run_bytes(self) -> int:
        """What one call should read at most, unless a single leaf is larger."""
        return self._packs.run_bytes

    def expect(self, run: Sequence[LeafRef]) -> None:
        """Let the system begin to read what :meth:`read_run` will be asked for soon."""
        end = run[-1].offset + run[-1].length
        self._packs.expect(run[0].pack, run[0].offset, end - run[0].offset)

    def read_run(self, run: Sequence[LeafRef], *, cached: bool, query: bool = False) -> list[Records]:
        """As :meth:`read` of each; leaves that lie behind one another in a pack are read with one call."""
        found = [self._cached(ref, query=query) if cached else None for ref in run]
        missing = [ref for ref, records in zip(run, found, strict=True) if records is None]
        if len(missing) > 1:
            try:
                fetched = iter(self._fetched(missing))
            except (BadRecord, CatalogDamaged):
                pass  # one of them: which, and what can be done, shows when they are read one by one
            else:
                for i, ref in enumerate(run):
                    if found[i] is None:
                        found[i] = records = next(fetched)
                        if cached:
                            (self.queries if query else self.cache).put((ref.pack, ref.offset), records)
        return [
            self.read(ref, cached=cached, query=query) if records is None else records
            for ref, records in zip(run, found, strict=True)
        ]

    def _fetched(self, run: Sequence[LeafRef]) -> list[Records]:
        parts = [(ref.offset, ref.length, ref.header_crc) for ref in run]
        records = self._packs.read_many(run[0].pack, parts)
        return [decode_leaf(self._checked(ref, record)) for ref, record in zip(run, records, strict=True)]

    def check(self, ref: LeafRef) -> Records:
        """The leaf's records, with what lies beneath it read from disk or the cache. Raises BadVersion."""
        while True:
            try:
                return self._put_together(ref)
            except BadVersion:
                now = None
                with contextlib.suppress(CatalogDamaged):
                    now = self._at(ref.line, ref.low, ref.commit)
                if now is None or now == ref:
                    raise
                ref = now  # compacted since this handle looked, and gc may have freed what it was

    def _put_together(self, ref: LeafRef) -> Records:
        above: list[Records] = []
        known: Records | None = None
        while known is None:
            try:
                record, ref = self.record(ref)
                if ref.kind == LEAF:
                    known = decode_leaf(record)
                elif ref.kind == TOMBSTONE:
                    known = Records.empty()
                else:
                    above.append(decode_delta(record))
            except BadRecord as error:
                raise BadVersion(ref, str(error)) from error
            if known is None:
                beneath = self.beneath(ref)
                if beneath is None:
                    raise BadVersion(ref, f"the version beneath it, of commit {ref.base}, is missing")
                ref, known = beneath, self._cached(beneath)
        for changes in reversed(above):
            known = apply(known, changes)
        return known

    def changes(self, ref: LeafRef) -> Records:
        """What a DELTA changes in the version beneath it. Raises LeafDamaged."""
        try:
            record, now = self.record(ref)
            if now.kind == DELTA:
                return decode_delta(record)
        except BadRecord as error:
            raise self.damaged(ref, error) from error
        raise InvalidInput(f"{describe(ref)} has been compacted: it has no changes of its own any more")

    def merged(self, ref: LeafRef) -> tuple[Records, LeafRef]:
        """``(changes, whole version)``: what a DELTA and those beneath it change together. Raises LeafDamaged."""
        changes, below = self.changes(ref), self.beneath(ref)
        while below is not None and below.kind == DELTA:
            changes, below = compose(self.changes(below), changes), self.beneath(below)
        if below is None:
            raise self.damaged(ref, BadRecord("a version beneath it is missing"))
        return changes, below

    def beneath(self, ref: LeafRef) -> LeafRef | None:
        """The version that a DELTA is on top of; None where the catalog does not have it."""
        return self.unnamed.get((ref.low, ref.base)) or self._at(ref.base_line, ref.low, ref.base)

    def _at(self, line: int, low: int, commit: int) -> LeafRef | None:
        rows = self._catalog.rows(
            f"SELECT {SELECTED} FROM versions WHERE line = ? AND low = ? AND number = ?", (line, signed(low), commit)
        )
        return ref_from(rows[0]) if rows else None

    def record(self, ref: LeafRef) -> tuple[Record, LeafRef]:
        """The record of a version, and where it lies now: compaction and gc move records while others read.

        Raises BadRecord.
        """
        try:
            return self.record_at(ref), ref
        except (BadRecord, CatalogDamaged):  # or a pack that is no more
            now = self.unnamed.get((ref.low, ref.commit)) or self._at(ref.line, ref.low, ref.commit)
            if now is None or now == ref:
                raise
            return self.record_at(now), now

    def record_at(self, ref: LeafRef) -> Record:
        """The record of a version where ``ref`` says that it lies. Raises BadRecord, CatalogDamaged."""
        return self._checked(ref, self._packs.read(ref.pack, ref.offset, ref.length, ref.header_crc))

    def _checked(self, ref: LeafRef, record: Record) -> Record:
        """``record``, which must be what the catalog says. Raises BadRecord."""
        expected = Identity(
            kind=ref.kind, line=ref.line, commit=ref.commit, leaf=ref.leaf, base=ref.base,
            content=record.identity.content, low=ref.low, first=ref.first, last=ref.last,
            rows=ref.rows, synapses=ref.synapses,
        )  # fmt: skip
        if record.identity != expected:
            wrong = [
                f"{name} {value} where the catalog has {getattr(expected, name)}"
                for name, value in record.identity._asdict().items()
                if value != getattr(expected, name)
            ]
            raise BadRecord(f"it is another record than the one the catalog names: {', '.join(wrong)}")
        return record

    def damaged(self, ref: LeafRef, error: BadRecord) -> LeafDamaged:
        """The error for people."""
        return LeafDamaged(f"{describe(ref)} in {self.where(ref)}: {error}; {good_copies_text(self.good_copies(ref))}")

    def where(self, ref: LeafRef) -> str:
        """The place of a leaf version on disk, for people."""
        return f"packs/{self._packs.path(ref.pack).name} at {ref.offset}"

    def good_copies(self, ref: LeafRef) -> list[str]:
        """Snapshots in which the neuron ``ref.first`` lies in another version of its leaf, and that one is whole."""
        history = History(self._catalog)
        good = []
        known: dict[tuple[int, int], bool] = {(ref.pack, ref.offset): False}
        for snapshot in history.snapshots():
            try:
                chain = history.chain(history.commit(snapshot.commit).line, snapshot.commit)
                for other, _, _ in Directory(self._catalog, chain).locate(np.array([ref.first], np.uint64)):
                    place = other.pack, other.offset
                    if place not in known:
                        known[place] = self._is_whole(other)
                    if known[place]:
                        good.append(snapshot.name)
            except EngramError:
                continue  # the catalog itself is damaged there, so nothing can be promised of this snapshot
        return good

    def _is_whole(self, ref: LeafRef) -> bool:
        try:
            self.check(ref)
        except BadRecord:
            return False
        return True


def _few(leaf: Records | StoredLeaf, wanted: IdArray) -> Records:
    """Those of ``wanted`` that are there. Raises BadRecord."""
    found, there = find_in(leaf.ids, wanted)
    return leaf.take(found[there]) if there.any() else Records.empty()


def describe(ref: LeafRef) -> str:
    """A leaf and its neurons, for people."""
    layer, segment, _ = unpack(ref.low)
    return f"leaf {ref.leaf} (layer {layer} segment {segment}, ids {format_id(ref.first)}-{format_id(ref.last)})"


def good_copies_text(snapshots: list[str]) -> str:
    """The end of a message about damage."""
    if not snapshots:
        return "no snapshot has a good copy"
    names = ", ".join(f'"{name}"' for name in snapshots)
    return f"snapshot {names} has a good copy" if len(snapshots) == 1 else f"snapshots {names} have good copies"
