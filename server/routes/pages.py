"""Pages for people: the console, and the reference of the routes. All of them are read once, at the start."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from engramdb.server.problems import Problem

router = APIRouter(include_in_schema=False)
_HERE = Path(__file__).resolve().parent.parent
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
          ".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".woff2": "font/woff2"}  # fmt: skip


def _read(folder: str) -> dict[str, tuple[bytes, str]]:
    """Content and type of each file below a folder, by its path there: a name that is not among them is no file."""
    found = {}
    for path in (_HERE / folder).rglob("*"):
        if path.is_file():
            kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            found[path.relative_to(_HERE / folder).as_posix()] = path.read_bytes(), kind
    return found


_console, _pages = _read("console"), _read("pages")


def _file(files: dict[str, tuple[bytes, str]], name: str, request: Request) -> Response:
    if name not in files:
        raise Problem(404, "not-found", f"there is no page {request.url.path[:200]}")
    content, kind = files[name]
    return Response(content, headers={"Cache-Control": "no-cache"}, media_type=kind)


@router.get("/")
async def root() -> Response:
    """Where people begin."""
    return RedirectResponse("/console/" if "index.html" in _console else "/docs", 307)


@router.get("/console")
async def console_without_slash() -> Response:
    """Its links are relative."""
    return RedirectResponse("/console/", 307)


@router.get("/console/{path:path}")
async def console(request: Request, path: str) -> Response:
    """The console."""
    return _file(_console, path or "index.html", request)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The reference of the routes, made from ``/openapi.json`` by the page itself."""
    return _file(_pages, "docs.html", request)


@router.get("/pages/{path:path}")
async def page(request: Request, path: str) -> Response:
    """What the reference needs."""
    return _file(_pages, path, request)
