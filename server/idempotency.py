"""Idempotency keys: a write that is sent twice with the same ``Idempotency-Key`` is done once.

A file says that a request was begun, before it is done, and what was answered, after. The same key with another request
is refused; one that was begun before the service died is told as what it is: not known.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from engramdb.server.names import write_durably
from engramdb.server.problems import Problem

KEPT_S = 86400.0
MOST_BODY = 1 << 20
"""A longer answer is not kept: a replay gets a problem that says so."""


@dataclass(frozen=True)
class Answered:
    """What was answered the first time."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Idempotency:
    """``begin`` and ``end`` look at the disk; the event loop calls them in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "idempotency"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.going_on: set[str] = set()

    @staticmethod
    def place(owner: str, key: str) -> str:
        """The name under which a key of one of those who have keys is kept."""
        return hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()

    @staticmethod
    def fingerprint(method: str, target: bytes, body: bytes) -> str:
        """What makes two requests the same."""
        return hashlib.sha256(b"\0".join([method.encode(), target, body])).hexdigest()

    def begin(self, place: str, fingerprint: str) -> Answered | None:
        """None where it is to be done now; the answer where it was done. Raises a problem where neither can be said."""
        path = self._folder / place
        try:
            found: dict[str, Any] = orjson.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            found = {}
        if found and time.time() - found["time"] < KEPT_S:
            if found["fingerprint"] != fingerprint:
                raise Problem(
                    409, "idempotency-conflict", "the Idempotency-Key was used for another request; take a new one"
                )
            if found["state"] == "begun":
                raise Problem(
                    409, "idempotency-unknown",
                    "the request was begun, and the service stopped before it was answered; look whether it was done",
                )  # fmt: skip
            if found["body"] is None:
                raise Problem(409, "not-kept", "the request was done, but its answer was too long to be kept")
            headers = [(name.encode(), value.encode()) for name, value in found["headers"]]
            return Answered(found["status"], headers, base64.b64decode(found["body"]))
        write_durably(path, orjson.dumps({"fingerprint": fingerprint, "state": "begun", "time": time.time()}))
        return None

    def end(self, place: str, fingerprint: str, answer: Answered | None) -> None:
        """Keep what was answered; None forgets the request, which has done nothing."""
        path = self._folder / place
        if answer is None:
            path.unlink(missing_ok=True)
            return
        body = base64.b64encode(answer.body).decode() if len(answer.body) <= MOST_BODY else None
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        content = {
            "fingerprint": fingerprint, "state": "done", "time": time.time(), "status": answer.status,
            "headers": headers, "body": body,
        }  # fmt: skip
        write_durably(path, orjson.dumps(content))

    def prune(self) -> None:
        """Forget what is too old to be replayed."""
        oldest = time.time() - KEPT_S
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
