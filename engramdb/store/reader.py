"""Reading leaves: cached, checked against the catalog, and with damage told as people need it."""

from __future__ import annotations

import dataclasses

import numpy as np

from engramdb.address import format_id, unpack
from engramdb.errors import EngramError, LeafDamaged
from engramdb.store.cache import Cache
from engramdb.store.catalog import Catalog
from engramdb.store.directory import Directory
from engramdb.store.history import History
from engramdb.store.leaf import decode_leaf
from engramdb.store.pack import BadRecord, Identity, Packs
from engramdb.store.records import Records
from engramdb.store.versions import LeafRef


class LeafReader:
    """Reads leaf versions of any place in history."""

    def __init__(self, catalog: Catalog, packs: Packs, cache_bytes: int) -> None:
        self._catalog, self._packs = catalog, packs
        self.cache: Cache[Records] = Cache(cache_bytes)

    def read(self, ref: LeafRef, *, cached: bool = True) -> Records:
        """The leaf's records, which the caller must not change if ``cached``. Raises LeafDamaged."""
        key = ref.pack, ref.offset
        records = self.cache.get(key) if cached else None
        if records is None:
            try:
                records = self.check(ref)
            except BadRecord as error:
                raise LeafDamaged(
                    f"{describe(ref)} in {self.where(ref)}: {error}; {good_copies_text(self.good_copies(ref))}"
                ) from error
            if cached:
                self.cache.put(key, records)
        return records

    def check(self, ref: LeafRef) -> Records:
        """The leaf's records, read from disk. Raises BadRecord."""
        record = self._packs.read(ref.pack, ref.offset, ref.length, ref.header_crc)
        expected = Identity(
            kind=ref.kind, line=ref.line, commit=ref.commit, leaf=ref.leaf, content=record.identity.content,
            low=ref.low, first=ref.first, last=ref.last, rows=ref.rows, synapses=ref.synapses,
        )  # fmt: skip
        if record.identity != expected:
            wrong = [
                f"{name} {value} where the catalog has {getattr(expected, name)}"
                for name, value in dataclasses.asdict(record.identity).items()
                if value != getattr(expected, name)
            ]
            raise BadRecord(f"it is another record than the one the catalog names: {', '.join(wrong)}")
        return decode_leaf(record)

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
