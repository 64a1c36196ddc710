"""Parameters of a query that a route does not have are refused, as keys of a body are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from difflib import get_close_matches
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute

from engramdb.server.problems import Problem


def refusing(routers: Iterable[APIRouter]) -> Callable[[Request], Awaitable[None]]:
    """A dependency of the routes of ``routers``; it raises a problem that names the parameter."""
    known: dict[Any, list[str]] = {
        route.endpoint: sorted(one.alias for one in route.dependant.query_params)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
    }

    async def refuse(request: Request) -> None:
        taken = known[request.scope["endpoint"]]
        for name in request.query_params:
            if name not in taken:
                near = get_close_matches(name, taken, 1)
                meant = f'; did you mean "{near[0]}"?' if near else f"; it has {', '.join(taken) or 'none'}"
                raise Problem(422, "invalid-request", f'query: the route has no parameter "{name[:80]}"{meant}')

    return refuse
