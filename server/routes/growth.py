"""Growth: more neurons in a layer; with their rows written out it is a job."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.schemas.api import Growth
from engramdb.server.jobs import Job
from engramdb.server.onestep import counting
from engramdb.server.routes.common import EngramName
from engramdb.server.routes.jobs import begin_step, done_soon
from engramdb.server.service import Service

router = APIRouter(prefix="/v1/engrams/{name}", tags=["growth"])


def _grow(engram: Engram, job: Job) -> dict[str, Any]:
    given = job.request
    bundle = engram.grow(
        given["layer"], given["neurons"], given["k"], materialize=given["materialize"],
        progress=counting(job, "neurons"),
    )  # fmt: skip
    return {
        "layer": given["layer"], "segment": bundle.segment, "first": str(bundle.lo), "neurons": bundle.neurons,
        "tick": bundle.born_tick,
    }  # fmt: skip


@router.post("/growth", responses={202: {"description": "A job, whose address is in Location."}})
async def grow(request: Request, name: EngramName, body: Growth) -> Response:
    """Add neurons; no existing row changes. What has begun is completed, by the next opening if it must be."""
    return await done_soon(request, Job("growth", name, body.model_dump(), request.state.owner), _grow)


async def begin(service: Service, job: Job) -> None:
    """Put a growth on its engram's desk."""
    await begin_step(service, job, _grow)
