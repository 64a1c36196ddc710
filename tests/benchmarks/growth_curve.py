"""A network grown from 10^5 to 10^7 neurons in cycles: ``python -m tests.benchmarks.growth_curve docs/growth.svg``.

A void layer, its rows virtual: k = 12, one synapse in ten long, W of an untouched neuron between 0.02 and 0.98, at most
5000 neurons active. Bundles begin with 400,000 neurons and grow by a factor of 1.2 to 1.5; of each new one 2000 neurons
are stimulated for 3 ticks. Every 20 ticks readings are taken and 1024 rows looked at; in each optimizing phase synapses
whose affinity stays under 0.002 are pruned. What happens is a function of the seed alone; only times are not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engramdb
from engramdb import Engram
from engramdb.sizing.workload_bytes import bytes_on_disk

SEED, EVERY = 1, 20
ACTIVE, AWAKEN = 5000, 2000
_WIDTHS = (5, 10, 5, 9, 9, 5, 5, 6, 8, 7, 8)


@dataclass(frozen=True)
class Step:
    """What a step found, and what it and each of the ticks before it cost, in seconds of processor time."""

    tick: int
    phase: str
    cycle: int
    neurons: int
    w: float
    valence: float
    clusters: float
    b1: float
    complexity: float
    pruned: int
    promoted: int
    bridged: int
    a_tick: float
    step: float
    ram_bytes: int
    disk_bytes: int


def grown(
    path: Path, start: int, bundle: int, until: int, active: int = ACTIVE, awaken: int = AWAKEN,
    gauge: str = "topology",
) -> list[Step]:  # fmt: skip
    """Every step of a growth from ``start`` neurons to at least ``until``, and to the end of the cycle."""
    params: dict[str, Any] = {"k_active": active, "w_init": (0.02, 0.98)}
    wiring = engramdb.SmallWorld(k=12, long_fraction=0.1, span=50)
    layer = engramdb.Layer("cortex", model="void", segments=[start], wiring=wiring, params=params)
    steps = []
    with engramdb.create(path, engramdb.Spec(seed=SEED, layers=[layer]), memory="2GiB") as e:
        e.stimulate(range(awaken), amplitude=1.0, duration=3)
        e.cycle.start(
            layer="cortex", bundle=bundle, growth="adaptive", awaken=awaken, awaken_ticks=3, every=EVERY,
            patience=400, optimize=160, persist=60, below=0.002, first="stabilize", gauge=gauge,
        )  # fmt: skip
        while len(e) < until or e.cycle.status().phase != "grow":
            steps.append(_next(e))
    return steps


def _next(e: Engram) -> Step:
    before = e.cycle.status()
    ticks = before.due - e.tick
    began = time.process_time()
    if ticks > 0:
        e.run(ticks)
    ran = time.process_time()
    now = e.cycle.step()
    stepped = time.process_time()
    read = now.readings[-1] if now.readings else None
    return Step(
        now.tick, before.phase, before.cycle, len(e), read.level if read else 0.0, e.layer("cortex").valence,
        read.clusters if read else 0.0, read.b1 if read else 0.0,
        read.complexity if read else 0.0,
        now.totals.pruned, now.totals.promoted, now.totals.bridged, (ran - began) / max(ticks, 1), stepped - ran,
        e.stats()["used_bytes"], bytes_on_disk(e.location),
    )  # fmt: skip


def by_cycle(steps: list[Step]) -> list[str]:
    """One line a cycle: medians of its times."""
    names = (
        "cycle",
        "neurons",
        "ticks",
        "ms a tick",
        "ms a step",
        "B1",
        "W",
        "pruned",
        "promoted",
        "RAM MiB",
        "disk MiB",
    )
    lines = [" ".join(f"{name:>{width}}" for name, width in zip(names, _WIDTHS, strict=True))]
    for cycle in sorted({step.cycle for step in steps}):
        own = [step for step in steps if step.cycle == cycle and step.phase != "grow"]
        times = sorted(step.a_tick for step in own), sorted(step.step for step in own)
        tick_ms, step_ms = (1e3 * one[len(one) // 2] for one in times)
        last = own[-1]
        cells = (
            f"{cycle}", f"{last.neurons:,}", f"{last.tick - own[0].tick + EVERY}", f"{tick_ms:.2f}", f"{step_ms:.1f}",
            f"{last.b1:.0f}", f"{last.w:.3f}", f"{last.pruned}", f"{last.promoted}", f"{last.ram_bytes / 2**20:.0f}",
            f"{last.disk_bytes / 2**20:.1f}",
        )  # fmt: skip
        lines.append(" ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)))
    return lines


def plot(steps: list[Step], path: Path) -> None:
    """Four panels: size and memory, cost, topology, mean W and valence; optimizing phases are shaded."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"  # the same bytes from the same numbers
    import matplotlib.pyplot as plt

    figure, ((size, cost), (shape, level)) = plt.subplots(2, 2, figsize=(10, 6.5), layout="constrained")
    read = [step for step in steps if step.phase != "grow"]
    ticks = [step.tick for step in read]
    size.step([step.tick for step in steps], [step.neurons for step in steps], where="post", color="black")
    size.set(yscale="log", ylabel="neurons", title="size, and bytes of what was touched")
    held = size.twinx()
    held.plot(ticks, [step.ram_bytes / 2**20 for step in read], color="tab:blue", label="RAM")
    held.plot(ticks, [step.disk_bytes / 2**20 for step in read], color="tab:orange", label="disk")
    held.set(ylabel="MiB", ylim=(0, None))
    held.legend(loc="lower right", frameon=False)
    neurons = [step.neurons for step in read]
    cost.plot(neurons, [1e3 * step.a_tick for step in read], ".", color="tab:blue", label="a tick")
    cost.plot(neurons, [1e3 * step.step / EVERY for step in read], ".", color="tab:red", label="a step, for each tick")
    cost.set(xscale="log", ylim=(0, None), xlabel="neurons", ylabel="ms", title="processor time")
    cost.legend(frameon=False)
    shape.plot(ticks, [step.b1 for step in read], color="tab:purple")
    shape.set(xlabel="tick", ylabel="B1 of a patch", title="topology")
    parts = shape.twinx()
    parts.plot(ticks, [step.complexity for step in read], color="tab:green", linewidth=0.8)
    parts.set(ylabel="complexity")
    shape.yaxis.label.set_color("tab:purple")
    parts.yaxis.label.set_color("tab:green")
    level.plot(ticks, [step.w for step in read], color="black", label="mean W of the active")
    level.plot(ticks, [step.valence for step in read], color="tab:gray", linewidth=0.8, label="valence")
    level.set(xlabel="tick", title="state")
    level.legend(frameon=False)
    for step in steps:
        for panel in (size, shape, level):
            if step.phase == "optimize":
                panel.axvspan(step.tick - EVERY, step.tick, color="0.92", linewidth=0)
            elif step.phase == "grow":
                panel.axvline(step.tick, color="tab:red", linewidth=0.8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Grow, print a line for each cycle, and plot to the path given."""
    with tempfile.TemporaryDirectory() as folder:
        steps = grown(Path(folder, "cortex.engram"), 100_000, 400_000, 10_000_000)
    sys.stdout.write("\n".join(by_cycle(steps)) + "\n")
    if len(sys.argv) > 1:
        plot(steps, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
