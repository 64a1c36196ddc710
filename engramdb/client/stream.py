"""What an engram does, as the service tells it while it happens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engramdb.errors import Unreachable

if TYPE_CHECKING:
    from engramdb.client.transport import Transport

_SILENCE = 45.0  # seconds; the service says something every 15 s


@dataclass(frozen=True)
class Event:
    """``kind`` is ``tick``, ``state``, ``job`` or ``bye``; ``data`` as the service sent it."""

    kind: str
    data: dict[str, Any]
    id: str | None = None


def events(transport: Transport, path: str, *, again: bool = True, **params: Any) -> Iterator[Event]:
    """Events from now on, until the service says ``bye``, or the iterator is closed.

    ``again``: where the connection is lost it is made anew, and goes on behind the last event. Raises Unreachable where
    that fails.
    """
    last: str | None = None
    heard = False
    while True:
        headers = {} if last is None else {"Last-Event-ID": last}
        try:
            with transport.streaming(
                "GET", path, accept="text/event-stream", timeout=_SILENCE, params=params, headers=headers
            ) as response:
                for event in read(response.iter_lines()):
                    heard, last = True, event.id or last
                    yield event
                    if event.kind == "bye":
                        return
                return
        except Unreachable:
            if not (again and heard):
                raise
            heard = False  # once more; a second failure in a row is one


def read(lines: Iterable[str]) -> Iterator[Event]:
    """The events in the lines of a stream (HTML standard, server-sent events)."""
    kind, data, id_ = "message", [""] * 0, None
    for line in lines:
        if line == "":
            if data:
                yield Event(kind, json.loads("\n".join(data)), id_)
            kind, data = "message", []
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                id_ = value
