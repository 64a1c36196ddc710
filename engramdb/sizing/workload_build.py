"""S8: rows written out in bulk, how fast and in how much memory.

A layer grows by neurons whose rows are written, in a process of its own, with a commit for every part. The bound is
what has to be done with such rows in any case: encoding them, one thread, and writing and syncing the bytes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.growth.bundle import Bundles
from engramdb.sizing.figure import Figure, one
from engramdb.sizing.workload_bytes import bytes_on_disk
from engramdb.sizing.workload_memory import resident_bytes
from engramdb.spec import Layer, Spec

_MEMORY = 512 << 20
_LEAF = 8192
_SAMPLE_LEAVES = 16


def run(folder: Path, quick: bool) -> list[Figure]:
    """Neurons per second, as a ratio to the bound; bytes on disk; and the most memory taken, against the budget."""
    neurons = 50_000 if quick else 10_000_000
    path = folder / "grown.engram"
    child = [sys.executable, "-m", "engramdb.sizing.workload_build", str(path), str(neurons)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr.strip()}")
    measured = json.loads(done.stdout)
    size = bytes_on_disk(path)
    bound = neurons / _encode_and_write(folder / "bytes", neurons)
    return [
        one("grown and written out, k = 12", "M neurons/s", neurons / measured["seconds"] / 1e6, bound=bound / 1e6,
            bound_name="encode + write + sync, 1 thread", goal=">= 1 M/s"),
        one("CPU time of it", "us/neuron", measured["cpu_seconds"] / neurons * 1e6),
        one("on disk", "B/neuron", size / neurons),
        one("peak memory above that of the idle process", "MiB", measured["memory_bytes"] / 2**20,
            bound=_MEMORY / 2**20, bound_name="budget"),
    ]  # fmt: skip


def _spec(neurons: int) -> Spec:
    wiring = engramdb.SmallWorld(k=12, long_fraction=0.1, span=50, weight=(0.5, 1.5))
    return Spec(seed=1, layers=[Layer("neurons", segments=[neurons], wiring=wiring)])


def _encode_and_write(path: Path, neurons: int) -> float:
    """Seconds that it takes to encode as many neurons and to write and sync what comes of it."""
    from engramdb.bulk import never_fired
    from engramdb.store.leaf import encode_leaf
    from engramdb.wiring import Wiring

    spec = _spec(_SAMPLE_LEAVES * _LEAF)
    wiring = Wiring(spec, Bundles.initial(spec))
    leaves = []
    for first in range(0, _SAMPLE_LEAVES * _LEAF, _LEAF):
        ids = np.arange(first, first + _LEAF, dtype=np.uint64)
        rows = wiring.rows(ids)
        leaves.append(never_fired(ids, rows.indptr, rows.projection, rows.target, rows.weight))
    encode_leaf(leaves[0], line=1, commit=2, leaf=1, low=0)  # loads the codecs
    began = time.perf_counter()
    with path.open("wb") as file:
        for number in range(-(-neurons // _LEAF)):
            leaf = leaves[number % _SAMPLE_LEAVES]
            file.write(encode_leaf(leaf, line=1, commit=2, leaf=1 + number, low=int(leaf.ids[0]))[0])
        file.flush()
        os.fsync(file.fileno())
    elapsed = time.perf_counter() - began
    path.unlink()
    return elapsed * neurons / (-(-neurons // _LEAF) * _LEAF)


def _grow(path: Path, neurons: int) -> dict[str, Any]:
    with engramdb.create(path, _spec(1000), memory=_MEMORY) as e:
        e.grow("neurons", 1000, materialize=True)  # loads the kernels
        before = resident_bytes()
        began, cpu = time.perf_counter(), time.process_time()
        e.grow("neurons", neurons, materialize=True)
        elapsed, cpu_elapsed = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    return {"seconds": elapsed, "cpu_seconds": cpu_elapsed, "memory_bytes": max(0, peak_bytes - before)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_grow(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
