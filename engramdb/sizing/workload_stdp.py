"""T2: the tick workload at 100,000 neurons with STDP on all synapses, beside the same without, and a bound.

What a tick that learns cannot avoid beside one that does not: for each synapse over which a spike arrives, the spikes
that its target fired of late, a cache line anywhere in memory. Four times the window pass first, so that histories are
as long as they get.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np

import engramdb
from engramdb.kernels import bound
from engramdb.reservation import Reservation
from engramdb.sizing import workload_tick
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.spec import Layer, Spec

NEURONS = 100_000
W_MAX = 0.2
_LINE = 8  # int64 of a cache line


def spec(neurons: int, *, learns: bool) -> Spec:
    """The network of the tick workload, whose synapses start in the middle of their range."""
    plain = workload_tick.spec(neurons).layers[0]
    layer = Layer(
        plain.name, params=plain.params, segments=[neurons], wiring=plain.wiring, materialize=True,
        plasticity=[engramdb.STDP(w_max=W_MAX)] if learns else [],
    )  # fmt: skip
    return Spec(seed=1, layers=[layer])


def settled(path: Path, *, quick: bool) -> engramdb.Engram:
    """The engram at ``path`` with all rows in RAM, when as many spikes are remembered as ever will be."""
    e = workload_tick.warmed_up(path, 1)
    e.run(20 if quick else 800)
    e.checkpoint()
    e.run(5)
    return e


def line_bound(neurons: int, fired: int, repeats: int) -> tuple[float, ...]:
    """Seconds to read a cache line of each target of the rows of ``fired`` random neurons, those rows beside."""
    k = workload_tick.K
    target, total = Reservation(neurons * k, np.int64).array, Reservation(neurons * _LINE, np.int64).array
    random = np.random.default_rng(2)
    target[:] = random.integers(0, neurons, neurons * k) * _LINE
    orders = iter([random.permutation(neurons)[:fired].astype(np.int64) for _ in range(repeats + 1)])
    bound.add_rows(next(orders), k, target, total, 8)
    return timed(lambda: bound.add_rows(next(orders), k, target, total, 8), repeats)


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds per tick with and without learning, on one thread."""
    neurons, ticks = (5_000, 10) if quick else (NEURONS, 120)
    ticks_of: dict[bool, list[float]] = {True: [], False: []}
    fired: list[int] = []
    engrams = {}
    for learns in (True, False):
        path = folder / f"{learns}.engram"
        engramdb.create(path, spec(neurons, learns=learns), memory="8GiB").close()
        engrams[learns] = settled(path, quick=quick)
    try:
        for _ in range(3):
            for learns, e in engrams.items():
                ticks_of[learns] += workload_tick.each_tick(e, ticks)
                if learns:
                    fired.append(len(e._live.last_fired))
    finally:
        for e in engrams.values():
            e._shut()
    spikes = round(statistics.mean(fired))
    line = scaled(line_bound(neurons, spikes, 11), 1e3)
    plain = statistics.median(ticks_of[False])
    least = plain + statistics.median(line)
    return [
        one("spiking per tick", "%", 100 * spikes / neurons),
        Figure("tick that learns, 1 thread", "ms", tuple(ticks_of[True]), least, "plain + lines"),
        Figure("tick that does not", "ms", tuple(ticks_of[False])),
        Figure("  bound: a line of each target", "ms", line),
    ]
