"""S7: snapshot and restore of a clean state, whatever the size."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import engramdb
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, scaled, timed


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds of each, at several sizes, beside one synced write of a page."""
    repeats = 3 if quick else 15
    sync = statistics.median(scaled(timed(lambda: _synced_write(folder / "page"), repeats), 1e3))
    sizes = (1_000, 10_000) if quick else (10_000, 1_000_000)
    specs = [(f"{n:,} written", workload_bytes.spec(n)) for n in sizes]
    specs.append(("10^11 virtual", workload_bytes.virtual_spec()))
    figures = []
    for number, (name, spec) in enumerate(specs):
        with engramdb.create(folder / f"{number}.engram", spec) as e:
            e.stimulate([3, 4], 20.0)
            e.run(3)
            e.snapshot("first")
            names = iter(f"s{i}" for i in range(repeats))
            snapshots = scaled(timed(lambda e=e, names=names: e.snapshot(next(names)), repeats), 1e3)  # type: ignore[misc]
            restores = scaled(timed(lambda e=e: e.restore("first"), repeats), 1e3)  # type: ignore[misc]
        figures += [
            Figure(f"snapshot, {name}", "ms", snapshots, sync, "synced write", "<= 10 ms"),
            Figure(f"restore, {name}", "ms", restores, sync, "synced write", "<= 10 ms"),
        ]
    return figures


def _synced_write(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(handle, bytes(4096), 0)
        os.fsync(handle)
    finally:
        os.close(handle)
