"""Growth: how fast bundles come, and what a growth cycle costs a tick in networks of any size.

Times of the latter are processor time. The same activity in each network: a void layer with so many active neurons, its
rows virtual; and spiking neurons of one region that is driven, the rows of all written out. The bound of each is its
own cost in the smallest network.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb import Engram
from engramdb.growth import structure
from engramdb.growth.drive import drive_of
from engramdb.growth.readings import Sight, probe, topology
from engramdb.growth.walk import rows_of, stored_rows
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.sizing.workload_bytes import bytes_on_disk
from engramdb.spec import Layer, Spec

_MEMORY = 2 << 30
_EVERY = 20  # ticks between steps
_WARM, _STEPS = 8, 10  # of each phase
_FEW = 4, 2  # where nothing is measured
_ACTIVE = 5000
_SPAN = 50


def run(folder: Path, quick: bool) -> list[Figure]:
    """Neurons a second of bundles; milliseconds of a tick, and of each part of a step, by the size of the network."""
    sizes = [4_000, 8_000] if quick else [100_000, 1_000_000, 10_000_000]
    figures = _bundles(folder, 10_000 if quick else 2_000_000)
    for name, made in (("void, virtual rows", _void), ("spiking, rows written", _spiking)):
        before: dict[str, float] = {}
        for neurons in sizes:
            path = folder / f"{name[:4]}-{neurons}.engram"
            steps = _FEW if quick else (_WARM, _STEPS)
            with made(path, neurons, sum(steps)) as e:
                parts, memory = _measured(e, *steps), e.stats()["used_bytes"]
            for part, samples in parts.items():
                own = Figure(
                    f"{name}, N = {neurons:.0e}: {part}", "ms", scaled(samples, 1e3),
                    bound=before.get(part), bound_name=f"at {sizes[0]:.0e}" if part in before else "",
                )  # fmt: skip
                before.setdefault(part, own.median)
                figures.append(own)
            figures.append(one(f"{name}, N = {neurons:.0e}: RAM", "MiB", memory / 2**20))
            figures.append(one(f"{name}, N = {neurons:.0e}: on disk", "MiB", bytes_on_disk(path) / 2**20))
    return figures


def _wiring(low: float, high: float) -> engramdb.SmallWorld:
    return engramdb.SmallWorld(k=12, long_fraction=0.1, span=_SPAN, weight=(low, high))


def _bundles(folder: Path, neurons: int) -> list[Figure]:
    """How fast neurons come, virtual and written."""
    path = folder / "bundles.engram"
    with engramdb.create(path, Spec(seed=1, layers=[Layer("c", segments=[1000], wiring=_wiring(0.5, 1.5))])) as e:
        e.grow("c", 1000, materialize=True)  # loads the kernels
        virtual = timed(lambda: e.grow("c", neurons), 3)
        inbound = timed(lambda: e.grow("c", neurons, inbound=10_000), 1)
        began = time.perf_counter()
        e.grow("c", neurons, materialize=True)
        written = time.perf_counter() - began
    return [
        Figure(f"a bundle of {neurons:.0e}, virtual", "ms", scaled(virtual, 1e3)),
        Figure("the same with 10,000 inbound synapses", "ms", scaled(inbound, 1e3)),
        one("the same, rows written", "M neurons/s", neurons / written / 1e6),
    ]


def _void(path: Path, neurons: int, steps: int) -> Engram:
    params: dict[str, Any] = {"k_active": _ACTIVE, "w_init": (0.02, 0.98)}
    layer = Layer("c", model="void", segments=[neurons], wiring=_wiring(0.5, 1.5), params=params)
    e = engramdb.create(path, Spec(seed=1, layers=[layer]), memory=_MEMORY)
    e.stimulate(range(2000), 1.0, duration=3)
    return _begun(e, steps, below=2e-3)


def _spiking(path: Path, neurons: int, steps: int) -> Engram:
    layer = Layer("c", segments=[neurons], wiring=_wiring(0.0, 3.0), materialize=True)
    e = engramdb.create(path, Spec(seed=1, layers=[layer]), memory=_MEMORY)
    e.poisson(range(0, 4000, 2), rate_hz=200.0, amplitude=20.0)
    return _begun(e, steps, below=0.5)


def _begun(e: Engram, steps: int, **settings: Any) -> Engram:
    ticks = _EVERY * steps
    e.cycle.start(
        layer="c", bundle=1, first="stabilize", every=_EVERY, flat_w=0.0, flat_clusters=0.0, flat_b1=0.0,
        patience=ticks, optimize=2 * ticks, persist=2 * _EVERY, **settings,
    )  # fmt: skip
    return e


def _measured(e: Engram, warm: int, steps: int) -> dict[str, tuple[float, ...]]:
    """Seconds of a tick, of the steps of both phases, of all together per tick, and of the parts of a step."""
    samples = defaultdict(list)
    for phase in ("stabilize", "optimize"):
        for number in range(warm + steps - (phase == "optimize")):
            status = e.cycle.status()
            began = time.process_time()
            e.run(status.due - e.tick)
            ran = time.process_time()
            e.cycle.step()
            stepped = time.process_time()
            if number >= warm:
                samples["a tick"].append((ran - began) / _EVERY)
                samples[f"a step, {phase}"].append(stepped - ran)
                samples["a tick with its part of a step"].append((stepped - began) / _EVERY)
    return {name: tuple(seconds) for name, seconds in samples.items()} | _parts(e)


def _parts(e: Engram) -> dict[str, tuple[float, ...]]:
    """Seconds of the parts of a step, each anew."""
    live, layer, status = e._live, e.spec.layers[0], e.cycle.status()
    s, view, timers = status.settings, e._view(), e._live.cycle.timers  # type: ignore[union-attr]
    drive = drive_of(live, layer, e.spec)

    def walk() -> None:
        first = layer.index << 48
        if layer.model == "void":
            passed = rows_of(view, drive.hot, first, s.rows)
        else:
            passed = stored_rows(e._store, layer.index, first, s.rows)
        structure.weak_pairs(passed, first, timers, layer, drive, s.below, e.tick)

    def bridge(ticks: list[int]) -> None:
        ticks[0] += 1  # other neurons each time
        nobody = np.empty(0, dtype=np.uint64)
        for neuron in structure.sentinels(nobody, e._bundles, layer, 1, ticks[0], s.searches).tolist():
            structure.island_of(view, layer, neuron, s.island)

    def promote(ticks: list[int]) -> None:
        ticks[0] += 1
        structure.promoted(view, layer, drive, s.promotions, 0.0, 1, ticks[0], e.spec)

    parts: dict[str, Callable[[], object]] = {
        "part: drive": lambda: drive_of(live, layer, e.spec),
        "part: readings of topology": lambda: topology(Sight(view, live, layer, drive)),
        "part: readings of the probe": lambda: probe(Sight(view, live, layer, drive)),
        f"part: {s.rows} rows looked at": walk,
        f"part: {s.promotions} promotions": partial(promote, [0]),
        f"part: {s.searches} searches for a way out": partial(bridge, [0]),
    }
    return {name: _processor_seconds(part, 7) for name, part in parts.items()}


def _processor_seconds(work: Callable[[], object], repeats: int) -> tuple[float, ...]:
    samples = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        samples.append(time.process_time() - began)
    return tuple(samples)


def table(figures: list[Figure]) -> list[str]:
    """One line a figure: its median, and its ratio to that in the smallest network."""
    lines = []
    for figure in figures:
        ratio = "" if figure.ratio is None else f"  = {figure.ratio:.2f} x {figure.bound_name}"
        lines.append(f"  {figure.name:<64} {figure.median:>9.3g} {figure.unit}{ratio}")
    return lines
