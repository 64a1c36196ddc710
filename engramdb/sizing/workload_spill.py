"""T4: activity that moves through a network four times the memory budget, beside the same with all of it resident.

A window of neurons in a ring is driven, each with its own strength, and moves on; every neuron is in it for 80 ticks
and fires a few times. Synapses reach near neighbours, one in ten anywhere in the ring, where few targets fire. Rows are
on disk. Both runs go once round; the resident one has loaded every row before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.engine import Engine
from engramdb.run import Run
from engramdb.sizing.figure import Figure, one
from engramdb.sizing.workload_tick import load_every_row
from engramdb.spec import Layer, Spec

K = 12
NEURONS = 200_000
SHARE = 4  # of the network in the budget, one in so many
_RESIDENT_BYTES = 245  # a neuron with its row, as the budget counts
_STEPS_IN_WINDOW = 8  # the window moves by this part of itself
_TICKS_A_STEP = 10
_NEURONS_A_STEP = 1_562

Order = Callable[[int], npt.NDArray[np.uint64]]
"""The neurons of the ring, by place."""


@dataclasses.dataclass(frozen=True)
class Lap:
    """One way round the ring: what came out, and what it took."""

    counts: npt.NDArray[np.int64]
    spike_counts: npt.NDArray[np.uint32]
    potentials: npt.NDArray[np.float32]
    run: Run

    def same_bits(self, other: Lap) -> bool:
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("counts", "spike_counts", "potentials")
        )


def spec(neurons: int) -> Spec:
    """A ring with rows written out."""
    wiring = engramdb.SmallWorld(k=K, span=50, long_fraction=0.1, weight=(0.0, 0.5))
    layer = Layer("ring", segments=[neurons], params={"refractory": 2.0}, wiring=wiring, materialize=True)
    return Spec(seed=4, layers=[layer])


@contextmanager
def reading_ahead(threads: int) -> Iterator[None]:
    """Engines started meanwhile read ahead with so many threads."""
    before = Engine.reading_threads
    Engine.reading_threads = threads
    try:
        yield
    finally:
        Engine.reading_threads = before


def lap(path: Path, memory: int, steps: int, order: npt.NDArray[np.uint64], *, loaded: bool) -> Lap:
    """Drive the window ``steps`` steps round, from the snapshot "start" on."""
    e = engramdb.open(path, "r+", memory=memory, durability="checkpoint")
    try:
        e.restore("start")  # a run that takes long makes checkpoints by itself
        if loaded:
            load_every_row(e)
        _drive(e, order, steps)
        run = e.run((steps + _STEPS_IN_WINDOW) * _TICKS_A_STEP)
        assert run.stats["used_bytes"] <= memory, "the budget holds"
        fields = e.neurons(np.arange(len(e), dtype=np.uint64)).fields
        return Lap(run.counts, fields["spike_count"], fields["u"], run)
    finally:
        e._shut()


def _drive(e: engramdb.Engram, order: npt.NDArray[np.uint64], steps: int) -> None:
    """Each part of the ring is driven for as long as it takes the window to pass, with 0.8 to 2.2 x the least drive."""
    least = 15.0 * (1.0 - np.exp(-1.0 / 20.0))
    strength = np.random.default_rng(7).uniform(0.8 * least, 2.2 * least, len(order)).astype(np.float32)
    for step, part in enumerate(np.array_split(np.arange(len(order)), steps)):
        ids, amplitude = order[part], strength[part]
        sorted_ids = np.argsort(ids)
        duration = _STEPS_IN_WINDOW * _TICKS_A_STEP
        e.stimulate(ids[sorted_ids], amplitude[sorted_ids], at=e.tick + 1 + step * _TICKS_A_STEP, duration=duration)


def figures(folder: Path, quick: bool, order: Order, goal: bool) -> list[Figure]:
    """Time of a lap resident and under a quarter of the memory, with reading ahead and without."""
    neurons, steps = (16_000, 40) if quick else (NEURONS, NEURONS // _NEURONS_A_STEP)
    path, ring = folder / "spill.engram", order(neurons)
    with engramdb.create(path, spec(neurons), memory="1GiB") as e:
        e.snapshot("start")
    memory = neurons * _RESIDENT_BYTES // SHARE
    for enough in (1 << 30, memory):  # loads the kernels, those too that make room
        lap(path, enough, steps, ring, loaded=False)
    resident = lap(path, 4 << 30, steps, ring, loaded=True)
    assert resident.run.stats["rows_loaded"] == neurons, "loaded once, and before"
    laps = {}
    for threads in (1, 0):
        with reading_ahead(threads):
            laps[threads] = lap(path, memory, steps, ring, loaded=False)
        assert laps[threads].same_bits(resident), "residency never changes results"
    ticks = len(resident.counts)
    found = [
        one("neurons that fired, of all", "%", 100 * float((resident.spike_counts > 0).mean())),
        one("spikes per tick", "1", float(resident.counts.mean())),
        one("tick, everything resident", "ms", resident.run.elapsed / ticks * 1e3),
    ]
    for threads, name in ((1, "reading ahead"), (0, "without reading ahead")):
        run = laps[threads].run
        found += _of(run, name, resident.run.elapsed, ticks, "<= 3 x" if goal and threads else "")
    return found


def _of(run: Run, name: str, resident: float, ticks: int, goal: str) -> list[Figure]:
    stats: dict[str, Any] = run.stats
    milliseconds, bound = run.elapsed / ticks * 1e3, resident / ticks * 1e3
    read = stats["prefetch_hits"] + stats["misses"]
    ahead = 100 * stats["prefetch_hits"] / read if read else 0.0
    there = 100 * stats["hits"] / max(1, stats["hits"] + stats["misses"])
    unused = stats["prefetch_unused"] / max(1, stats["prefetched"])
    return [
        one(f"tick, {name}", "ms", milliseconds, bound=bound, bound_name="resident", goal=goal),
        one("  rows read that were read ahead", "%", ahead, goal=">= 95 %" if goal else ""),
        one("  spikes whose row was there", "%", there),
        one("  waited for rows, of the time", "%", 100 * stats["wait_s"] / run.elapsed),
        one("  read ahead in vain", "%", 100 * unused),
    ]


def run(folder: Path, quick: bool) -> list[Figure]:
    """The ring in the order of ids: what is active lies together on disk."""
    return figures(folder, quick, lambda neurons: np.arange(neurons, dtype=np.uint64), goal=True)
