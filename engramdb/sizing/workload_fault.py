"""S1: one cold leaf, found, read, verified and decoded.

The system is asked to drop the pack from its page cache before each fault (where it offers that). The bound reads the
same bytes with one call and decodes all columns, with nothing found, checked or put together. A fault decodes the row
it is after; beside it is the same with the whole leaf decoded, as happens where many rows are wanted. Each goes first
in turn, after the bytes have been read once: what lies below the system, a host or a drive, may have its own cache.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import engramdb
import engramdb.kernels.planes
import engramdb.kernels.targets  # a process that faults has the kernels at work
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure
from engramdb.store import Store, column
from engramdb.store.pack import Record, parse_record
from engramdb.store.versions import LeafRef


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds of a fault and of its bound, on the same leaves in turn."""
    neurons, repeats = (20_000, 2) if quick else (400_000, 40)
    path = folder / "written.engram"
    engramdb.create(path, workload_bytes.spec(neurons)).close()
    faults: list[float] = []
    wholes: list[float] = []
    least: list[float] = []
    reads: list[float] = []
    sizes: list[float] = []
    with Store.open(path, cache_bytes=0) as store:
        # in no order: neighbours would be read ahead by the system
        order = np.random.default_rng(1).permutation(np.linspace(0, 0.9 * neurons, repeats + 1).astype(np.uint64))
        for turn, neuron in enumerate(order):
            wanted = np.array([neuron])
            (ref, _, _), *_ = store.directory.locate(wanted)
            pack = store._packs.path(ref.pack)
            with pack.open("rb") as file:
                record = parse_record(os.pread(file.fileno(), ref.length, ref.offset))

            def fault(pack: Path = pack, wanted: npt.NDArray[np.uint64] = wanted) -> None:
                _forget(pack)
                began = time.perf_counter()
                found = store.find(wanted)
                faults.append((time.perf_counter() - began) * 1e3)
                assert len(found) == 1

            def whole(pack: Path = pack, ref: LeafRef = ref, wanted: npt.NDArray[np.uint64] = wanted) -> None:
                _forget(pack)
                began = time.perf_counter()
                store.directory.locate(wanted)
                store.reader.read(ref, cached=False)
                wholes.append((time.perf_counter() - began) * 1e3)

            def bound(pack: Path = pack, ref: LeafRef = ref, record: Record = record) -> None:
                with pack.open("rb", buffering=0) as file:
                    _forget(pack)
                    began = time.perf_counter()
                    os.pread(file.fileno(), ref.length, ref.offset)
                    read = time.perf_counter()
                    decode_columns(record)
                    least.append((time.perf_counter() - began) * 1e3)
                    reads.append((read - began) * 1e3)

            measures = (fault, bound, whole)
            for i in range(3):
                measures[(turn + i) % 3]()
            sizes.append(ref.length / 1e3)
    # the first one opens the pack and loads the kernels
    faults, wholes, least, reads, sizes = faults[1:], wholes[1:], least[1:], reads[1:], sizes[1:]
    return [
        Figure("leaf fault, cold", "ms", tuple(faults), statistics.median(least), "read + decode", "<= 1.5 x"),
        Figure("whole leaf, cold", "ms", tuple(wholes), statistics.median(least), "read + decode"),
        Figure("  bound: read and decode the same bytes", "ms", tuple(least)),
        Figure("  of that, read", "ms", tuple(reads)),
        Figure("leaf, on disk", "kB", tuple(sizes)),
    ]


def _forget(pack: Path) -> None:
    """Ask the system to drop a file from its page cache."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(pack, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def decode_columns(record: Record) -> list[npt.NDArray[Any]]:
    """All columns, decoded."""
    return [
        column.decode(entry.codec, record.data[entry.offset : entry.offset + entry.nbytes], entry.dtype, entry.shape)
        for entry in record.columns.values()
    ]
