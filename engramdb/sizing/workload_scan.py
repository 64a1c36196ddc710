"""S2: a whole engram scanned cold. The bound reads the same files from beginning to end."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import engramdb
import engramdb.kernels.targets  # a process that scans has the kernels at work
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, scaled, timed
from engramdb.sizing.workload_lookup import drop_from_cache
from engramdb.store import Store

_READ_BYTES = 1 << 20


def run(folder: Path, quick: bool) -> list[Figure]:
    """Megabytes of disk a second: scanned cold, scanned from the page cache, and read."""
    neurons, repeats = (20_000, 1) if quick else (2_000_000, 5)
    path = folder / "written.engram"
    engramdb.create(path, workload_bytes.spec(neurons)).close()
    packs = sorted((path / "packs").iterdir())
    megabytes = sum(pack.stat().st_size for pack in packs) / 1e6
    cold: list[float] = []
    warm: list[float] = []
    read: list[float] = []
    with Store.open(path, cache_bytes=0) as store:

        def scan() -> None:
            assert sum(len(part) for part in store.scan()) == neurons

        scan()
        for _ in range(repeats):
            drop_from_cache(path)
            cold += timed(scan, 1)
            warm += timed(scan, 1)
            drop_from_cache(path)
            read += timed(lambda: _read(packs), 1)
    bound = megabytes / statistics.median(read)
    return [
        Figure(
            "scan, cold", "MB/s", tuple(megabytes / s for s in cold), bound, "sequential read", ">= 0.8 x the bound"
        ),
        Figure("scan, in the page cache", "MB/s", tuple(megabytes / s for s in warm), bound, "sequential read, cold"),
        Figure("scan, cold, neurons", "M/s", tuple(neurons / s / 1e6 for s in cold)),
        Figure("  bound: read the packs from end to end", "MB/s", tuple(megabytes / s for s in read)),
        Figure("scan, cold, time", "s", scaled(cold, 1.0)),
    ]


def _read(packs: list[Path]) -> None:
    for path in packs:
        handle = os.open(path, os.O_RDONLY)
        try:
            offset = 0
            while data := os.pread(handle, _READ_BYTES, offset):
                offset += len(data)
        finally:
            os.close(handle)
