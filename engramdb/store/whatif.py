"""A store that nobody else sees: what is written to it stays in RAM, on top of another one that is only read."""

from __future__ import annotations

from engramdb.address import IdArray
from engramdb.spec import Spec
from engramdb.store.changes import apply, compose, find_in
from engramdb.store.records import Records
from engramdb.store.store import Store


class WhatIf:
    """What an engine needs of a :class:`Store`, over ``base``, which must not change meanwhile.

    Nothing is journaled nor committed: with this object all that happened in it is gone.
    """

    def __init__(self, base: Store) -> None:
        self._base = base
        self._changes: dict[int, Records] = {}  # by layer
        self.cache_bytes = 0  # leaves are the base's to keep, as of queries
        self.query_cache_bytes = 0
        self.query_bytes = 0
        self.gathering = False  # nothing is written in the background

    @property
    def spec(self) -> Spec:
        return self._base.spec

    @property
    def cached_bytes(self) -> int:
        """Bytes that the changes take."""
        return sum(changes.nbytes for changes in self._changes.values())

    def find(self, ids: IdArray, *, query: bool = True) -> Records:
        """See :meth:`Store.find`."""
        records = self._base.find(ids, query=True)
        changes = self._changes.get(int(ids[0]) >> 48) if ids.size else None
        if changes is not None:
            place, there = find_in(changes.ids, ids)
            if there.any():
                records = apply(records, changes.take(place[there]))
        return records

    def write(self, changes: Records, *, retargeted: bool = True) -> None:
        """See :meth:`Store.write`."""
        if len(changes):
            layer = int(changes.ids[0]) >> 48
            fresh = self._base.completed(changes)
            self._changes[layer] = compose(self._changes[layer], fresh) if layer in self._changes else fresh
