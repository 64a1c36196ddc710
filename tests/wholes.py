"""Whole segments: as a scan of the store reads them, and compared with what Zarr shows; and an engram to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from engramdb import ZarrStore
from engramdb.store import LeafPolicy, Store
from tests.stores import commit, neurons, state_change, writing

Columns = dict[str, npt.NDArray[Any]]


def whole(store: Store, layer: int, segment: int) -> Columns:
    """Every array of a segment that has stored neurons, by its name in Zarr, out of a scan."""
    prefix = layer << 16 | segment
    parts = [records for records in store.scan(layer) if int(records.ids[0]) >> 32 == prefix]
    edges = np.cumsum([0] + [part.synapses for part in parts]).astype(np.uint64)
    return {
        "id": np.concatenate([part.ids for part in parts]),
        "row_kind": np.concatenate([part.row_kind for part in parts]),
        **{name: np.concatenate([part.state[name] for part in parts]) for name in parts[0].state},
        "indptr": np.concatenate(
            [part.indptr[:-1].astype(np.uint64) + edge for part, edge in zip(parts, edges[:-1], strict=True)]
            + [edges[-1:]]
        ),
        "target": np.concatenate([part.target for part in parts]),
        "weight": np.concatenate([part.weight for part in parts]),
        "projection": np.concatenate([part.projection for part in parts]),
    }


def assert_shows(group: zarr.Group, expected: Columns) -> None:
    """The group's arrays are these and no others: names, types, shapes, bits."""
    assert set(group.array_keys()) == set(expected)
    for name, values in expected.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert (array.dtype, array.shape) == (values.dtype, values.shape), name
        assert np.asarray(array[:]).tobytes() == values.tobytes(), name


def opened(view: ZarrStore) -> zarr.Group:
    """The root of what a view shows."""
    return zarr.open_group(view, mode="r")


def write_changed(path: Path) -> Path:
    """Two segments in small leaves, some of them under deltas; commits 2, 3 and 4, the first two named."""
    with writing(path, policy=LeafPolicy(rows=128, nbytes=1 << 14)) as store:
        for segment in (0, 1):
            store.write(neurons((segment << 32) + 3 * np.arange(500, dtype=np.uint64), degree=5, seed=segment))
        commit(store)
        store.snapshot("first")
        store.write(state_change(np.arange(0, 900, 30), 77))
        store.write(neurons([1, 2, 3, 31], degree=7, seed=9))
        commit(store, tick=2)
        store.snapshot("second")
        store.write(neurons([900, 901, 904], degree=0))
        store.write(state_change(np.arange(0, 600, 60), 78))
        commit(store, tick=3)
    return path
