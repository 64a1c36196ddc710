"""What was learned goes back to the store: records with whole rows, copied out of the arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.store import KEEP, STORED, Records
from engramdb.store.records import gather

if TYPE_CHECKING:
    from engramdb.workingset import Int64Array, WorkingSet


def learned_rows(
    working_set: WorkingSet,
    dirty: Int64Array,
    learned: npt.NDArray[np.bool_],
    ids: IdArray,
    counts: Mapping[str, npt.NDArray[Any]],
) -> Callable[[], list[Records]]:
    """A copy of the records ``dirty`` of neurons ``ids`` with ``counts``, and of the rows of who has ``learned``.

    Called, it gives them in order, one layer each.
    """
    assert working_set.tables is not None
    arena, codes = working_set.arena, working_set.codes
    length = np.where(learned, working_set.records["length"][dirty], 0).astype(np.int64)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(length)])
    at = np.repeat(working_set.records["offset"][dirty] - indptr[:-1], length) + np.arange(indptr[-1])
    code = arena.code[at]
    projection = working_set.tables.projection[codes.pair[code]]
    target = codes.prefix[code] | arena.local[at].astype(np.uint64)
    weight = arena.link["weight"][at]
    delay = codes.delay[code].astype(np.uint16) if len(codes.table) > 1 else None

    def changes() -> list[Records]:
        found = []
        order = np.argsort(ids)
        for _, part in by_layer(ids[order]):
            own = order[part]
            rows, synapse = gather(indptr, own)
            found.append(Records(
                ids[own], {name: column[own] for name, column in counts.items()},
                np.where(learned[own], STORED, KEEP).astype(np.uint8), rows, projection[synapse], target[synapse],
                weight[synapse], delay=None if delay is None else delay[synapse],
            ))  # fmt: skip
        return found

    return changes
