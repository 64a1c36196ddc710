"""Cursors: where the next page begins, in which state; opaque to who gets them, and checked when they come back."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from engramdb.server.problems import Problem
from engramdb.store.pack import crc32c


def written(content: dict[str, Any]) -> str:
    """As it is given out."""
    text = orjson.dumps(content)
    return base64.urlsafe_b64encode(crc32c(text).to_bytes(4, "little") + text).decode().rstrip("=")


def read(text: str, kind: str) -> dict[str, Any]:
    """What :func:`written` was given, if that was of this kind."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if crc32c(raw[4:]) != int.from_bytes(raw[:4], "little"):
            raise ValueError
        content = orjson.loads(raw[4:])
        if content.get("kind") != kind:
            raise ValueError
    except (ValueError, AttributeError, binascii.Error):
        raise Problem(422, "invalid-request", "this is no cursor of this question", pointer="/cursor") from None
    found: dict[str, Any] = content
    return found
