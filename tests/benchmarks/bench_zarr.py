"""What a column costs through Zarr, beside a scan of the store that makes the same array; and an export.

``python tests/benchmarks/bench_zarr.py [FOLDER]``: 1,200,000 small-world neurons, k = 12, written out; half of the
measurements after a run that left deltas on every leaf. Each figure is the best of a few.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import engramdb
from engramdb import Layer, SmallWorld, Spec, ZarrStore
from engramdb.store import Records, Store

NEURONS = 1_200_000
COLUMNS: dict[str, Callable[[Records], Any]] = {
    "id": lambda records: records.ids,
    "spike_count": lambda records: records.state["spike_count"],
    "weight": lambda records: records.weight,
    "target": lambda records: records.target,
}


def best(action: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """Least wall time of ``action``, and what it gave."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        result = action()
        taken.append(time.perf_counter() - start)
    return min(taken), result


def measure(path: Path, title: str) -> None:
    """Every column, by a scan and through Zarr."""
    with Store.open(path, cache_bytes=0) as store, ZarrStore(path) as view:
        group = zarr.open_group(view, mode="r")["cortex/0"]
        sys.stdout.write(f"{title}\n")
        for name, of in COLUMNS.items():
            scan_s, expected = best(lambda of=of: np.concatenate([of(part) for part in store.scan()]))  # type: ignore[misc]
            zarr_s, shown = best(lambda name=name: group[name][:])  # type: ignore[misc]
            assert np.array_equal(expected, shown)
            sys.stdout.write(f"  {name:12} scan {scan_s:6.3f} s   zarr {zarr_s:6.3f} s   ratio {zarr_s / scan_s:.2f}\n")
        one_s, _ = best(lambda: group["spike_count"][NEURONS // 2])
        sys.stdout.write(f"  one value of spike_count: {1000 * one_s:.1f} ms\n")


def main(folder: Path) -> None:
    """Build, measure, run, measure, export."""
    path = folder / "bench.engram"
    wiring = SmallWorld(k=12, long_fraction=0.1, span=50, weight=(0.5, 1.5))
    spec = Spec(seed=7, layers=[Layer("cortex", segments=[NEURONS], materialize=True, wiring=wiring)])
    with engramdb.create(path, spec) as e:
        measure(path, "whole leaves")
        e.stimulate(range(0, NEURONS, 40), amplitude=30.0)
        e.run(3)
    measure(path, "leaves under deltas")
    done = engramdb.export_zarr(path, folder / "bench.zarr")
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    sys.stdout.write(
        f"export: {done.synapses / done.elapsed_s / 1e6:.1f} M synapses/s, {done.files} files, "
        f"{done.nbytes / stored:.2f} of the engram's bytes\n"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
