"""Scaling laws, measured: what a layer of receptive vectors costs and does, by its size and how much of it is active.

The documents that asked for this give such a table at 10^5 and extrapolate it to 10^11, without defining what they
measured. Here each quantity has a definition (:data:`QUANTITIES`), every size is run, and what is not run is marked.
"""

from __future__ import annotations

import csv
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.address import IdArray
from engramdb.errors import InvalidInput
from engramdb.layerhandle import LayerHandle
from engramdb.sizing.fit import PowerLaw, power_law
from engramdb.sizing.network import LARGEST_SEGMENT, Network

SIZES = (10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7)
ACTIVITIES = (1.0, 0.01, 0.001, 0.0001)
QUICK_SIZES = (2_000, 6_000, 20_000)
FURTHER = (10**9, 10**11)
FIRING = 0.084  # the documents' rate at 10^5
DIMENSION = 768
CSV_NAME = "neuron_scaling_results.csv"
MEASURED, EXTRAPOLATED, NOT_RUN = "measured", "extrapolated", "not run"
_STEPS, _QUICK_STEPS = 11, 3
_ETA = 0.05
_ERROR_SD = 2e-4  # lets a vector move by about 4e-4, the documents' mean
_WEIGHTS = (0.0, 0.1)
_AT_ONCE = 1 << 15

QUANTITIES = {
    "forward": ("ms", "from an input x to the currents of all active neurons, their tick, and who fired; one thread"),
    "backward": ("ms", "time in which those that fired at that tick learn from x, w += eta e x; one thread"),
    "memory": ("MB", "bytes that the engine counts against its memory budget, 10^6 to the MB"),
    "spike rate": ("1", "the part of the active neurons that fires at the tick of an input"),
    "stability": ("1", "of those that fire at the same x before or after a learning step, the part that fires at both"),
    "drift": ("1e-6", "Frobenius norm of the change of all active vectors in a step, over that of the vectors"),
}  # fmt: skip
"""By name: the unit, and what is meant."""


@dataclass(frozen=True)
class Point:
    """``value`` of a quantity at ``neurons`` of which the part ``activity`` is active, the median of ``samples``.

    ``kind``: measured, extrapolated, or not run, where value is NaN and ``note`` says why. ``low``, ``high``: the least
    and the most measured, or the 95 % interval of the fitted law.
    """

    quantity: str
    neurons: int
    activity: float
    kind: str
    value: float
    low: float
    high: float
    samples: int = 0
    note: str = ""


@dataclass(frozen=True)
class Scaling:
    """All points, and the fitted law of each (quantity, activity) that has one."""

    points: tuple[Point, ...]
    laws: dict[tuple[str, float], PowerLaw]

    def write_csv(self, path: Path) -> None:
        """One row a point; ``exponent`` and its interval are those of the quantity at that activity."""
        names = (
            "quantity", "unit", "neurons", "activity", "active_neurons", "kind", "value", "low", "high", "samples",
            "exponent", "exponent_low", "exponent_high", "note",
        )  # fmt: skip
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(names)
            for p in self.points:
                law = self.laws.get((p.quantity, p.activity))
                fitted = ("", "", "") if law is None else tuple(f"{v:.6g}" for v in (law.exponent, law.low, law.high))
                numbers = tuple("" if math.isnan(v) else f"{v:.6g}" for v in (p.value, p.low, p.high))
                out.writerow((
                    p.quantity, QUANTITIES[p.quantity][0], p.neurons, f"{p.activity:g}", round(p.neurons * p.activity),
                    p.kind, *numbers, p.samples, *fitted, p.note,
                ))  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "definitions": {name: {"unit": unit, "meaning": said} for name, (unit, said) in QUANTITIES.items()},
            "points": [vars(point) for point in self.points],
            "laws": [
                {"quantity": quantity, "activity": activity, "exponent": law.exponent, "low": law.low, "high": law.high,
                 "points": law.points}
                for (quantity, activity), law in self.laws.items()
            ],
        }  # fmt: skip


