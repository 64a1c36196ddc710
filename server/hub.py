"""What a running engram tells those who listen: they get what they can take, and the engine waits for nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engramdb.address import IdArray
from engramdb.run import Boundary, Int64Array

_KEPT = 64  # stretches of ticks that wait for one listener; the oldest go first


@dataclass(frozen=True)
class Told:
    """A stretch of ticks: the last one, spikes in each, some of the spikes, and the counters at its end."""

    tick: int
    counts: Int64Array
    spikes: tuple[Int64Array, IdArray] | None
    stats: dict[str, Any]


@dataclass(eq=False)
class Listener:
    """One reader. ``spikes``: how many of a stretch it wants; ``lost``: ticks of which it was not told."""

    loop: asyncio.AbstractEventLoop
    spikes: int
    told: deque[Told] = field(default_factory=deque)
    states: deque[dict[str, Any]] = field(default_factory=deque)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    lost: int = 0
    over: bool = False

    def take(self) -> tuple[list[Told], list[dict[str, Any]], int]:
        """All that has been told since the last time, and how many ticks were lost in between."""
        self.awake.clear()
        told, states = [], []
        while self.told:
            told.append(self.told.popleft())
        while self.states:
            states.append(self.states.popleft())
        lost, self.lost = self.lost, 0
        return told, states, lost


class Hub:
    """The listeners of one engram. ``tell`` is called by the desk's thread, the rest in the event loop."""

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()

    def add(self, spikes: int) -> Listener:
        """Somebody listens from now on."""
        listener = Listener(asyncio.get_running_loop(), spikes)
        self.listeners = (*self.listeners, listener)
        return listener

    def remove(self, listener: Listener) -> None:
        """They have gone."""
        self.listeners = tuple(one for one in self.listeners if one is not listener)

    def tell(self, boundary: Boundary, stats: dict[str, Any]) -> None:
        """Tell all of a stretch of ticks; nobody is waited for."""
        if not self.listeners:
            return
        wanted = max(listener.spikes for listener in self.listeners)
        spikes = _some(boundary, wanted) if wanted else None
        told = Told(boundary.tick, boundary.counts, spikes, stats)
        for listener in self.listeners:
            listener.told.append(told)
            if len(listener.told) > _KEPT:
                with contextlib.suppress(IndexError):  # it has just taken all
                    listener.lost += len(listener.told.popleft().counts)
            _wake(listener)

    def change(self, state: dict[str, Any]) -> None:
        """Tell all that a run, a commit or a branch has changed."""
        for listener in self.listeners:
            if len(listener.states) < _KEPT:
                listener.states.append(state)
            _wake(listener)

    def close(self) -> None:
        """Say good-bye to all."""
        for listener in self.listeners:
            listener.over = True
            _wake(listener)


def _wake(listener: Listener) -> None:
    if not listener.awake.is_set():
        listener.loop.call_soon_threadsafe(listener.awake.set)


def _some(boundary: Boundary, most: int) -> tuple[Int64Array, IdArray]:
    """Up to ``most`` spikes of a stretch, evenly taken."""
    ticks, ids = boundary.spikes()
    if len(ids) > most:
        chosen = np.linspace(0, len(ids) - 1, most).astype(np.int64)
        ticks, ids = ticks[chosen], ids[chosen]
    return ticks, ids
