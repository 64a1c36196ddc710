"""Answers: JSON, NDJSON or an Arrow stream as the request accepts, compressed where that is worth it.

What is large is written in a thread, not in the event loop.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from engramdb.server.problems import Problem

JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
_ACCEPTED = {"*/*": JSON, "application/*": JSON, JSON: JSON, NDJSON: NDJSON, "application/ndjson": NDJSON, ARROW: ARROW}
_LARGE = 500  # rows from which writing them is left to a thread
_WORTH_BYTES = 1400
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True)
class Table:
    """Rows by column, all of one length, and what stands beside them in JSON: ``name`` is what the rows are called."""

    name: str
    columns: Mapping[str, Any]
    beside: Mapping[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def rows(self) -> Iterable[dict[str, Any]]:
        names = list(self.columns)
        columns = [_plain(name, column) for name, column in self.columns.items()]
        return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _plain(name: str, column: Any) -> Any:
    """A column as JSON has it: ids as text, since JavaScript loses integers above 2^53."""
    if isinstance(column, np.ndarray) and column.dtype == np.uint64 and is_id(name):
        return map(str, column.tolist())
    return column


def is_id(name: str) -> bool:
    """Whether a column of that name has ids of neurons."""
    return name in ("id", "pre", "post")


def dumps(content: Any) -> bytes:
    """JSON; numbers that are not finite become null."""
    return orjson.dumps(content, default=_default, option=_OPTIONS)


def _default(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def chosen(request: Request, forms: Sequence[str] = (JSON, NDJSON, ARROW)) -> str:
    """Which of ``forms`` the request accepts, the first of those it likes best; JSON where it does not say."""
    accepted = request.headers.get("accept", "*/*")
    best, weight = "", 0.0
    for part in accepted.split(","):
        kind, _, parameters = part.strip().partition(";")
        kind = kind.strip().lower()
        q = 1.0
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name == "q":
                try:
                    q = float(value)
                except ValueError:
                    q = 0.0
        given = _ACCEPTED.get(kind)
        if given is not None and given in forms and q > weight:
            best, weight = given, q
    if not best:
        raise Problem(406, "not-acceptable", f"there is {' and '.join(forms)}, but not {accepted[:200]}")
    return best


async def reply(
    request: Request, content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """``content`` as JSON; a :class:`Table` as what is accepted."""
    if isinstance(content, Table):
        kind = chosen(request)
        write = {JSON: _json, NDJSON: _ndjson, ARROW: _arrow}[kind]
        body = await asyncio.to_thread(write, content) if len(content) > _LARGE else write(content)
        more = {"X-Next-Cursor": str(content.beside["cursor"])} if content.beside.get("cursor") else {}
        return await _sent(request, body, kind, status, {**more, **(headers or {})})
    return await _sent(request, dumps(content), JSON, status, headers or {})


async def reply_in_thread(request: Request, content: Any) -> Response:
    """``content``, of which there is much, as JSON."""
    return await _sent(request, await asyncio.to_thread(dumps, content), JSON, 200, {})


async def _sent(request: Request, body: bytes, kind: str, status: int, headers: Mapping[str, str]) -> Response:
    given = {"Vary": "Accept, Accept-Encoding", **headers}
    if len(body) >= _WORTH_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        if len(body) > 1 << 16:
            body = await asyncio.to_thread(gzip.compress, body, 4)
        else:
            body = gzip.compress(body, 4)
        given["Content-Encoding"] = "gzip"
    return Response(body, status, given, kind)


def _json(table: Table) -> bytes:
    return dumps({table.name: list(table.rows()), **table.beside})


def _ndjson(table: Table) -> bytes:
    return b"".join(dumps(row) + b"\n" for row in table.rows())


def _arrow(table: Table) -> bytes:
    import pyarrow

    arrays = {}
    for name, column in table.columns.items():
        if isinstance(column, np.ndarray):
            arrays[name] = pyarrow.array(column)
        elif len(column) and isinstance(column[0], dict):  # fields, of which models differ in which they have
            keys = dict.fromkeys(key for one in column for key in one)
            for key in keys:
                arrays[key] = pyarrow.array([None if key not in one else np.asarray(one[key]).item() for one in column])
        else:
            arrays[name] = pyarrow.array(column)
    made = pyarrow.table(arrays)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    buffer: bytes = sink.getvalue().to_pybytes()
    return buffer
