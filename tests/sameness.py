"""Whether two engrams are the same, bit for bit, but for their history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engramdb.store import Records, Store
from engramdb.store.records import concatenate


def assert_same_bits(one: Any, other: Any, what: str) -> None:
    a, b = np.asarray(one), np.asarray(other)
    assert (a.dtype, a.shape) == (b.dtype, b.shape), what
    assert a.tobytes() == b.tobytes(), what


def assert_same_engram(one: Path, other: Path) -> None:
    """Spec, bundles, tick, state in flight, every record of every layer, and labels."""
    with Store.open(one) as a, Store.open(other) as b:
        assert a.spec.to_json() == b.spec.to_json()
        assert a.bundles.to_json() == b.bundles.to_json()
        assert a.commit.tick == b.commit.tick
        kept, other_kept = a.read_state(), b.read_state()
        assert kept.keys() == other_kept.keys()
        for name, array in kept.items():
            assert_same_bits(array, other_kept[name], name)
        for layer in a.spec.layers:
            assert_same_records(whole(a, layer.index), whole(b, layer.index))
        assert labels(a) == labels(b)


def whole(store: Store, layer_index: int) -> Records:
    return concatenate([part.copy() for part in store.scan(layer_index)])


def assert_same_records(one: Records, other: Records) -> None:
    for name in ("ids", "row_kind", "indptr", "projection", "target", "weight"):
        assert_same_bits(getattr(one, name), getattr(other, name), name)
    nothing = np.empty(0, np.uint16)  # records without synapses may have delays, or not
    delays = (nothing if records.delay is None else records.delay for records in (one, other))
    assert_same_bits(*delays, "delay")
    assert one.state.keys() == other.state.keys()
    for name, column in one.state.items():
        assert_same_bits(column, other.state[name], name)


def labels(store: Store) -> list[Any]:
    found = []
    for layer, batches in store.label_runs():
        pairs = [(list(names), ids.tolist()) for names, ids in batches]
        found.append((layer, [n for names, _ in pairs for n in names], [i for _, ids in pairs for i in ids]))
    return found
