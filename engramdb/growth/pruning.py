"""Pruning once, of everything: each leaf is read, and written where it has weak synapses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engramdb.change import kept_synapses
from engramdb.store import STORED

if TYPE_CHECKING:
    from engramdb.engine import Engine
    from engramdb.spec import Spec
    from engramdb.store import Store


def prune_rows(live: Engine, store: Store, spec: Spec, below: float, layer: int | None) -> int:
    """Take away the synapses of stored rows that are smaller than ``below`` mV; returns how many.

    ``layer``: the index of one, or None for all but void ones. What is in RAM of the neurons concerned is written back
    first, and read again when it is needed.
    """
    live.write_back()
    pruned = 0
    for one in spec.layers:
        if one.model == "void" or (layer is not None and one.index != layer):
            continue
        for records in store.scan(one.index):
            weak = np.abs(records.weight) < below
            if not weak.any():
                continue
            touched = np.add.reduceat(np.append(weak, False), records.indptr[:-1]) > 0
            touched &= (records.row_kind == STORED) & (np.diff(records.indptr) > 0)
            rows = records.take(np.flatnonzero(touched))
            live.working_set.forget(rows.ids)
            after = kept_synapses(rows, np.abs(rows.weight) >= below)
            if (traces := live.working_set.traces) is not None:
                traces.follow(rows, after)
            store.write(after, retargeted=False)
            pruned += rows.synapses - after.synapses
    live.flight.reschedule(live.tick)
    return pruned
