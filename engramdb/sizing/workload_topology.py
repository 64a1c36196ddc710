"""What each level of a topology reading costs in void networks of any size: it follows what is sampled, not who exists.

The same number of neurons is active in each. In a network that is smaller than the sample all of it is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import engramdb
from engramdb.sizing.figure import Figure, scaled
from engramdb.sizing.workload_flat import K
from engramdb.spec import Layer, Spec
from engramdb.topology import Settings
from engramdb.topology.clusters import coarse
from engramdb.topology.energy import energy
from engramdb.topology.patches import patches
from engramdb.topology.probe import Ring, probe
from engramdb.topology.sentinels import sentinels

_REFERENCE = 10**6
_LARGEST_SEGMENT = 4 * 10**9


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds of processor time of each level at each size, against that at 10^6, and of a tick; sizes by turns.

    Level 1 is measured once; it is due once a minute.
    """
    sizes = [(10**5, False), (_REFERENCE, False), (10**7, False), (10**8, False), (10**11, False), (_REFERENCE, True)]
    settings, active, repeats = Settings(clusters="components"), 10_000, 9
    if quick:
        sizes = [(_REFERENCE, False), (10**11, False)]
        settings = Settings(clusters="components", patch_neurons=300, sample=500, sentinels=16, ring=4)
        active, repeats = 300, 1
    samples: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        works = {}
        for neurons, materialize in sizes:
            path = folder / f"{neurons}{materialize}.engram"
            e = stack.enter_context(engramdb.create(path, spec(neurons, active, materialize=materialize)))
            works[f"10^{round(np.log10(neurons))} {'written out' if materialize else 'virtual'}"] = _works(
                e, settings, active
            )
        for number in range(1 + repeats):  # the first to warm up
            for name, levels in works.items():
                for level, work in levels.items():
                    if number < 2 or not level.startswith("level 1"):
                        began = time.process_time()
                        work()
                        if number:
                            taken = time.process_time() - began
                            samples.setdefault(level, {}).setdefault(name, []).append(taken)
    figures = []
    for level, by_size in samples.items():
        reference = float(np.median(by_size["10^6 virtual"])) * 1e3
        for name, times in by_size.items():
            figures.append(Figure(f"{level}, {name}", "ms", scaled(times, 1e3), reference, "10^6 virtual"))
    return figures


def spec(neurons: int, active: int, *, materialize: bool) -> Spec:
    """A void layer, of which so many stay active."""
    segments = [_LARGEST_SEGMENT] * (neurons // _LARGEST_SEGMENT) + [neurons % _LARGEST_SEGMENT]
    wiring = engramdb.SmallWorld(k=K, long_fraction=0.1, span=50)
    layer = Layer("void", model="void", segments=[size for size in segments if size], wiring=wiring,
                  materialize=materialize, params={"k_active": active})  # fmt: skip
    return Spec(seed=3, layers=[layer])


def _works(e: engramdb.Engram, settings: Settings, active: int) -> dict[str, Callable[[], object]]:
    """What is timed, by level, once ``active`` neurons are active."""
    e.stimulate(range(active // 4), 1.0, duration=5)
    e.run(20)
    moment = e.moment()
    changing, _ = energy(moment, None)
    ring = Ring(settings.ring)
    ring.fill(changing, moment)
    seeds = changing.top(64, moment)
    works: dict[str, Callable[[], object]] = {
        "who changes": lambda: energy(e.moment(), None),
        "probe": lambda: probe(moment, ring, changing, settings),
        "level 0, patches": lambda: patches(moment, changing, seeds, settings),
        "level 2, sentinels": lambda: sentinels(moment, settings.sentinels, None, 0.0),
        "level 1, components": lambda: coarse(moment, settings),
        "a tick": e._live.step,
    }
    if find_spec("networkit") is not None:
        finer = Settings(sample=settings.sample)
        works["level 1, communities"] = lambda: coarse(moment, finer)
    return works
