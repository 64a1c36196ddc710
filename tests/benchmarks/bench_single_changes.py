"""Changes made one call at a time: ``python -m tests.benchmarks.bench_single_changes``.

Prints what a call takes, of the first and of the last fifth of them, and the bytes in packs before and after the
checkpoint; the same changes in one call beside it. Run it with PYTHONPATH set to another version to compare by turns.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import engramdb
from engramdb import Layer, SmallWorld, Spec

_NEURONS = 20_000


def measure(folder: Path, calls: int) -> str:
    path = folder / f"{calls}.engram"
    layer = Layer("a", segments=[_NEURONS], wiring=SmallWorld(k=12, weight=(0.5, 1.5)), materialize=True)
    with engramdb.create(path, Spec(seed=3, layers=[layer])) as e:
        pairs = [(i, int(e.synapses(i).targets[0])) for i in range(calls)]
        e.set_weight(*pairs[0], 2.0)
        e.checkpoint()
        begun, took = _packed(path), []
        for pre, post in pairs:
            since = time.perf_counter()
            e.set_weight(pre, post, 2.5)
            took.append(1e3 * (time.perf_counter() - since))
        before = _packed(path) - begun
        e.checkpoint()
        after = _packed(path) - begun
        e.set_weight([pre for pre, _ in pairs], [post for _, post in pairs], 3.5)
        e.checkpoint()
        together = _packed(path) - begun - after
    fifth = max(1, calls // 5)
    return (
        f"{calls} calls: {np.median(took[:fifth]):.2f} ms each at first, {np.median(took[-fifth:]):.2f} ms at last; "
        f"{before / 1e3:.1f} kB in packs before the checkpoint, {after / 1e3:.1f} kB after it; "
        f"in one call {together / 1e3:.1f} kB"
    )


def _packed(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "packs").iterdir())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for calls in (125, 500, 1000):
            sys.stdout.write(measure(Path(folder), calls) + "\n")
