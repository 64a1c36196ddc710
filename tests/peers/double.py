"""The definition in double precision: what the peers would give if they did as we do, but for the rounding.

Where a run here and a run in a peer part, this one tells why: if it goes with the peer, the difference is that of
float32 and float64 and nothing else. It knows no rest: potentials decay for ever, as they do in the peers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Network:
    """A network and its input, as all simulators get it; times in ticks, potentials and weights in mV.

    - ``model``: "lif", "lif_exp" or "lif_shiu"; ``tau``, ``tau_syn`` in ms; ``v_threshold``, ``v_reset`` absolute.
    - ``v_init``, ``v_infinite``: float64 (n,); ``refractory``: int64 (n,), ticks in which a neuron stands still.
    - ``pre``, ``post``: int64 (m,), places of neurons; ``weight``: float32 (m,); ``delay``: int64 (m,), at least 1.
    - ``pulse_tick``, ``pulse_neuron``, ``pulse_mv``: input, like the spike of a synapse; no pair of tick and neuron
      occurs twice. Ticks from 2 on: a spike that comes over a synapse of NEST needs a tick to be on its way.
    """

    model: str
    dt_ms: float
    ticks: int
    tau: float
    tau_syn: float
    v_threshold: float
    v_reset: float
    v_init: np.ndarray
    v_infinite: np.ndarray
    refractory: np.ndarray
    pre: np.ndarray
    post: np.ndarray
    weight: np.ndarray
    delay: np.ndarray
    pulse_tick: np.ndarray
    pulse_neuron: np.ndarray
    pulse_mv: np.ndarray

    def save(self, path: str) -> None:
        """Write it for the peers, which know nothing of this class."""
        np.savez(path, **vars(self))

    @property
    def neurons(self) -> int:
        return len(self.v_init)


@dataclass(frozen=True)
class Margins:
    """Spikes of a run, and how far above the threshold (mV) neurons were before the test of each tick."""

    tick: np.ndarray
    neuron: np.ndarray
    asked: dict[int, np.ndarray]  # tick -> float64 (n,)


def run(network: Network, ask: tuple[int, ...] = ()) -> Margins:
    """All ticks of the network; ``ask``: ticks whose margins are wanted."""
    n = network.neurons
    by_pre = np.argsort(network.pre, kind="stable")
    post, weight, delay = network.post[by_pre], network.weight[by_pre].astype(np.float64), network.delay[by_pre]
    indptr = np.searchsorted(network.pre[by_pre], np.arange(n + 1))
    longest = int(delay.max(initial=1))
    arriving = np.zeros((longest + 1, n))
    pulses = _pulses(network)
    p22, p11, p21 = propagators(network.tau, network.tau_syn, network.dt_ms)
    u = network.v_init - network.v_infinite
    theta, reset = network.v_threshold - network.v_infinite, network.v_reset - network.v_infinite
    g = np.zeros(n)
    left = np.zeros(n, dtype=np.int64)
    shiu = network.model == "lif_shiu"
    ticks, neurons, asked = [], [], {}
    for tick in range(1, network.ticks + 1):
        row = tick % (longest + 1)
        total = arriving[row].copy()
        arriving[row] = 0
        if tick in pulses:
            where, much = pulses[tick]
            total[where] += much
        free = left == 0
        if network.model == "lif":
            u = np.where(free, u * p22 + total, u)
        else:
            u = np.where(free, u * p22 + g * p21, u)
            g = np.where(free, g * p11 + total, g) if shiu else g * p11 + total
        if tick in ask:
            asked[tick] = u - theta
        fires = free & ((u > theta) if shiu else (u >= theta))
        u = np.where(fires, reset, u)
        if shiu:
            g[fires] = 0.0
        left = np.where(fires, network.refractory, np.maximum(left - 1, 0))
        fired = np.flatnonzero(fires)
        ticks.append(np.full(len(fired), tick))
        neurons.append(fired)
        for source in fired:
            lo, hi = indptr[source], indptr[source + 1]
            np.add.at(arriving, ((tick + delay[lo:hi]) % (longest + 1), post[lo:hi]), weight[lo:hi])
    return Margins(np.concatenate(ticks), np.concatenate(neurons), asked)


def propagators(tau: float, tau_syn: float, dt_ms: float) -> tuple[float, float, float]:
    """Decay of the potential, decay of the current, and what a current of 1 mV adds to the potential in a tick."""
    p22, p11 = float(np.exp(-dt_ms / tau)), float(np.exp(-dt_ms / tau_syn))
    apart = 1 / tau - 1 / tau_syn
    return p22, p11, (p11 - p22) / (tau * apart) if apart else dt_ms / tau * p22


def _pulses(network: Network) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    order = np.argsort(network.pulse_tick, kind="stable")
    tick, neuron = network.pulse_tick[order], network.pulse_neuron[order]
    much = network.pulse_mv[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(tick, prepend=-1))
    stops = np.append(starts[1:], len(tick))
    return {int(tick[a]): (neuron[a:b], much[a:b]) for a, b in zip(starts, stops, strict=True)}
