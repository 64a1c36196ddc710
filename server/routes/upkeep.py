"""Upkeep of an engram: pruning weak synapses, the reverse index, compaction, and thinning out its history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from engramdb.engram import Engram
from engramdb.schemas import api
from engramdb.server.jobs import Job
from engramdb.server.keys import Key
from engramdb.server.onestep import Do, counting
from engramdb.server.problems import Problem
from engramdb.server.routes.common import EngramName
from engramdb.server.routes.jobs import begin_step, done_soon
from engramdb.server.service import Service

router = APIRouter(prefix="/v1/engrams/{name}", tags=["upkeep"])
_JOB: dict[int | str, dict[str, Any]] = {202: {"description": "A job, whose address is in Location."}}


def _prune(engram: Engram, job: Job) -> dict[str, Any]:
    job.percent = None
    return {"synapses": engram.prune(job.request["below"], job.request["layer"])}


def _index(engram: Engram, job: Job) -> dict[str, Any]:
    return {"pairs": engram.index(drop=job.request["drop"], progress=counting(job, "neurons"))}


def _compact(engram: Engram, job: Job) -> dict[str, Any]:
    return asdict(engram.compact(counting(job, "leaves")))


def _gc(engram: Engram, job: Job) -> dict[str, Any]:
    job.percent = None
    return asdict(engram.gc(**job.request))


_WORKS: dict[str, Do] = {"prune": _prune, "index": _index, "compact": _compact, "gc": _gc}


async def _done(request: Request, kind: str, name: str, given: dict[str, Any]) -> Response:
    return await done_soon(request, Job(kind, name, given, request.state.owner), _WORKS[kind])


async def begin(service: Service, job: Job) -> None:
    """Put it on its engram's desk."""
    await begin_step(service, job, _WORKS[job.kind])


@router.post("/prune", responses=_JOB)
async def prune(request: Request, name: EngramName, body: api.Prune) -> Response:
    """Take away all synapses of stored rows that are weaker than ``below`` mV; how many those were."""
    return await _done(request, "prune", name, body.model_dump())


@router.post("/index", responses=_JOB)
async def index(request: Request, name: EngramName, body: Annotated[api.Index | None, Body()] = None) -> Response:
    """Build the reverse index, so that asking who projects to a neuron scans no rows; a commit. Or drop it."""
    return await _done(request, "index", name, (body or api.Index()).model_dump())


@router.post("/compact", responses=_JOB)
async def compact(request: Request, name: EngramName) -> Response:
    """Write leaves whose changes lie apart whole again. The content of no commit changes."""
    return await _done(request, "compact", name, {})


@router.post("/gc", responses=_JOB)
async def gc(request: Request, name: EngramName, body: Annotated[api.Collect | None, Body()] = None) -> Response:
    """Thin out commits without a name, and free what no other sees. It cannot be undone: that needs scope admin."""
    given = body or api.Collect()
    key: Key | None = getattr(request.state, "key", None)
    if not given.dry_run and key is not None and not key.reaches("admin"):
        raise Problem(
            403, "forbidden", f'this needs a key of scope admin, or dry_run; "{key.name}" has {key.scope}',
            pointer="/dry_run",
        )  # fmt: skip
    return await _done(request, "gc", name, given.model_dump())
