"""S2: a whole engram scanned cold: every value of every column checked, decoded and put into an array. The bound reads
the same files from beginning to end.

What a scan cannot be faster than on this processor is measured beside it: the columns of the same leaves, in RAM, given
to their codecs and to nothing else, in one thread and in two.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engramdb
import engramdb.kernels.planes
import engramdb.kernels.targets  # a process that scans has the kernels at work
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, scaled, timed
from engramdb.sizing.workload_fault import decode_columns
from engramdb.sizing.workload_lookup import drop_from_cache
from engramdb.store import Store
from engramdb.store.pack import Record, parse_record

_READ_BYTES = 1 << 20
_DECODED_LEAVES = 64


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
        records = _records(store)
        decoded = sum(len(record.data) for record in records) / 1e6
        codecs = {threads: timed(lambda t=threads: _decode(records, t), repeats) for threads in (1, 2)}  # type: ignore[misc]
    bound = megabytes / statistics.median(read)
    return [
        Figure(
            "scan, cold", "MB/s", tuple(megabytes / s for s in cold), bound, "sequential read", ">= 0.8 x the bound"
        ),
        Figure("scan, in the page cache", "MB/s", tuple(megabytes / s for s in warm), bound, "sequential read, cold"),
        Figure("scan, cold, neurons", "M/s", tuple(neurons / s / 1e6 for s in cold)),
        Figure("  bound: read the packs from end to end", "MB/s", tuple(megabytes / s for s in read)),
        *(
            Figure(f"  the codecs alone, in RAM, {threads} thread{'s' if threads > 1 else ''}", "MB/s",
                   tuple(decoded / s for s in seconds), bound, "sequential read")
            for threads, seconds in codecs.items()
        ),
        Figure("scan, cold, time", "s", scaled(cold, 1.0)),
    ]  # fmt: skip


def _read(packs: list[Path]) -> None:
    for path in packs:
        handle = os.open(path, os.O_RDONLY)
        try:
            offset = 0
            while data := os.pread(handle, _READ_BYTES, offset):
                offset += len(data)
        finally:
            os.close(handle)


def _records(store: Store) -> list[Record]:
    """Some leaves as they are on disk."""
    found = []
    for ref, _ in zip(store.directory.leaves(), range(_DECODED_LEAVES), strict=False):
        with store.path.joinpath("packs", store._packs.path(ref.pack).name).open("rb") as file:
            found.append(parse_record(os.pread(file.fileno(), ref.length, ref.offset)))
    return found


def _decode(records: Sequence[Record], threads: int) -> None:
    """All columns of all of them, ``threads`` records at a time."""

    def part(start: int) -> None:
        for record in records[start::threads]:
            decode_columns(record)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, range(threads)))
