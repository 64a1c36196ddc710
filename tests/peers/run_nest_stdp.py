"""STDP of given trains in NEST: ``python run_nest_stdp.py TRAINS.npz WEIGHTS.npz``, where NEST is.

Knows nothing of EngramDB; see ``plasticity.py`` for what is mapped. Parrots fire what generators tell them a tick
later; the synapses that learn end at their second port, to which they do not listen.
"""

from __future__ import annotations

import sys

import nest
import numpy as np


def parrots(which: np.ndarray, tick: np.ndarray, pairs: int, tau_minus_ms: float) -> nest.NodeCollection:
    """One for each pair, that fires in its ticks."""
    birds = nest.Create("parrot_neuron", pairs, params={"tau_minus": tau_minus_ms})
    for pair in range(pairs):
        times = tick[which == pair].astype(float) - 1.0
        source = nest.Create("spike_generator", params={"spike_times": times})
        nest.Connect(source, birds[pair], syn_spec={"delay": 1.0})
    return birds


def simulate(given: dict[str, np.ndarray]) -> np.ndarray:
    """The weights in the end."""
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.resolution = 1.0
    pairs, delay, tau = int(given["pairs"]), int(given["delay"]), float(given["tau_minus_ms"])
    later = 20  # generators begin after zero
    pre = parrots(given["pre"], given["pre_tick"] + 2 * delay + later, pairs, tau)
    post = parrots(given["post"], given["post_tick"] + later, pairs, tau)
    up, down = float(given["a_plus"]), float(given["a_minus"])
    exponent = 1.0 if given["multiplicative"] else 0.0
    nest.Connect(pre, post, "one_to_one", syn_spec={
        "synapse_model": "stdp_synapse", "weight": 0.5, "Wmax": 1.0, "lambda": up, "alpha": down / up,
        "tau_plus": float(given["tau_plus_ms"]), "mu_plus": exponent, "mu_minus": exponent, "delay": float(delay),
        "receptor_type": 1,
    })  # fmt: skip
    nest.Simulate(float(given["ticks"]) + 100.0)
    return np.array(nest.GetConnections(pre, post).weight)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        weight = simulate(dict(stored))
    np.savez(sys.argv[2], weight=weight)
