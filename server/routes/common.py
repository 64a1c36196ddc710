"""What routes have in common: the service behind them, and where a question is put."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query, Request

from engramdb.engram import Engram
from engramdb.server.problems import Problem, escaped
from engramdb.server.readers import commit_of
from engramdb.server.service import Service

T = TypeVar("T")
LIVE = "live"

EngramName = Annotated[str, Path(description="The engram's name.", max_length=64)]
AtQuery = Annotated[
    str, Query(description="live: the present; or a snapshot, a branch, or the number of a commit.", max_length=200)
]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What went wrong (RFC 9457).",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
    422: {
        "description": "A field is wrong.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}


def service_of(request: Request) -> Service:
    """The service that a request was made to."""
    found: Service = request.app.state.service
    return found


async def ask(request: Request, name: str, at: str | int, work: Callable[[Engram], T]) -> T:
    """What ``work`` returns of the present, or of a commit: that is read beside the writer."""
    service = service_of(request)
    if at == LIVE:
        return await service.shelf.read(name, work, service.limits.query_seconds)
    path = await asyncio.to_thread(service.root.existing, name)
    return await service.readers.at(path, at, work)


async def pinned(request: Request, name: str, at: str | int) -> str | int:
    """``at`` as the number of a commit, which means the same for ever; the present stays what it is."""
    if at == LIVE:
        return LIVE
    service = service_of(request)
    path = await asyncio.to_thread(service.root.existing, name)
    return await service.readers.do(lambda: commit_of(path, at))


def few(given: list[Any], most: int, field: str) -> None:
    """Raise a problem where a list is longer than the service takes."""
    if len(given) > most:
        raise Problem(
            413, "too-large", f"{len(given):,} {field}: give at most {most:,} at once", pointer=f"/{escaped(field)}"
        )


def within(number: int, most: int, field: str) -> int:
    """``number``; a problem where the service does not go that far."""
    if number > most:
        raise Problem(
            422, "invalid-request", f"{field}={number:,}: give at most {most:,}", pointer=f"/{escaped(field)}"
        )
    return number
