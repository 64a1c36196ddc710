"""Imports of random edge lists (S9): ``python tests/benchmarks/bench_import.py [--edges N] [--memory SIZE ...]``.

Each import runs in a process of its own, so that its peak resident set can be held against the budget. ``rate`` is in
edges per second of wall time; ``cpu_s`` / ``elapsed_s`` says how busy the import kept the machine, and how busy others
did; ``copy_s`` is the bound measured in the same run: reading the source and writing as many bytes as the engram has,
synced.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

_OUT_DEGREE = 12
_PIECE = 1 << 20
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def write_sources(folder: Path, edges: int) -> dict[str, Path]:
    """The same random network as text and as Parquet, its neurons called by small integers, root ids or names."""
    paths = {
        "csv, small integers": folder / "small.csv",
        "csv, 60-bit integers": folder / "sparse.csv",
        "csv, names": folder / "names.csv",
        "parquet, small integers": folder / "small.parquet",
        "parquet, names": folder / "names.parquet",
    }
    neurons = max(2, edges // _OUT_DEGREE)
    random = np.random.default_rng(9)
    roots = np.sort(random.integers(720575940600000000, 720575940700000000, neurons))
    names = pa.array([f"neuron_{i:08d}" for i in range(neurons)])
    writers: dict[str, Any] = {}
    for start in range(0, edges, _PIECE):
        n = min(_PIECE, edges - start)
        pre, post = random.integers(0, neurons, (2, n))
        weight = pa.array(random.integers(1, 10_000, n) / 1000)
        tables = {
            "small": pa.table({"pre": pre, "post": post, "weight": weight}),
            "sparse": pa.table({"pre": roots[pre], "post": roots[post], "weight": weight}),
            "names": pa.table({"pre": names.take(pa.array(pre)), "post": names.take(pa.array(post)), "weight": weight}),
        }
        for path in paths.values():
            table = tables[path.stem]
            if path.name not in writers:
                kind = pa.csv.CSVWriter if path.suffix == ".csv" else pa.parquet.ParquetWriter
                writers[path.name] = kind(path, table.schema)
            writers[path.name].write_table(table)
    for writer in writers.values():
        writer.close()
    return paths


def run_import(source: str, path: str, memory: str) -> dict[str, Any]:
    """One import, in this process."""
    import engramdb

    warm = Path(path).with_name("warm.csv")
    warm.write_text("pre,post\n1,2\n")
    engramdb.import_edges(warm, Path(path).with_name("warm.engram"), memory=memory)  # loads the kernels
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    used = time.process_time()
    report = engramdb.import_edges(source, path, memory=memory)
    return {
        "edges": report.rows,
        "synapses": report.synapses,
        "neurons": report.neurons,
        "elapsed_s": report.elapsed_s,
        "rate": report.rows / report.elapsed_s,
        "cpu_s": time.process_time() - used,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT,
        "rss_before": base,
        "bytes_on_disk": sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()),
    }


def copy_seconds(source: Path, nbytes: int, to: Path) -> float:
    """What no import can do without."""
    begun = time.perf_counter()
    with source.open("rb") as given, to.open("wb") as made:
        written = 0
        while piece := given.read(1 << 22):
            written += made.write(piece[: max(nbytes - written, 0)])
        while written < nbytes:
            written += made.write(bytes(min(1 << 22, nbytes - written)))
        made.flush()
        os.fsync(made.fileno())
    to.unlink()
    return time.perf_counter() - begun


def measure(folder: Path, edges: int, budgets: list[str], repeats: int) -> list[dict[str, Any]]:
    results = []
    for name, source in write_sources(folder, edges).items():
        for memory in budgets:
            runs = []
            for _ in range(repeats):
                place = Path(tempfile.mkdtemp(dir=folder))
                command = [sys.executable, __file__, "--one", str(source), str(place / "net.engram"), memory]
                runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
                shutil.rmtree(place)
            rates = sorted(run["rate"] for run in runs)
            middle = dict(sorted(runs, key=lambda run: run["rate"])[len(runs) // 2])
            middle |= {"source": name, "memory": memory, "rate": statistics.median(rates), "rates": rates}
            middle |= {"peak_rss": max(run["peak_rss"] for run in runs)}
            middle |= {"copy_s": copy_seconds(source, middle["bytes_on_disk"], folder / "copy")}
            results.append(middle)
            spread = f"{rates[0] / 1e6:.2f}-{rates[-1] / 1e6:.2f}"
            sys.stderr.write(
                f"{name:24} {memory:>8}  {middle['rate'] / 1e6:5.2f} M edges/s ({spread})"
                f"  cpu {middle['cpu_s']:.1f} of {middle['elapsed_s']:.1f} s  peak {middle['peak_rss'] >> 20} MiB\n"
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=20_000_000)
    parser.add_argument("--memory", nargs="+", default=["512MiB", "1GiB"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print all figures as one document")
    parser.add_argument("--one", nargs=3, metavar=("SOURCE", "PATH", "MEMORY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(run_import(*given.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), given.edges, given.memory, given.repeats)
    if given.json:
        sys.stdout.write(json.dumps({"benchmark": "import", "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
