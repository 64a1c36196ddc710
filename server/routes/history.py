"""History: snapshots, branches, the log, what differs, and checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

import engramdb
from engramdb.engram import Engram
from engramdb.errors import NotFound
from engramdb.schemas.api import Checkpoint, NewBranch, NewSnapshot
from engramdb.server import cursor as cursors
from engramdb.server.answer import reply
from engramdb.server.readers import commit_of
from engramdb.server.routes.common import LIVE, EngramName, service_of, within
from engramdb.store import Store

T = TypeVar("T")
router = APIRouter(prefix="/v1/engrams/{name}", tags=["history"])


async def _ask(request: Request, name: str, work: Callable[[Store], T]) -> T:
    """What ``work`` finds in the catalog, beside the writer."""
    service = service_of(request)
    path = await asyncio.to_thread(service.root.existing, name)

    def ask() -> T:
        with Store.open(path, branch=service.shelf.branch(name), cache_bytes=0) as store:
            return work(store)

    return await service.readers.do(ask)


@router.post("/snapshots", status_code=201)
async def snapshot(request: Request, name: EngramName, body: NewSnapshot) -> Response:
    """Name the present. It is durable when it is answered."""

    def work(engram: Engram) -> Any:
        taken = {LIVE} | {one.name for one in engram.snapshots()} | {one.name for one in engram.branches()}
        if body.message and body.name not in taken:
            engram.checkpoint(body.message)
        made = engram.snapshot(body.name)
        return {"name": made.name, "commit": str(made.commit), "tick": made.tick, "created": made.created,
                "message": engram.commit.message, "branch": engram.branch_name}  # fmt: skip

    service = service_of(request)
    found = await service.shelf.write(name, work)
    service.background(service.shelf.tell(name))
    location = f"/v1/engrams/{name}/snapshots/{found['name']}"
    return await reply(request, found, status=201, headers={"Location": _quoted(location)})


def _quoted(location: str) -> str:
    from urllib.parse import quote

    return quote(location)


def _snapshots(store: Store) -> list[dict[str, Any]]:
    commits = {commit.number: commit for commit in store.commits()}
    heads = {branch.line: branch.name for branch in store.branches()}
    found = []
    for one in store.snapshots():
        commit = commits.get(one.commit)
        found.append({
            "name": one.name, "commit": str(one.commit), "tick": one.tick, "created": one.created,
            "message": commit.message if commit else "", "branch": heads.get(commit.line) if commit else None,
        })  # fmt: skip
    return found


@router.get("/snapshots")
async def snapshots(request: Request, name: EngramName) -> Response:
    """All snapshots, the oldest first; ``branch``: whose present line their commit lies on, if any."""
    return await reply(request, {"snapshots": await _ask(request, name, _snapshots)})


@router.post("/snapshots/{snapshot_id:path}/restore")
async def restore(request: Request, name: EngramName, snapshot_id: str) -> Response:
    """Return to a snapshot, or a commit by its number, on a new line of history; nothing is lost."""
    service = service_of(request)
    service.shelf.no_run(name)

    def work(engram: Engram) -> dict[str, Any]:
        commit = engram.restore(int(snapshot_id) if snapshot_id.isascii() and snapshot_id.isdigit() else snapshot_id)
        return {"commit": str(commit.number), "tick": engram.tick, "branch": engram.branch_name}

    found = await service.shelf.write(name, work)
    service.background(service.shelf.tell(name))
    return await reply(request, found)


@router.get("/snapshots/{snapshot_id:path}")
async def one_snapshot(request: Request, name: EngramName, snapshot_id: str) -> Response:
    """One snapshot."""

    def work(store: Store) -> dict[str, Any]:
        for found in _snapshots(store):
            if found["name"] == snapshot_id:
                return found
        raise NotFound(f'there is no snapshot "{snapshot_id}"')

    return await reply(request, await _ask(request, name, work))


@router.delete("/snapshots/{snapshot_id:path}", status_code=204)
async def forget_snapshot(request: Request, name: EngramName, snapshot_id: str) -> Response:
    """Forget a snapshot's name; its commit stays until it is thinned out."""

    def work(engram: Engram) -> None:
        if all(found.name != snapshot_id for found in engram.snapshots()):
            raise NotFound(f'there is no snapshot "{snapshot_id}"')
        engram.delete_snapshot(snapshot_id)

    await service_of(request).shelf.write(name, work)
    return Response(status_code=204)


@router.post("/branches", status_code=201)
async def branch(request: Request, name: EngramName, body: NewBranch) -> Response:
    """Make a branch, at the present or at a snapshot or commit; work goes on where it was until it is checked out."""
    at = body.start
    if isinstance(at, str) and at.isascii() and at.isdigit():
        at = int(at)

    def work(engram: Engram) -> dict[str, Any]:
        made = engram.branch(body.name, at)
        return {"name": made.name, "line": made.line, "commit": str(made.head), "head": made.name == engram.branch_name}

    service = service_of(request)
    found = await service.shelf.write(name, work)
    service.background(service.shelf.tell(name))
    location = _quoted(f"/v1/engrams/{name}/branches/{found['name']}")
    return await reply(request, found, status=201, headers={"Location": location})


