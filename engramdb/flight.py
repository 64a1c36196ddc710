"""Spikes under way: who fired in the last ticks, for as long as one of their synapses may still have to deliver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.state import joined
from engramdb.workingset import Int64Array, WorkingSet


class Flight:
    """Slots by the tick in which they fired."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set
        self._fired: dict[int, Int64Array] = {}

    @property
    def longest_delay(self) -> int:
        delays = self._working_set.delays
        return int(delays[-1]) if len(delays) else 0

    @property
    def only_delay(self) -> int | None:
        """The delay in ticks of all synapses, 0 where there are none; None where they differ."""
        delays = self._working_set.delays
        return self.longest_delay if len(delays) < 2 else None

    def fired(self, tick: int) -> Int64Array:
        """Slots that fired in ``tick``, if their spikes may still be under way."""
        return self._fired.get(tick, np.empty(0, dtype=np.int64))

    def due(self, tick: int) -> Iterator[tuple[Int64Array, int]]:
        """``(slots that fired, delay)`` of all spikes that arrive in ``tick``."""
        for delay in self._working_set.delays:
            fired = self._fired.get(tick - int(delay))
            if fired is not None and len(fired):
                yield fired, int(delay)

    def emit(self, tick: int, fired: Int64Array) -> None:
        """Let the spikes of ``tick`` travel, and forget those that have arrived everywhere by now."""
        if len(fired) and self.longest_delay:
            self._fired[tick] = fired
        self._fired.pop(tick - self.longest_delay, None)

    def held(self) -> list[Int64Array]:
        """Slots that must stay where they are."""
        return list(self._fired.values())

    def freeze(self) -> dict[int, npt.NDArray[np.uint64]]:
        """A copy of the present, for :func:`state_of`."""
        return {tick: self._working_set.slots.id[fired] for tick, fired in self._fired.items()}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for tick in np.unique(state["flight_tick"]):
            fired = state["flight_id"][state["flight_tick"] == tick]
            self._fired[int(tick)] = self._working_set.hold(fired)


def state_of(frozen: Mapping[int, npt.NDArray[np.uint64]]) -> dict[str, npt.NDArray[Any]]:
    """``flight_tick`` int64 sorted, ``flight_id`` uint64 sorted within a tick."""
    return {
        "flight_tick": joined(np.int64, (np.full(len(frozen[tick]), tick) for tick in sorted(frozen))),
        "flight_id": joined(np.uint64, (np.sort(frozen[tick]) for tick in sorted(frozen))),
    }
