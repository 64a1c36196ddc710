r"""Leaky integrate-and-fire neuron with exponential conductances.

.. math::
    C \, dV/dt = -g_L (V - E_L) - g_e (V - E_e) - g_i (V - E_i) + I_e, \qquad
    \tau_e \, dg_e/dt = -g_e, \quad \tau_i \, dg_i/dt = -g_i

A positive weight is the jump of g_e in nS, a negative one that of g_i. The equation and the order within a tick are
those of NEST's ``iaf_cond_exp``; the default parameters are those of benchmark 1 of Brette et al. (2007, Journal of
Computational Neuroscience 23:349-398), after Vogels & Abbott (2005). ``u = V - V_0`` with V_0 = E_L + I_e / g_L. Tick
t:

1. not refractory: u relaxes for the length of the tick as it would with the conductances that are open in the middle
   of it (the exponential midpoint rule, of second order): with ``e = g_e exp(-dt / 2 tau_e)``, ``i`` alike, and ``g =
   g_L + e + i``: ``level = (e (E_e - V_0) + i (E_i - V_0)) / g``, ``u = level + (u - level) exp(-dt g / C)``;
   refractory: u stays at reset;
2. in any case ``g_e = g_e exp(-dt/tau_e) + I_+[t]`` and g_i alike: what arrives acts on u from the next tick on;
3. ``u >= V_threshold - V_0`` and not refractory: a spike at t, ``u = V_reset - V_0``;
4. otherwise, when no input came, refractoriness is over, ``|u| < epsilon``, and g_e and g_i are so small that they
   could not move it that far: all three are 0, at rest.

Everything is rounded to float32 after each operation. The exponential of step 1 is the polynomial of
``engramdb.kernels.exponential``. NEST integrates the same equation with an adaptive Runge-Kutta method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.exponential import exp, exp32
from engramdb.models.lif import threshold_problems
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
    Parameter("v_rest", -60.0, "mV", -1000.0, 1000.0, True, "E_L, the reversal potential of the leak"),
    Parameter("v_reset", -60.0, "mV", -1000.0, 1000.0, True, "potential after a spike"),
    Parameter("v_threshold", -50.0, "mV", -1000.0, 1000.0, True, "a spike is fired at or above it"),
    Parameter("capacitance", 200.0, "pF", 1e-3, 1e9, True, "C"),
    Parameter("g_leak", 10.0, "nS", 1e-6, 1e6, True, "g_L; tau is C / g_L"),
    Parameter("e_excitatory", 0.0, "mV", -1000.0, 1000.0, True, "E_e, reversal potential of excitation"),
    Parameter("e_inhibitory", -80.0, "mV", -1000.0, 1000.0, True, "E_i, reversal potential of inhibition"),
    Parameter("tau_excitatory", 5.0, "ms", 1e-3, 1e9, True, "time constant of g_e"),
    Parameter("tau_inhibitory", 10.0, "ms", 1e-3, 1e9, True, "time constant of g_i"),
    Parameter("i_e", 0.0, "pA", -1e6, 1e6, True, "constant current"),
    Parameter("refractory", 5.0, "ms", 0.0, 1e9, doc="absolute refractory time, a whole number of ticks"),
    Parameter(
        "epsilon", None, "mV", 0.0, 1000.0, doc="closer to rest than this is rest; default 2^-14 (v_threshold - v_rest)"
    ),
    Parameter("v_init", None, "mV", -1000.0, 1000.0, True, "potential at birth; default v_rest + i_e / g_leak", "v"),
    Parameter("g_e_init", None, "nS", 0.0, 1e6, True, "g_e at birth; default 0", "g_e"),
    Parameter("g_i_init", None, "nS", 0.0, 1e6, True, "g_i at birth; default 0", "g_i"),
)


def _check(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    return threshold_problems(values) + refractory_problems(values, dt_ms)


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    leak, capacitance = values["g_leak"], values["capacitance"]
    v_inf = values["v_rest"] + values["i_e"] / leak
    theta = values["v_threshold"] - v_inf
    drive_e, drive_i = values["e_excitatory"] - v_inf, values["e_inhibitory"] - v_inf
    epsilon = values["epsilon"]
    if epsilon is None:
        epsilon = 2.0**-14 * (values["v_threshold"] - values["v_rest"])
    restless = np.float32(theta) <= 0
    strongest = np.maximum(np.maximum(np.abs(drive_e), np.abs(drive_i)), 1.0)
    return {
        "leak": leak,
        "rate": dt_ms / capacitance,
        "drive_e": drive_e,
        "drive_i": drive_i,
        "half_e": exp(-0.5 * dt_ms / values["tau_excitatory"]),
        "half_i": exp(-0.5 * dt_ms / values["tau_inhibitory"]),
        "decay_e": exp(-dt_ms / values["tau_excitatory"]),
        "decay_i": exp(-dt_ms / values["tau_inhibitory"]),
        "theta": theta,
        "reset": values["v_reset"] - v_inf,
        "epsilon": np.where(restless, 0.0, epsilon),
        "epsilon_g": epsilon * leak / strongest,
        "refractory_ticks": ticks_of(values["refractory"], dt_ms),
        "v_inf": v_inf,
        "restless": restless,
    }


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    u, g_e, g_i, free, zero = state["u"], state["g_e"], state["g_i"], refractory == 0, np.float32(0)
    middle_e, middle_i = g_e * c["half_e"], g_i * c["half_i"]
    total = c["leak"] + middle_e + middle_i
    level = (middle_e * c["drive_e"] + middle_i * c["drive_i"]) / total
    driven = np.where(free, level + (u - level) * exp32(-(c["rate"] * total)), u)
    g_e, g_i = g_e * c["decay_e"] + input[0], g_i * c["decay_i"] + input[1]
    fires = free & (driven >= c["theta"])
    near = (np.abs(driven) < c["epsilon"]) & (g_e < c["epsilon_g"]) & (g_i < c["epsilon_g"])
    rests = free & ~fires & (input == 0).all(axis=0) & near
    u = np.where(fires, c["reset"], np.where(rests, zero, driven))
    return {"u": u, "g_e": np.where(rests, zero, g_e), "g_i": np.where(rests, zero, g_i)}, fires


LIF_COND = Model(
    name="lif_cond",
    title="leaky integrate-and-fire, exponential conductances",
    parameters={p.name: p for p in _PARAMETERS},
    state=(
        Field("u", "float32", "mV", "potential relative to v_rest + i_e / g_leak; zero at rest"),
        Field("g_e", "float32", "nS", "excitatory conductance"),
        Field("g_i", "float32", "nS", "inhibitory conductance"),
    ),
    absolute=(Absolute("v", "float32", "mV", "membrane potential"),),
    constants=_constants,
    kernel="engramdb.kernels.lif_cond:block",
    kernel_constants=(
        "leak", "rate", "drive_e", "drive_i", "half_e", "half_i", "decay_e", "decay_i", "theta", "reset", "epsilon",
        "epsilon_g",
    ),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "nS", "jump of the excitatory conductance, or if negative the inhibitory one"),
    inputs=2,
    restless=("i_e", "the potential comes to rest at or above v_threshold"),
)  # fmt: skip
