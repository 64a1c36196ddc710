r"""Leaky integrate-and-fire neuron with exponential synaptic currents, integrated exactly.

.. math:: \tau \, dV/dt = V_\infty - V + g, \qquad \tau_{syn} \, dg/dt = -g

with :math:`V_\infty = V_{rest} + bias`. g is the synaptic current times the resistance of the membrane, in mV; a
synaptic weight is the jump of g. (NEST's ``iaf_psc_exp`` has weights in pA: w pA there is w tau / C_m mV here.) The
equations are linear, so a tick is a multiplication with propagators (Rotter & Diesmann 1999), in the order of
``iaf_psc_exp``:

1. not refractory: ``u = u * P22 + g * P21``; refractory (t <= s + refractory): u stays at reset;
2. in any case ``g = g * P11 + I[t]``, so that what arrives acts on the potential from the next tick on;
3. ``u >= V_threshold - V_inf`` and not refractory: a spike at t, ``u = V_reset - V_inf``; g goes on;
4. otherwise, when no input came, ``|u|`` and ``|g|`` are below epsilon and refractoriness is over: both become 0, rest.

Each product and each sum is rounded to float32; P11 = exp(-dt/tau_syn), P22 = exp(-dt/tau), and
P21 = dt/tau * P22 * (e^x - 1)/x with x = dt (1/tau - 1/tau_syn), which holds for equal time constants too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.exponential import exp, phi
from engramdb.models.lif import LIF, threshold_problems
from engramdb.models.model import (
    Absolute,
    Field,
    Float32Array,
    Model,
    Parameter,
    Values,
    refractory_problems,
)

TAU_SYN = Parameter("tau_syn", 5.0, "ms", 1e-3, 1e9, True, "time constant of the synaptic current")


def propagators(values: Values, dt_ms: float) -> dict[str, Any]:
    """``p11``, ``p21`` and ``p22`` of a membrane with ``tau`` and a current with ``tau_syn``."""
    p22 = exp(-dt_ms / values["tau"])
    apart = dt_ms / values["tau"] - dt_ms / values["tau_syn"]
    return {"p11": exp(-dt_ms / values["tau_syn"]), "p21": dt_ms / values["tau"] * p22 * phi(apart), "p22": p22}


def _check(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    return threshold_problems(values) + refractory_problems(values, dt_ms)


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    of_lif = LIF.constants(values, dt_ms)
    return {**of_lif, **propagators(values, dt_ms)}


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    u, g, free = state["u"], state["g"], refractory == 0
    theta, reset = c["theta"] - c["bias"], c["reset"] - c["bias"]
    driven = np.where(free, u * c["p22"] + g * c["p21"], u)
    g = g * c["p11"] + input[0]
    fires = free & (driven >= theta)
    near = (np.abs(driven) < c["epsilon"]) & (np.abs(g) < c["epsilon"])
    rests = free & ~fires & (input[0] == 0) & near & (theta > 0)
    zero = np.float32(0)
    return {"u": np.where(fires, reset, np.where(rests, zero, driven)), "g": np.where(rests, zero, g)}, fires


LIF_EXP = Model(
    name="lif_exp",
    title="leaky integrate-and-fire, exponential synaptic currents",
    parameters={**LIF.parameters, TAU_SYN.name: TAU_SYN},
    state=(*LIF.state, Field("g", "float32", "mV", "synaptic current times membrane resistance")),
    absolute=(Absolute("v", "float32", "mV", "membrane potential"),),
    constants=_constants,
    kernel="engramdb.kernels.lif_exp:block",
    kernel_constants=("p11", "p21", "p22", "theta", "reset", "epsilon", "bias"),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "mV", "jump of g, the synaptic current times membrane resistance"),
    restless=LIF.restless,
    current_unit="mV",  # times the membrane resistance, as the bias is
    current_per_tick=lambda values, dt_ms: dt_ms / values["tau_syn"],
)
