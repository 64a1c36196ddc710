"""Values of a leaf's records that pass their checksums and yet cannot be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engramdb.address import MAX_LOCAL
from engramdb.store.pack import BadRecord
from engramdb.store.records import GENERATED, KEEP, STORED, Records
from engramdb.store.versions import LeafRef

Sizes = dict[tuple[int, int], int]
"""Declared neurons of each (layer index, segment)."""


def check_records(ref: LeafRef, records: Records, sizes: Sizes | None, projections: int) -> None:
    """Raise BadRecord where values that pass their checksums cannot be. ``sizes`` None: nobody knows them."""
    ids = records.ids
    if (len(records), records.synapses) != (ref.rows, ref.synapses) or not ids.size:
        raise BadRecord(
            f"it has {len(records)} neurons and {records.synapses} synapses, "
            f"and the catalog says {ref.rows} and {ref.synapses}"
        )
    if (ids[1:] <= ids[:-1]).any():
        raise BadRecord("its ids do not increase")
    if int(ids[0]) != ref.first or int(ids[-1]) != ref.last or ref.first < ref.low or ref.low >> 32 != ref.last >> 32:
        raise BadRecord("its ids are not those that the catalog names")
    if ((records.row_kind == KEEP) | (records.row_kind > GENERATED)).any():
        raise BadRecord("a row is neither stored nor generated")
    if ((np.diff(records.indptr) > 0) & (records.row_kind != STORED)).any():
        raise BadRecord("a generated row has synapses")
    if sizes is not None and not exist(ids, sizes):
        raise BadRecord("it holds ids that its segment does not have")
    if sizes is not None and not exist(records.target, sizes):
        raise BadRecord("a synapse leads to a neuron that does not exist")
    if records.projection.size and int(records.projection.max()) >= projections:
        raise BadRecord("a synapse belongs to a projection that does not exist")
    if not np.isfinite(records.weight).all():
        raise BadRecord("a weight is not finite")
    if records.delay is not None and records.delay.size and not records.delay.min():
        raise BadRecord("a delay is 0 ticks")


def exist(ids: npt.NDArray[np.uint64], sizes: Sizes) -> bool:
    """Whether all ids lie below the sizes of their segments."""
    if not ids.size:
        return True
    segments = ids >> np.uint64(32)
    kinds = segments[:1] if bool((segments == segments[0]).all()) else np.unique(segments)
    for segment in kinds.tolist():
        local = ids[segments == np.uint64(segment)] & np.uint64(MAX_LOCAL)
        if int(local.max()) >= sizes.get((segment >> 16, segment & 0xFFFF), 0):
            return False
    return True
