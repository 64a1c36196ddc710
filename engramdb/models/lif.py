r"""Leaky integrate-and-fire neuron with instantaneous synapses (delta currents).

Between inputs the potential decays to :math:`V_\infty = V_{rest} + bias`,

.. math:: \tau \, dV/dt = V_\infty - V

and each arriving synaptic weight is added to it (Lapicque 1907; the update order is that of NEST's
``iaf_psc_delta``). The state is :math:`u = V - V_\infty` in float32, so that rest is exactly zero.
Tick t of a neuron that is awake, with ``d = exp(-dt/tau)``:

1. refractory (t <= s + refractory after a spike at s): input is ignored, u stays at reset;
2. otherwise ``u = u * d`` and then ``u = u + I[t]``, two float32 roundings, no fused multiply-add;
3. ``u >= V_threshold - V_inf``: a spike at t, ``u = V_reset - V_inf``, and refractoriness begins;
4. otherwise, when no input came, ``|u| < epsilon`` and the neuron does not fire at rest: ``u = 0``, at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.exponential import exp
from engramdb.models.model import (
    Absolute,
    Field,
    Float32Array,
    Model,
    Parameter,
    Values,
    refractory_problems,
    ticks_of,
)

_PARAMETERS = (
    Parameter("v_rest", -70.0, "mV", -1000.0, 1000.0, True, "resting potential"),
    Parameter("v_reset", -70.0, "mV", -1000.0, 1000.0, True, "potential after a spike"),
    Parameter("v_threshold", -55.0, "mV", -1000.0, 1000.0, True, "a spike is fired at or above it"),
    Parameter("tau", 20.0, "ms", 1e-3, 1e9, True, "membrane time constant"),
    Parameter("refractory", 2.0, "ms", 0.0, 1e9, doc="absolute refractory time, a whole number of ticks"),
    Parameter("bias", 0.0, "mV", -1000.0, 1000.0, True, "constant drive: V_inf = v_rest + bias"),
    Parameter(
        "epsilon", None, "mV", 0.0, 1000.0, doc="closer to rest than this is rest; default 2^-14 (v_threshold - v_rest)"
    ),
    Parameter("v_init", None, "mV", -1000.0, 1000.0, True, "potential at birth; default V_inf", initial="v"),
)


def threshold_problems(values: Values, _dt_ms: float = 0.0) -> list[tuple[str, str]]:
    """Whether the threshold lies above rest and reset, for a model's ``check``."""
    problems = []
    for name in ("v_rest", "v_reset"):
        if not values["v_threshold"] > values[name]:
            problems.append(("v_threshold", f"must lie above {name}"))
    return problems


def _check(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    return threshold_problems(values) + refractory_problems(values, dt_ms)


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    rest, reset, threshold = values["v_rest"], values["v_reset"], values["v_threshold"]
    epsilon = values["epsilon"]
    if epsilon is None:
        epsilon = 2.0**-14 * (threshold - rest)
    theta, bias = np.float32(threshold - rest), np.float32(values["bias"])
    return {
        "decay": exp(-dt_ms / values["tau"]),
        "theta": theta,
        "reset": reset - rest,
        "epsilon": epsilon,
        "bias": bias,
        "refractory_ticks": ticks_of(values["refractory"], dt_ms),
        "v_inf": np.float32(rest) + bias,
        "restless": theta - bias <= 0,
    }


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    u, arriving, free = state["u"], input[0], refractory == 0
    theta, reset = c["theta"] - c["bias"], c["reset"] - c["bias"]
    driven = u * c["decay"] + arriving
    fires = free & (driven >= theta)
    rests = free & ~fires & (arriving == 0) & (np.abs(driven) < c["epsilon"]) & (theta > 0)
    stepped = np.where(free, np.where(rests, np.float32(0), driven), u)
    return {"u": np.where(fires, reset, stepped)}, fires


LIF = Model(
    name="lif",
    title="leaky integrate-and-fire, delta synapses",
    parameters={p.name: p for p in _PARAMETERS},
    state=(Field("u", "float32", "mV", "potential relative to V_inf; zero at rest"),),
    absolute=(Absolute("v", "float32", "mV", "membrane potential"),),
    constants=_constants,
    kernel="engramdb.kernels.lif:block",
    kernel_constants=("decay", "theta", "reset", "epsilon", "bias"),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "mV", "jump of the membrane potential"),
    restless=("bias", "V_inf lies at or above v_threshold"),
    current_unit="mV",  # times the membrane resistance, as the bias is
    current_per_tick=lambda values, dt_ms: 1.0 - exp(-dt_ms / values["tau"]),
)