@router.get("/branches")
async def branches(request: Request, name: EngramName) -> Response:
    """All branches; ``head``: the one that is worked on."""
    here = service_of(request).shelf.branch(name)

    def work(store: Store) -> list[dict[str, Any]]:
        return [
            {"name": b.name, "line": b.line, "commit": str(b.head), "head": b.name == here} for b in store.branches()
        ]

    return await reply(request, {"branches": await _ask(request, name, work)})


@router.post("/branches/{branch_name:path}/checkout")
async def checkout(request: Request, name: EngramName, branch_name: str) -> Response:
    """Go on with a branch. The present one is checkpointed first."""
    service = service_of(request)

    def check(path: Any) -> None:
        with Store.open(path, branch=branch_name, cache_bytes=0):
            pass

    await service.shelf.checkout(name, branch_name, check)
    found = await service.shelf.read(
        name, lambda e: {"branch": e.branch_name, "tick": e.tick, "commit": str(e.commit.number)}
    )
    return await reply(request, found)


@router.delete("/branches/{branch_name:path}", status_code=204)
async def forget_branch(request: Request, name: EngramName, branch_name: str) -> Response:
    """Forget a branch that is not worked on."""
    await service_of(request).shelf.write(name, lambda e: e.delete_branch(branch_name))
    return Response(status_code=204)


@router.get("/log")
async def log(
    request: Request,
    name: EngramName,
    limit: Annotated[int, Query(ge=1)] = 1000,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
) -> Response:
    """All commits of all lines, the newest first: what the graph of the history is drawn from."""
    within(limit, service_of(request).limits.page, "limit")
    below = None if cursor is None else int(cursors.read(cursor, "log")["below"])

    def work(store: Store) -> dict[str, Any]:
        commits = [c for c in reversed(store.commits()) if below is None or c.number < below]
        names: dict[int, list[str]] = {}
        for one in store.snapshots():
            names.setdefault(one.commit, []).append(one.name)
        heads = {b.line: b.name for b in store.branches()}
        tips: dict[int, list[str]] = {}
        for b in store.branches():
            tips.setdefault(b.head, []).append(b.name)
        shown = [
            {
                "id": str(c.number),
                "parents": [] if c.parent is None else [str(c.parent)],
                "line": c.line,
                "tick": c.tick,
                "created": c.created,
                "message": c.message,
                "branch": heads.get(c.line),
                "branches": tips.get(c.number, []),
                "snapshots": names.get(c.number, []),
                "neurons": c.neurons,
                "synapses": c.synapses,
                "sequence": c.sequence,
            }
            for c in commits[:limit]
        ]
        more = len(commits) > limit
        return {
            "commits": shown,
            "cursor": cursors.written({"kind": "log", "below": commits[limit - 1].number}) if more else None,
        }

    return await reply(request, await _ask(request, name, work))


@router.get("/diff")
async def diff(
    request: Request,
    name: EngramName,
    start: Annotated[str, Query(alias="from", max_length=200)],
    end: Annotated[str, Query(alias="to", max_length=200)],
    layer: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """What differs from one commit to another; ``to=live``: to the present, which is checkpointed first."""
    service = service_of(request)
    path = await asyncio.to_thread(service.root.existing, name)
    last: str | int = end
    if end == "live":
        last = await service.shelf.write(
            name, lambda e: e.checkpoint(f"diff with {start}").number if e.uncommitted else e.commit.number
        )

    def work() -> dict[str, Any]:
        found = engramdb.diff(path, commit_of(path, start), commit_of(path, last), layer=layer)
        layers = []
        for one in found.by_layer.values():
            counts = ("name", "index", "added", "removed", "changed", "state_changed", "row_changed", "synapses_added",
                      "synapses_removed", "synapses_reweighted", "born", "unborn", "rewired")  # fmt: skip
            weights = asdict(one.weights)
            weights["quantiles"] = {f"{fraction:g}": value for fraction, value in one.weights.quantiles.items()}
            layers.append({**{key: getattr(one, key) for key in counts}, "weights": weights})
        return {
            "from": {**asdict(found.before), "name": start, "commit": str(found.before.commit)},
            "to": {**asdict(found.after), "name": end, "commit": str(found.after.commit)},
            "same": found.same,
            "layers": layers,
            "in_flight": asdict(found.in_flight),
            "traces": asdict(found.traces),
        }

    return await reply(request, await service.readers.do(work))


@router.post("/checkpoint")
async def checkpoint(request: Request, name: EngramName, body: Annotated[Checkpoint | None, Body()] = None) -> Response:
    """Make the present a commit. It is durable when it is answered."""
    message = "" if body is None else body.message
    service = service_of(request)
    number = await service.shelf.write(name, lambda e: e.checkpoint(message).number)
    service.background(service.shelf.tell(name))
    return await reply(request, {"commit": str(number)})
