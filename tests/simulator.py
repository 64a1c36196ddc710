"""The engine's twin: the same network stepped whole, tick by tick, in plain NumPy.

It shares nothing with the engine but the definition: constants are worked out here, every neuron is stepped in every
tick, spikes travel in a list, and inputs are added with ``np.add.at``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from engramdb.layer import Layer

FIXED = 4294967296.0


def narrowed(weight: float, layer: Layer) -> np.float32:
    """A weight as a synapse of a neuron of ``layer`` keeps it."""
    wide = float(np.float32(weight))
    if layer.weights == "float16":
        (wide,) = struct.unpack("<e", struct.pack("<e", wide))
    if layer.weights == "int8":
        wide = round(wide / layer.weight_step) * layer.weight_step
    return np.float32(wide)


@dataclass
class Simulator:
    """``ids``: uint64 (n,) sorted; synapses: ``pre``, ``post`` (places in ids), ``weight`` (float32), ``delay``."""

    ids: np.ndarray
    pre: np.ndarray
    post: np.ndarray
    weight: np.ndarray
    delay: np.ndarray
    tau: float = 20.0
    v_rest: float = -70.0
    v_reset: float = -70.0
    v_threshold: float = -55.0
    refractory_ticks: int = 2
    dt: float = 1.0
    bias: np.ndarray | float = 0.0
    tick: int = 0
    stimuli: list[tuple[int, int, np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.ids)
        self.decay = np.float32(np.exp(-self.dt / self.tau))
        bias = np.broadcast_to(np.asarray(self.bias, dtype=np.float32), (n,))
        self.theta = np.float32(self.v_threshold - self.v_rest) - bias
        self.reset = np.float32(self.v_reset - self.v_rest) - bias
        self.epsilon = np.float32(2.0**-14 * (self.v_threshold - self.v_rest))
        self.u = np.zeros(n, dtype=np.float32)
        self.left = np.zeros(n, dtype=np.int64)
        self.spike_count = np.zeros(n, dtype=np.uint32)
        self.last_spike = np.zeros(n, dtype=np.int64)
        self.fixed = np.rint(self.weight.astype(np.float64) * FIXED).astype(np.int64)
        self.fired_at: dict[int, np.ndarray] = {}
        self._sorted_for: np.ndarray | None = None

    def _sort(self) -> None:
        """Synapses by source: large networks of the comparison with other simulators are stepped too."""
        self._by_pre = np.argsort(self.pre, kind="stable")
        self._indptr = np.searchsorted(self.pre[self._by_pre], np.arange(len(self.ids) + 1))
        self._delays = np.unique(self.delay)
        self._sorted_for = self.pre

    def stimulate(self, places: np.ndarray, amplitude: np.ndarray, start: int, duration: int = 1) -> None:
        self.stimuli.append((start, start + duration - 1, places, amplitude))

    def step(self) -> np.ndarray:
        """One tick; the ids that fire, sorted."""
        self.tick += 1
        t = self.tick
        arrived = np.zeros((2, len(self.ids)), dtype=np.int64)  # of either sign
        if self._sorted_for is not self.pre or len(self._indptr) != len(self.ids) + 1:
            self._sort()
        for delay in self._delays:
            fired = self.fired_at.get(t - int(delay))
            if fired is not None and fired.any():
                rows = [self._by_pre[self._indptr[i] : self._indptr[i + 1]] for i in np.flatnonzero(fired)]
                arriving = np.concatenate(rows)
                arriving = arriving[self.delay[arriving] == delay]
                fixed = self.fixed[arriving]
                np.add.at(arrived, ((fixed < 0).astype(np.intp), self.post[arriving]), fixed)
        for start, stop, places, amplitude in self.stimuli:
            if start <= t <= stop:
                fixed = np.rint(amplitude.astype(np.float64) * FIXED).astype(np.int64)
                np.add.at(arrived, ((fixed < 0).astype(np.intp), places), fixed)
        fires = self.advance(arrived)
        self.spike_count[fires] += 1
        self.last_spike[fires] = t
        self.fired_at[t] = fires
        return self.ids[fires]

    def advance(self, arrived: np.ndarray) -> np.ndarray:
        """Step all neurons under the input ``arrived``, int64 (2, n), of either sign; who fires."""
        total = arrived.sum(axis=0)
        incoming = (total.astype(np.float64) / FIXED).astype(np.float32)
        free = self.left == 0
        u = np.where(free, self.u * self.decay + incoming, self.u)
        fires = free & (u >= self.theta)
        rests = free & ~fires & (total == 0) & (np.abs(u) < self.epsilon) & (self.theta > 0)
        u = np.where(rests, np.float32(0), u)
        self.u = np.where(fires, self.reset, u).astype(np.float32)
        self.left = np.where(fires, self.refractory_ticks, np.maximum(self.left - 1, 0))
        return fires

    def run(self, ticks: int) -> tuple[np.ndarray, np.ndarray]:
        """(tick, id) of all spikes of ``ticks`` ticks."""
        at, who = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)]
        for _ in range(ticks):
            fired = self.step()
            at.append(np.full(len(fired), self.tick, dtype=np.int64))
            who.append(fired)
        return np.concatenate(at), np.concatenate(who)
