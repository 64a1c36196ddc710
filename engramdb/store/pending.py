"""Small changes that wait in RAM until many of them are written at once.

Written one by one, each would rewrite the delta that its leaf has got since the last commit: bytes and time would grow
with the square of their number. The journal has what was acknowledged, so that they may wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engramdb.store.changes import compose
from engramdb.store.records import Records

SMALL_BYTES = 1 << 16
"""Changes of more bytes are written at once."""


class Pending:
    """Changes of several layers in the order in which they were made, put together so that few parts have to be read.

    A part is at least twice as long as the one after it, so adding one of ``n`` neurons costs log n on average.
    """

    def __init__(self, completed: Callable[[Records], Records]) -> None:
        """``completed``: see :meth:`Store.completed`; putting changes together leaves out columns that all keep, and
        whoever is not stored yet needs them."""
        self._completed = completed
        self._parts: dict[int, list[Records]] = {}  # by layer, oldest first

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(part.nbytes for parts in self._parts.values() for part in parts)

    def of(self, layer: int) -> tuple[Records, ...]:
        """The parts of one layer, by its index, oldest first."""
        return tuple(self._parts.get(layer, ()))

    def all(self) -> tuple[Records, ...]:
        """The parts of all layers, those of each oldest first."""
        return tuple(part for parts in self._parts.values() for part in parts)

    def add(self, changes: Records) -> None:
        """Put ``changes`` to neurons of one layer, of which none is FORGOTTEN, on top. They are copied."""
        parts = self._parts.setdefault(int(changes.ids[0]) >> 48, [])
        changes = changes.copy()
        while parts and len(parts[-1]) < 2 * len(changes):
            changes = self._completed(compose(parts.pop(), changes))
        parts.append(changes)

    def written(self) -> Iterator[Records]:
        """All changes of one layer after the other, to be written; each is gone when the next one is asked for."""
        for layer in list(self._parts):
            together, *later = self._parts[layer]
            for part in later:
                together = self._completed(compose(together, part))
            yield together
            del self._parts[layer]

    def clear(self) -> None:
        self._parts.clear()
