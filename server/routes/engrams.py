"""Engrams: listing, making, describing and dropping them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

import engramdb
from engramdb.engram import Engram
from engramdb.errors import EngramError, Locked
from engramdb.schemas.api import NewEngram
from engramdb.server.answer import reply
from engramdb.server.desk import Desk
from engramdb.server.names import check_name
from engramdb.server.problems import Problem, pointer_of, problem_of
from engramdb.server.routes.common import EngramName, service_of
from engramdb.server.service import Service
from engramdb.store import Store

router = APIRouter(prefix="/v1/engrams", tags=["engrams"])


@router.get("")
async def engrams(request: Request) -> Response:
    """All engrams; those that are not open as of their last commit."""
    service = service_of(request)
    desks = service.shelf.desks

    def look() -> list[dict[str, Any]]:
        return [_listed(service, name, desks) for name in service.root.names()]

    listed = await service.readers.do(look)
    for entry in listed:
        desk = service.shelf.desks.get(entry["name"])
        if desk is not None and desk.open:
            entry |= await desk.read(lambda e: {"tick": e.tick, "neurons": len(e), "commit": str(e.commit.number),
                                                "synapses": e.commit.synapses})  # fmt: skip
    return await reply(request, {"engrams": listed})


def _listed(service: Service, name: str, desks: dict[str, Desk]) -> dict[str, Any]:
    branch = service.shelf.branch(name)
    entry: dict[str, Any] = {"name": name, "branch": branch, "open": name in desks}
    try:
        path = service.root.existing(name)
        with Store.open(path, branch=branch, cache_bytes=0) as store:
            commit = store.commit
            entry |= {
                "neurons": sum(store.bundles.sizes.values()), "synapses": commit.synapses, "tick": commit.tick,
                "commit": str(commit.number), "bytes": bytes_of(path),
            }  # fmt: skip
    except (EngramError, Problem, OSError) as error:
        entry |= dict.fromkeys(("neurons", "synapses", "tick", "commit", "bytes"))
        entry["error"] = problem_of(error, str(service.root.path)).document()
    return entry


def bytes_of(path: Path) -> int:
    """What an engram takes on disk."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:  # its writer has just removed it
            continue
    return total


@router.post("", status_code=201)
async def create(request: Request, body: NewEngram) -> Response:
    """Make an engram from a spec. It is durable when it is answered."""
    service = service_of(request)
    name = check_name(body.name, "/name")
    try:
        spec = await asyncio.to_thread(engramdb.Spec.from_document, body.spec)
    except engramdb.errors.InvalidSpec as error:
        raise Problem(422, "invalid-spec", str(error), pointer=pointer_of(error.field)) from None
    async with service.shelf.turn(name):
        path = await asyncio.to_thread(service.root.folder, name)

        def make() -> None:
            engramdb.create(path, spec, memory=service.shelf.each).close()

        await service.readers.do(make, seconds=3600.0)
    described = await describe(service, name)
    return await reply(request, described, status=201, headers={"Location": f"/v1/engrams/{name}"})


@router.get("/{name}")
async def engram(request: Request, name: EngramName) -> Response:
    """What an engram is made of, and how it stands."""
    return await reply(request, await describe(service_of(request), name))


async def describe(service: Service, name: str) -> dict[str, Any]:
    """The present; where another process writes it, its last commit."""
    path = await asyncio.to_thread(service.root.existing, name)
    try:
        desk = await service.shelf.desk(name)
        running = desk.running
        found = await desk.read(lambda e: description(e, e.stats()))
        found["running"] = None if running is None else {"job": getattr(running, "job", None)}
        found["open"] = True
    except Locked as error:
        branch = service.shelf.branch(name)
        found = await service.readers.at(path, branch, lambda e: description(e, {}))
        found |= {"running": None, "open": False, "error": problem_of(error, str(service.root.path)).document()}
    found["bytes"] = await service.readers.do(lambda: bytes_of(path))
    return {"name": name, **found}


def description(engram: Engram, stats: dict[str, Any]) -> dict[str, Any]:
    """``states`` are counted from what is in memory and what the last commit has: nothing is looked at one by one."""
    spec, total = engram.spec, len(engram)
    active = min(total, int(stats.get("active", 0)))
    charged = min(total - active, int(stats.get("charged", 0)))
    dormant = max(0, min(total - active - charged, engram.commit.neurons - active))
    layers: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "index": layer.index,
            "model": layer.model,
            "segments": [size for (index, _), size in sorted(engram.sizes.items()) if index == layer.index],
        }
        for layer in spec.layers
    ]
    for layer in layers:
        layer["neurons"] = sum(layer["segments"])
    return {
        "tick": engram.tick,
        "branch": engram.branch_name,
        "commit": str(engram.commit.number),
        "dt_ms": spec.dt_ms,
        "seed": str(spec.seed),
        "description": spec.description,
        "neurons": total,
        "synapses": engram.commit.synapses,
        "layers": layers,
        "projections": [
            {"name": p.name, "pre": p.pre, "post": p.post, "sign": p.sign, "rule": type(p.rule).__name__}
            for p in spec.all_projections
        ],
        "plasticity": [
            {"projection": p.name, "rule": rule.rule, **vars(rule)}
            for p in spec.all_projections
            for rule in p.plasticity
        ],
        "states": {
            "virtual": total - active - charged - dormant, "charged": charged, "active": active, "dormant": dormant,
        },
        "stats": stats,
        "uncommitted": engram.uncommitted if engram.mode == "r+" else False,
        "memory": {"budget": engram.memory, "used": stats.get("used_bytes", 0)},
    }  # fmt: skip


@router.delete("/{name}", status_code=204)
async def drop(request: Request, name: EngramName) -> Response:
    """Move an engram to the trash folder, ``.engramdb-trash``, from which a person may take it back."""
    service = service_of(request)
    path = await asyncio.to_thread(service.root.existing, name)
    await asyncio.to_thread(service.readers.forget, path)
    await service.shelf.drop(name)
    await asyncio.to_thread(service.readers.forget, path)
    return Response(status_code=204)
