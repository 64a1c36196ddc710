"""S3: a checkpoint after scattered neurons of a written engram have fired, and how long the engine stands still."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

import engramdb
from engramdb import Engram
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, one
from engramdb.store.pack import DELTA

_SHARE = 0.01
_FIRED_BYTES = 8 + 4 + 8  # of a neuron that fired: id, spike count, tick of the last spike
_CHARGED_BYTES = 8 + 4 + 4  # of one that is not at rest: id, potential, ticks of refractoriness
_MEMORY = "4GiB"
_SEED = 1


def run(folder: Path, quick: bool) -> list[Figure]:
    """Bytes written for one in a hundred neurons, milliseconds for which ticks stop, and for how long it goes on."""
    neurons, repeats = (20_000, 2) if quick else (10_000_000, 6)
    path = folder / "written.engram"
    engramdb.create(path, workload_bytes.spec(neurons), memory=_MEMORY).close()
    random = np.random.default_rng(_SEED)
    packs: list[float] = []
    sizes: list[float] = []
    stalls: list[float] = []
    durations: list[float] = []
    waited: list[float] = []
    with engramdb.open(path, "r+", memory=_MEMORY) as e:
        e.snapshot("at rest")
        for _ in range(repeats + 1):
            # they fire in the next tick, and their targets have not heard of it yet
            e.stimulate(np.sort(random.choice(neurons, int(neurons * _SHARE), replace=False)).astype(np.uint64), 20.0)
            changed = int(e.run(1).counts.sum()) * _FIRED_BYTES + e.stats()["charged"] * _CHARGED_BYTES
            before = _pack_bytes(path)
            began = time.perf_counter()
            e.checkpoint(wait=False)
            stalls.append((time.perf_counter() - began) * 1e3)
            durations.append(_until_done(e, began))
            packs.append((_pack_bytes(path) - before) / changed)
            sizes.append(changed / 1e3)
            e.stimulate([0], 20.0)
            e.run(1)
            began = time.perf_counter()
            e.checkpoint()
            waited.append((time.perf_counter() - began) * 1e3)
            last = e.log()[0].number
            e.restore("at rest")
        e.restore(last)
        deltas = sum(ref.kind == DELTA for ref in e._store.directory.leaves())
        began = time.perf_counter()
        done = e.compact()
        compacting = time.perf_counter() - began
        assert done.leaves == deltas
    packs, sizes, stalls, durations = packs[1:], sizes[1:], stalls[1:], durations[1:]
    return [
        Figure("written to packs, of the changed bytes", "x", tuple(packs), goal="<= 3 x"),
        Figure("changed: who fired, and potentials not at rest", "kB", tuple(sizes)),
        Figure("engine stands still", "ms", tuple(stalls), statistics.median(waited), "waiting for all", "<= 50 ms"),
        Figure("written behind", "ms", tuple(durations)),
        Figure("checkpoint waited for", "ms", tuple(waited)),
        one("compaction, leaves", "leaves", done.leaves),
        one("compaction, written", "MB/s", done.nbytes / compacting / 1e6),
    ]


def _until_done(e: Engram, began: float) -> float:
    while not e._store.idle():
        time.sleep(0.002)
    return (time.perf_counter() - began) * 1e3


def _pack_bytes(path: Path) -> int:
    return sum(pack.stat().st_size for pack in (path / "packs").iterdir())
