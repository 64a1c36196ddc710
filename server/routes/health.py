"""Whether the service lives, is ready, and how it does."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.server.answer import reply
from engramdb.server.meanings import MEANINGS
from engramdb.server.metrics import CONTENT_TYPE
from engramdb.server.problems import TITLES, Problem
from engramdb.server.routes.common import service_of

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """The process answers."""
    return await reply(request, {"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """It takes requests: 503 before it has started and once it is stopping."""
    if not service_of(request).ready:
        raise Problem(503, "closing", "the service is starting or stopping", headers={"Retry-After": "1"})
    return await reply(request, {"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Requests, ticks, memory and jobs, as Prometheus reads them."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/problems/{slug}")
async def problem(request: Request, slug: str) -> Response:
    """What a type of problem means."""
    if slug not in TITLES:
        raise Problem(404, "not-found", "there is no such type of problem")
    return await reply(request, {"type": f"/problems/{slug}", "title": TITLES[slug], "meaning": MEANINGS[slug]})
