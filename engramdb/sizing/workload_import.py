"""S9: import of an edge list, text and Parquet, within a memory budget."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.sizing.workload_lookup import drop_from_cache

_MEMORY = "1GiB"
_GOALS = {"csv": ">= 1.5 M/s", "parquet": ">= 5 M/s"}

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


def edges(synapses: int) -> Columns:
    """(pre, post, weight) of a random network with twelve synapses a neuron, in random order."""
    random = np.random.default_rng(4)
    neurons = max(2, synapses // 12)
    pre, post = (random.integers(0, neurons, synapses) for _ in range(2))
    return pre, post, random.uniform(0.5, 1.5, synapses).astype(np.float32)


def _write_csv(path: Path, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.csv as csv

    csv.write_csv(pa.table(list(columns), names=["pre", "post", "weight"]), path)


def _write_parquet(path: Path, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(list(columns), names=["pre", "post", "weight"]), path)


_WRITERS: dict[str, Callable[[Path, Columns], None]] = {"csv": _write_csv, "parquet": _write_parquet}


def run(folder: Path, quick: bool) -> list[Figure]:
    """Millions of synapses per second; the bound copies what is read to a synced file of what is written."""
    synapses, repeats = (20_000, 1) if quick else (6_000_000, 3)
    columns = edges(synapses)
    warm = folder / "warm.csv"
    _write_csv(warm, edges(1_000))
    engramdb.import_edges(warm, folder / "warm.engram", memory=_MEMORY)  # loads the kernels
    figures = []
    for kind, write in _WRITERS.items():
        source = folder / f"edges.{kind}"
        write(source, columns)
        paths = [folder / f"{kind}{number}.engram" for number in range(repeats)]
        waiting = iter(paths)

        def import_once(source: Path = source, waiting: object = waiting) -> None:
            drop_from_cache(source.parent)
            engramdb.import_edges(source, next(waiting), memory=_MEMORY)  # type: ignore[call-overload]

        seconds = timed(import_once, repeats)
        size = workload_bytes.bytes_on_disk(paths[0])
        copied = timed(lambda source=source, size=size: _copy(source, size, folder / "copy"), 3)  # type: ignore[misc]
        bound = synapses / statistics.median(copied) / 1e6
        figures += [
            Figure(f"import, {kind}", "M synapses/s", tuple(synapses / s / 1e6 for s in seconds), bound,
                   "read + write + sync", _GOALS[kind]),
            Figure(f"import, {kind}, time", "s", scaled(seconds, 1.0)),
            one(f"import, {kind}, on disk", "B/synapse", size / synapses),
        ]  # fmt: skip
    return figures


def _copy(source: Path, size: int, target: Path) -> None:
    """Read ``source`` and write ``size`` bytes, synced: what no import can avoid."""
    drop_from_cache(source.parent)
    data = source.read_bytes()
    with target.open("wb") as out:
        for start in range(0, size, max(1, len(data))):
            out.write(data[: min(len(data), size - start)])
        out.flush()
        os.fsync(out.fileno())
    target.unlink()
