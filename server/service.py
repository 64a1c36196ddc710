"""The service: what its parts are, how they start and how they stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import Coroutine
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope

from engramdb.errors import EngramError, Locked
from engramdb.server.hosts import Hosts
from engramdb.server.idempotency import Answered, Idempotency
from engramdb.server.jobs import Job, Jobs
from engramdb.server.keys import KeyFile, KeyRing
from engramdb.server.metrics import Metrics
from engramdb.server.names import Root
from engramdb.server.problems import Problem
from engramdb.server.readers import Readers
from engramdb.server.settings import Settings
from engramdb.server.shelf import Shelf

_FORGET_S = 3600.0  # from one look for what is too old to the next
_ANSWER_S = 2.0  # requests have so long to be answered once the service stops
_CLOSE_S = 3.0  # and threads so long to come back from what cannot be interrupted
_KEYS_SEEN_S = 2.0  # at most, until a revoked key is one no more
_log = logging.getLogger("engramdb.server")


class Service:
    """Everything that outlives a request. Made before the event loop runs; :meth:`start` and :meth:`stop` within it."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.limits = settings, settings.limits
        self.root = Root(settings.root)
        self.root.own.mkdir(mode=0o700, exist_ok=True)
        self._lock = (self.root.own / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise Locked(f"another service runs over {self.root.path}; stop it, or serve another folder") from None
        self.hosts = Hosts(settings.host, settings.hosts, settings.origins)
        self.ring = KeyRing(KeyFile(self.root.path))
        self.metrics = Metrics()
        self.shelf = Shelf(
            self.root, self.limits, memory=settings.memory, each=settings.each, threads=settings.threads,
            durability=settings.durability,
        )  # fmt: skip
        self.readers = Readers(self.limits)
        self.jobs = Jobs(self.root.own)
        self.idempotency = Idempotency(self.root.own)
        self.metrics.watch(self.shelf, self.jobs)
        self.closing = asyncio.Event()
        self.ready = False
        self.streams = 0
        self.waiting: dict[asyncio.Task[Any], Any] = {}  # of each request that is at work, its answer
        self.left_behind = False  # whether a thread still computes for a service that has stopped
        self._tasks: list[asyncio.Task[None]] = []
        self._beside: set[asyncio.Task[None]] = set()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside; what goes wrong in it is logged."""
        task = asyncio.create_task(self._logged(work))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    @staticmethod
    async def _logged(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (EngramError, Problem) as error:
            _log.warning("%s", error)

    async def start(self) -> None:
        """Take up what an earlier service left."""
        from engramdb.server.routes.resuming import resume

        self._tasks = [
            asyncio.create_task(self.shelf.tidy(), name="tidy"),
            asyncio.create_task(self._watch_keys(), name="keys"),
            asyncio.create_task(self._forget(), name="forget"),
        ]
        again = await asyncio.to_thread(self.jobs.load)
        await asyncio.to_thread(self.idempotency.prune)
        for job in again:
            self._tasks.append(asyncio.create_task(self._again(job, resume), name=f"resume {job.id}"))
        self.ready = True
        _log.info("ready")

    async def _again(self, job: Job, resume: Any) -> None:
        try:
            await resume(self, job)
        except (EngramError, Problem, OSError) as error:
            await asyncio.to_thread(self.jobs.ended, job, None, error)

    async def _watch_keys(self) -> None:
        while True:
            await asyncio.sleep(_KEYS_SEEN_S)
            try:
                await asyncio.to_thread(self.ring.refresh)
            except (EngramError, OSError) as error:
                _log.error("the keys stay as they were: %s", error)

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_S)
            await asyncio.to_thread(self.jobs.prune)
            await asyncio.to_thread(self.idempotency.prune)

    def leave(self) -> None:
        """Streams end now, and nothing long begins: the service is about to stop. Who waits is answered soon."""
        self.ready = False
        if not self.closing.is_set():
            asyncio.get_running_loop().call_later(_ANSWER_S, self._hang_up)
        self.jobs.closing.set()
        self.closing.set()
        self.shelf.leave()

    def _hang_up(self) -> None:
        """Whoever waits for an engram that is still being opened, or for a kernel, gets 503 instead."""
        for task, answer in self.waiting.items():
            if not answer.status:
                task.cancel()

    async def stop(self) -> None:
        """End runs at a tick, checkpoint, and let go of everything.

        What computes on and cannot be interrupted is left behind, as a kill would: the journal has every acknowledged
        command, and jobs go on at the next start.
        """
        self.leave()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        held_up = await self.shelf.close_all(_CLOSE_S)
        jobs = await asyncio.to_thread(self.jobs.close, _CLOSE_S)
        readers = await asyncio.to_thread(self.readers.close, _CLOSE_S)
        self.left_behind = bool(held_up) or not (jobs and readers)
        for name in held_up:
            _log.info("left without a checkpoint, which the next opening makes up for", extra={"engram": name})
        self.unlock()
        _log.info("stopped")

    def unlock(self) -> None:
        """Another service may run over the folder."""
        self._lock.close()

    # ---- requests that are done once

    async def once(self, app: ASGIApp, scope: Scope, receive: Receive, answer: Any, key: bytes) -> None:
        """Let a request with an ``Idempotency-Key`` be done, or answer what was answered before."""
        text = key.decode("latin-1")
        if not 1 <= len(text) <= 255 or not text.isprintable():
            raise Problem(400, "bad-request", "an Idempotency-Key has 1 to 255 printable characters")
        upload = scope["path"] == "/v1/import"
        headers = dict(scope["headers"])
        body = headers.get(b"content-length", b"") if upload else await _whole(receive)
        place = Idempotency.place(scope["state"]["owner"], text)
        target = scope["path"].encode() + b"?" + scope["query_string"]
        fingerprint = Idempotency.fingerprint(scope["method"], target, body)
        if place in self.idempotency.going_on:
            raise Problem(
                409, "idempotency-in-progress", "the same Idempotency-Key is being worked on; ask again",
                headers={"Retry-After": "1"},
            )  # fmt: skip
        self.idempotency.going_on.add(place)
        try:
            before = await asyncio.to_thread(self.idempotency.begin, place, fingerprint)
            if before is not None:
                replay = [*before.headers, (b"idempotent-replayed", b"true")]
                await answer.send({"type": "http.response.start", "status": before.status, "headers": replay})
                await answer.send({"type": "http.response.body", "body": before.body})
                return
            await self._first_time(app, scope, receive if upload else _again(body), answer, (place, fingerprint))
        finally:
            self.idempotency.going_on.discard(place)

    async def _first_time(
        self, app: ASGIApp, scope: Scope, receive: Receive, answer: Any, place: tuple[str, str]
    ) -> None:
        """Do it, keep what is answered, and only then send that: who has the answer can rely on a replay."""
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        try:
            await app(scope, receive, collect)
        except Problem as problem:
            if problem.status < 500:
                await asyncio.to_thread(self.idempotency.end, *place, None)
            raise
        status = start["status"]
        body = b"".join(parts)
        if status < 300:
            shown = (b"content-type", b"location", b"content-encoding", b"content-length", b"vary")
            headers = [(name, value) for name, value in start.get("headers", []) if name.lower() in shown]
            await asyncio.to_thread(self.idempotency.end, *place, Answered(status, headers, body))
        elif status < 500:
            await asyncio.to_thread(self.idempotency.end, *place, None)
        await answer.send(start)
        await answer.send({"type": "http.response.body", "body": body})


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "bad-request", "the request was cut short")
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes) -> Receive:
    """A receive that has the whole body."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # who sends the request is not asked twice whether it has gone
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
