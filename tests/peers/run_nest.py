"""Runs a network in NEST: ``python run_nest.py NETWORK.npz RESULT.npz``, in the environment that has NEST.

Knows nothing of EngramDB. ``lif`` is ``iaf_psc_delta`` and ``lif_exp`` is ``iaf_psc_exp``; both take input before the
test, delays and refractory times are the same number of steps, and tick t is the step that ends at t dt. A weight w in
mV is the jump of the potential in the first, and w C_m / tau pA of current in the second. Input comes from spike
generators over synapses of one step, so it must be sent one step before it arrives.
"""

from __future__ import annotations

import sys

import nest
import numpy as np

MODELS = {"lif": "iaf_psc_delta", "lif_exp": "iaf_psc_exp"}
CAPACITY_PF = 250.0


def simulate(network: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Spikes as (tick, neuron), by tick and neuron."""
    model, dt, tau = str(network["model"]), float(network["dt_ms"]), float(network["tau"])
    n, ticks = len(network["v_init"]), int(network["ticks"])
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.resolution = dt
    shared = {
        "C_m": CAPACITY_PF, "tau_m": tau, "V_th": float(network["v_threshold"]), "V_reset": float(network["v_reset"]),
    }  # fmt: skip
    scale = 1.0
    if model == "lif_exp":
        scale = CAPACITY_PF / tau
        shared |= {"tau_syn_ex": float(network["tau_syn"]), "tau_syn_in": float(network["tau_syn"])}
    neurons = nest.Create(MODELS[model], n, params=shared)
    neurons.set({
        "E_L": network["v_infinite"], "V_m": network["v_init"], "t_ref": network["refractory"] * dt,
    })  # fmt: skip
    first = neurons[0].global_id
    if len(network["pre"]):
        nest.Connect(
            network["pre"] + first, network["post"] + first, "one_to_one",
            {"weight": network["weight"].astype(np.float64) * scale, "delay": network["delay"] * dt},
        )  # fmt: skip

    order = np.lexsort((network["pulse_tick"], network["pulse_neuron"]))
    tick, place, much = (network[name][order] for name in ("pulse_tick", "pulse_neuron", "pulse_mv"))
    driven, starts = np.unique(place, return_index=True)
    generators = nest.Create("spike_generator", len(driven))
    cuts = np.append(starts, len(place))
    for i, generator in enumerate(generators):
        own = slice(cuts[i], cuts[i + 1])
        times, weights = (tick[own] - 1) * dt, much[own].astype(np.float64)
        generator.set({"spike_times": times, "spike_weights": weights, "allow_offgrid_times": False})
    one = np.ones(len(driven))
    nest.Connect(
        np.asarray(generators.tolist()), driven + first, "one_to_one", {"weight": one * scale, "delay": one * dt}
    )
    recorder = nest.Create("spike_recorder", params={"time_in_steps": True})
    nest.Connect(neurons, recorder)
    nest.Simulate(ticks * dt)
    events = recorder.events
    tick, neuron = np.asarray(events["times"], dtype=np.int64), np.asarray(events["senders"]) - first
    order = np.lexsort((neuron, tick))
    return {"tick": tick[order], "neuron": neuron[order], "version": np.array(nest.__version__)}


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        result = simulate(dict(stored))
    np.savez(sys.argv[2], **result)
