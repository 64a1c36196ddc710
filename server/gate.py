"""The gate: what every request passes before it is answered, and every answer before it is sent.

Pure ASGI, since it is in the way of all: it gives the request an id, looks at its host, origin and key, bounds its
body, answers point lookups itself, turns errors into problems, and logs and counts what happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engramdb.server import keys, logs
from engramdb.server.hosts import PREFLIGHT
from engramdb.server.problems import MEDIA_TYPE, Problem, problem_of, stopping
from engramdb.server.service import Service
from engramdb.server.text import check_address

SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
)
_NO_STORE = (b"cache-control", b"no-store")
_PUBLIC = re.compile(
    r"/|/healthz|/readyz|/docs|/openapi\.json|/problems/[^/]*|/favicon\.ico|/(?:console|pages)(?:/.*)?"
)
_ASKS = re.compile(r"/v1/engrams/[^/]+/(?:query|neurons:batch)")
_OWNER = re.compile(r"/v1/engrams|/v1/import|/v1/engrams/[^/]+")
_POINT = re.compile(r"/v1/engrams/([^/]+)/neurons/([^?]{1,400})")
_PROBES = frozenset({"/healthz", "/readyz"})
_log = logging.getLogger("engramdb.server.requests")


def scope_of(method: str, path: str) -> keys.Scope:
    """What a key must reach to: making and dropping whole engrams is the administrator's."""
    if method in ("GET", "HEAD") or (method == "POST" and _ASKS.fullmatch(path)):
        return "read"
    return "admin" if _OWNER.fullmatch(path) else "write"


