"""Synapses of a set of neurons that a walk has come to, from either end."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import NotFound
from engramdb.query.synapses import onto
from engramdb.query.view import View

Direction = Literal["out", "in"]
_ROWS_AT_ONCE = 1 << 14


class Edges:
    """Synapses of a set of neurons, in arrays of equal length; ``near`` are the ends that were asked for."""

    def __init__(self, view: View, ids: IdArray, direction: Direction) -> None:
        """``ids``: sorted, distinct."""
        if direction == "out":
            starts = range(0, max(1, len(ids)), _ROWS_AT_ONCE)
            parts = [_sent(view, ids[start : start + _ROWS_AT_ONCE]) for start in starts]
        else:
            found = onto(ids, view.spec, view.store, view.wiring)
            delay = view.spec.ticks_of(found.projection, found.delay)
            parts = [(found.target, found.source, found.weight, delay, found.projection)]
        together = parts[0] if len(parts) == 1 else tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        self.near, self.far, self.weight, self.delay, self.projection = together


def _sent(view: View, ids: IdArray) -> tuple[npt.NDArray[Any], ...]:
    """Both ends, weight, delay in ticks and projection of the synapses out of ``ids``."""
    rows = view.rows(ids)
    near = np.repeat(ids, np.diff(rows.indptr))
    return near, rows.target, rows.weight, view.spec.ticks_of(rows.projection, rows.delay), rows.projection


def backwards(view: View, scanned: int = 0) -> bool:
    """Whether the synapses onto a neuron are found without a scan of more than ``scanned`` stored rows."""
    if view.store.reverse:
        return True
    stored = itertools.accumulate(leaf.rows for leaf in view.store.directory.leaves())
    return all(rows <= scanned for rows in stored)


def no_path(a: int, b: int, visited: int, *, all_of_them: bool) -> NotFound:
    """What is raised where no way was found, after all within reach were looked at, or some."""
    way = f"from {format_id(a)} to {format_id(b)}"
    if all_of_them:
        return NotFound(f"there is no path {way}: all {visited:,} neurons within reach were looked at")
    return NotFound(f"no path {way} among the {visited:,} neurons that were looked at; give a larger limit")
