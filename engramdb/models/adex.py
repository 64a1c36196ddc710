r"""Adaptive exponential integrate-and-fire neuron (Brette & Gerstner 2005, Journal of Neurophysiology 94:3637-3642).

.. math::
    C \, dV/dt = -g_L (V - E_L) + g_L \Delta_T e^{(V - V_T)/\Delta_T} - w + I_e + I_{syn}, \qquad
    \tau_w \, dw/dt = a (V - E_L) - w, \qquad \tau_{syn} \, dI_{syn}/dt = -I_{syn}

V >= v_peak is a spike: V = v_reset, w = w + b. A synaptic weight is the jump of the synaptic current in pA, as in
NEST's ``aeif_psc_exp`` with equal time constants. The default parameters are those of the paper. Here w is shown as
``adaptation``; the state is relative to the stable fixed point (V*, w* = a (V* - E_L)), in float32: ``u = V - V*``,
``w = adaptation - w*``. A tick is cut into ``substeps`` equal parts h; in each

1. Heun's method (the explicit trapezoidal rule, of second order) takes u and w on, with ``u' = (K (e^(u/Delta_T) - 1)
   - g_L u - w + i_syn + drive) / C``, K = g_L Delta_T e^((V* - V_T)/Delta_T), drive = 0, and ``w' = (a u - w) /
   tau_w``; the potential at the end of the first slope is taken as v_peak if it is beyond; i_syn decays by
   exp(-h/tau_syn);
2. ``u >= v_peak - V*``: a spike in this tick; u is at v_reset from there on, through refractoriness, while w goes on.

After the last, what arrived in the tick is added to i_syn: it acts from the next tick on. When nothing arrived, the
neuron is not refractory, ``|u| < epsilon``, and ``|w|`` and ``|i_syn|`` are below g_L epsilon, all three become 0:
rest.

Where there is no stable fixed point (I_e is too large, or adaptation makes it a repeller), a neuron never rests; V*
is E_L then, and drive what is left of C V' there. The exponential is the polynomial of
``engramdb.kernels.exponential``. NEST integrates with an adaptive Runge-Kutta method, and resets in the middle of a
step.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.exponential import exp, exp32
from engramdb.models.lif_exp import TAU_SYN
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

_LONGEST_SUBSTEP_MS = 0.05
_NEWTON_STEPS = 100  # quadratic convergence needs a dozen; where two roots are nearly one it is slower

_PARAMETERS = (
    Parameter("v_rest", -70.6, "mV", -1000.0, 1000.0, True, "E_L, the reversal potential of the leak"),
    Parameter("v_reset", -70.6, "mV", -1000.0, 1000.0, True, "potential after a spike"),
    Parameter("v_threshold", -50.4, "mV", -1000.0, 1000.0, True, "V_T, where the exponential takes over"),
    Parameter("v_peak", 20.0, "mV", -1000.0, 1000.0, doc="a spike is fired at or above it"),
    Parameter("slope", 2.0, "mV", 0.1, 100.0, True, "Delta_T, the slope factor"),
    Parameter("capacitance", 281.0, "pF", 1e-3, 1e9, True, "C"),
    Parameter("g_leak", 30.0, "nS", 1e-6, 1e6, True, "g_L"),
    Parameter("a", 4.0, "nS", -1e6, 1e6, True, "subthreshold adaptation"),
    Parameter("b", 80.5, "pA", -1e6, 1e6, True, "jump of the adaptation at a spike"),
    Parameter("tau_w", 144.0, "ms", 1e-3, 1e9, True, "time constant of the adaptation"),
    TAU_SYN,
    Parameter("i_e", 0.0, "pA", -1e6, 1e6, True, "constant current"),
    Parameter("refractory", 0.0, "ms", 0.0, 1e9, doc="absolute refractory time, a whole number of ticks"),
    Parameter("substeps", None, "1", 1.0, 1000.0, doc="parts of a tick; default as many as make them 0.05 ms or less"),
    Parameter(
        "epsilon", None, "mV", 0.0, 1000.0, doc="closer to rest than this is rest; default 2^-14 (v_threshold - v_rest)"
    ),
    Parameter("v_init", None, "mV", -1000.0, 1000.0, True, "potential at birth; default rest", "v"),
    Parameter("adaptation_init", None, "pA", -1e6, 1e6, True, "adaptation at birth; default rest", "adaptation"),
)


def _check(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    problems = []
    for name, lower in (("v_threshold", "v_rest"), ("v_peak", "v_threshold"), ("v_peak", "v_reset")):
        if not values[name] > values[lower]:
            problems.append((name, f"must lie above {lower}"))
    if not values["a"] > -values["g_leak"]:
        problems.append(("a", "must be greater than -g_leak"))
    if values["substeps"] is not None and values["substeps"] != round(values["substeps"]):
        problems.append(("substeps", f"must be a whole number, not {values['substeps']:g}"))
    return problems + refractory_problems(values, dt_ms)


def _fixed_point(values: Values) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """V* (E_L where there is none that is stable), and where there is none.

    f = C V' at w = a (V - E_L) is convex. Newton's method from a point left of its lower root never passes that, and
    where there is no root it comes to a point at which f rises.
    """
    leak, a, current = values["g_leak"], values["a"], values["i_e"]
    together = leak + a
    v = np.asarray(values["v_rest"] + np.minimum(current, 0.0) / together, dtype=np.float64)
    v, *_ = np.broadcast_arrays(v, values["v_threshold"], values["slope"], current)
    lost = np.zeros(v.shape, dtype=bool)
    for _ in range(_NEWTON_STEPS):
        e = exp((v - values["v_threshold"]) / values["slope"])
        f = leak * values["slope"] * e - together * (v - values["v_rest"]) + current
        rise = leak * e - together
        lost = lost | (rise >= 0.0)
        v = np.where(lost, values["v_rest"], v - f / np.where(lost, 1.0, rise))
    e = exp((v - values["v_threshold"]) / values["slope"])
    repels = leak * (e - 1.0) / values["capacitance"] >= 1.0 / np.asarray(values["tau_w"])
    lost = lost | repels | (v >= values["v_peak"])
    return np.where(lost, values["v_rest"], v), lost


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    v, restless = _fixed_point(values)
    substeps = values["substeps"] or ceil(dt_ms / _LONGEST_SUBSTEP_MS - 1e-9)
    h = dt_ms / substeps
    upswing = values["g_leak"] * values["slope"] * exp((v - values["v_threshold"]) / values["slope"])
    epsilon = values["epsilon"]
    if epsilon is None:
        epsilon = 2.0**-14 * (values["v_threshold"] - values["v_rest"])
    return {
        "substeps": substeps,
        "leak": values["g_leak"],
        "upswing": upswing,
        "inverse_slope": 1.0 / values["slope"],
        "drive": np.where(restless, upswing + values["i_e"], 0.0),
        "rate": h / values["capacitance"],
        "a": values["a"],
        "rate_w": h / values["tau_w"],
        "decay": exp(-h / values["tau_syn"]),
        "reset": values["v_reset"] - v,
        "jump": values["b"],
        "theta": values["v_peak"] - v,
        "epsilon": np.where(restless, 0.0, epsilon),
        "epsilon_w": epsilon * values["g_leak"],
        "refractory_ticks": ticks_of(values["refractory"], dt_ms),
        "v_inf": v,
        "w_inf": values["a"] * (v - values["v_rest"]),
        "restless": restless,
    }


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    x, y, flow, zero, half = state["u"], state["w"], state["i_syn"], np.float32(0), np.float32(0.5)
    fires = np.zeros(len(x), dtype=bool)

    def slopes(x: Float32Array, y: Float32Array, flow: Float32Array) -> tuple[Float32Array, Float32Array]:
        swing = exp32(x * c["inverse_slope"]) - np.float32(1)
        slope = c["rate"] * (c["upswing"] * swing - c["leak"] * x - y + flow + c["drive"])
        return np.where((refractory == 0) & ~fires, slope, zero), c["rate_w"] * (c["a"] * x - y)

    for _ in range(int(c["substeps"])):
        free = (refractory == 0) & ~fires
        first_x, first_y = slopes(x, y, flow)
        flow = flow * c["decay"]
        last_x, last_y = slopes(np.where(free, np.minimum(x + first_x, c["theta"]), x), y + first_y, flow)
        x, y = x + half * (first_x + last_x), y + half * (first_y + last_y)
        crossed = free & (x >= c["theta"])
        x, y = np.where(crossed, c["reset"], x), np.where(crossed, y + c["jump"], y)
        fires = fires | crossed
    flow = flow + input[0]
    near = (np.abs(x) < c["epsilon"]) & (np.abs(y) < c["epsilon_w"]) & (np.abs(flow) < c["epsilon_w"])
    rests = (refractory == 0) & ~fires & (input[0] == 0) & near
    return {name: np.where(rests, zero, value) for name, value in (("u", x), ("w", y), ("i_syn", flow))}, fires


ADEX = Model(
    name="adex",
    title="adaptive exponential integrate-and-fire, exponential synaptic currents",
    parameters={p.name: p for p in _PARAMETERS},
    state=(
        Field("u", "float32", "mV", "potential relative to the stable fixed point; zero at rest"),
        Field("w", "float32", "pA", "adaptation relative to the stable fixed point; zero at rest"),
        Field("i_syn", "float32", "pA", "synaptic current"),
    ),
    absolute=(
        Absolute("v", "float32", "mV", "membrane potential"),
        Absolute("adaptation", "float32", "pA", "adaptation, the w of the paper", of="w", rest="w_inf"),
    ),
    constants=_constants,
    kernel="engramdb.kernels.adex:block",
    kernel_constants=(
        "substeps", "leak", "upswing", "inverse_slope", "drive", "rate", "a", "rate_w", "decay", "reset", "jump",
        "theta", "epsilon", "epsilon_w",
    ),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "pA", "jump of the synaptic current"),
    restless=("i_e", "there is no stable state of rest"),
    current_unit="pA",
    current_per_tick=lambda values, dt_ms: dt_ms / values["tau_syn"],
)  # fmt: skip
