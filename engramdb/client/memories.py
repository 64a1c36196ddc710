"""Memory traces of a remote engram, see :mod:`engramdb.handle.memories`."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from engramdb.client import shapes
from engramdb.client.shapes import named, numbers
from engramdb.client.transport import Transport
from engramdb.naming import Ids

if TYPE_CHECKING:
    from engramdb.handle.questions import At
    from engramdb.query.trace import Drift, Match, Recall, Trace


class Memories:
    """What of :class:`~engramdb.client.engram.RemoteEngram` names sets of neurons and completes them."""

    transport: Transport
    _path: str

    def imprint(self, name: str, ids: Ids, *, replace: bool = False) -> Trace:
        """Name a set of neurons; see :meth:`engramdb.Engram.imprint`."""
        self.transport.post(f"{self._path}/traces", {"name": name, "ids": named(ids), "replace": replace})
        return self.trace(name)

    def traces(self, *, at: At = None) -> list[Trace]:
        """All traces, by name."""
        return [_trace(one) for one in self.transport.get(f"{self._path}/traces", members=True, at=at)["traces"]]

    def trace(self, name: str, *, at: At = None) -> Trace:
        """The trace of that name; ``&``, ``|`` and ``-`` of two give ids. Raises :class:`NotFound`."""
        return _trace(self.transport.get(f"{self._path}/traces/{quote(name)}", at=at))

    def forget_trace(self, name: str) -> None:
        """Take the name of a trace away; its neurons stay as they are."""
        self.transport.delete(f"{self._path}/traces/{quote(name)}")

    def recall(
        self, cue_ids: Ids, ticks: int = 50, *, amplitude: float = 20.0, duration: int = 1, least_spikes: int = 1,
        present: bool = False, keep: bool = False, at: str | int | None = None,
    ) -> Recall:  # fmt: skip
        """Present a cue, run, and say which traces are completed; see :meth:`engramdb.Engram.recall`."""
        from engramdb.query.trace import Recall

        body: dict[str, Any] = {
            "query": "recall", "cue": named(cue_ids), "ticks": ticks, "amplitude": numbers(amplitude),
            "duration": duration, "least_spikes": least_spikes, "present": present, "keep": keep,
        }  # fmt: skip
        found = self.transport.post(f"{self._path}/query", body if at is None else {**body, "at": at})
        return Recall(
            shapes.ids_of(found["cue"]), found["ticks"], least_spikes, shapes.ids_of(found["active"]),
            np.array(found["spike_count"], dtype=np.int64), np.array(found["counts"], dtype=np.int64),
            tuple(_match(match) for match in found["traces"]), keep,
        )  # fmt: skip

    def drift(
        self, name: str, before: At, after: At = None, *, cue_ids: Ids | None = None, ticks: int = 50,
        amplitude: float = 20.0, duration: int = 1, least_spikes: int = 1,
    ) -> Drift:  # fmt: skip
        """How a trace differs from ``before`` to ``after`` (default: now); see :meth:`engramdb.Engram.drift`."""
        from engramdb.query.trace import Drift

        body: dict[str, Any] = {
            "query": "drift", "trace": name, "ticks": ticks, "amplitude": numbers(amplitude), "duration": duration,
            "least_spikes": least_spikes, **({} if cue_ids is None else {"cue": named(cue_ids)}),
            **{place: "live" if at is None else at for place, at in (("before", before), ("after", after))},
        }  # fmt: skip
        found = self.transport.post(f"{self._path}/query", body)
        given = {field.name: _number(found[field.name]) for field in fields(Drift)}
        return Drift(**given)


def _trace(one: dict[str, Any]) -> Trace:
    from engramdb.query.trace import Trace

    return Trace(one["name"], shapes.ids_of(one["ids"]), one["tick"], one["created"])


def _number(value: Any) -> Any:
    """JSON has no number for what is none, and lists for pairs."""
    if isinstance(value, list):
        return tuple(_number(one) for one in value)
    return math.nan if value is None else value


def _match(document: dict[str, Any]) -> Match:
    from engramdb.query.trace import Match

    return Match(**{name: _number(value) for name, value in document.items()})
