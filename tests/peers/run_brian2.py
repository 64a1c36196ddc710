"""Runs a network in Brian2: ``python run_brian2.py NETWORK.npz RESULT.npz``, in the environment that has Brian2.

Knows nothing of EngramDB. What has to be mapped, and why:

- tick t (from 1) is Brian2's step t - 1;
- in a tick of ``lif`` and ``lif_exp`` input comes before the test. Brian2 tests before it adds, so ``synapses`` go
  before ``thresholds`` in its schedule; a spike of one step is then taken up by ``synapses`` in the next one, so
  Brian2's delay is one tick less. ``lif_shiu`` is a program for Brian2 and follows its own schedule, with the delay as
  it is;
- a neuron that stands still for r ticks after its spike has a refractory time of r + 1 steps in Brian2, which counts
  from the start of the step of the spike;
- the potential is absolute here (mV), in double precision, integrated exactly; inputs to a refractory neuron are lost
  because of ``(unless refractory)``, which the current of ``lif_exp`` does not have.
"""

from __future__ import annotations

import sys

import brian2
import numpy as np
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, SpikeMonitor, Synapses, ms

_REST = "v_infinite : 1 (constant)\nstill : second (constant)\n"
EQUATIONS = {
    "lif": _REST + "dv/dt = (v_infinite - v) / tau : 1 (unless refractory)",
    "lif_exp": _REST + "dv/dt = (v_infinite - v + g) / tau : 1 (unless refractory)\ndg/dt = -g / tau_syn : 1",
    "lif_shiu": _REST + "dv/dt = (v_infinite - v + g) / tau : 1 (unless refractory)\n"
    "dg/dt = -g / tau_syn : 1 (unless refractory)",
}
INPUTS_FIRST = ["start", "groups", "synapses", "thresholds", "resets", "end"]


def simulate(network: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Spikes as (tick, neuron), by tick and neuron."""
    brian2.prefs.codegen.target = "numpy"  # no compiler needed; the arithmetic is double precision either way
    model, shiu = str(network["model"]), str(network["model"]) == "lif_shiu"
    dt = float(network["dt_ms"]) * ms
    brian2.defaultclock.dt = dt
    n, ticks = len(network["v_init"]), int(network["ticks"])
    threshold, reset = float(network["v_threshold"]), float(network["v_reset"])
    neurons = NeuronGroup(
        n, EQUATIONS[model], threshold=f"v {'>' if shiu else '>='} {threshold!r}",
        reset=f"v = {reset!r}" + ("; g = 0" if shiu else ""), refractory="still", method="exact",
        namespace={"tau": float(network["tau"]) * ms, "tau_syn": float(network["tau_syn"]) * ms},
    )  # fmt: skip
    neurons.still = np.where(network["refractory"] > 0, network["refractory"] + 1, 0) * dt
    neurons.v_infinite = network["v_infinite"]
    neurons.v = network["v_init"]
    target = "v" if model == "lif" else "g"
    synapses = Synapses(neurons, neurons, "w : 1", on_pre=f"{target}_post += w")
    synapses.connect(i=network["pre"], j=network["post"])
    synapses.w = network["weight"].astype(np.float64)
    synapses.delay = (network["delay"] - (0 if shiu else 1)) * dt

    # one generator for each pair of a driven neuron and a size of pulse
    kinds, which = np.unique(
        np.stack([network["pulse_neuron"].astype(np.float64), network["pulse_mv"].astype(np.float64)]),
        axis=1, return_inverse=True,
    )  # fmt: skip
    when = np.argsort(network["pulse_tick"], kind="stable")  # sorted here, once, and not in Python by the generator
    pulses = SpikeGeneratorGroup(
        kinds.shape[1], which.ravel()[when], (network["pulse_tick"][when] - 1) * dt, when="start", sorted=True
    )
    # published: 250 synapses' worth into v. Either way the neuron fires in the next step
    drive = Synapses(pulses, neurons, "w : 1", on_pre="v_post += 68.75" if shiu else f"{target}_post += w")
    drive.connect(i=np.arange(kinds.shape[1]), j=kinds[0].astype(int))
    drive.w = kinds[1]

    spikes = SpikeMonitor(neurons)
    together = Network(neurons, synapses, pulses, drive, spikes)
    if not shiu:
        together.schedule = INPUTS_FIRST
    together.run(ticks * dt)
    tick = np.rint(np.asarray(spikes.t / dt)).astype(np.int64) + 1
    order = np.lexsort((spikes.i[:], tick))
    return {"tick": tick[order], "neuron": np.asarray(spikes.i[:])[order], "version": np.array(brian2.__version__)}


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        result = simulate(dict(stored))
    np.savez(sys.argv[2], **result)
