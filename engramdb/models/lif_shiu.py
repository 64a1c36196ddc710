r"""The neuron of the whole-brain model of the fruit fly of Shiu et al. (2024, Nature 634:210-219).

.. math:: \tau \, dV/dt = V_0 - V + g, \qquad \tau_{syn} \, dg/dt = -g

both frozen while the neuron is refractory. A synaptic weight is the jump of g in mV: 0.275 mV for each synapse that
the connectome counts, negative for inhibitory neurons. It is not ``lif_exp``: g too stands still and takes no input
in refractoriness, and is set to zero by a spike, and the threshold must be passed, not reached. Tick t:

1. not refractory: ``u = u * P22 + g * P21``, then ``g = g * P11 + I[t]``, each product and sum rounded to float32;
   what arrives acts on the potential from the next tick on;
2. ``u > V_threshold - V_rest``: a spike at t, ``u = V_reset - V_rest``, ``g = 0``;
3. refractory (s < t < s + refractory after a spike at s): nothing changes, input is lost;
4. when no input came, and ``|u|`` and ``|g|`` are below epsilon: both become 0, rest.

This is what the published program computes with Brian2: a neuron that spiked in step s is stepped again in step s +
refractory / dt, so that of the 2.2 ms, 21 ticks of 0.1 ms are refractory, not 22 as in ``lif``. Its exact integration
is that of :mod:`engramdb.models.lif_exp`. The defaults are the published ones; use them with ``dt_ms=0.1`` and
``delay_ms=1.8``. Neurons driven by Poisson input have no refractoriness there (``refractory`` 0), and an event adds
68.75 mV to V, which makes them fire in the next step. Input acts on g here: a stimulus of 68.75 / P21 = 13923 mV adds
as much to V in that step, and the spike takes g back to zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.lif import LIF, threshold_problems
from engramdb.models.lif_exp import TAU_SYN, propagators
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

_DEFAULTS = {"v_rest": -52.0, "v_reset": -52.0, "v_threshold": -45.0, "tau": 20.0, "epsilon": None, "v_init": None}
_DOC = {"v_threshold": "a spike is fired above it", "v_init": "potential at birth; default v_rest"}
_PARAMETERS = (
    *(replace(LIF.parameters[n], default=d, doc=_DOC.get(n, LIF.parameters[n].doc)) for n, d in _DEFAULTS.items()),
    TAU_SYN,
    Parameter("refractory", 2.2, "ms", 0.0, 1e9, doc="time from a spike to the next step, a whole number of ticks"),
)


def _check(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    return threshold_problems(values) + refractory_problems(values, dt_ms)


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    rest, reset, threshold = values["v_rest"], values["v_reset"], values["v_threshold"]
    epsilon = values["epsilon"]
    return {
        **propagators(values, dt_ms),
        "theta": threshold - rest,
        "reset": reset - rest,
        "epsilon": 2.0**-14 * (threshold - rest) if epsilon is None else epsilon,
        "refractory_ticks": np.maximum(ticks_of(values["refractory"], dt_ms) - 1, 0),
        "v_inf": np.float32(rest),
        "restless": False,
    }


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    u, g, free, zero = state["u"], state["g"], refractory == 0, np.float32(0)
    driven = np.where(free, u * c["p22"] + g * c["p21"], u)
    g = np.where(free, g * c["p11"] + input[0], g)
    fires = free & (driven > c["theta"])
    rests = free & ~fires & (input[0] == 0) & (np.abs(driven) < c["epsilon"]) & (np.abs(g) < c["epsilon"])
    u = np.where(fires, c["reset"], np.where(rests, zero, driven))
    return {"u": u, "g": np.where(fires | rests, zero, g)}, fires


LIF_SHIU = Model(
    name="lif_shiu",
    title="neuron of the whole-brain model of the fruit fly (Shiu et al. 2024)",
    parameters={p.name: p for p in _PARAMETERS},
    state=(
        Field("u", "float32", "mV", "potential relative to v_rest; zero at rest"),
        Field("g", "float32", "mV", "synaptic current times membrane resistance"),
    ),
    absolute=(Absolute("v", "float32", "mV", "membrane potential"),),
    constants=_constants,
    kernel="engramdb.kernels.lif_shiu:block",
    kernel_constants=("p11", "p21", "p22", "theta", "reset", "epsilon"),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "mV", "jump of g, the synaptic current times membrane resistance"),
    current_unit="mV",  # times the membrane resistance
    current_per_tick=lambda values, dt_ms: dt_ms / values["tau_syn"],
)
