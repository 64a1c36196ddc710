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
from decimal import Decimal
from typing import Any

import numpy as np

from engramdb.models.model import Constants, Field, Model, Parameter

_PARAMETERS = (
    Parameter("v_rest", -70.0, "mV", -1000.0, 1000.0, doc="resting potential"),
    Parameter("v_reset", -70.0, "mV", -1000.0, 1000.0, doc="potential after a spike"),
    Parameter("v_threshold", -55.0, "mV", -1000.0, 1000.0, doc="a spike is fired at or above it"),
    Parameter("tau", 20.0, "ms", 1e-3, 1e9, doc="membrane time constant"),
    Parameter("refractory", 2.0, "ms", 0.0, 1e9, doc="absolute refractory time, a whole number of ticks"),
    Parameter("bias", 0.0, "mV", -1000.0, 1000.0, distribution=True, doc="constant drive: V_inf = v_rest + bias"),
    Parameter(
        "epsilon", None, "mV", 0.0, 1000.0, doc="closer to rest than this is rest; default 2^-14 (v_threshold - v_rest)"
    ),
    Parameter("v_init", None, "mV", -1000.0, 1000.0, distribution=True, doc="potential at birth; default V_inf"),
)


def whole_ticks(milliseconds: float, dt_ms: float) -> int | None:
    """``milliseconds`` in ticks of ``dt_ms``, or None where it is no whole number of them (1e-9 relative)."""
    ticks = milliseconds / dt_ms
    nearest = round(ticks)
    return nearest if abs(ticks - nearest) <= 1e-9 * max(1.0, abs(ticks)) else None


def _value(params: Mapping[str, Any], name: str) -> Any:
    value = params.get(name)
    return LIF.parameters[name].default if value is None else value


def _check(params: Mapping[str, Any], dt_ms: float) -> list[tuple[str, str]]:
    """``(parameter, problem)`` for every relation between parameters that does not hold."""
    problems = []
    if not _value(params, "v_threshold") > _value(params, "v_rest"):
        problems.append(("v_threshold", "must lie above v_rest"))
    if not _value(params, "v_threshold") > _value(params, "v_reset"):
        problems.append(("v_threshold", "must lie above v_reset"))
    ticks = whole_ticks(_value(params, "refractory"), dt_ms)
    if ticks is None:
        problems.append(("refractory", f"{_value(params, 'refractory')} ms is no whole number of ticks of {dt_ms} ms"))
    elif ticks > 2**30:
        problems.append(("refractory", f"{ticks} ticks are more than 2^30"))
    return problems


def _constants(params: Mapping[str, Any], dt_ms: float) -> Constants:
    rest, reset, threshold = (float(_value(params, n)) for n in ("v_rest", "v_reset", "v_threshold"))
    epsilon = params.get("epsilon")
    if epsilon is None:
        epsilon = 2.0**-14 * (threshold - rest)
    refractory = whole_ticks(_value(params, "refractory"), dt_ms)
    assert refractory is not None, "checked when the spec was made"
    return Constants(
        # Decimal's exponential is correctly rounded on every machine; libm's is not
        decay=float(np.float32(float((-Decimal(dt_ms) / Decimal(_value(params, "tau"))).exp()))),
        theta=float(np.float32(threshold - rest)),
        reset=float(np.float32(reset - rest)),
        epsilon=float(np.float32(epsilon)),
        refractory_ticks=refractory,
        v_rest=rest,
    )


LIF = Model(
    name="lif",
    title="leaky integrate-and-fire, delta synapses",
    parameters={p.name: p for p in _PARAMETERS},
    fields=(
        Field("v", "float32", "mV", "membrane potential"),
        Field("u", "float32", "mV", "potential relative to V_inf; zero at rest"),
        Field("refractory", "int32", "ticks", "ticks of refractoriness left"),
        Field("spike_count", "uint32", "1", "spikes since birth"),
        Field("last_spike", "int64", "tick", "tick of the last spike; 0 = never"),
    ),
    constants=_constants,
    check=_check,
)
