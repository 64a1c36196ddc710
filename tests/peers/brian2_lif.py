"""Runs a LIF network in Brian2: ``python brian2_lif.py NETWORK.npz RESULT.npz``, in the environment that has Brian2.

Knows nothing of EngramDB. What has to be mapped, and why:

- tick t (from 1) is Brian2's step t - 1;
- a tick is: decay, add input, test the threshold. Brian2 tests before it adds, so ``synapses`` go before ``thresholds``
  in its schedule;
- a spike of one step is then taken up by ``synapses`` in the next one, so Brian2's delay is one tick less;
- Brian2 counts the refractory time from the start of the step of the spike, so it is one tick more;
- the potential is absolute here (mV), in double precision, integrated exactly; inputs to a refractory neuron are lost
  because of ``(unless refractory)``.
"""

from __future__ import annotations

import sys

import brian2
import numpy as np
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, SpikeMonitor, StateMonitor, Synapses, ms

EQUATION = "dv/dt = (v_infinite - v) / tau : 1 (unless refractory)\nv_infinite : 1 (constant)"


def simulate(network: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Spikes as (tick, neuron), and potentials (mV, float64, (ticks, neurons)) before the threshold test and after."""
    brian2.prefs.codegen.target = "numpy"  # no compiler needed; the arithmetic is double precision either way
    dt = float(network["dt_ms"]) * ms
    brian2.defaultclock.dt = dt
    n, ticks = len(network["v_init"]), int(network["ticks"])
    names = {"tau": float(network["tau"]) * ms}
    neurons = NeuronGroup(
        n, EQUATION, threshold=f"v >= {float(network['v_threshold'])!r}", reset=f"v = {float(network['v_reset'])!r}",
        refractory=(int(network["refractory_ticks"]) + 1) * dt, method="exact", namespace=names,
    )  # fmt: skip
    neurons.v_infinite = network["v_infinite"]
    neurons.v = network["v_init"]
    synapses = Synapses(neurons, neurons, "w : 1", on_pre="v_post += w")
    synapses.connect(i=network["pre"], j=network["post"])
    synapses.w = network["weight"].astype(np.float64)
    synapses.delay = (network["delay_ticks"] - 1) * dt

    # one generator for each pair of a driven neuron and a size of pulse
    kinds, which = np.unique(
        np.stack([network["pulse_neuron"].astype(np.float64), network["pulse_mv"].astype(np.float64)]),
        axis=1, return_inverse=True,
    )  # fmt: skip
    pulses = SpikeGeneratorGroup(kinds.shape[1], which.ravel(), (network["pulse_tick"] - 1) * dt, when="start")
    drive = Synapses(pulses, neurons, "w : 1", on_pre="v_post += w")
    drive.connect(i=np.arange(kinds.shape[1]), j=kinds[0].astype(int))
    drive.w = kinds[1]

    spikes = SpikeMonitor(neurons)
    before = StateMonitor(neurons, "v", record=True, when="before_thresholds")
    after = StateMonitor(neurons, "v", record=True, when="end")
    together = Network(neurons, synapses, pulses, drive, spikes, before, after)
    together.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
    together.run(ticks * dt)
    tick = np.rint(np.asarray(spikes.t / dt)).astype(np.int64) + 1
    order = np.lexsort((spikes.i[:], tick))
    return {
        "tick": tick[order],
        "neuron": np.asarray(spikes.i[:])[order],
        "before": np.asarray(before.v).T,
        "after": np.asarray(after.v).T,
        "version": np.array(brian2.__version__),
    }


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        result = simulate(dict(stored))
    np.savez(sys.argv[2], **result)
