"""Errors as ``application/problem+json`` (RFC 9457): one stable type for each kind, and a pointer to the field."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException

from engramdb import errors

MEDIA_TYPE = "application/problem+json"

TITLES = {
    "bad-request": "The request cannot be read",
    "unauthorized": "A key is needed",
    "forbidden": "The key does not reach that far",
    "not-found": "There is no such thing",
    "no-such-route": "There is no such route",
    "no-such-engram": "There is no such engram",
    "method-not-allowed": "The route does not take this method",
    "not-acceptable": "No such form of the answer",
    "already-exists": "The name is taken",
    "conflict": "Something else is going on",
    "busy": "A run is going on",
    "read-only": "It is open for reading",
    "idempotency-conflict": "The key was used for another request",
    "idempotency-in-progress": "The same request is being done",
    "idempotency-unknown": "Whether it was done is not known",
    "stale-cursor": "The cursor's state is gone",
    "not-kept": "The result is not kept any more",
    "too-large": "The request is too large",
    "unsupported-media-type": "The body is of another type",
    "invalid-request": "A field is wrong",
    "invalid-input": "The request cannot be right",
    "invalid-id": "No such id can exist",
    "invalid-spec": "The spec is wrong",
    "invalid-name": "The name cannot be used",
    "locked": "Another process writes the engram",
    "too-many-requests": "Too many requests at once",
    "format-too-new": "Written by a newer version",
    "damaged": "Stored bytes are damaged",
    "disk-full": "The disk is full",
    "memory-budget": "The memory budget is too small",
    "unreachable": "An object store does not answer",
    "closing": "The service is stopping",
    "engram-closed": "The engram was closed; ask again",
    "timeout": "It took too long",
    "not-cancellable": "It cannot be stopped half-way",
    "cancelled": "It was cancelled",
    "interrupted": "The service stopped meanwhile",
    "wrong-host": "The Host header names another machine",
    "cross-site": "The request comes from another site",
    "no-cycle": "No growth cycle",
    "not-built-in": "This version cannot do that",
    "internal": "A fault of the service",
}

_OF_ERRORS: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.InvalidId, 422, "invalid-id"),
    (errors.InvalidSpec, 422, "invalid-spec"),
    (errors.ReadOnly, 409, "read-only"),
    (errors.HandleClosed, 503, "engram-closed"),
    (errors.InvalidInput, 422, "invalid-input"),
    (errors.NotAnEngram, 404, "no-such-engram"),
    (errors.NotFound, 404, "not-found"),
    (errors.AlreadyExists, 409, "already-exists"),
    (errors.FormatTooNew, 409, "format-too-new"),
    (errors.KernelMismatch, 409, "format-too-new"),
    (errors.Damaged, 500, "damaged"),
    (errors.DiskFull, 507, "disk-full"),
    (errors.Unreachable, 502, "unreachable"),
    (errors.Conflict, 409, "conflict"),
    (errors.Locked, 423, "locked"),
    (errors.BudgetExceeded, 507, "memory-budget"),
    (errors.TookTooLong, 503, "timeout"),
    (errors.EngramError, 500, "internal"),
)


class Problem(HTTPException):
    """What went wrong with a request: ``slug`` names its type, ``pointer`` is a JSON pointer into the body."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        pointer: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.status, self.slug, self.pointer = status, slug, pointer

    def pointing(self, pointer: str | None, detail: str | None = None) -> Problem:
        """The same, pointing elsewhere."""
        return Problem(self.status, self.slug, detail or self.detail, pointer=pointer, headers=self.headers)

    def document(self, instance: str = "") -> dict[str, Any]:
        """As it is sent; ``instance`` is the id of the request."""
        content: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": TITLES[self.slug],
            "status": self.status,
            "detail": self.detail,
        }
        if instance:
            content["instance"] = instance
        if self.pointer is not None:
            content["pointer"] = self.pointer
        return content

    def body(self, instance: str) -> bytes:
        """The document as JSON."""
        document = self.document(instance)
        # what was sent may be told back, and need not be text: an error is answered all the same
        return orjson.dumps({k: v if isinstance(v, int) else writable(v) for k, v in document.items()})


def problem_of(error: BaseException, root: str = "") -> Problem:
    """The problem that an error of the engram is. Paths below ``root`` lose it: where it lies is nobody's business."""
    if isinstance(error, Problem):
        return error
    detail = " ".join(str(error).split())
    if root:
        detail = detail.replace(root + "/", "")
    for kind, status, slug in _OF_ERRORS:
        if isinstance(error, kind):
            field = getattr(error, "field", None)
            pointer = pointer_of(field) if isinstance(error, errors.InvalidSpec) and field else None
            return Problem(
                status, slug, detail, pointer=pointer, headers={"Retry-After": "1"} if slug == "engram-closed" else None
            )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "disk-full", "the disk is full; free some space and ask again")
    if isinstance(error, MemoryError):
        return Problem(507, "memory-budget", "the machine has no memory left")
    return Problem(
        500, "internal", "an error that nobody expected; the log of the service has it under this request's id"
    )


def stopping(remedy: str = "ask again") -> Problem:
    """The answer to whoever waits, or comes, while the service stops."""
    return Problem(503, "closing", f"the service is stopping; {remedy}", headers={"Retry-After": "5"})


def writable(text: str) -> str:
    """``text``, in which what is no character is escaped."""
    return text.encode(errors="backslashreplace").decode()


def pointer_of(field: str) -> str:
    """A JSON pointer into a request's body from a path such as ``layers[0].segments[1]`` in its spec."""
    steps = re.findall(r"[^.\[\]]+", field)
    return "/spec/" + "/".join(escaped(step) for step in steps)


def escaped(step: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")
