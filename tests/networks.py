"""Random networks for the tests, and the twin simulator of an engram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

import engramdb
from engramdb import (
    Bernoulli,
    Engram,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Layer,
    Normal,
    OneToOne,
    Projection,
    SmallWorld,
    Spec,
)
from engramdb.distribution import draw
from engramdb.kernels.rng import BIAS
from engramdb.query.synapses import whole_rows
from tests.simulator import Simulator


def ids_of(engram: Engram) -> np.ndarray:
    """All declared ids, sorted."""
    return np.concatenate(
        [np.arange(size, dtype=np.uint64) | np.uint64(layer << 48 | segment << 32)
         for (layer, segment), size in sorted(engram.sizes.items())]
    )  # fmt: skip


def edges_of(engram: Engram) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(pre id, post id, weight, delay in ticks) of every synapse, virtual ones included."""
    ids = ids_of(engram)
    if engram.spec.learns and engram.mode == "r+":
        engram._live.write_back()
    pre, post, weight, delay = [], [], [], []
    for layer in engram.spec.layers:
        own = ids[ids >> np.uint64(48) == layer.index]
        rows = whole_rows(own, engram._store, engram._wiring)
        pre.append(np.repeat(own, np.diff(rows.indptr)))
        post.append(rows.target)
        weight.append(rows.weight)
        delay.append(engram.spec.ticks_of(rows.projection, rows.delay))
    return tuple(np.concatenate(x) for x in (pre, post, weight, delay))  # type: ignore[return-value]


def twin_of(engram: Engram) -> Simulator:
    """A simulator of an engram whose layers share all parameters but the bias, before its first tick."""
    ids = ids_of(engram)
    pre, post, weight, delay = edges_of(engram)
    state = engram.neurons(ids)
    params = engram.spec.layers[0].params
    bias = draw(params.get("bias", 0.0), engram.spec.seed, ids, BIAS)
    twin = Simulator(
        ids, np.searchsorted(ids, pre), np.searchsorted(ids, post), weight, delay, dt=engram.spec.dt_ms,
        bias=bias,
        refractory_ticks=int(params.get("refractory", 2.0) / engram.spec.dt_ms),
    )  # fmt: skip
    twin.u = state.fields["u"].copy()
    return twin


def assert_same_state(engram: Engram, twin: Simulator) -> None:
    """Every field of every neuron, bit for bit."""
    state = engram.neurons(twin.ids)
    np.testing.assert_array_equal(state.fields["u"].view(np.uint32), twin.u.view(np.uint32))
    np.testing.assert_array_equal(state.fields["refractory"], twin.left)
    np.testing.assert_array_equal(state.fields["spike_count"], twin.spike_count)
    np.testing.assert_array_equal(state.fields["last_spike"], twin.last_spike)


weights = st.sampled_from([3.0, (1.0, 9.0), (-4.0, 12.0), 16.0])
delays = st.sampled_from([1.0, 2.0, 3.0, (1.0, 3.0), (1.0, 12.0), (2.0, 300.0), Normal(5.0, 2.0)])
types = st.sampled_from([{}, {}, {"weights": "float16"}, {"weights": "int8", "weight_step": 0.15}])


@st.composite
def specs(draw: st.DrawFn, largest: int = 300) -> Spec:
    """One or two layers, in one or two segments, with virtual wiring, signs and delays.

    Some have a bias for each neuron, or narrow weights.
    """
    seed = draw(st.integers(0, 2**64 - 1))
    n = draw(st.integers(40, largest))
    k = draw(st.integers(1, 12))
    bias = draw(st.sampled_from([0.0, 5.0, (0.0, 14.0)]))
    params = {"refractory": float(draw(st.integers(0, 3))), "bias": bias}
    span = draw(st.integers(6, 15))
    segments = [n] if draw(st.booleans()) else [n // 2, n - n // 2]
    excitatory = Layer(
        "exc", index=draw(st.sampled_from([0, 3, 40000])), params=params, segments=segments,
        wiring=SmallWorld(k=k, long_fraction=draw(st.sampled_from([0.0, 0.2, 1.0])), span=span, weight=draw(weights)),
        delay_ms=draw(delays), **draw(types),
    )  # fmt: skip
    if draw(st.booleans()):
        return Spec(seed=seed, layers=[excitatory])
    inhibitory = Layer("inh", index=65535, params=params, segments=[n], **draw(types))
    joining = draw(st.sampled_from([FixedOutdegree(k=k), FixedIndegree(k=k), Bernoulli(p=k / n)]))
    projections = [
        Projection("exc", "inh", joining, weight=draw(weights), delay_ms=draw(delays)),
        Projection("inh", "exc", draw(st.sampled_from([OneToOne(), FixedOutdegree(k=2)])), weight=(0.5, 4.0), sign=-1),
        Projection("inh", "inh", Explicit(), delay_ms=draw(st.sampled_from([2.0, (1.0, 9.0)]))),
    ]
    return Spec(seed=seed, layers=[excitatory, inhibitory], projections=projections)


def make(folder: Path, spec: Spec, **options: object) -> Engram:
    """A new engram of ``spec`` in ``folder``."""
    return engramdb.create(folder / "net.engram", spec, **options)  # type: ignore[arg-type]
