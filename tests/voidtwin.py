"""The twin of a void layer: all its neurons in plain NumPy, after the equations of ``engramdb.models.void``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from engramdb import Engram, models
from engramdb.kernels import rng

F = np.float32
MASK = (1 << 64) - 1


def hash_of(seed: int, *words: int) -> int:
    """The engine's hash in Python's integers; see docs/engine.md."""

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        return z ^ (z >> 31)

    state = 0x456E6772616D4442
    for word in (seed, *words):
        state = mix((state + (word + 1) * 0x9E3779B97F4A7C15) & MASK)
    return state


@dataclass
class VoidTwin:
    """``near[i]``: places of the out-neighbours of neuron i, as places in ``ids``."""

    ids: np.ndarray
    near: list[np.ndarray]
    params: dict
    seed: int
    W: np.ndarray
    mu: np.ndarray
    var: np.ndarray
    prev_W: np.ndarray
    tick: int = 0
    valence: np.float32 = field(default_factory=lambda: F(0.5))
    active: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    last: tuple = (0, 0.0, 0.0, 0.5)

    def noise(self, places: np.ndarray) -> np.ndarray:
        key = hash_of(self.seed, self.tick, 0, int(rng.VOID_NOISE))
        drawn = [hash_step(key, int(neuron)) for neuron in self.ids[places]]
        unit = np.array([h >> 40 for h in drawn], dtype=np.float64)
        return (unit.astype(F) * F(2.0**-23) - F(1)) * F(self.params["noise"])

    def growth(self, places: np.ndarray, m: np.float32) -> tuple[np.ndarray, np.ndarray]:
        w = self.W[places]
        rise = F(self.params["alpha"]) * w * (F(1) - w)
        if self.params["noise"]:
            rise = rise + self.noise(places)
        return rise * m, -(F(self.params["beta"]) * w) * m

    def step(self, stimulus: dict[int, float] | None = None) -> None:
        """One tick; ``stimulus`` by place."""
        self.tick += 1
        p, stimulus = self.params, {k: v for k, v in (stimulus or {}).items() if v != 0}
        members = np.union1d(self.active, np.array(sorted(stimulus), dtype=np.int64))
        if not len(members):
            self.last = (0, 0.0, 0.0, float(self.valence))
            return
        m = F(1.0 + p["phase"] * math.sin(2 * math.pi * math.fmod(p["frequency"] * self.tick, 1.0)))
        da, do = self.growth(members, m)
        delta = self.valence * (da + do)
        new, s = np.clip(self.W[members] + delta, F(0), F(1)), np.abs(delta)
        stimulated = np.isin(members, list(stimulus))
        staying = (s >= F(p["theta"])) | stimulated
        drive = {i: max(a, F(0)) + F(stimulus.get(i, 0)) for i, a in zip(members.tolist(), da, strict=True)}
        grown = dict(zip(members.tolist(), zip(da, do, strict=True), strict=True))
        following = set(members[staying].tolist())
        for i in members[staying].tolist():
            for j in self.near[i].tolist():
                if j not in grown:
                    (a,), (d,) = self.growth(np.array([j]), m)
                    grown[j], drive[j] = (a, d), max(a, F(0))
                (a_i, d_i), (a_j, d_j) = grown[i], grown[j]
                if max(a_i, F(0)) * max(a_j, F(0)) - F(p["affinity_cost"]) * abs(d_i - d_j) > 0:
                    following.add(j)
        best = sorted(following, key=lambda i: (-drive[i], self.ids[i]))[: int(p["k_active"])]
        a = F(1 - 2 ** (-1 / 600))
        mu = self.mu[members] + a * (s - self.mu[members])
        away = s - mu
        var = self.var[members] + a * (away * away - self.var[members])
        td = new - F(0.99) * self.prev_W[members]
        td, novelty = (x / np.abs(x).max() if np.abs(x).max() > 0 else np.zeros_like(x) for x in (td, s))
        calm = F(1) - np.minimum(F(1), F(2) * np.abs(mu - F(0.5)))
        even = F(1) - np.minimum(F(1), np.abs(var - F(0.1)) / F(0.1))
        r = F(0.5) * td + F(0.2) * novelty - F(0.1) * mu + F(0.2) * ((calm + even) * F(0.5))
        r = np.clip(r, F(-1), F(1))
        reward, total = (
            int(np.rint(x.astype(np.float64) * 2**32).astype(np.int64).sum()) / 2**32 / len(members) for x in (r, new)
        )
        self.valence = F(min(max(0.7 * float(self.valence) + 0.3 * (0.5 + 0.5 * reward), 0.0), 1.0))
        self.mu[members], self.var[members] = mu, var
        self.W[members] = self.prev_W[members] = new
        self.active = np.array(sorted(best), dtype=np.int64)
        self.last = (len(members), total, reward, float(self.valence))


def hash_step(state: int, word: int) -> int:
    """One more word absorbed into a hash."""
    z = (state + (word + 1) * 0x9E3779B97F4A7C15) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def void_twin_of(engram: Engram, name: str) -> VoidTwin:
    """The twin of a layer of an engram before its first tick."""
    layer = engram.spec.layer(name)
    ids = np.concatenate(
        [np.arange(n, dtype=np.uint64) | np.uint64(index << 48 | segment << 32)
         for (index, segment), n in sorted(engram.sizes.items()) if index == layer.index]
    )  # fmt: skip
    near = [np.searchsorted(ids, engram.synapses(int(i)).targets) for i in ids]
    born = engram.neurons(ids).fields
    fields = {f: born[f].copy() for f in ("W", "mu", "var", "prev_W")}
    params = models.get("void").values(layer.params)
    return VoidTwin(ids, near, params, engram.spec.seed, **fields)
