r"""The simple model of Izhikevich (2003, IEEE Transactions on Neural Networks 14:1569-1572).

.. math:: v' = 0.04 v^2 + 5 v + 140 - u + I, \qquad u' = a (b v - u)

in mV and ms; v >= 30 is a spike, and v = c, u = u + d. Here the recovery variable u is shown as ``recovery``. The
step is the published one: two half steps of Euler for v, then one for u with the new v. A tick of 1 ms is what was
published; in a tick of another length an arriving weight w is w mV all the same, half of it in each half step.

The state is kept relative to the stable fixed point v*, the lower root of 0.04 v^2 + (5 - b) v + 140 + I = 0, and u*
= b v*, if there is one: ``u = v - v*``, ``w = recovery - u*``, both float32, each product and sum rounded once. In
tick t:

1. twice ``u = u + (dt/2 (0.04 u u + (0.08 v* + 5) u - w + drive) + I[t]/2)``, with drive = 0;
2. ``w = w + a dt (b u - w)``;
3. ``u >= v_peak - v*``: a spike at t, ``u = c - v*``, ``w = w + d``;
4. otherwise, when no input came, ``|u|`` and ``|w|`` are below epsilon: both 0, at rest.

Where there is no stable fixed point, a neuron never rests: v* is c, u* is b c, and drive is what is left of v' there.
Sets of parameters from the paper: regular spiking a, b, c, d = 0.02, 0.2, -65, 8 (the defaults), intrinsically
bursting 0.02, 0.2, -55, 4, chattering 0.02, 0.2, -50, 2, fast spiking 0.1, 0.2, -65, 2, low-threshold spiking 0.02,
0.25, -65, 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.model import Absolute, Field, Float32Array, Model, Parameter, Values

_PARAMETERS = (
    Parameter("a", 0.02, "1/ms", 0.0, 10.0, True, "rate of recovery"),
    Parameter("b", 0.2, "1/ms", -10.0, 4.9, True, "sensitivity of recovery to v"),
    Parameter("c", -65.0, "mV", -1000.0, 1000.0, True, "v after a spike"),
    Parameter("d", 8.0, "mV/ms", -1000.0, 1000.0, True, "jump of recovery at a spike"),
    Parameter("i_e", 0.0, "mV/ms", -1000.0, 1000.0, True, "constant input"),
    Parameter("v_peak", 30.0, "mV", -1000.0, 1000.0, doc="a spike is fired at or above it"),
    Parameter("epsilon", 2.0**-8, "mV", 0.0, 1000.0, doc="closer to rest than this (recovery: in mV/ms) is rest"),
    Parameter("v_init", None, "mV", -1000.0, 1000.0, True, "v at birth; default rest, or c without", initial="v"),
    Parameter("recovery_init", None, "mV/ms", -1e4, 1e4, True, "recovery at birth", initial="recovery"),
)


def _check(values: Values, _dt_ms: float) -> list[tuple[str, str]]:
    problems = []
    if not values["v_peak"] > values["c"]:
        problems.append(("v_peak", "must lie above c"))
    if not values["v_peak"] > 12.5 * values["b"] - 62.5:
        problems.append(("v_peak", "must lie above 12.5 b - 62.5, where v rises by itself"))
    return problems


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    a, b, c, i_e = (np.asarray(values[name], dtype=np.float64) for name in ("a", "b", "c", "i_e"))
    discriminant = (5.0 - b) * (5.0 - b) - 0.16 * (140.0 + i_e)
    root = (-(5.0 - b) - np.sqrt(np.maximum(discriminant, 0.0))) / 0.08
    # a saddle-node without a root, or a fixed point that recovery makes a repeller
    restless = (discriminant <= 0.0) | (0.08 * root + 5.0 - a >= 0.0)
    v = np.where(restless, c, root)
    left_over = 0.04 * v * v + 5.0 * v + 140.0 - b * v + i_e
    return {
        "half": 0.5 * dt_ms,
        "linear": 0.08 * v + 5.0,
        "drive": np.where(restless, left_over, 0.0),
        "a": a * dt_ms,
        "b": b,
        "reset": c - v,
        "jump": values["d"],
        "theta": values["v_peak"] - v,
        "epsilon": np.where(restless, 0.0, values["epsilon"]),
        "refractory_ticks": 0,
        "v_inf": v,
        "w_inf": b * v,
        "restless": restless,
    }


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    u, w, free = state["u"], state["w"], refractory == 0
    quadratic, pushed = np.float32(0.04), np.float32(0.5) * input[0]
    x = u
    for _ in range(2):
        x = x + (c["half"] * (quadratic * x * x + c["linear"] * x - w + c["drive"]) + pushed)
    y = w + c["a"] * (c["b"] * x - w)
    fires = free & (x >= c["theta"])
    rests = free & (input[0] == 0) & (np.abs(x) < c["epsilon"]) & (np.abs(y) < c["epsilon"])
    x, y = np.where(fires, c["reset"], x), np.where(fires, y + c["jump"], y)
    zero = np.float32(0)
    return {"u": np.where(rests, zero, np.where(free, x, u)), "w": np.where(rests, zero, np.where(free, y, w))}, fires


IZHIKEVICH = Model(
    name="izhikevich",
    title="the simple model of Izhikevich (2003)",
    parameters={p.name: p for p in _PARAMETERS},
    state=(
        Field("u", "float32", "mV", "potential relative to the stable fixed point; zero at rest"),
        Field("w", "float32", "mV/ms", "recovery relative to the stable fixed point; zero at rest"),
    ),
    absolute=(
        Absolute("v", "float32", "mV", "membrane potential"),
        Absolute("recovery", "float32", "mV/ms", "recovery, the u of the paper", of="w", rest="w_inf"),
    ),
    constants=_constants,
    kernel="engramdb.kernels.izhikevich:block",
    kernel_constants=("half", "linear", "drive", "a", "b", "reset", "jump", "theta", "epsilon"),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "mV", "input: of a tick of 1 ms the I of the paper, in mV/ms"),
    restless=("i_e", "v has no stable fixed point"),
    current_unit="mV/ms",
    current_per_tick=lambda _values, dt_ms: dt_ms,
)
