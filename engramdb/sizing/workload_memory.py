"""T7: bytes of RAM per neuron that is resident with its row, that is only charged, and that is virtual.

Measured in a process of its own, twice: as the budget counts them, and as the system counts them (resident set size).
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import engramdb
from engramdb.sizing.figure import Figure, one
from engramdb.spec import Layer, Spec

_K = 12


def run(folder: Path, quick: bool) -> list[Figure]:
    """Bytes per neuron in each state."""
    neurons = 20_000 if quick else 1_000_000
    child = [sys.executable, "-m", "engramdb.sizing.workload_memory", str(folder), str(neurons)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr.strip()}")
    bytes_of = json.loads(done.stdout)
    return [
        one("resident, k = 12, as the budget counts", "B", bytes_of["resident"], goal="<= 260 B"),
        one("resident, k = 12, resident set size", "B", bytes_of["resident_rss"], goal="<= 260 B"),
        one("charged, as the budget counts", "B", bytes_of["charged"], goal="<= 48 B"),
        one("charged, resident set size", "B", bytes_of["charged_rss"], goal="<= 48 B"),
        one("virtual, of 10^11, resident set size", "B", bytes_of["virtual_rss"], goal="0"),
    ]


def resident_bytes() -> int:
    """Resident set size of this process; where the system does not say, its peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        import mmap

        return int(statm.read_text().split()[1]) * mmap.PAGESIZE
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _spec(*segments: int) -> Spec:
    wiring = engramdb.FixedOutdegree(k=_K, weight=0.001)
    return Spec(seed=1, layers=[Layer("neurons", segments=list(segments), wiring=wiring)])


def _charge_and_fire(path: Path, neurons: int) -> dict[str, float]:
    """Bytes per neuron when all are charged, and when all have fired and hold their rows."""
    with engramdb.create(path, _spec(neurons), memory="8GiB", durability="process") as e:
        gc.collect()
        before = resident_bytes()
        _stimulate_all(e, neurons, 3.0)  # not so near the threshold that their rows would be read ahead
        gc.collect()
        charged, charged_rss = e.stats(), resident_bytes() - before
        _stimulate_all(e, neurons, 20.0)
        e.run(1)  # rows are there when spikes arrive
        gc.collect()
        resident, resident_rss = e.stats(), resident_bytes() - before
    assert charged["charged"] == neurons, "all are above rest"
    assert resident["active"] == neurons, "all have fired"
    return {
        "charged": charged["used_bytes"] / neurons,
        "charged_rss": charged_rss / neurons,
        "resident": resident["used_bytes"] / neurons,
        "resident_rss": resident_rss / neurons,
    }


def _stimulate_all(e: engramdb.Engram, neurons: int, amplitude: float) -> None:
    """A part in each tick, so that what a stimulus takes itself is not what is measured."""
    for start in range(0, neurons, 1 << 15):
        e.stimulate(np.arange(start, min(neurons, start + (1 << 15)), dtype=np.uint64), amplitude)
        e.run(1)


def _main(folder: Path, neurons: int) -> None:
    _charge_and_fire(folder / "small.engram", 1000)  # loads the kernels, which are not the neurons' memory
    measured = _charge_and_fire(folder / "whole.engram", neurons)
    gc.collect()
    before = resident_bytes()
    with engramdb.create(folder / "virtual.engram", _spec(*[4_000_000_000] * 25)) as e:
        e.stimulate([0, 1], 20.0)
        e.run(1)
        # the pages of the arrays' beginnings and of the catalog: the same for any number of neurons
        measured["virtual_rss"] = max(0, resident_bytes() - before) / len(e)
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
