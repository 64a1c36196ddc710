"""S6: one neuron's row from an engram that is on disk only, in a new process.

The system is asked to drop the engram's files from its page cache (where it offers that), then a new process opens the
engram and asks for rows that lie in different leaves. The bound opens a file and reads as many bytes as a leaf has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import engramdb
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, one

_LEAF_BYTES = 1 << 20


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds to open, and of each row asked for."""
    neurons, repeats = (20_000, 2) if quick else (1_000_000, 5)
    path = folder / "written.engram"
    engramdb.create(path, workload_bytes.spec(neurons)).close()
    virtual = folder / "virtual.engram"
    engramdb.create(virtual, workload_bytes.virtual_spec()).close()
    # far apart, so that no two lie in one leaf
    asked = [neurons // 7 * i + 11 for i in range(1, 6)]
    cold = [_ask(path, asked) for _ in range(repeats)]
    wide = [_ask(virtual, [1, 2_000_000_000]) for _ in range(repeats)]
    least = [sample for document in cold for sample in document["read"]]
    bound = sorted(least)[len(least) // 2]
    return [
        Figure("import engramdb and its kernels", "ms", tuple(d["import"] for d in cold)),
        Figure(f"open, {neurons:,} written", "ms", tuple(d["open"] for d in cold), goal="<= 1000 ms"),
        Figure("open, 10^11 virtual", "ms", tuple(d["open"] for d in wide), goal="<= 1000 ms"),
        Figure("first row after open", "ms", tuple(d["rows"][0] for d in cold), bound, "open + read 1 MiB", "<= 10 ms"),
        Figure("rows after that, each in another leaf", "ms", tuple(row for d in cold for row in d["rows"][1:]), bound,
               "open + read 1 MiB", "<= 10 ms"),
        Figure("first virtual row after open", "ms", tuple(d["rows"][0] for d in wide), goal="<= 10 ms"),
        one("page cache dropped before each process", "yes = 1", float(hasattr(os, "posix_fadvise"))),
    ]  # fmt: skip


def drop_from_cache(path: Path) -> None:
    """Ask the system to forget what it holds in RAM of all files under ``path``; they must be synced."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in path.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _ask(path: Path, ids: list[int]) -> dict[str, Any]:
    drop_from_cache(path)
    child = [sys.executable, "-m", "engramdb.sizing.workload_lookup", str(path), *map(str, ids)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the asking process ended with {done.returncode}: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _main(path: Path, ids: list[int]) -> None:
    began = time.perf_counter()
    import engramdb.engram
    import engramdb.kernels.wiring

    imported = time.perf_counter()
    e = engramdb.open(path)
    opened = time.perf_counter()
    rows = []
    for neuron_id in ids:
        start = time.perf_counter()
        assert len(e.synapses(neuron_id)) == 12
        rows.append((time.perf_counter() - start) * 1e3)
    e.close()
    drop_from_cache(path)
    reads = []
    for file in sorted((path / "packs").iterdir(), key=lambda f: -f.stat().st_size)[:1]:
        for offset in range(0, min(8, max(1, file.stat().st_size // _LEAF_BYTES)) * _LEAF_BYTES, _LEAF_BYTES):
            start = time.perf_counter()
            handle = os.open(file, os.O_RDONLY)
            os.pread(handle, _LEAF_BYTES, offset)
            os.close(handle)
            reads.append((time.perf_counter() - start) * 1e3)
    document = {"import": (imported - began) * 1e3, "open": (opened - imported) * 1e3, "rows": rows, "read": reads}
    sys.stdout.write(json.dumps(document) + "\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), [int(argument) for argument in sys.argv[2:]])
