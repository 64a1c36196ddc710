"""Builds the STDP workload as a C++ program with Brian2: ``python brian2_stdp.py NETWORK.npz FOLDER``.

For the environment that has Brian2; knows nothing of EngramDB. The synapses have the usual two traces, event-driven.
The program, FOLDER/main, runs the warm-up and then the ticks to be measured; it leaves their time in
FOLDER/results/last_run_info.txt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import brian2
import numpy as np
from brian2 import Network, NeuronGroup, PopulationRateMonitor, Synapses, ms

_MODEL = """
w : 1
dpre / dt = -pre / (20 * ms) : 1 (event-driven)
dpost / dt = -post / (20 * ms) : 1 (event-driven)
"""


def build(network: dict[str, np.ndarray], folder: Path) -> None:
    """Write and compile the program."""
    brian2.prefs.devices.cpp_standalone.openmp_threads = 0
    brian2.set_device("cpp_standalone", directory=str(folder), build_on_run=False)
    brian2.defaultclock.dt = 1 * ms
    n = len(network["v"])
    neurons = NeuronGroup(
        n, "dv/dt = (v_infinite - v) / (20 * ms) : 1 (unless refractory)\nv_infinite : 1 (constant)",
        threshold="v >= -55.0", reset="v = -70.0", refractory=3 * ms, method="exact",
    )  # fmt: skip
    neurons.v_infinite = network["v_infinite"]
    neurons.v = network["v"]
    w_max, up, down = float(network["w_max"]), float(network["up"]), float(network["down"])
    synapses = Synapses(
        neurons, neurons, _MODEL, delay=0 * ms,
        on_pre=f"pre += {up}\nw = clip(w - post, 0, {w_max})\nv_post += w",
        on_post=f"post += {down}\nw = clip(w + pre, 0, {w_max})",
    )  # fmt: skip
    synapses.connect(i=network["pre"], j=network["post"])
    synapses.w = network["weight"].astype(np.float64)
    rate = PopulationRateMonitor(neurons)
    together = Network(neurons, synapses, rate)
    together.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
    together.run(int(network["warm_up"]) * ms)
    together.run(int(network["ticks"]) * ms)
    brian2.device.build(directory=str(folder), compile=True, run=False)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        build(dict(stored), Path(sys.argv[2]))
