r"""IntFire1, the artificial cell of NEURON (``intfire1.mod``; Hines & Carnevale 2004, Discrete event simulation).

.. math:: \tau \, dm/dt = -m

An arriving event adds its weight to m; m > 1 is a spike. m has no unit, a weight of 1.01 fires a neuron at rest. In
NEURON events come at any time; here at ticks, with ``d = exp(-dt/tau)``:

1. ``m = m * d`` and then ``m = m + I[t]``, two float32 roundings;
2. ``m > 1``: a spike at t, ``m = 0``, and events are lost in ticks t < t' < t + refractory, where NEURON counts
   events at the very end of the refractory time or not, as its queue has them;
3. otherwise, when no event came, ``|m| < epsilon``: m = 0, at rest.

Events of one tick are summed before the threshold is tested; NEURON tests after each of several at one time. Its M is
2, then -1, while a cell is refractory, for plots; here m is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.exponential import exp
from engramdb.models.model import Field, Float32Array, Model, Parameter, Values, refractory_problems, ticks_of

_PARAMETERS = (
    Parameter("tau", 10.0, "ms", 1e-3, 1e9, True, "time constant of m"),
    Parameter("refractory", 5.0, "ms", 0.0, 1e9, doc="time in which events are lost, a whole number of ticks"),
    Parameter("epsilon", 2.0**-14, "1", 0.0, 1.0, doc="closer to rest than this is rest"),
    Parameter("m_init", None, "1", -1000.0, 1.0, True, "m at birth; default 0", initial="m"),
)


def _constants(values: Values, dt_ms: float) -> Mapping[str, Any]:
    return {
        "decay": exp(-dt_ms / values["tau"]),
        "epsilon": values["epsilon"],
        "refractory_ticks": np.maximum(ticks_of(values["refractory"], dt_ms) - 1, 0),
        "restless": False,
    }


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], input: Float32Array, c: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    m, free = state["m"], refractory == 0
    driven = m * c["decay"] + input[0]
    fires = free & (driven > 1)
    rests = free & (input[0] == 0) & (np.abs(driven) < c["epsilon"])
    return {"m": np.where(fires | rests, np.float32(0), np.where(free, driven, m))}, fires


INTFIRE1 = Model(
    name="intfire1",
    title="NEURON's artificial cell IntFire1",
    parameters={p.name: p for p in _PARAMETERS},
    state=(Field("m", "float32", "1", "what events add to; above 1 a spike"),),
    absolute=(),
    constants=_constants,
    kernel="engramdb.kernels.intfire1:block",
    kernel_constants=("decay", "epsilon"),
    reference=_reference,
    check=refractory_problems,
    weight=Field("weight", "float32", "1", "jump of m; the threshold is 1"),
)
