"""Saves and restores a network in Brian2: ``python brian2_store.py NETWORK.npz FOLDER ROUNDS``; answers in JSON.

For the environment that has Brian2; knows nothing of EngramDB. Each round runs three ticks before it saves.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import brian2
import numpy as np
from brian2 import Network, NeuronGroup, Synapses, ms


def measure(network: dict[str, np.ndarray], folder: Path, rounds: int) -> dict[str, object]:
    """Seconds of each save and restore, and the bytes of a saved state."""
    brian2.prefs.codegen.target = "numpy"
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
    together = Network(neurons, synapses)
    saved, restored, nbytes = [], [], 0
    for number in range(rounds):
        together.run(3 * ms)
        path = folder / f"{number}.brian2"
        began = time.perf_counter()
        together.store(filename=str(path))
        saved.append(time.perf_counter() - began)
        before = np.asarray(neurons.v[:]).copy()
        together.run(1 * ms)
        began = time.perf_counter()
        together.restore(filename=str(path))
        restored.append(time.perf_counter() - began)
        assert (np.asarray(neurons.v[:]) == before).all()
        nbytes = path.stat().st_size
        path.unlink()
    return {"save": saved, "restore": restored, "bytes": nbytes}


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        print(json.dumps(measure(dict(stored), Path(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201 - its answer
