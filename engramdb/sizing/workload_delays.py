"""What delays of each synapse cost a tick: the network of ``tick`` with 1, 10 and 100 different delays.

The neurons fire by themselves, so that all three have the same rates; with more delays a row is visited once for each
that it has, up to its twelve synapses, and the spikes under way are more.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import engramdb
from engramdb.sizing import workload_tick
from engramdb.sizing.figure import Figure
from engramdb.spec import Spec

NEURONS = 200_000
_DELAYS = (1, 10, 100)


def spec(neurons: int, delays: int) -> Spec:
    """The network of ``tick``, with delays uniform over 1..``delays`` ticks."""
    made = workload_tick.spec(neurons)
    # the ends of a pair would otherwise be rounded to half as often as what lies between
    delay = 1.0 if delays == 1 else (0.5001, delays + 0.4999)
    return replace(made, layers=[replace(made.layers[0], delay_ms=delay)])


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds a tick, in turn, and as multiples of one delay."""
    neurons, ticks, repeats = (2_000, 5, 2) if quick else (NEURONS, 25, 7)
    opened: list[engramdb.Engram] = []
    samples: list[list[float]] = [[] for _ in _DELAYS]
    try:
        for delays in _DELAYS:
            path = folder / f"{delays}.engram"
            engramdb.create(path, spec(neurons, delays), memory="8GiB").close()
            opened.append(workload_tick.warmed_up(path, 1))
            opened[-1].run(2 * delays)
        for _ in range(repeats):
            for e, own in zip(opened, samples, strict=True):
                own.append(workload_tick.ticks_of(e, ticks)[0] / ticks * 1e3)
    finally:
        for e in opened:
            e.close()
    one = statistics.median(samples[0])
    return [
        Figure(f"tick, {delays} delays" if delays > 1 else "tick, 1 delay", "ms", tuple(own), one, "1 delay")
        for delays, own in zip(_DELAYS, samples, strict=True)
    ]
