"""Small stores for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engramdb import Explicit, Layer, Projection, Spec
from engramdb.growth.bundle import Bundles
from engramdb.store import FORGOTTEN, GENERATED, STORED, LeafPolicy, LeafRef, Records, Store, verify
from engramdb.store.versions import SELECTED, ref_of, table_of

SMALL_LEAVES = LeafPolicy(rows=16, nbytes=2048)


def spec(index: int = 0, *, delays: bool = False) -> Spec:
    """Two layers, the first of two large segments; with ``delays`` of each synapse."""
    first = Layer("first", index=index, segments=[1 << 32, 1 << 32])
    second = Layer("second", index=index + 1, segments=[1000])
    return Spec(
        seed=1,
        layers=[first, second],
        projections=[Projection("first", "first", Explicit(), delay_ms=(1, 65535) if delays else 1)],
    )


def create(path: Path, index: int = 0, *, delays: bool = False, **options: Any) -> Path:
    made = spec(index, delays=delays)
    Store.create(path, made, Bundles.initial(made), **options)
    return path


def writing(path: Path, **options: Any) -> Store:
    """The engram at ``path``, created if there is none, open for writing, with small leaves."""
    if not path.exists():
        create(path)
    return Store.open(path, "r+", **{"policy": SMALL_LEAVES, **options})


def commit(store: Store, tick: int = 1, message: str = "", **state: np.ndarray) -> int:
    return store.commit_state(tick, state, store.bundles, message).number


def neurons(ids: Any, degree: int = 3, seed: int = 0, base: int = 0) -> Records:
    """Stored rows with targets near their sources; every value depends on ``seed`` and its place."""
    ids = np.asarray(ids, np.uint64)
    random = np.random.default_rng([seed, ids.size])
    nnz = degree * ids.size
    return Records(
        ids=ids,
        state={
            "spike_count": random.integers(0, 1000, ids.size).astype(np.uint32),
            "last_spike": np.full(ids.size, base + seed, np.int64),
        },
        row_kind=np.full(ids.size, STORED if degree else GENERATED, np.uint8),
        indptr=np.arange(0, nnz + 1, degree, dtype=np.int64) if degree else np.zeros(ids.size + 1, np.int64),
        projection=np.zeros(nnz, np.uint16),
        target=np.repeat(ids, degree) // np.uint64(2),
        weight=random.normal(size=nnz).astype(np.float32),
    )


def state_change(ids: Any, value: int) -> Records:
    """A change of the state columns that leaves the rows."""
    ids = np.asarray(ids, np.uint64)
    return Records.of_state(
        ids,
        {"spike_count": np.full(ids.size, value, np.uint32), "last_spike": np.full(ids.size, value, np.int64)},
    )


def ids(*numbers: Any) -> np.ndarray:
    return np.array(numbers, np.uint64)


def forgotten(wanted: Any) -> Records:
    """A change after which the neurons have no record."""
    return Records.of_state(np.asarray(wanted, np.uint64), {}, FORGOTTEN)


def refs_of(store: Store) -> list[LeafRef]:
    """The leaves that the handle sees."""
    return list(store.directory.leaves())


def versions_of(path: Path) -> list[LeafRef]:
    """All leaf versions that commits name."""
    with Store.open(path) as store:
        return [ref_of(entry) for entry in table_of(store._catalog.rows(f"SELECT {SELECTED} FROM versions"))]


def sound(path: Path) -> bool:
    """Nothing is damaged, and nothing is left over."""
    report = verify(path)
    return report.ok and not report.notes
