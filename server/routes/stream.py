"""The stream: what a running engram does, as server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from engramdb.server.answer import dumps
from engramdb.server.desk import Desk
from engramdb.server.hub import Listener, Told
from engramdb.server.problems import Problem
from engramdb.server.routes.common import EngramName, service_of
from engramdb.server.service import Service
from engramdb.server.shelf import standing

router = APIRouter(prefix="/v1/engrams/{name}", tags=["stream"])
_HEARTBEAT_S = 15.0
_A_SECOND = 100
"""Events that one reader gets at most; a faster engine loses detail, which is counted."""


@router.get("/stream")
async def stream(
    request: Request,
    name: EngramName,
    spikes: Annotated[int, Query(ge=0, le=10_000, description="Spikes in an event, at most.")] = 0,
    every: Annotated[int, Query(ge=1, le=1_000_000, description="One event for so many ticks.")] = 1,
) -> StreamingResponse:
    """Ticks as they happen. Who reads slowly is told less, and how much less; the engine waits for nobody."""
    service = service_of(request)
    if service.streams >= service.limits.streams:
        raise Problem(429, "too-many-requests", f"{service.streams} streams are open", headers={"Retry-After": "5"})
    desk = await service.shelf.desk(name)
    first = await desk.read(lambda e: {**standing(e, desk), "dt_ms": e.spec.dt_ms})
    listener = desk.hub.add(spikes)
    service.streams += 1
    return StreamingResponse(
        _events(service, desk, listener, first, every, spikes), media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )  # fmt: skip


async def _events(
    service: Service, desk: Desk, listener: Listener, first: dict[str, Any], every: int, spikes: int
) -> AsyncIterator[bytes]:
    try:
        yield _event("state", first)
        shown = _Shown(every, spikes, first["dt_ms"] / 1000.0)
        while not (listener.over or service.closing.is_set()):
            try:
                await asyncio.wait_for(listener.awake.wait(), _HEARTBEAT_S)
            except TimeoutError:
                yield b": still there\n\n"
                continue
            told, states, lost = listener.take()
            text = [_event("state", state) for state in states]
            text += shown.events(told, lost)
            if text:
                yield b"".join(text)
            await asyncio.sleep(1.0 / _A_SECOND)
        yield _event("bye", {})
    finally:
        desk.hub.remove(listener)
        service.streams -= 1


def _event(kind: str, content: dict[str, Any], number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + dumps(content) + b"\n\n"


class _Shown:
    """Which ticks become events: of every so many the last, and no more in a second than a reader gets.

    An event stands for all ticks since the one before: its rate is their mean, its spikes are some of theirs all.
    """

    def __init__(self, every: int, spikes: int, dt_s: float) -> None:
        self._every, self._spikes, self._dt_s = every, spikes, dt_s
        self._room = float(_A_SECOND)
        self._at = time.monotonic()
        self._dropped = 0
        self._ticks = 0  # since the last event
        self._fired: npt.NDArray[np.int64] | None = None  # by layer, in these
        self._waiting = (np.empty(0, np.int64), np.empty(0, np.uint64))  # spikes since then

    def events(self, told: list[Told], lost: int) -> list[bytes]:
        """The events of some stretches of ticks."""
        now = time.monotonic()
        self._room = min(float(_A_SECOND), self._room + (now - self._at) * _A_SECOND)
        self._at = now
        self._dropped += lost
        due = [
            tick
            for stretch in told
            for tick in range(_first(stretch, self._every), stretch.tick + 1, self._every)
        ]  # fmt: skip
        chosen = due
        if len(due) > self._room:  # evenly, and the newest among them
            keep = max(1, int(self._room))
            chosen = [due[len(due) - 1 - (place * len(due)) // keep] for place in reversed(range(keep))]
        self._dropped += (len(due) - len(chosen)) * self._every
        self._room -= len(chosen)
        events, place = [], 0
        for stretch in told:
            begin = stretch.tick - len(stretch.counts) + 1
            counted = begin
            self._wait(stretch)
            while place < len(chosen) and chosen[place] <= stretch.tick:
                tick = chosen[place]
                self._count(stretch, counted - begin, tick - begin + 1)
                events.append(self._tick(stretch, tick))
                counted, place = tick + 1, place + 1
            self._count(stretch, counted - begin, len(stretch.counts))
        return events

    def _wait(self, stretch: Told) -> None:
        """Keep the spikes of a stretch for the next event: some, where they are too many for one."""
        if not self._spikes or stretch.spikes is None or not len(stretch.spikes[0]):
            return
        ticks, ids = (np.concatenate(pair) for pair in zip(self._waiting, stretch.spikes, strict=True))
        if len(ids) > 2 * self._spikes:
            some = np.linspace(0, len(ids) - 1, self._spikes).astype(np.int64)
            ticks, ids = ticks[some], ids[some]
        self._waiting = ticks, ids

    def _count(self, stretch: Told, first: int, end: int) -> None:
        """Add the ticks at places ``first``..``end - 1`` of a stretch."""
        a, b = np.searchsorted(stretch.at, (first, end))
        fired = stretch.fired[a:b].sum(axis=0)
        self._fired = fired if self._fired is None else self._fired + fired
        self._ticks += end - first

    def _tick(self, stretch: Told, tick: int) -> bytes:
        stats = stretch.stats
        fired = np.zeros(len(stretch.layers), np.int64) if self._fired is None else self._fired
        seconds = self._dt_s * self._ticks
        content: dict[str, Any] = {
            "tick": tick,
            "fired": int(stretch.counts[tick - stretch.tick - 1]),
            "rate_hz": _rate(int(fired.sum()), sum(neurons for _, neurons in stretch.layers) * seconds),
            "rates_hz": {
                name: _rate(spikes, neurons * seconds)
                for (name, neurons), spikes in zip(stretch.layers, fired.tolist(), strict=True)
            },
            "complexity": None if stretch.newest is None else stretch.newest.complexity,
            "topology": None if stretch.newest is None else stretch.newest._asdict(),
            "active": stats.get("active"),
            "charged": stats.get("charged"),
            "resident": stats.get("resident"),
            "bytes": stats.get("used_bytes"),
            "prefetch": {key: stats.get(key) for key in ("prefetched", "prefetch_hits", "hits", "misses")},
            "dropped": self._dropped,
        }
        if "void" in stats:
            content["void"] = stats["void"]
        if self._spikes:
            content["spikes"] = self._some(tick)
        self._dropped = self._ticks = 0
        self._fired = None
        return _event("tick", content, tick)

    def _some(self, tick: int) -> list[list[Any]]:
        """Up to so many of the spikes that wait, evenly taken of those up to ``tick``."""
        ticks, ids = self._waiting
        n = int(np.searchsorted(ticks, tick, side="right"))
        self._waiting = ticks[n:], ids[n:]
        ticks, ids = ticks[:n], ids[:n]
        if n > self._spikes:
            some = np.linspace(0, n - 1, self._spikes).astype(np.int64)
            ticks, ids = ticks[some], ids[some]
        return [[int(t), str(i)] for t, i in zip(ticks.tolist(), ids.tolist(), strict=True)]


def _rate(spikes: int, neuron_seconds: float) -> float:
    return spikes / neuron_seconds if neuron_seconds else 0.0


def _first(stretch: Told, every: int) -> int:
    """The first tick of a stretch that ``every`` divides."""
    begin = stretch.tick - len(stretch.counts) + 1
    return -(-begin // every) * every
