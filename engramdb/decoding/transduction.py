"""The transduction decoder: activity back into symbols, one event for each stretch of ticks that says something."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engramdb.address import IdArray, as_ids
from engramdb.decoding.spikes import batches
from engramdb.errors import InvalidInput


@dataclass(frozen=True)
class Event:
    """``symbol`` was said from ``tick`` on. ``score``: the share of its group that fired; ``margin``: how much more
    than of the next best."""

    tick: int
    symbol: Hashable
    score: float
    margin: float


class Transducer:
    """Reads symbols from the neurons that stand for them.

    ``groups``: neurons by symbol; those that :class:`engramdb.encoding.SymbolGroups` drives, or any that answer to
    them. In each stretch of ``ticks_per_symbol`` ticks the symbol of whose group the largest share fired is said, if
    that share is at least ``threshold``; of equal ones the first in ``groups``.
    """

    def __init__(self, groups: Mapping[Hashable, Any], *, ticks_per_symbol: int = 10, threshold: float = 0.5) -> None:
        self._groups: dict[Hashable, IdArray] = {symbol: np.unique(as_ids(ids)) for symbol, ids in groups.items()}
        if empty := [symbol for symbol, ids in self._groups.items() if len(ids) == 0]:
            raise InvalidInput(f"the group of {empty[0]!r} has no neurons")
        if not self._groups or ticks_per_symbol < 1 or not 0 < threshold <= 1:
            raise InvalidInput("give groups, ticks_per_symbol from 1, and a threshold above 0 and up to 1")
        self._ticks, self._threshold = ticks_per_symbol, threshold
        self._everyone = np.unique(np.concatenate(list(self._groups.values())))
        self._members = [np.searchsorted(self._everyone, ids) for ids in self._groups.values()]

    def decode(self, spikes: Any, first_tick: int, symbols: int) -> list[Event]:
        """Events of the ``symbols`` stretches from ``first_tick`` on; stretches that say nothing have none."""
        fired = np.zeros((symbols, len(self._everyone)), dtype=bool)
        for tick, who in batches(spikes, (first_tick, first_tick + symbols * self._ticks - 1)):
            place = np.minimum(np.searchsorted(self._everyone, who), len(self._everyone) - 1)
            there = self._everyone[place] == who
            fired[(tick[there] - first_tick) // self._ticks, place[there]] = True
        names = list(self._groups)
        shares = np.stack([fired[:, members].mean(axis=1) for members in self._members], axis=1)
        events = []
        for i, row in enumerate(shares):
            best = int(row.argmax())
            if row[best] >= self._threshold:
                margin = float(row[best] - np.delete(row, best).max(initial=0.0))
                events.append(Event(first_tick + i * self._ticks, names[best], float(row[best]), margin))
        return events
