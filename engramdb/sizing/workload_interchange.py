"""Interchange: how fast whole engrams go out and come back, by format, and what an inspection of a large one takes.

Each is measured in a process of its own, for its peak of memory. The bound of a format copies the bytes: what is read
to a synced file of what is written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.sizing.figure import Figure, one
from engramdb.sizing.workload_bytes import bytes_on_disk
from engramdb.sizing.workload_lookup import drop_from_cache
from engramdb.sizing.workload_memory import resident_bytes
from engramdb.spec import Layer, Spec

_K = 12
_OUT: dict[str, str] = {
    "hdf5": "out.h5", "parquet": "out.tables", "edges": "out.csv", "sonata": "out.sonata", "vdm": "state_1.h5",
}  # fmt: skip


def run(folder: Path, quick: bool) -> list[Figure]:
    """Millions of synapses per second out and in, as ratios to copying the bytes; MiB of memory; seconds to inspect."""
    neurons, many = (2_000, 5_000) if quick else (200_000, 10_000_000)
    for part, size in (("warm", 200), ("full", neurons)):
        (folder / part).mkdir()
        engramdb.create(folder / part / "net.engram", _spec(size)).close()
        engramdb.import_vdm(_vdm(folder / part / "state_0.h5", size), folder / part / "vdm.engram")
    synapses = neurons * _K
    figures: list[Figure] = []
    for name, out in _OUT.items():
        source, back = "vdm.engram" if name == "vdm" else "net.engram", "back.engram"
        done = _measured(f"export_{name}", folder, source, out)
        read, written = bytes_on_disk(folder / "full" / source), _size(folder / "full" / out)
        figures += _figures(f"export {name}", done, synapses, read, written, folder)
        done = _measured(f"import_{name}", folder, out, back)
        figures += _figures(f"import {name}", done, synapses, written, bytes_on_disk(folder / "full" / back), folder)
        figures.append(one(f"{name}, size", "B/synapse", written / synapses))
        for made in (folder / part / made for part in ("warm", "full") for made in (out, back)):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    large = folder / "full" / "large.engram"
    _measured("create", folder, large.name, str(many))  # not here: a child may be counted what its parent once took
    done = _measured("summarize", folder, large.name, "")
    name = f"inspect {many:,} neurons, {many * _K:,} synapses"
    return [
        *figures,
        one(f"{name}, time", "s", done["seconds"]),
        one(f"{name}, peak memory above the idle process", "MiB", done["memory_bytes"] / 2**20),
        one(f"{name}, size on disk", "MiB", bytes_on_disk(large) / 2**20),
    ]


def _spec(neurons: int) -> Spec:
    wiring = engramdb.SmallWorld(k=_K, long_fraction=0.1, span=50, weight=(0.5, 1.5))
    return Spec(seed=1, layers=[Layer("a", segments=[neurons], wiring=wiring, materialize=True)])


def _vdm(path: Path, neurons: int) -> Path:
    """An engram as the VDM runtime saves it."""
    from engramdb.interchange.vdmfile import write_hdf5

    write_hdf5(path, _Connectome(neurons), None)
    return path


class _Connectome:
    """Twelve neighbours each, at random."""

    sparse = True
    adc_json: str | None = None

    def __init__(self, n: int) -> None:
        self.n = n
        self.attributes: dict[str, Any] = {"N": n, "k": _K, "threshold": 0.15, "lambda_omega": 0.1}
        self._random = np.random.default_rng(1)

    def w(self) -> Any:
        yield self._random.random(self.n).astype(np.float32)

    def rows(self) -> Any:
        for first in range(0, self.n, 1 << 14):
            n = min(1 << 14, self.n - first)
            target = self._random.integers(0, self.n, n * _K)
            yield first, np.arange(n + 1) * _K, target, np.ones(n * _K, np.float32)


def _figures(name: str, done: dict[str, Any], synapses: int, read: int, written: int, folder: Path) -> list[Figure]:
    return [
        one(f"{name}, rate", "M synapses/s", synapses / done["seconds"] / 1e6,
            bound=synapses / _copied(read, written, folder / "copy") / 1e6, bound_name="read + write + sync"),
        one(f"{name}, peak memory above the idle process", "MiB", done["memory_bytes"] / 2**20),
    ]  # fmt: skip


def _copied(read: int, written: int, path: Path) -> float:
    """Seconds to read and to write so many bytes, synced."""
    data = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(-(-read // len(data))):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    drop_from_cache(path.parent)
    began = time.perf_counter()
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
    with path.open("wb") as file:
        for _ in range(-(-written // len(data))):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    took = time.perf_counter() - began
    path.unlink()
    return took


def _size(path: Path) -> int:
    return bytes_on_disk(path) if path.is_dir() else path.stat().st_size


def _measured(what: str, folder: Path, source: str, target: str) -> dict[str, Any]:
    drop_from_cache(folder / "full")
    child = [sys.executable, "-m", "engramdb.sizing.workload_interchange", what, str(folder), source, target]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr.strip()}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _main(what: str, folder: str, source: str, target: str) -> None:
    """In a process of its own: do it, and print seconds and peak memory above what there was before.

    It is done with something small first: loading libraries and kernels is not what is measured.
    """
    from engramdb.inspect import summarize

    def work(part: Path) -> None:
        if what == "summarize":
            summarize(part / source)
        elif what == "create":
            engramdb.create(part / source, _spec(int(target) if part.name == "full" else 200)).close()
        else:
            options = {"ids": "keep"} if what == "import_edges" else {}
            getattr(engramdb, what)(part / source, part / target, **options)

    work(Path(folder, "warm"))
    before = resident_bytes()
    began = time.perf_counter()
    work(Path(folder, "full"))
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"seconds": seconds, "memory_bytes": max(0, _peak_bytes() - before)}))


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the process was before it became this program
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    _main(*sys.argv[1:])
