"""In and out: imports from a body that is streamed, exports to a file that is, and checks; all of them jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

import engramdb
from engramdb.errors import AlreadyExists, EngramError
from engramdb.server.jobs import Job
from engramdb.server.names import check_name
from engramdb.server.problems import Problem, problem_of
from engramdb.server.readers import commit_of
from engramdb.server.routes.common import EngramName, service_of
from engramdb.server.routes.jobs import accepted, file_of
from engramdb.server.service import Service
from engramdb.store.catalog import FILE_NAME

router = APIRouter(tags=["exchange"])

Import = Literal["csv", "tsv", "csv.gz", "edges.parquet", "hdf5", "vdm", "vdm.npz"]
Column = Annotated[str, Query(min_length=1, max_length=200)]
Export = Literal["hdf5", "csv", "csv.gz", "edges.parquet", "graphml", "vdm", "parquet", "sonata", "zarr"]
_SUFFIX = {"csv": ".csv", "tsv": ".tsv", "csv.gz": ".csv.gz", "edges.parquet": ".parquet", "hdf5": ".h5", "vdm": ".h5",
           "vdm.npz": ".npz", "graphml": ".graphml"}  # fmt: skip
_CHUNK = 1 << 20
_DISK_SPARE = 256 << 20


@router.post("/v1/import", status_code=202)
async def import_(
    request: Request,
    form: Annotated[Import, Query(alias="format", description="What the body is.")],
    name: Annotated[str, Query(max_length=64, description="What the engram is to be called.")],
    ids: Literal["pack", "keep"] = "pack",
    weight_scale: Annotated[float, Query(gt=-1e6, lt=1e6)] = 1.0,
    strict: bool = False,
    duplicates: Literal["sum", "keep"] = "sum",
    pre: Column = "pre",
    post: Column = "post",
    weight: Column = "weight",
    sign: Column = "sign",
    delay: Column = "delay",
    header: Annotated[bool | None, Query(description="Whether the first line of text names the columns.")] = None,
    delimiter: Annotated[str | None, Query(description="What parts columns of text.", max_length=1)] = None,
) -> Response:
    """Make an engram of the body. It is received whole, and read in a job (202).

    All but ``format`` and ``name`` are of edge lists, as in Python. ``pre`` to ``delay``: what columns are called;
    where no line names them they are counted: 1, 2, 3. What is not given is found out.
    """
    service = service_of(request)
    check_name(name)
    path = await asyncio.to_thread(service.root.folder, name)
    if await asyncio.to_thread((path / FILE_NAME).exists):
        raise AlreadyExists(f'there is an engram "{name}" already; choose another name, or drop it')
    given = {
        "format": form, "ids": ids, "weight_scale": weight_scale, "strict": strict,
        "edges": {"duplicates": duplicates, "pre": pre, "post": post, "weight": weight, "sign": sign, "delay": delay,
                  "header": header, "delimiter": delimiter},
    }  # fmt: skip
    job = Job("import", name, given, request.state.owner)
    folder = await asyncio.to_thread(service.jobs.room, job)
    try:
        await _receive(request, folder / f"source{_SUFFIX[form]}")
    except BaseException:
        await asyncio.to_thread(_remove, folder)
        raise
    service.jobs.add(job)
    await service.jobs.make_durable(job)
    begin_import(service, job)
    return await accepted(request, job)


async def _receive(request: Request, path: Path) -> None:
    """Write the body down as it comes; a slow client stops nobody else."""
    file = await asyncio.to_thread(path.open, "xb")
    try:
        waiting: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            waiting.append(chunk)
            size += len(chunk)
            if size >= _CHUNK:
                await asyncio.to_thread(file.write, b"".join(waiting))
                waiting, size = [], 0
        await asyncio.to_thread(file.write, b"".join(waiting))
        await asyncio.to_thread(_sync, file)
    finally:
        await asyncio.to_thread(file.close)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def begin_import(service: Service, job: Job) -> asyncio.Future[None]:
    """Read what was received, in a thread."""
    given = job.request
    source = service.jobs.results / job.id / f"source{_SUFFIX[given['format']]}"
    memory = max(384 << 20, service.shelf.each)

    def work(job: Job) -> Any:
        path = service.root.folder(job.engram)
        progress: Any = job.tell
        with contextlib.ExitStack() as stack:
            stack.callback(source.unlink, missing_ok=True)
            stack.enter_context(_as_sent(source, path))
            if given["format"] in ("vdm", "vdm.npz"):
                found: Any = engramdb.import_vdm(source, path, memory=memory, progress=progress)
            elif given["format"] == "hdf5":
                found = engramdb.import_hdf5(source, path, memory=memory, progress=progress)
            else:
                found = engramdb.import_edges(
                    source, path, ids=given["ids"], weight_scale=given["weight_scale"], strict=given["strict"],
                    memory=memory, progress=progress, **given.get("edges", {}),
                )  # fmt: skip
            return {
                "engram": job.engram, "neurons": found.neurons, "synapses": found.synapses,
                "rejected": getattr(found, "rejected", 0), "notes": list(getattr(found, "notes", ())),
            }  # fmt: skip

    return service.jobs.start(job, work)


@contextlib.contextmanager
def _as_sent(source: Path, path: Path) -> Iterator[None]:
    """What goes wrong, in words of who sent the file: it has no path there, and parameters are those of HTTP."""
    try:
        yield
    except EngramError as error:
        problem = problem_of(error)
        detail = problem.detail.replace(str(source), "the file sent").replace(str(path), path.stem)
        raise problem.pointing(None, detail.replace("header=False", "header=false")) from error


@router.get("/v1/engrams/{name}/export", responses={202: {"description": "A job, whose address is in Location."}})
async def export(
    request: Request,
    name: EngramName,
    form: Annotated[Export, Query(alias="format", description="What the answer is to be; folders come as tar.")],
    at: Annotated[str, Query(max_length=200)] = "live",
    layer: Annotated[str | None, Query(max_length=200)] = None,
    as_job: Annotated[bool, Query(alias="job", description="Be a job at once.")] = False,
) -> Response:
    """An engram in another form, streamed when it is written whole. What takes too long becomes a job (202).

    The present is checkpointed first if it has changed.
    """
    service = service_of(request)
    path = await asyncio.to_thread(service.root.existing, name)
    if at == "live":
        commit = await service.shelf.write(
            name, lambda e: e.checkpoint("for an export").number if e.uncommitted else e.commit.number
        )
    else:
        commit = await service.readers.do(lambda: commit_of(path, at))
    job = Job("export", name, {"format": form, "commit": commit, "layer": layer}, request.state.owner)
    service.jobs.add(job)
    if as_job:
        await service.jobs.make_durable(job)
    working = begin_export(service, job)
    if not as_job:
        await asyncio.wait([working], timeout=service.limits.export_patience_seconds)
        if working.done():
            service.jobs.forget(job)
            if job.state != "done":
                raise _again(job)
            return await _sent(service, job)
        await service.jobs.make_durable(job)
    return await accepted(request, job)


def _again(job: Job) -> Problem:
    """The problem of a job that is not done, as that of the request."""
    if job.state == "cancelled":
        return Problem(409, "cancelled", f"somebody has cancelled the {job.kind}; ask again")
    error = job.error or Problem(503, "closing", "the service is stopping; ask again").document()
    return Problem(error["status"], error["type"].rpartition("/")[2], error["detail"], pointer=error.get("pointer"))


async def _sent(service: Service, job: Job) -> Response:
    """The file, which goes when it has been sent."""
    response = await file_of(service, job)
    from starlette.background import BackgroundTask

    response.background = BackgroundTask(service.jobs.remove, job)
    return response


def begin_export(service: Service, job: Job) -> asyncio.Future[None]:
    """Write the file, in a thread."""
    given = job.request

    def work(job: Job) -> Any:
        path = service.root.existing(job.engram)
        folder = service.jobs.room(job)
        for left in folder.iterdir():  # by a start that was cut short
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        form, at = given["format"], given["commit"]
        progress: Any = job.tell
        if form in ("parquet", "sonata", "zarr"):
            return _as_tar(path, folder, job, progress)
        out = folder / f"{job.engram}{_SUFFIX[form]}"
        if form == "hdf5":
            found: Any = engramdb.export_hdf5(path, out, at=at, progress=progress)
        elif form == "graphml":
            found = engramdb.export_graphml(path, out, at=at, layer=given["layer"])
        elif form == "vdm":
            found = engramdb.export_vdm(path, out, at=at, layer=given["layer"], progress=progress)
        else:
            found = engramdb.export_edges(path, out, at=at, layer=given["layer"], progress=progress)
        return _exported(job, found, out)

    return service.jobs.start(job, work)


def _as_tar(path: Path, folder: Path, job: Job, progress: Any) -> dict[str, Any]:
    """A format of many files, as one."""
    import tempfile

    given = job.request
    exporters: dict[str, Callable[..., Any]] = {
        "parquet": engramdb.export_parquet, "sonata": engramdb.export_sonata, "zarr": engramdb.export_zarr,
    }  # fmt: skip
    more = {"layer": given["layer"]} if given["format"] == "zarr" else {}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work) / f"{job.engram}-{given['format']}"
        found = exporters[given["format"]](path, made, at=given["commit"], progress=progress, **more)
        out = folder / f"{job.engram}-{given['format']}.tar"
        with tarfile.open(out, "x") as tar:
            tar.add(made, arcname=made.name)
    return _exported(job, found, out)


def _exported(job: Job, found: Any, out: Path) -> dict[str, Any]:
    return {
        "file": f"/v1/jobs/{job.id}/result", "name": out.name, "bytes": out.stat().st_size,
        "commit": str(job.request["commit"]), "neurons": getattr(found, "neurons", None),
        "synapses": getattr(found, "synapses", None), "notes": list(getattr(found, "notes", ())),
    }  # fmt: skip


@router.post("/v1/engrams/{name}/verify", status_code=202)
async def verify(request: Request, name: EngramName) -> Response:
    """Check everything that is stored, in a job (202); beside the writer, and changing nothing."""
    service = service_of(request)
    await asyncio.to_thread(service.root.existing, name)
    job = service.jobs.add(Job("verify", name, {}, request.state.owner))
    await service.jobs.make_durable(job)
    begin_verify(service, job)
    return await accepted(request, job)


def begin_verify(service: Service, job: Job) -> asyncio.Future[None]:
    """Check, in a thread."""

    def work(job: Job) -> Any:
        job.percent = None
        report = engramdb.verify(service.root.existing(job.engram))
        return {
            "ok": report.ok, "checked": report.checked, "notes": report.notes,
            "problems": [str(one).replace(str(service.root.path) + "/", "") for one in report.problems[:100]],
        }  # fmt: skip

    return service.jobs.start(job, work)
