"""Weights that STDP makes of given trains, here, in Brian2 and in NEST, synapse by synapse.

Each of PAIRS synapses joins a neuron of its own to another; both fire in given ticks. What has to be mapped, and why:

- delays are axonal here and in Brian2: a pair counts from the arrival. NEST's delay is dendritic: there a postsynaptic
  spike comes back to the synapse a delay late, and the presynaptic one is there at once. So presynaptic trains are
  played two delays later in NEST;
- an arrival and a postsynaptic spike in one tick do nothing here. In Brian2 such a pair counts as potentiation, in NEST
  as nothing; the trains have none;
- NEST works a weight out when the next presynaptic spike comes, so one more comes at the end;
- pairs more than 9.7 time constants apart do nothing here: that, and weights in float32, is the difference that stays.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engramdb
from engramdb import STDP, Explicit, Layer, Projection, Spec

PAIRS, TICKS, DELAY = 100, 2000, 3
LARGEST_GAP = 2e-4  # of the range of weights
RULE = {"a_plus": 0.02, "a_minus": 0.022, "tau_plus_ms": 17.0, "tau_minus_ms": 31.0}


@dataclass(frozen=True)
class Weights:
    """How far the weights of a peer are from ours at most, and how far ours have come."""

    peer: str
    update: str
    largest_gap: float
    moved: float

    def broken_bounds(self) -> list[str]:
        """What lies outside, in words."""
        return [] if self.largest_gap <= LARGEST_GAP else [f"weights differ by {self.largest_gap:.1e}"]


def trains() -> tuple[np.ndarray, ...]:
    """Pair and tick of all presynaptic and all postsynaptic spikes; no arrival meets a postsynaptic spike."""
    random = np.random.default_rng(8)
    parts: list[list[np.ndarray]] = [[], []]
    for pair in range(PAIRS):
        slots = random.permutation(np.arange(5, (TICKS - 800) // 4))
        for which in range(2):
            tick = np.sort(slots[40 * which : 40 * (which + 1)]) * 4 - (DELAY if which == 0 else 0)
            parts[which].append(np.stack([np.full(len(tick), pair), tick]))
        parts[0].append(np.array([[pair], [TICKS - 100]]))
    return (*np.concatenate(parts[0], axis=1), *np.concatenate(parts[1], axis=1))


def run_here(update: str, folder: Path) -> np.ndarray:
    """The weights in the end, by pair."""
    layers = [Layer("pre", segments=[PAIRS]), Layer("post", segments=[PAIRS])]
    rule = STDP(w_max=1.0, update=update, **RULE)
    joined = Projection("pre", "post", Explicit(), delay_ms=float(DELAY), plasticity=[rule])
    pre, pre_tick, post, post_tick = trains()
    with engramdb.create(folder / f"{update}.engram", Spec(layers=layers, projections=[joined])) as e:
        ids, targets = np.arange(PAIRS), np.arange(PAIRS) | 1 << 48
        e.connect(ids, targets, 0.5)
        e.play(pre, pre_tick, 100.0)
        e.play(targets[post], post_tick, 100.0)
        run = e.run(TICKS)
        assert int(run.counts.sum()) == len(pre) + len(post)
        return np.array([e.synapses(int(i)).weights[0] for i in ids], dtype=np.float64)


def compare(peers: dict[str, str], folder: Path) -> list[Weights]:
    """All peers and both ways to depend on the weight; ``peers``: their Pythons."""
    pre, pre_tick, post, post_tick = trains()
    found = []
    for update in ("additive", "multiplicative"):
        here = run_here(update, folder)
        np.savez(
            folder / "trains.npz", pre=pre, pre_tick=pre_tick, post=post, post_tick=post_tick, pairs=PAIRS, ticks=TICKS,
            delay=DELAY, multiplicative=update == "multiplicative", **RULE,
        )  # fmt: skip
        for peer, python in peers.items():
            script = Path(__file__).with_name(f"run_{peer.lower()}_stdp.py")
            told = [python, str(script), str(folder / "trains.npz"), str(folder / "weights.npz")]
            done = subprocess.run(told, check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{peer} failed:\n{done.stderr}")
            with np.load(folder / "weights.npz") as stored:
                gap = float(np.abs(stored["weight"] - here).max())
            found.append(Weights(peer, update, gap, float(np.abs(here - 0.5).max())))
    return found
