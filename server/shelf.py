"""The engrams that are open, by name: opened when they are first asked for, closed when nobody has for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson

from engramdb.engram import Engram
from engramdb.server.desk import Desk
from engramdb.server.hub import Hub
from engramdb.server.limits import MEBI, Limits
from engramdb.server.names import Root, write_durably
from engramdb.server.problems import Problem, stopping

T = TypeVar("T")
MAIN = "main"
_LEAST_MEMORY = 16 * MEBI
_log = logging.getLogger("engramdb.server")


class Shelf:
    """``memory``: bytes for all engrams together; ``each``: for one, which fixes how many can be open at once."""

    def __init__(self, root: Root, limits: Limits, *, memory: int, each: int, threads: int, durability: str) -> None:
        self.root, self.limits = root, limits
        self.memory, self.each = memory, max(_LEAST_MEMORY, min(each, memory))
        self._threads, self._durability = threads, durability
        self._desks: dict[str, Desk] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self.leaving = False
        self._heads_file = root.own / "branches.json"
        self._heads: dict[str, str] = {}
        if self._heads_file.is_file():
            self._heads = orjson.loads(self._heads_file.read_bytes())

    # ---- what is open

    @property
    def desks(self) -> dict[str, Desk]:
        """The open ones, by name."""
        return dict(self._desks)

    def branch(self, name: str) -> str:
        """The branch that is worked on."""
        return self._heads.get(name, MAIN)

    def turn(self, name: str) -> asyncio.Lock:
        """Held while an engram is opened, closed, dropped, or changes its branch."""
        return self._turns.setdefault(name, asyncio.Lock())

    async def desk(self, name: str) -> Desk:
        """The desk of an engram, which is opened if it is not. Raises what opening does."""
        desk = self._desks.get(name)
        if desk is not None and desk.open:
            return desk
        async with self.turn(name):
            return await self._open(name)

    async def _open(self, name: str) -> Desk:
        desk = self._desks.get(name)
        if desk is not None and desk.open:
            return desk
        if self.leaving:
            raise stopping()
        path = await asyncio.to_thread(self.root.existing, name)
        await self._make_room()
        desk = Desk(
            name, path, branch=self.branch(name), memory=self.each, threads=self._threads,
            durability=self._durability, waiting=self.limits.waiting, hub=Hub(),
        )  # fmt: skip
        self._desks[name] = desk
        try:
            await desk.write(lambda _: None)
        except asyncio.CancelledError:  # the service stops, and closes the desk, whose thread is still opening
            raise
        except BaseException:
            self._desks.pop(name, None)
            await desk.close()
            raise
        _log.info("opened", extra={"engram": name})
        return desk

    async def _make_room(self) -> None:
        """Close whoever was not asked for longest, until one more fits into the memory."""
        while (len(self._desks) + 1) * self.each > self.memory and self._desks:
            idle = [desk for desk in self._desks.values() if not desk.busy]
            if not idle:
                raise Problem(
                    503, "too-many-requests",
                    f"{len(self._desks)} engrams are at work, for which --memory and --engram-memory leave room",
                    headers={"Retry-After": "5"},
                )  # fmt: skip
            await self.close(min(idle, key=lambda desk: desk.used_at).name)

    async def close(self, name: str) -> None:
        """Close an engram: it is checkpointed, and other processes may write it."""
        desk = self._desks.get(name)
        if desk is not None:
            desk.hub.close()
            await desk.close()
            if self._desks.get(name) is desk:
                del self._desks[name]
            _log.info("closed", extra={"engram": name})

    def leave(self) -> None:
        """Open nothing any more, and let streams end."""
        self.leaving = True
        for desk in self._desks.values():
            desk.hub.close()

    async def close_all(self, seconds: float) -> list[str]:
        """Close all; each run ends at a tick. The names of those that were still held up after so many ``seconds``."""
        closing = {asyncio.create_task(self.close(name)): desk for name, desk in self.desks.items()}
        pending = set(closing)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=seconds)
            if all(closing[task].held_up for task in pending):
                break
        return [closing[task].name for task in pending]

    async def tidy(self) -> None:
        """Close, now and then, what nobody asks for."""
        while True:
            await asyncio.sleep(min(5.0, self.limits.idle_seconds / 4))
            for name, desk in self.desks.items():
                if self._idle(desk):
                    async with self.turn(name):
                        if self._idle(desk):  # nobody has come meanwhile
                            await self.close(name)

    def _idle(self, desk: Desk) -> bool:
        return not desk.busy and time.monotonic() - desk.used_at > self.limits.idle_seconds

    # ---- what is asked

    async def read(self, name: str, work: Callable[[Engram], T], seconds: float | None = None) -> T:
        """What ``work`` returns of the present, at the end of a tick; a question may take so many ``seconds``."""
        return await (await self.desk(name)).read(work, seconds)

    async def write(self, name: str, work: Callable[[Engram], T], seconds: float | None = None) -> T:
        """What ``work`` returns, in its turn; ``seconds`` as of :meth:`read`, for a question that needs its turn."""
        desk = await self.desk(name)
        return await desk.write(work, seconds)

    async def tell(self, name: str) -> None:
        """Tell listeners how the engram stands, where there are any."""
        desk = self._desks.get(name)
        if desk is not None and desk.hub.listeners:
            desk.hub.change(await desk.read(lambda e: standing(e, desk)))

    def no_run(self, name: str) -> None:
        """Raise a conflict where a run is going on, which what is asked would pull the ground from under."""
        desk = self._desks.get(name)
        if desk is not None and desk.running is not None:
            raise Problem(409, "busy", f'a run of "{name}" is going on; wait for it, or cancel its job')

    async def checkout(self, name: str, branch: str, check: Callable[[Path], Any]) -> None:
        """Work on another branch from now on; ``check(path)`` raises where there is none."""
        async with self.turn(name):
            self.no_run(name)
            path = await asyncio.to_thread(self.root.existing, name)
            await asyncio.to_thread(check, path)
            await self.close(name)
            await self._remember(name, branch)
            await self._open(name)

    async def drop(self, name: str) -> Path:
        """Close an engram and move it to the trash; where it is now."""
        async with self.turn(name):
            self.no_run(name)
            await asyncio.to_thread(self.root.existing, name)
            # whoever else writes it would go on writing in the trash: only its writer may drop it
            await self._open(name)
            await self.close(name)
            there = await asyncio.to_thread(self.root.trash, name)
            await self._remember(name, MAIN)
            return there

    async def _remember(self, name: str, branch: str) -> None:
        heads = {**self._heads, name: branch}
        if branch == MAIN:
            heads.pop(name, None)
        if heads != self._heads:
            await asyncio.to_thread(write_durably, self._heads_file, orjson.dumps(heads))
            self._heads = heads


def standing(engram: Engram, desk: Desk) -> dict[str, Any]:
    """How an engram stands, as its listeners are told."""
    newest = engram.newest_reading
    return {
        "neurons": len(engram),
        "complexity": None if newest is None else newest.complexity,
        "topology": None if newest is None else newest._asdict(),
        "running": getattr(desk.running, "job", None),
        "job": getattr(desk.running, "job", None),
        "tick": engram.tick,
        "commit": str(engram.commit.number),
        "branch": engram.branch_name,
        "uncommitted": engram.uncommitted,
    }
