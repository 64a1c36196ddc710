"""The topology of an engram that learns, is rewired and cut.

    python -m tests.benchmarks.topology_trend docs/topology.svg

2000 neurons of the model ``lif`` in a small world, k = 12, weights of 2 to 4 mV, learn by STDP under random input. Only
synapses of at least 2 mV count. After tick 1000 each neuron gets four more synapses of 4 mV to random others; after
tick 2000 all synapses onto every fourth neuron are cut (their weights are set to 0). A tracker takes a reading every 50
ticks, and looks at the clusters anew every 200.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import engramdb
from engramdb.topology import Reading, Settings, Tracker, trend

NEURONS, TICKS = 2000, 1000
EVENTS = {1000: "rewired", 2000: "cut"}
SETTINGS = Settings(patch_neurons=1000, sample=NEURONS, roots=32, supernodes=100, refresh_s=0.2, least=2.0)


def readings() -> list[Reading]:
    """Those of 3000 ticks."""
    wiring = engramdb.SmallWorld(k=12, span=50, long_fraction=0.1, weight=(2.0, 4.0))
    layer = engramdb.Layer("a", segments=[NEURONS], wiring=wiring, plasticity=[engramdb.STDP(w_max=5.0)])
    random, tracker = np.random.default_rng(1), Tracker(SETTINGS, every=50)
    found: list[Reading] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        engramdb.create(Path(folder, "a.engram"), engramdb.Spec(seed=1, layers=[layer])) as e,
    ):
        ids = np.arange(NEURONS)
        e.poisson(ids, rate_hz=200.0, amplitude=4.0)
        found += e.run(TICKS, topology=tracker).topology
        e.connect(np.repeat(ids, 4), random.integers(0, NEURONS, 4 * NEURONS), 4.0)
        found += e.run(TICKS, topology=tracker).topology
        for pre in ids:
            targets = e.synapses(int(pre)).targets
            e.set_weight(int(pre), np.unique(targets[targets % 4 == 0]), 0.0)
        return found + list(e.run(TICKS, topology=tracker).topology)


def main(path: str) -> None:
    """Draw the trend."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "engramdb"
    table = trend(readings())
    tick = table["tick"]
    figure, axes = plt.subplots(3, 1, figsize=(7, 7.5), sharex=True, layout="constrained")
    axes[0].plot(tick, table["complexity"], color="black", linewidth=2, label="complexity")
    for name, color in (("patches", "tab:blue"), ("coarse", "tab:orange"), ("sentinels", "tab:green")):
        axes[0].plot(tick, table[name], color=color, linewidth=1, label=name if name != "coarse" else "clusters")
    axes[0].set_ylabel("complexity and its parts")
    axes[0].legend(ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.17), frameon=False)
    axes[1].plot(tick, table["cycle_rank"] / SETTINGS.patches, label="E - V + C", color="tab:gray")
    axes[1].plot(tick, table["b1"], label="B1: not filled by triangles", color="tab:blue")
    axes[1].set_ylabel("cycles of a patch")
    axes[1].set_ylim(bottom=0)
    axes[1].legend(fontsize=8)
    axes[2].plot(tick, table["mean_dw"], color="tab:red")
    axes[2].set_ylabel("mean |dW| of rows (mV a tick)")
    axes[2].set_xlabel("tick")
    for axis in axes:
        for event, name in EVENTS.items():
            axis.axvline(event, color="lightgray", linewidth=1, zorder=0)
            if axis is axes[1]:
                axis.text(event + 15, axis.get_ylim()[1] * 0.03, name, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
