"""The application: routes behind a gate, and what happens when it starts and stops."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

import engramdb
from engramdb.errors import EngramError
from engramdb.schemas.api import MOST_IDS
from engramdb.server.gate import Gate
from engramdb.server.headonly import HeadOnly
from engramdb.server.parameters import refusing
from engramdb.server.problems import MEDIA_TYPE, Problem, escaped, problem_of
from engramdb.server.routes import (
    cycle,
    engrams,
    exchange,
    growth,
    health,
    histograms,
    history,
    jobs,
    neurons,
    pages,
    query,
    stimuli,
    stream,
    ticks,
    traces,
    upkeep,
)
from engramdb.server.routes.common import PROBLEMS
from engramdb.server.service import Service
from engramdb.server.text import check_body

_log = logging.getLogger("engramdb.server.requests")
_ROUTERS = (
    health,
    engrams,
    neurons,
    query,
    histograms,
    stimuli,
    ticks,
    stream,
    growth,
    cycle,
    history,
    traces,
    upkeep,
    exchange,
    jobs,
    pages,
)


class ProblemDocument(BaseModel):
    """An error (RFC 9457). ``type`` is stable; ``pointer`` is a JSON pointer to the field of the body."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    pointer: str | None = None


def make_app(service: Service) -> ASGIApp:
    """The application of a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="EngramDB", version=engramdb.__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        responses=PROBLEMS, redirect_slashes=False, dependencies=[Depends(check_body)],
    )  # fmt: skip
    app.state.service = service
    refuse = Depends(refusing(module.router for module in _ROUTERS))
    for module in _ROUTERS:
        app.include_router(module.router, dependencies=[refuse] if module.router.prefix or module is exchange else [])
    app.add_exception_handler(RequestValidationError, _wrong_field)
    app.add_exception_handler(HTTPException, _no_route)
    for kind in (EngramError, OSError, MemoryError, Exception):
        app.add_exception_handler(kind, _problem)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return Gate(HeadOnly(app), service)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title="EngramDB", version=engramdb.__version__, routes=app.routes,
            description="Engrams: spiking networks that are stored, run and asked. docs/http.md is the guide.",
        )  # fmt: skip
        parts = schema.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = ProblemDocument.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
        }
        app.openapi_schema = schema
    return app.openapi_schema


async def _problem(request: Request, error: Exception) -> Response:
    """Any error, as it is sent."""
    service: Service = request.app.state.service
    problem = problem_of(error, str(service.root.path))
    if problem.slug == "internal":
        _log.error("failed", exc_info=error, extra={"request": request.state.request, "path": request.url.path})
    return Response(problem.body(request.state.request), problem.status, problem.headers, MEDIA_TYPE)


async def _wrong_field(request: Request, error: Exception) -> Response:
    """The first field that is wrong, where it is and why."""
    assert isinstance(error, RequestValidationError), "it is registered for these"
    first = error.errors()[0]
    kind, *inner = first["loc"]
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", first["msg"])
        return await _problem(request, Problem(400, "bad-request", f"the body is no JSON: {why}"))
    if kind != "body":
        named = ".".join(str(step) for step in inner)
        return await _problem(request, Problem(422, "invalid-request", f"{kind} {named}: {first['msg']}"))
    steps = _steps(error.body, inner, first["type"])
    pointer = "".join(f"/{escaped(step)}" for step in steps)
    named = ".".join(steps) or "the body"
    given = first.get("ctx", {})
    if first["type"] == "too_long" and given.get("max_length") == MOST_IDS:
        told = f"{given['actual_length']:,} {named}: give at most {MOST_IDS:,} at once"
        return await _problem(request, Problem(413, "too-large", told, pointer=pointer))
    return await _problem(request, Problem(422, "invalid-request", f"{named}: {_why(first)}", pointer=pointer))


def _why(error: dict[str, Any]) -> str:
    """What is wrong, in the words of HTTP and not of the model."""
    kind = error["type"]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        known = error.get("ctx", {}).get("expected_tags")
        return f"there is no such question; expected {known}" if known else "say which question is asked"
    if kind in ("model_type", "model_attributes_type", "dict_type", "dict_attributes_type"):
        return "expected a JSON object"
    found: str = error["msg"]
    return found.replace("Input should be", "expected").replace("Extra inputs are not permitted", "no such field")


def _steps(body: Any, loc: list[Any], kind: str) -> list[str]:
    """Where in ``body`` an error of that ``kind`` is.

    ``loc`` has more than the steps: the question, by which its model was found, and branches of unions. A body is an
    object of values and of lists.
    """
    if not isinstance(body, dict):
        return []
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return ["query"]
    if loc and "query" in body and loc[0] == body["query"]:
        loc = loc[1:]
    steps = [str(step) for step in loc[:1]]
    value = body.get(loc[0]) if loc else None
    steps += [str(step) for step in loc[1:] if isinstance(value, list) and isinstance(step, int)]
    return steps


def _allowed(path: str) -> str:
    """The methods of all routes that have that path: the router names those of the first alone."""
    found: set[str] = set()
    for module in _ROUTERS:
        for route in module.router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(path):
                found.update(route.methods or ())
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


async def _no_route(request: Request, error: Exception) -> Response:
    """Of the router itself: no such path, or not by this method."""
    assert isinstance(error, HTTPException), "it is registered for these"
    path = request.url.path[:200]
    if isinstance(error, Problem):
        problem = error
    elif error.status_code == 405:
        allowed = _allowed(request.url.path)
        problem = Problem(
            405,
            "method-not-allowed",
            f"{request.method} is not for {path}; allowed: {allowed}",
            headers={"Allow": allowed},
        )
    elif error.status_code == 404:
        problem = Problem(404, "no-such-route", f"there is nothing at {path}; see /docs")
    else:
        problem = Problem(error.status_code, "bad-request", str(error.detail))
    return await _problem(request, problem)
