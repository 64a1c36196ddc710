"""T6: ticks of a void layer with 80,000 active neurons, beside the memory that they must touch.

Without synapses a tick is state and self-improvement engine alone; with twelve out-neighbours each, nine in ten of them
near, it looks for those to whom activity spreads besides. In a layer of 100,000 most of them are active too. In one of
a million activity wanders, for what tells drives apart is mostly noise: a tick looks at nearly a million neighbours,
finds some 600,000 who could be active next, and chooses among them. The bounds: reading and writing the 32 bytes of
each active neuron, and a look at one word of each of its twelve neighbours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import engramdb
from engramdb.kernels import bound
from engramdb.kernels.void import ENTRY
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.spec import Layer, Spec
from engramdb.voids import VoidLayer

NEURONS, WIDE, ACTIVE, K = 100_000, 1_000_000, 80_000, 12
CLAIMED_NS = 42_000.0  # of the published runtime, a neuron and tick
_WARM_UP_TICKS = 30


def spec(neurons: int, active: int, *, wired: bool) -> Spec:
    """A ring of which ``active`` neurons are kept active; with theta = 0 nobody drops out."""
    layer = Layer(
        "void", model="void", params={"k_active": active, "theta": 0.0, "w_init": (0.3, 0.7)}, segments=[neurons],
        wiring=engramdb.SmallWorld(k=K, long_fraction=0.1, span=50) if wired else None,
    )  # fmt: skip
    return Spec(seed=1, layers=[layer])


def nanoseconds(e: engramdb.Engram, active: int, ticks: int, threads: int) -> tuple[float, ...]:
    """Of each tick, for each active neuron; of one thread processor time, which others on the machine take none of."""
    e.stimulate(np.arange(active), 1.0)
    e.run(_WARM_UP_TICKS)
    if threads == 1:
        return scaled(processor_time(e._live.step, ticks), 1e9 / active)
    return scaled(timed(e._live.step, ticks), 1e9 / active)


def processor_time(work: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Seconds of the calling thread that each of ``repeats`` calls took."""
    samples = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        samples.append(time.thread_time() - began)
    return tuple(samples)


def bounds(void: VoidLayer, repeats: int) -> tuple[float, float]:
    """Nanoseconds to read and write the entry of each active neuron, and to look at each one's neighbours."""
    members = void._lists["active"].astype(np.int64)
    entry = np.zeros((void._n, ENTRY.itemsize // 4), dtype=np.float32)
    total = np.zeros(1, dtype=np.float32)
    rows = np.zeros(0, dtype=np.int32)
    if void._near_end:
        loaded = members[void._voids.length[members] == K]
        rows = np.concatenate([void._voids.near[o : o + K] for o in void._voids.offset[loaded]])
    order = np.arange(len(rows) // K)
    bound.change_entries(members, entry)
    bound.gather(order, K, rows, entry, total)
    change = processor_time(lambda: bound.change_entries(members, entry), repeats)
    look = processor_time(lambda: bound.gather(order, K, rows, entry, total), repeats)
    each = [1e9 * statistics.median(samples) for samples in (change, look)]
    return each[0] / len(members), each[1] / max(1, len(order))


def measured(path: Path, neurons: int, active: int, ticks: int, threads: int, *, wired: bool) -> list[Figure]:
    """One layer, and its bounds."""
    with engramdb.create(path, spec(neurons, active, wired=wired), memory="2GiB", threads=threads) as e:
        samples = nanoseconds(e, active, ticks, threads)
        void = e._live.voids["void"]
        change, look = bounds(void, 15)
        what = f"with affinity spread, of {neurons:,}" if wired else "state and SIE"
        goal = "" if neurons > 2 * active else "<= 150 ns" if wired else "<= 60 ns"
        name = "1 thread" if threads == 1 else f"{threads} threads, wall time"
        figures = [Figure(f"{what}, {name}", "ns", samples, change + (look if wired else 0.0), "memory", goal)]
        if wired and threads == 1:
            figures += [
                one("  bound: read and write each entry", "ns", change),
                one("  bound: look at twelve neighbours", "ns", look),
                Figure("  published runtime", "ns", samples, CLAIMED_NS, "claimed"),
                one("  memory, neighbours and rows included", "B/neuron", void.nbytes / void._n),
            ]
    return figures


def run(folder: Path, quick: bool) -> list[Figure]:
    """Nanoseconds for each active neuron and tick, on one thread (processor time) and on two."""
    neurons, wide, active, ticks = (2_000, 20_000, 1_600, 5) if quick else (NEURONS, WIDE, ACTIVE, 60)
    figures = []
    for threads in (1, 2):
        for number, (size, wired) in enumerate(((neurons, False), (neurons, True), (wide, True))):
            path = folder / f"{threads}-{number}.engram"
            figures += measured(path, size, active, ticks, threads, wired=wired)
    return figures
