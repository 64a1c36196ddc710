"""Text that comes in: every character of it is one. JSON can name halves of a pair, ``"\\ud800"``, which are none.

Nothing behind the boundary has to think of them: they have no UTF-8, so that they could neither be stored nor sent.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request

from engramdb.server.problems import Problem, escaped

_HALF = re.compile(r"[\ud800-\udfff]")
_MAY_BE_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


async def check_body(request: Request) -> None:
    """Raises a problem where a JSON body has text that is none; for routes that take one."""
    if getattr(request.scope.get("route"), "body_field", None) is None:
        return  # nobody has read a body, and an import's is not to be held in memory
    body = await request.body()
    if not body:
        return
    if b"\0" not in body and not _MAY_BE_HALF.search(body):
        try:
            body.decode()
        except UnicodeDecodeError:
            pass
        else:
            return
    where = wrong_text(await request.json())
    if where is not None:
        raise Problem(422, "invalid-request", "the text has half a character in it, which UTF-8 has not", pointer=where)


def wrong_text(content: Any) -> str | None:
    """The JSON pointer to the first text of a document that is none, in no order; a key's is its object's."""
    waiting = [("", content)]
    while waiting:
        where, one = waiting.pop()
        if isinstance(one, str):
            if _HALF.search(one):
                return where
        elif isinstance(one, dict):
            if any(_HALF.search(key) for key in one):
                return where
            waiting += [(f"{where}/{escaped(key)}", value) for key, value in one.items()]
        elif isinstance(one, list):
            waiting += [(f"{where}/{place}", value) for place, value in enumerate(one)]
    return None


def check_address(path: bytes, query: bytes) -> None:
    """Raises a problem where the path or the query of a request, as they were sent, are no UTF-8."""
    for what, sent in (("path", path), ("query", query)):
        if b"%" in sent:
            try:
                unquote_to_bytes(sent).decode()
            except UnicodeDecodeError:
                raise Problem(422, "invalid-request", f"the {what} of the request is no UTF-8") from None
