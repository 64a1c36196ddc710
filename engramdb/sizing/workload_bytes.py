"""S4: bytes on disk per neuron, of written rows with random weights and of virtual neurons."""

from __future__ import annotations

import math
import time
from pathlib import Path

import engramdb
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.spec import Layer, Spec

_K, _LONG, _SPAN = 12, 0.1, 50
_RAW_BYTES = 8 * _K + 20  # target and weight of each synapse; id, potential and counts of the neuron


def spec(neurons: int) -> Spec:
    """A small-world layer with its rows written out."""
    wiring = engramdb.SmallWorld(k=_K, long_fraction=_LONG, span=_SPAN, weight=(0.5, 1.5))
    return Spec(seed=1, layers=[Layer("neurons", segments=[neurons], wiring=wiring, materialize=True)])


def virtual_spec() -> Spec:
    """10^11 neurons in 25 segments."""
    wiring = engramdb.SmallWorld(k=_K, long_fraction=_LONG, span=_SPAN, weight=(0.5, 1.5))
    return Spec(seed=1, layers=[Layer("neurons", segments=[4_000_000_000] * 25, wiring=wiring)])


def bytes_on_disk(path: Path) -> int:
    """Bytes of all files of an engram."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def information_bytes(neurons: int) -> float:
    """What one row holds at least: its local offsets as a set, its long targets as a set, and random weights.

    A float32 drawn evenly from [0.5, 1.5) has 23 random bits in its upper half and 24 in its lower half.
    """
    long = _K * _LONG
    local = _K - long
    offsets = (math.lgamma(2 * _SPAN + 1) - math.lgamma(local + 1) - math.lgamma(2 * _SPAN - local + 1)) / math.log(2)
    targets = long * math.log2(neurons) - math.lgamma(long + 1) / math.log(2)
    return (offsets + targets + _K * 23.5) / 8


def run(folder: Path, quick: bool) -> list[Figure]:
    """Bytes per neuron written out, and the size of an engram of 10^11 virtual ones and the time to make it."""
    neurons = 20_000 if quick else 1_000_000
    began = time.perf_counter()
    engramdb.create(folder / "written.engram", spec(neurons)).close()
    elapsed = time.perf_counter() - began
    size = bytes_on_disk(folder / "written.engram")
    paths = iter(folder / f"virtual{i}.engram" for i in range(6))
    engramdb.create(next(paths), virtual_spec()).close()
    created = scaled(timed(lambda: engramdb.create(next(paths), virtual_spec()).close(), 5), 1e3)
    return [
        one("written row, float32 weights, against raw", "B", size / neurons, bound=_RAW_BYTES, bound_name="raw",
            goal="<= 60 B"),
        one("written row, float32 weights, against entropy", "B", size / neurons, bound=information_bytes(neurons),
            bound_name="entropy"),
        one("written out", "M neurons/s", neurons / elapsed / 1e6),
        one("engram of 10^11 virtual neurons", "kB", bytes_on_disk(folder / "virtual0.engram") / 1e3,
            goal="<= 1000 kB"),
        Figure("creating it", "ms", created, goal="<= 200 ms"),
    ]  # fmt: skip