def measure_scaling(
    sizes: Sequence[int] = SIZES,
    activities: Sequence[float] = ACTIVITIES,
    *,
    memory_bytes: int = 4 << 30,
    quick: bool = False,
    folder: Path | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Scaling:
    """Run every size at every activity; fit, and extrapolate to 10^9 and 10^11 where a law was fitted.

    A layer whose active vectors exceed ``memory_bytes`` is not run, and its points say so. Raises InvalidInput for a
    size that is too small for an activity: somebody must be active.
    """
    if not sizes or not activities:
        raise InvalidInput("give at least one size and one activity")
    for size in sizes:
        for activity in activities:
            if round(size * activity) < 1:
                raise InvalidInput(
                    f"{100 * activity:g} % of {size:,} neurons is nobody; leave that size or activity out"
                )
            Network(neurons=size, k=0, active=activity)  # refuses what is no size and no fraction
    points: list[Point] = []
    for activity in sorted(set(activities), reverse=True):
        for size in sorted(set(sizes)):
            active = round(size * activity)
            needed = active * (4 * DIMENSION + 80)
            if needed > memory_bytes:
                note = f"its active vectors take {needed / 1e9:.3g} GB, and {memory_bytes / 1e9:.3g} were allowed"
                points += [
                    Point(quantity, size, activity, NOT_RUN, math.nan, math.nan, math.nan, note=note)
                    for quantity in QUANTITIES
                ]
                say(f"{size:,} neurons, {100 * activity:g} % active: not run; {note}")
                continue
            with tempfile.TemporaryDirectory(dir=folder, prefix="engramdb-scaling-") as own:
                found = _run(Path(own), size, active, memory_bytes, _QUICK_STEPS if quick else _STEPS)
            points += [
                Point(quantity, size, activity, MEASURED, statistics.median(s), min(s), max(s), len(s))
                for quantity, s in found.items()
            ]
            say(f"{size:,} neurons, {active:,} active: forward {statistics.median(found['forward']):.3g} ms")
    return _fitted(points)


def _fitted(points: list[Point]) -> Scaling:
    laws, further = {}, []
    for key in dict.fromkeys((point.quantity, point.activity) for point in points):
        own = [p for p in points if (p.quantity, p.activity) == key and p.kind == MEASURED]
        law = power_law([p.neurons for p in own], [p.value for p in own])
        if law is None:
            continue
        laws[key] = law
        largest = max(p.neurons for p in own)
        for size in FURTHER:
            if size > largest:
                value, low, high = law.at(size)
                if key[0] in ("spike rate", "stability"):  # parts of a whole, whatever a law says
                    value, low, high = min(value, 1.0), min(low, 1.0), min(high, 1.0)
                further.append(Point(*key[:1], size, key[1], EXTRAPOLATED, value, low, high))
    return Scaling((*points, *further), laws)


def _run(folder: Path, neurons: int, active: int, memory_bytes: int, steps: int) -> dict[str, list[float]]:
    """Samples of each quantity, of one layer."""
    network = Network(neurons=neurons, k=0, model="dense_lif", dimension=DIMENSION)
    spec = network.spec()
    params = {**spec.layers[0].params, "tau": 0.05, "refractory": 0.0, "eta": _ETA}  # every input meets the same layer
    layer = engramdb.Layer("neurons", model="dense_lif", params=params, segments=spec.layers[0].segments)
    spec = engramdb.Spec(seed=1, layers=[layer])
    budget = 2 * memory_bytes + (1 << 30)  # the engine keeps vectors in RAM up to half of it
    e = engramdb.create(folder / "layer.engram", spec, memory=budget, durability="checkpoint")
    try:
        ids = _active(neurons, active)
        for start in range(0, active, _AT_ONCE):
            e.activate(ids[start : start + _AT_ONCE], w=_WEIGHTS)
        return _samples(e, e.layer("neurons"), active, steps)
    finally:
        e._shut()  # what was learned is of no use to anybody


def _active(neurons: int, active: int) -> IdArray:
    """Ids spread evenly over the layer."""
    place = np.arange(active, dtype=np.uint64) * np.uint64(neurons // active)
    segment, local = np.divmod(place, np.uint64(LARGEST_SEGMENT))
    return segment << np.uint64(32) | local


def _samples(e: engramdb.Engram, layer: LayerHandle, active: int, steps: int) -> dict[str, list[float]]:
    random = np.random.default_rng(1)
    pattern = (random.random(DIMENSION) < 0.05).astype(np.float32)
    # the layer's own scale: with it the wanted part fires at the first input
    currents = layer.forward(np.float32(1e-3) * pattern).currents
    x = np.asarray(pattern * (15e-3 / np.quantile(currents, 1 - FIRING)), dtype=np.float32)
    receptive = e._live.receptive["neurons"]
    samples: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    fired = layer.forward(x).fired
    layer.backward(x, 0.0)
    assert receptive._resident is not None, "all active vectors are in RAM"
    w = receptive._resident.w
    # once: what a step adds to it is in its eighth digit
    whole = math.sqrt(sum(float(np.square(w[i : i + 4096], dtype=np.float64).sum()) for i in range(0, active, 4096)))
    for _ in range(steps):
        began = time.perf_counter()
        now = layer.forward(x).fired
        samples["forward"].append(1e3 * (time.perf_counter() - began))
        samples["spike rate"].append(len(now) / active)
        either = len(np.union1d(fired, now))
        samples["stability"].append(len(np.intersect1d(fired, now)) / either if either else 1.0)
        fired = now
        error = random.normal(0.0, _ERROR_SD, len(now)).astype(np.float32)
        began = time.perf_counter()
        learned = layer.backward(x, error)
        samples["backward"].append(1e3 * (time.perf_counter() - began))
        changed = float(np.sqrt(np.square(learned.norms, dtype=np.float64).sum()))
        samples["drift"].append(1e6 * changed / whole)
    samples["memory"].append(e.stats()["used_bytes"] / 1e6)
    return samples
