"""Builds the tick workload as a C++ program with Brian2: ``python brian2_tick.py NETWORK.npz FOLDER THREADS``.

For the environment that has Brian2; knows nothing of EngramDB. ``THREADS`` 0 makes a program without OpenMP. The
program, FOLDER/main, runs the warm-up and then the ticks to be measured; it leaves their time in
FOLDER/results/last_run_info.txt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import brian2
import numpy as np
from brian2 import Network, NeuronGroup, PopulationRateMonitor, Synapses, ms


def build(network: dict[str, np.ndarray], folder: Path, threads: int) -> None:
    """Write and compile the program."""
    brian2.prefs.devices.cpp_standalone.openmp_threads = threads
    brian2.set_device("cpp_standalone", directory=str(folder), build_on_run=False)
    brian2.defaultclock.dt = 1 * ms
    n = len(network["v"])
    neurons = NeuronGroup(
        n, "dv/dt = (v_infinite - v) / (20 * ms) : 1 (unless refractory)\nv_infinite : 1 (constant)",
        threshold="v >= -55.0", reset="v = -70.0", refractory=3 * ms, method="exact",
    )  # fmt: skip
    neurons.v_infinite = network["v_infinite"]
    neurons.v = network["v"]
    synapses = Synapses(neurons, neurons, "w : 1", on_pre="v_post += w", delay=0 * ms)
    synapses.connect(i=network["pre"], j=network["post"])
    synapses.w = network["weight"].astype(np.float64)
    rate = PopulationRateMonitor(neurons)  # a number a tick: that the two networks fire alike has to be seen
    together = Network(neurons, synapses, rate)
    together.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
    together.run(int(network["warm_up"]) * ms)
    together.run(int(network["ticks"]) * ms)
    brian2.device.build(directory=str(folder), compile=True, run=False)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        build(dict(stored), Path(sys.argv[2]), int(sys.argv[3]))
