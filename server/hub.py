"""What a running engram tells those who listen: they get what they can take, and the engine waits for nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engramdb.address import IdArray
from engramdb.engram import Engram
from engramdb.newest import Newest
from engramdb.run import Boundary, Int64Array

_KEPT = 64  # stretches of ticks that wait for one listener; the oldest go first


@dataclass(frozen=True)
class Told:
    """A stretch of ticks: the last one, spikes in each, some of the spikes, and how all stands at its end.

    ``layers``: name and neurons of each; ``fired``: int64 (m, layers), their spikes in the m ticks in which there were
    any, whose places in ``counts`` are ``at``. ``newest``: the newest reading of the topology that was ever taken.
    """

    tick: int
    counts: Int64Array
    at: Int64Array
    fired: Int64Array
    layers: tuple[tuple[str, int], ...]
    spikes: tuple[Int64Array, IdArray] | None
    stats: dict[str, Any]
    newest: Newest | None


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

    def tell(self, boundary: Boundary, stats: dict[str, Any], engram: Engram) -> None:
        """Tell all of a stretch of ticks; nobody is waited for."""
        if not self.listeners:
            return
        wanted = max(listener.spikes for listener in self.listeners)
        spikes = _some(boundary, wanted) if wanted else None
        at, fired = _by_layer(boundary, [layer.index for layer in engram.spec.layers])
        told = Told(
            boundary.tick, boundary.counts, at, fired, layers_of(engram), spikes, stats, engram.newest_reading
        )  # fmt: skip
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


def layers_of(engram: Engram) -> tuple[tuple[str, int], ...]:
    """Name and neurons of each layer, in the order of the spec."""
    sizes = engram.sizes
    return tuple(
        (layer.name, sum(size for (index, _), size in sizes.items() if index == layer.index))
        for layer in engram.spec.layers
    )


def _by_layer(boundary: Boundary, indices: list[int]) -> tuple[Int64Array, Int64Array]:
    """Places of ticks with spikes (m,), and spikes of each layer in them (m, layers)."""
    at = np.flatnonzero(boundary.counts)
    counts = boundary.counts[at]
    if len(indices) == 1 or not len(at):
        return at, counts.reshape(-1, 1) if len(indices) == 1 else np.empty((0, len(indices)), np.int64)
    order = np.argsort(indices)
    layer = order[np.searchsorted(np.array(indices)[order], boundary.layers())]
    row = np.repeat(np.arange(len(at)), counts)
    fired = np.bincount(row * len(indices) + layer, minlength=len(at) * len(indices))
    return at, fired.reshape(len(at), len(indices))


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
