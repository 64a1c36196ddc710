"""What the service refuses, as the errors that a local engram raises.

An error carries the id of the request as a note: the log of the service has it too.
"""

from __future__ import annotations

from typing import Any

from engramdb import errors
from engramdb.errors import EngramError

_ERRORS: dict[str, type[EngramError]] = {
    "invalid-request": errors.InvalidInput,
    "invalid-input": errors.InvalidInput,
    "invalid-name": errors.InvalidInput,
    "stale-cursor": errors.InvalidInput,
    "bad-request": errors.InvalidInput,
    "too-large": errors.InvalidInput,
    "not-acceptable": errors.InvalidInput,
    "not-built-in": errors.InvalidInput,
    "invalid-id": errors.InvalidId,
    "invalid-spec": errors.InvalidSpec,
    "read-only": errors.ReadOnly,
    "not-found": errors.NotFound,
    "no-cycle": errors.NotFound,
    "not-kept": errors.NotFound,
    "no-such-engram": errors.NotAnEngram,
    "already-exists": errors.AlreadyExists,
    "format-too-new": errors.FormatTooNew,
    "damaged": errors.Damaged,
    "disk-full": errors.DiskFull,
    "unreachable": errors.Unreachable,
    "conflict": errors.Conflict,
    "busy": errors.Conflict,
    "locked": errors.Locked,
    "memory-budget": errors.BudgetExceeded,
    "timeout": errors.TookTooLong,
}


class ServiceError(EngramError):
    """What only a service can say. ``slug`` is the kind of the problem, ``status`` that of HTTP."""

    def __init__(self, detail: str, slug: str = "", status: int = 0) -> None:
        super().__init__(detail)
        self.slug, self.status = slug, status


class Forbidden(ServiceError):
    """No key, or one that does not reach that far."""


def error_of(problem: Any, status: int = 0) -> EngramError:
    """The error that a problem document stands for; of anything else a :class:`ServiceError`."""
    document = problem if isinstance(problem, dict) else {}
    slug = str(document.get("type", "")).rsplit("/", 1)[-1]
    detail = str(document.get("detail") or document.get("title") or f"the service answered {status}")
    kind = _ERRORS.get(slug)
    if kind is errors.InvalidSpec:
        field, _, what = detail.partition(": ")
        error: EngramError = errors.InvalidSpec(field, what)
    elif kind is not None:
        error = kind(detail)
    else:
        wanted = Forbidden if status in (401, 403) or slug in ("unauthorized", "forbidden") else ServiceError
        error = wanted(detail, slug, int(document.get("status", status)))
    if request := document.get("instance"):
        error.add_note(f"request {request}")
    return error
