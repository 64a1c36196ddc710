"""Runs the tick workload in NEST: ``python nest_tick.py NETWORK.npz THREADS``, in the environment that has NEST.

Knows nothing of EngramDB. Builds the network, runs the warm-up and says ``ready BYTES``, its peak resident set; then,
for each number of ticks on a line of stdin, runs so many and answers ``SECONDS SPIKES``.
"""

from __future__ import annotations

import os
import resource
import sys
import time

os.environ.setdefault("PYNEST_QUIET", "1")
sys.stdout, answers = sys.stderr, sys.stdout  # NEST talks on stdout

import nest  # noqa: E402
import numpy as np  # noqa: E402

_PART = 1 << 14


def build(network: dict[str, np.ndarray], threads: int) -> None:
    """The neurons, connected; without a recorder, which would take 30 kB a neuron."""
    nest.ResetKernel()
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.set(resolution=1.0, local_num_threads=threads)
    shared = {"C_m": 250.0, "tau_m": 20.0, "V_th": -55.0, "V_reset": -70.0, "t_ref": 2.0}
    neurons = nest.Create("iaf_psc_delta", len(network["v"]), params=shared)
    # a part at a time: NEST makes Python objects of what it is given, and they would be the peak
    for start in range(0, len(neurons), _PART):
        part = slice(start, min(start + _PART, len(neurons)))
        neurons[part].set({"E_L": network["v_infinite"][part], "V_m": network["v"][part]})
    first = neurons[0].global_id
    for start in range(0, len(network["pre"]), _PART):
        pre, post, weight = (network[name][start : start + _PART] for name in ("pre", "post", "weight"))
        nest.Connect(
            pre.astype(np.int64) + first, post.astype(np.int64) + first, "one_to_one",
            {"weight": weight.astype(np.float64), "delay": np.ones(len(pre))},
        )  # fmt: skip


def main() -> None:
    """Answer until stdin ends."""
    with np.load(sys.argv[1]) as stored:
        network = dict(stored)
    warm_up = float(network["warm_up"])
    build(network, int(sys.argv[2]))
    del network
    nest.Simulate(warm_up)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print("ready", peak, file=answers, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        nest.Simulate(float(line))
        seconds = time.perf_counter() - began
        spikes = nest.local_spike_counter  # of the last call of Simulate
        print(seconds, spikes, file=answers, flush=True)


if __name__ == "__main__":
    main()