class Gate:
    """Around the application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._working = 0
        # ids need not be secret, and asking the system for each lets go of the interpreter's lock
        self._ids = random.Random()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSockets here: whoever tries one is hung up on
        began = time.perf_counter()
        request_id = f"{self._ids.getrandbits(64):016x}"
        headers = {name.lower(): value for name, value in scope["headers"]}
        scope["state"] = {**scope.get("state", {}), "request": request_id, "owner": ""}
        answer = _Answer(send, request_id, api=scope["path"].startswith(("/v1", "/metrics")))
        if b"origin" in headers:
            answer.add(self._service.hosts.shared(headers))
        self._working += 1
        task = asyncio.current_task()
        assert task is not None, "requests are tasks of the server's"
        self._service.waiting[task] = answer
        try:
            await self._pass(scope, receive, answer, headers)
        except asyncio.CancelledError:
            if not self._service.closing.is_set():
                raise
            task.uncancel()
            asks = scope_of(scope["method"], scope["path"]) == "read"
            await self._fail(answer, scope, stopping("ask again" if asks else "look whether it was done before"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            await self._fail(answer, scope, error)
        finally:
            self._working -= 1
            del self._service.waiting[task]
            self._note(scope, answer, began)

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer, headers: dict[bytes, bytes]) -> None:
        service, path, method = self._service, scope["path"], scope["method"]
        if self._working > service.limits.requests and path not in _PROBES:
            raise Problem(
                429, "too-many-requests", f"{self._working} requests are at work", headers={"Retry-After": "1"}
            )
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > service.limits.path_bytes:
            raise Problem(414, "too-large", f"a path with its query has at most {service.limits.path_bytes:,} bytes")
        check_address(scope.get("raw_path", b""), scope["query_string"])
        if "\0" in path:
            raise Problem(400, "bad-request", "the path has a NUL in it")
        if path not in _PROBES:
            service.hosts.check(headers)
            if method == "OPTIONS" and service.hosts.shared(headers):
                await answer.whole(204, b"", headers=PREFLIGHT)
                return
            self._check_key(scope, headers, method, path)
        if method == "GET" and not scope["query_string"] and (found := _POINT.fullmatch(path)):
            name, neuron = found.groups()
            if not neuron.endswith("/synapses"):
                desk = await service.shelf.desk(name)
                scope["template"] = "/v1/engrams/{name}/neurons/{id}"
                await answer.whole(200, await desk.look_up(neuron))
                return
        bounded = self._bounded(receive, headers, path)
        key = headers.get(b"idempotency-key")
        if key is not None and method in ("POST", "DELETE") and path.startswith("/v1/"):
            await service.once(self._app, scope, bounded, answer, key)
        else:
            await self._app(scope, bounded, answer.send)

    def _check_key(self, scope: Scope, headers: dict[bytes, bytes], method: str, path: str) -> None:
        ring = self._service.ring
        if not ring.any or (method in ("GET", "HEAD") and _PUBLIC.fullmatch(path)):
            return
        given = headers.get(b"authorization", b"").decode("latin-1")
        kind, _, text = given.partition(" ")
        if kind.lower() != "bearer":
            text = headers.get(b"api-key", b"").decode("latin-1")
        if not text:
            raise Problem(
                401, "unauthorized", "give a key as Authorization: Bearer edb_... or api-key: edb_...",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        key = ring.find(text.strip())
        if key is None:
            raise Problem(
                401, "unauthorized", "there is no such key, or it has expired", headers={"WWW-Authenticate": "Bearer"}
            )
        needed = scope_of(method, path)
        if not key.reaches(needed):
            raise Problem(403, "forbidden", f'this needs a key of scope {needed}; "{key.name}" has {key.scope}')
        scope["state"]["owner"] = key.name
        scope["state"]["key"] = key

    def _bounded(self, receive: Receive, headers: dict[bytes, bytes], path: str) -> Receive:
        """``receive``, which raises a problem where the body becomes too long."""
        limits = self._service.limits
        upload = path == "/v1/import"
        most = limits.upload_bytes if upload else limits.body_bytes
        told = headers.get(b"content-length")
        if told is not None and (not told.isdigit() or int(told) > most):
            raise Problem(413, "too-large", f"a body has at most {most:,} bytes here")
        has_body = (told is not None and told != b"0") or b"transfer-encoding" in headers
        if has_body and not upload:
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json" and not kind.endswith(b"+json"):
                raise Problem(
                    415, "unsupported-media-type",
                    f"the body must be application/json, not {kind.decode('latin-1')[:100] or 'of no type'}",
                )  # fmt: skip
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Problem(415, "unsupported-media-type", "send the body as it is, without Content-Encoding")
        got = 0

        async def bounded() -> Message:
            nonlocal got
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > most:
                    raise Problem(413, "too-large", f"a body has at most {most:,} bytes here")
            return message

        return bounded

    async def _fail(self, answer: _Answer, scope: Scope, error: Exception) -> None:
        problem = problem_of(error, str(self._service.root.path))
        if problem.slug == "internal":
            _log.error("failed", exc_info=error, extra={"request": answer.request_id, "path": scope["path"]})
        if answer.status:
            return  # what has begun to be sent cannot be taken back: the connection ends where it is
        await answer.whole(
            problem.status, problem.body(answer.request_id), MEDIA_TYPE.encode(),
            [(name.lower().encode(), value.encode()) for name, value in (problem.headers or {}).items()],
        )  # fmt: skip

    def _note(self, scope: Scope, answer: _Answer, began: float) -> None:
        seconds = time.perf_counter() - began
        route = scope.get("template") or getattr(scope.get("route"), "path", None) or "other"
        self._service.metrics.count(scope["method"], route, answer.status or 499, seconds)
        log = logs.requests
        if log is None or scope["path"] in _PROBES:
            return
        client = scope.get("client")
        log.tell(
            time.time(),
            {
                "level": "info", "event": "request", "request": answer.request_id, "method": scope["method"],
                "path": scope["path"], "status": answer.status or 499, "ms": round(seconds * 1000, 3),
                "bytes": answer.sent, "key": scope["state"]["owner"], "client": client[0] if client else "",
            },
        )  # fmt: skip


class _Answer:
    """What is sent to the client, with the headers that all answers have."""

    def __init__(self, send: Send, request_id: str, *, api: bool) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0
        self.sent = 0
        self._own = [(b"x-request-id", request_id.encode()), *SECURITY, *([_NO_STORE] if api else [])]

    def add(self, headers: list[tuple[bytes, bytes]]) -> None:
        """More headers of its own."""
        self._own += headers

    async def send(self, message: Message) -> None:
        """In place of the server's."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message.get("headers", [])}
            more = [header for header in self._own if header[0] not in given or header[0] == b"vary"]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def whole(
        self,
        status: int,
        body: bytes,
        kind: bytes = b"application/json",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Send all of an answer."""
        length = (b"content-length", str(len(body)).encode())
        given: list[Any] = [(b"content-type", kind), length, *(headers or [])]
        await self.send({"type": "http.response.start", "status": status, "headers": given})
        await self.send({"type": "http.response.body", "body": body})
