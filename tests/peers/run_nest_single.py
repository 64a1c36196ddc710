"""Runs single neurons in NEST: ``python run_nest_single.py NEURONS.npz RESULT.npz``, in the environment that has NEST.

Knows nothing of EngramDB. ``NEURONS.npz`` has the ``train`` (ticks) and ``size`` of input that all get, and for each
neuron ``model``, ``dt_ms``, ``weight`` and ``params``, a dict as JSON with the initial state in it.
"""

from __future__ import annotations

import json
import sys

import nest
import numpy as np


def simulate(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``spikes-I``: ticks; ``v-I``: potential (mV) after each tick, for neuron number I."""
    found = {"version": np.array(nest.__version__)}
    nest.verbosity = nest.VerbosityLevel.ERROR
    for i, model in enumerate(given["model"]):
        dt = float(given["dt_ms"][i])
        nest.ResetKernel()
        nest.resolution = dt
        params = json.loads(str(given["params"][i]))
        start = {name: params.pop(name) for name in ("V_m", "U_m") if name in params}
        neuron = nest.Create(str(model), 1, params=params)
        neuron.set(start)
        times = (given["train"] - 1) * dt
        source = nest.Create("spike_generator", params={"spike_times": times, "spike_weights": given["size"]})
        nest.Connect(source, neuron, syn_spec={"weight": float(given["weight"][i]), "delay": dt})
        meter = nest.Create("multimeter", params={"interval": dt, "record_from": ["V_m"]})
        spikes = nest.Create("spike_recorder", params={"time_in_steps": True})
        nest.Connect(meter, neuron)
        nest.Connect(neuron, spikes)
        nest.Simulate((int(given["ticks"]) + 1) * dt)  # a meter is one step behind
        found[f"v-{i}"] = np.asarray(meter.events["V_m"])[: int(given["ticks"])]
        found[f"spikes-{i}"] = np.asarray(spikes.events["times"], dtype=np.int64)
    return found


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        result = simulate(dict(stored))
    np.savez(sys.argv[2], **result)
