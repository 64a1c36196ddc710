"""T3: the same activity in networks of any size: what a tick costs follows who is active, not who exists.

80,000 neurons fire in every tick, in eight regions. Each has twelve synapses; one in ten is long, and charges a neuron
anywhere in the network, which does not fire. In a small network the far targets are often the same, or near; from 10^7
on nearly every one of them is a neuron of its own.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import engramdb
from engramdb.address import IdArray
from engramdb.sizing.figure import Figure
from engramdb.spec import Layer, Spec

K = 12
REGIONS = 8
FIRING = 80_000  # in each tick
_REFERENCE = 10**7
_LARGEST_SEGMENT = 4 * 10**9
_WARM_UP_TICKS = 100  # ten membrane time constants
_MEMORY = "4GiB"


def spec(neurons: int, *, materialize: bool) -> Spec:
    """One layer; every driven neuron fires in every tick."""
    segments = [_LARGEST_SEGMENT] * (neurons // _LARGEST_SEGMENT)
    segments += [neurons % _LARGEST_SEGMENT] if neurons % _LARGEST_SEGMENT else []
    wiring = engramdb.SmallWorld(k=K, span=50, long_fraction=0.1, weight=0.05)
    params = {"tau": 10.0, "refractory": 0.0}
    layer = Layer("wide", params=params, segments=segments, wiring=wiring, materialize=materialize)
    return Spec(seed=3, layers=[layer])


def region_ids(neurons: int, firing: int) -> IdArray:
    """The driven neurons: ``firing`` in all, in regions as far from each other as they can be."""
    size = firing // REGIONS
    starts = np.arange(REGIONS, dtype=np.uint64) * np.uint64(neurons // REGIONS)
    place = (starts[:, None] + np.arange(size, dtype=np.uint64)).ravel()
    segment, local = np.divmod(place, np.uint64(_LARGEST_SEGMENT))
    return segment << np.uint64(32) | local


def tick_times(path: Path, neurons: int, firing: int, ticks: int, *, materialize: bool) -> tuple[float, ...]:
    """Milliseconds of each of ``ticks`` ticks, once the far targets are charged."""
    e = engramdb.create(path, spec(neurons, materialize=materialize), memory=_MEMORY, durability="checkpoint")
    try:
        warm_up = min(_WARM_UP_TICKS, 10 * ticks)
        e.stimulate(region_ids(neurons, firing), 20.0, duration=warm_up + ticks)
        e.run(warm_up)
        engine, samples = e._live, []
        for _ in range(ticks):
            began = time.perf_counter()
            fired = engine.step()
            samples.append((time.perf_counter() - began) * 1e3)
            assert len(fired) == firing, "the driven neurons fire, and nobody else"
        return tuple(samples)
    finally:
        e._shut()


def run(folder: Path, quick: bool) -> list[Figure]:
    """The median tick at each size against that at 10^7, and the 99th percentile."""
    sizes = [(10**5, False), (10**6, False), (_REFERENCE, False), (10**8, False), (10**11, False)]
    firing, ticks = FIRING, 200
    written = [(10**6, True), (_REFERENCE, True)]
    if quick:
        sizes, written, firing, ticks = [(10**5, False), (_REFERENCE, False), (10**11, False)], [(10**5, True)], 800, 10
    times = {}
    for number, (neurons, materialize) in enumerate(sizes + written):
        path = folder / f"{number}.engram"
        times[neurons, materialize] = tick_times(path, neurons, firing, ticks, materialize=materialize)
    reference = float(np.median(times[_REFERENCE, False]))
    figures = []
    for (neurons, materialize), samples in times.items():
        name = f"10^{round(np.log10(neurons))} {'written out' if materialize else 'virtual'}"
        goal = "<= 1.25 x" if neurons > _REFERENCE else ""
        figures.append(Figure(f"tick, {name}", "ms", samples, reference, "10^7 virtual", goal))
        figures.append(Figure("  99th percentile", "ms", (float(np.percentile(samples, 99)),)))
    return figures
