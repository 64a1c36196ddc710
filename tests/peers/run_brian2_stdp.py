"""STDP of given trains in Brian2: ``python run_brian2_stdp.py TRAINS.npz WEIGHTS.npz``, where Brian2 is.

Knows nothing of EngramDB; see ``plasticity.py`` for what is mapped.
"""

from __future__ import annotations

import sys

import brian2
import numpy as np
from brian2 import Network, SpikeGeneratorGroup, Synapses, ms


def simulate(given: dict[str, np.ndarray]) -> np.ndarray:
    """The weights in the end."""
    brian2.prefs.codegen.target = "numpy"
    brian2.defaultclock.dt = 1 * ms
    pairs = int(given["pairs"])
    pre = SpikeGeneratorGroup(pairs, given["pre"], given["pre_tick"] * ms)
    post = SpikeGeneratorGroup(pairs, given["post"], given["post_tick"] * ms)
    multiplicative = bool(given["multiplicative"])
    up, down = ("* (1 - w)", "* w") if multiplicative else ("", "")
    synapses = Synapses(
        pre, post,
        """w : 1
        dleft / dt = -left / tau_plus : 1 (event-driven)
        dright / dt = -right / tau_minus : 1 (event-driven)""",
        on_pre=f"left += {float(given['a_plus'])!r}\nw = clip(w - right {down}, 0, 1)",
        on_post=f"right += {float(given['a_minus'])!r}\nw = clip(w + left {up}, 0, 1)",
        delay={"pre": int(given["delay"]) * ms},
        namespace={"tau_plus": float(given["tau_plus_ms"]) * ms, "tau_minus": float(given["tau_minus_ms"]) * ms},
    )  # fmt: skip
    synapses.connect(j="i")
    synapses.w = 0.5
    Network(pre, post, synapses).run((int(given["ticks"]) + 10) * ms)
    return np.asarray(synapses.w)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as stored:
        weight = simulate(dict(stored))
    np.savez(sys.argv[2], weight=weight)
