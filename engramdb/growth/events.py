"""What growth has done to synapses: the latest events one by one, and how many there were of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.growth.pairs import Pairs

KINDS = ("pruned", "promoted", "bridged")
MOST_EVENTS = 1 << 16
"""So many are kept one by one; :attr:`engramdb.growth.status.Status.totals` counts all."""
_DTYPES: dict[str, Any] = {
    "tick": np.int64, "kind": np.uint8, "pre": np.uint64, "post": np.uint64, "value": np.float32, "number": np.int64,
}  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One synapse that came or went, in ``tick``, and ``why``."""

    tick: int
    kind: str
    pre: int
    post: int
    why: str


@dataclass(frozen=True)
class Events:
    """Arrays (n,), oldest first: ``tick`` int64, ``kind`` uint8 (place in :data:`KINDS`), ``pre`` and ``post`` uint64.

    ``value`` float32 and ``number`` int64 say why: how strong what was pruned was, and since when it was weak; the
    affinity of what was promoted; how many neurons the island had that was bridged.
    """

    tick: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    pre: IdArray
    post: IdArray
    value: npt.NDArray[np.float32]
    number: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tick)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in vars(self).values())

    @classmethod
    def none(cls) -> Events:
        return cls(*(np.empty(0, dtype=dtype) for dtype in _DTYPES.values()))

    @classmethod
    def of_pairs(cls, tick: int, changes: Sequence[tuple[Pairs, npt.NDArray[np.uint8] | None]]) -> Events:
        """What a step in ``tick`` did, each with its kind; None: all were pruned."""
        parts = [
            cls(np.full(len(pairs), tick, np.int64), np.zeros(len(pairs), np.uint8) if kind is None else kind,
                pairs.pre, pairs.post, pairs.value, pairs.number)
            for pairs, kind in changes
        ]  # fmt: skip
        return cls(*(np.concatenate(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True)))

    def at(self, chosen: npt.NDArray[Any]) -> Events:
        """Those that are ``chosen``, by place or by mask."""
        return Events(*(column[chosen] for column in vars(self).values()))

    def and_then(self, later: Events) -> Events:
        """These and ``later`` ones, the latest :data:`MOST_EVENTS` of them."""
        if not len(later):
            return self
        columns = zip(vars(self).values(), vars(later).values(), strict=True)
        return Events(*(np.concatenate(pair)[-MOST_EVENTS:] for pair in columns))

    def listed(self) -> list[Event]:
        """One value for each, with the reason in words."""
        return [
            Event(tick, KINDS[kind], pre, post, _why(KINDS[kind], value, number))
            for tick, kind, pre, post, value, number in zip(
                *(column.tolist() for column in vars(self).values()), strict=True
            )
        ]

    def __repr__(self) -> str:
        last = self.at(np.array([len(self) - 1])).listed()[0] if len(self) else None
        shown = "" if last is None else f", last {last.kind} {format_id(last.pre)} -> {format_id(last.post)}"
        return f"<Events: {len(self)}{shown}>"

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """As arrays by name, for :meth:`of`."""
        return {prefix + name: column for name, column in vars(self).items()}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Events:
        """From what :meth:`arrays` gave."""
        return cls(*(arrays[prefix + name].astype(dtype, copy=False) for name, dtype in _DTYPES.items()))


def _why(kind: str, value: float, number: int) -> str:
    if kind == "pruned":
        return f"weak since tick {number}, {value:.4g} when it went"
    if kind == "promoted":
        return f"affinity {value:.4g} in a hot neighbourhood"
    return f"its island of {number} neurons had no way out"
