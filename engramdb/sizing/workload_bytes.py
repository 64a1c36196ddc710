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
_STEP = 1 / 80  # mV, of int8 weights
# of a weight drawn evenly from [0.5, 1.5): float32 has 2^23 values below 1 and 2^22 above, float16 2^10 and 2^9
_WEIGHT_BITS = {"float32": 23.5, "float16": 10.5, "int8": math.log2(80)}
_GOALS = {"float32": "<= 60 B", "float16": "<= 40 B", "int8": ""}


def spec(neurons: int, weights: str = "float32") -> Spec:
    """A small-world layer with its rows written out; ``weights``: their type."""
    wiring = engramdb.SmallWorld(k=_K, long_fraction=_LONG, span=_SPAN, weight=(0.5, 1.5))
    step = _STEP if weights == "int8" else None
    layer = Layer("neurons", segments=[neurons], wiring=wiring, materialize=True, weights=weights, weight_step=step)
    return Spec(seed=1, layers=[layer])


def virtual_spec() -> Spec:
    """10^11 neurons in 25 segments."""
    wiring = engramdb.SmallWorld(k=_K, long_fraction=_LONG, span=_SPAN, weight=(0.5, 1.5))
    return Spec(seed=1, layers=[Layer("neurons", segments=[4_000_000_000] * 25, wiring=wiring)])


def bytes_on_disk(path: Path) -> int:
    """Bytes of all files of an engram."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def information_bytes(neurons: int, weight_bits: float) -> float:
    """What one row holds at least: its local offsets as a set, its long targets as a set, and random weights."""
    long = _K * _LONG
    local = _K - long
    offsets = (math.lgamma(2 * _SPAN + 1) - math.lgamma(local + 1) - math.lgamma(2 * _SPAN - local + 1)) / math.log(2)
    targets = long * math.log2(neurons) - math.lgamma(long + 1) / math.log(2)
    return (offsets + targets + _K * weight_bits) / 8


def run(folder: Path, quick: bool) -> list[Figure]:
    """Bytes per neuron written out, by type of weights; of 10^11 virtual ones, and the time to make them."""
    neurons = 20_000 if quick else 1_000_000
    figures = []
    for weights, bits in _WEIGHT_BITS.items():
        path = folder / f"{weights}.engram"
        began = time.perf_counter()
        engramdb.create(path, spec(neurons, weights)).close()
        elapsed = time.perf_counter() - began
        size = bytes_on_disk(path) / neurons
        name = f"written row, {weights} weights"
        least = information_bytes(neurons, bits)
        figures += [
            one(f"{name}, against raw", "B", size, bound=_RAW_BYTES, bound_name="raw", goal=_GOALS[weights]),
            one(f"{name}, against entropy", "B", size, bound=least, bound_name="entropy"),
            one(f"{name}, written out", "M neurons/s", neurons / elapsed / 1e6),
        ]
    paths = iter(folder / f"virtual{i}.engram" for i in range(6))
    engramdb.create(next(paths), virtual_spec()).close()
    created = scaled(timed(lambda: engramdb.create(next(paths), virtual_spec()).close(), 5), 1e3)
    return [
        *figures,
        one("engram of 10^11 virtual neurons", "kB", bytes_on_disk(folder / "virtual0.engram") / 1e3,
            goal="<= 1000 kB"),
        Figure("creating it", "ms", created, goal="<= 200 ms"),
    ]  # fmt: skip
