"""Single neurons of the models that are not linear, beside NEST: an irregular train of input for 5000 ticks.

Each simulator integrates them in its own way, so that spikes may come a tick earlier or later, and each such shift
moves what follows. Compared are the potentials up to the first spike, the spikes that are the same, and their number.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb import Engram, Layer, Spec

TICKS = 5000
LARGEST_GAP_MV = 0.01
LARGEST_SHARE = 0.05  # of more or fewer spikes


@dataclass(frozen=True)
class Neuron:
    """A neuron here (``model``, ``params``) and there (``peer``, ``peer_params``), under input of ``weight``."""

    model: str
    params: dict[str, Any]
    peer: str
    peer_params: dict[str, Any]
    dt_ms: float
    weight: float


NEURONS = (
    Neuron(
        "izhikevich", {"i_e": 4.0, "v_init": -65.0, "recovery_init": -13.0},
        "izhikevich", {"consistent_integration": False, "I_e": 4.0, "V_m": -65.0, "U_m": -13.0}, 1.0, 8.0,
    ),
    Neuron(
        "adex", {"i_e": 500.0, "refractory": 2.0, "v_init": -70.6, "adaptation_init": 0.0}, "aeif_psc_exp",
        {
            "tau_syn_ex": 5.0, "tau_syn_in": 5.0, "V_peak": 20.0, "V_reset": -70.6, "I_e": 500.0, "t_ref": 2.0,
            "V_m": -70.6,
        },
        0.1, 150.0,
    ),
    Neuron(
        "lif_cond", {}, "iaf_cond_exp",
        {
            "E_L": -60.0, "V_reset": -60.0, "V_th": -50.0, "C_m": 200.0, "g_L": 10.0, "E_ex": 0.0, "E_in": -80.0,
            "tau_syn_ex": 5.0, "tau_syn_in": 10.0, "t_ref": 5.0, "V_m": -60.0,
        },
        0.1, 6.0,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """What came out: ``here`` and ``there`` are numbers of spikes, ``gap_mv`` is that before the first."""

    model: str
    peer: str
    here: int
    there: int
    identical: int  # before the first that is not in both
    gap_mv: float

    def broken_bounds(self) -> list[str]:
        """What lies outside, in words."""
        broken = []
        if not self.gap_mv <= LARGEST_GAP_MV:
            broken.append(f"potentials differ by {self.gap_mv:.1e} mV before the first spike")
        if not abs(self.here - self.there) <= LARGEST_SHARE * self.there:
            broken.append(f"{self.here} and {self.there} spikes")
        return broken


def train() -> tuple[np.ndarray, np.ndarray]:
    """Ticks of input, and its size in weights: every fourth inhibits."""
    tick = np.sort(np.random.default_rng(3).choice(np.arange(2, TICKS), 400, replace=False))
    return tick, np.where(np.arange(400) % 4 == 3, -0.5, 1.0)


def run_here(neuron: Neuron, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of the spikes, and the potential after each tick up to the first."""
    layer = Layer("a", model=neuron.model, params=neuron.params, segments=[1], materialize=True)
    ticks, sizes = train()

    def driven(name: str) -> Engram:
        e = engramdb.create(folder / f"{neuron.model}-{name}.engram", Spec(layers=[layer], dt_ms=neuron.dt_ms))
        for tick, size in zip(ticks.tolist(), sizes.tolist(), strict=True):
            e.stimulate([0], size * neuron.weight, at=tick)
        return e

    with driven("whole") as e:
        spikes = e.run(TICKS, record=("spikes",)).spikes[0]
    potentials = []
    with driven("watched") as e:
        for _ in range(int(spikes[0]) - 1):
            e.run(1)
            potentials.append(float(e.neuron(0).fields["v"]))
    return spikes, np.array(potentials)


def compare(nest: str, folder: Path) -> list[Pair]:
    """All of them; ``nest``: the Python that has NEST."""
    tick, size = train()
    np.savez(
        folder / "neurons.npz", train=tick, size=size, ticks=TICKS, model=[n.peer for n in NEURONS],
        dt_ms=[n.dt_ms for n in NEURONS], weight=[n.weight for n in NEURONS],
        params=[json.dumps(n.peer_params) for n in NEURONS],
    )  # fmt: skip
    script = Path(__file__).with_name("run_nest_single.py")
    subprocess.run(
        [nest, str(script), str(folder / "neurons.npz"), str(folder / "single.npz")], check=True, capture_output=True
    )
    pairs = []
    with np.load(folder / "single.npz") as there:
        for i, neuron in enumerate(NEURONS):
            spikes, v = run_here(neuron, folder)
            theirs, their_v = there[f"spikes-{i}"], there[f"v-{i}"]
            differ = np.setxor1d(spikes, theirs)
            same = len(spikes) if len(differ) == 0 else int((spikes < differ[0]).sum())
            before = min(len(v), int(theirs[0]) - 1) - 1  # a spike begins in the tick before it is fired
            gap = float(np.abs(v[:before] - their_v[:before]).max())
            pairs.append(Pair(neuron.model, neuron.peer, len(spikes), len(theirs), same, gap))
    return pairs
