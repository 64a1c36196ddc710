"""Forgetting: neurons whose record says nothing that their layer's wiring rule does not say become virtual again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from engramdb.address import IdArray, by_layer
from engramdb.keptfields import nothing_kept
from engramdb.parameters import given_in
from engramdb.spec import Spec
from engramdb.store import GENERATED, Records, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring


def forgettable(ids: IdArray, awake: IdArray, spec: Spec, store: Store, wiring: Callable[[], Wiring]) -> IdArray:
    """Those of ``ids`` (sorted, distinct) with a record whose row is the one that the wiring rules generate.

    None of ``awake``, none that was given parameters of its own or has something that its model keeps, and none of
    layers that are materialized whole: there only a record says who is alive.
    """
    kept = [np.empty(0, dtype=np.uint64)]
    ids = np.setdiff1d(ids, awake)
    for layer, where in by_layer(ids):
        if spec.layer(layer).materialize:
            continue
        stored = store.find(ids[where], query=True)
        same = stored.row_kind == GENERATED
        written = np.flatnonzero(~same)
        if len(written):
            same[written] = _same_rows(stored.take(written), wiring())
        for values in (given_in(stored, spec.layer(layer).columns, np.ones(len(stored), dtype=bool)) or {}).values():
            same &= np.isnan(values)
        same &= nothing_kept(stored)
        kept.append(stored.ids[same])
    return np.concatenate(kept)


def _same_rows(stored: Records, wiring: Wiring) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows equal, bit for bit and in order, those that are generated."""
    made = wiring.rows(stored.ids)
    length = np.diff(stored.indptr)
    same = length == np.diff(made.indptr)
    at = np.repeat(same, length)
    of_made = np.repeat(same, np.diff(made.indptr))
    row = np.repeat(np.arange(len(stored)), length)[at]
    differs = (
        (stored.projection[at] != made.projection[of_made])
        | (stored.target[at] != made.target[of_made])
        | (stored.weight[at] != made.weight[of_made])
    )
    if stored.delay is not None and made.delay is not None:
        differs |= stored.delay[at] != made.delay[of_made]
    same[row[differs]] = False
    return same
