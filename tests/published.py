"""Engrams to publish, and what must be the same wherever one reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb import Engram, Layer, SmallWorld, Spec
from engramdb.demo import Demo
from engramdb.store import Store
from engramdb.url import located


def worm(folder: Path) -> Path:
    """The connectome of the demo, with labels: a snapshot ``rested``, one ``touched``, and a line that was left."""
    path = Demo(folder).import_connectome() and next(folder.glob("*.engram"))
    with engramdb.open(path, "r+") as engram:
        engram.snapshot("rested")
        engram.stimulate(["PLML", "PLMR"], amplitude=4.0, duration=20)
        engram.run(40)
        engram.snapshot("touched")
        engram.restore("rested")
        engram.set_weight("PLML", engram.synapses("PLML").targets, 0.0)
        engram.run(5)
    return path


def large(folder: Path, neurons: int = 100_000) -> Path:
    """All rows stored, in as many leaves as it takes; snapshots ``born`` and, between two runs, ``before``."""
    wiring = SmallWorld(k=10, long_fraction=0.1, span=50, weight=(1.0, 3.0))
    layer = Layer("cortex", segments=[neurons], wiring=wiring, materialize=True)
    path = folder / "large.engram"
    with engramdb.create(path, Spec(seed=3, layers=[layer])) as engram:
        engram.snapshot("born")
        more(engram)
        engram.snapshot("before")
        more(engram)
    return path


def small(folder: Path, name: str = "small.engram") -> Path:
    """As large, with 2,000 neurons."""
    return large(folder, 2000).rename(folder / name)


def more(engram: Engram) -> None:
    """Something happens to some neurons."""
    engram.stimulate(range(0, 200, 2), amplitude=30.0)
    engram.run(3)


def goes_on(path: Path, times: int = 1) -> None:
    """So many commits more."""
    for _ in range(times):
        with engramdb.open(path, "r+") as engram:
            more(engram)


def content(path: Any, options: Any = None, at: str | int | None = None) -> list[Any]:
    """Everything that a reader of the engram at a path or URL can see from one commit, as plain values."""
    with Store.open(located(path, options), at=at) as store:
        return [store.commit, store.log(), store.snapshots(), store.branches(), *_here(store)]


def neurons(path: Any, options: Any = None, at: str | int | None = None) -> list[Any]:
    """As content, of that commit alone and not of its history."""
    with Store.open(located(path, options), at=at) as store:
        return _here(store)


def _here(store: Store) -> list[Any]:
    found: list[Any] = [store.spec, store.commit.tick]
    found += sorted((name, array.tobytes()) for name, array in store.read_state().items())
    for records in store.scan():
        found += [records.ids.tobytes(), records.row_kind.tobytes(), records.indptr.tobytes()]
        found += [records.projection.tobytes(), records.target.tobytes(), records.weight.tobytes()]
        found += sorted((name, array.tobytes()) for name, array in records.state.items())
        found += store.labels_of(records.ids) if store.has_labels else []
    return found


def asked(engram: Engram, ids: Any) -> list[Any]:
    """What queries answer about some neurons."""
    found: list[Any] = [engram.tick, engram.labels(ids)]
    for neuron_id in engram.resolve(ids).tolist():
        neuron, sent, received = engram.neuron(neuron_id), engram.synapses(neuron_id), engram.synapses(neuron_id, "in")
        found += [neuron.state, sorted(neuron.fields.items()), neuron.out_degree]
        found += [sent.targets.tolist(), sent.weights.tolist(), received.sources.tolist(), received.weights.tolist()]
    return found


def packs_of(path: Path) -> dict[str, int]:
    """Names and sizes of the packs of the engram at ``path``."""
    return {file.name: file.stat().st_size for file in (path / "packs").iterdir()}


def flip(data: bytes, at: int) -> bytes:
    """``data`` with one bit of the byte ``at`` turned."""
    changed = np.frombuffer(data, np.uint8).copy()
    changed[at] ^= 16
    return changed.tobytes()
