r"""Void neuron: a slow variable W in [0, 1] with growth, decay and noise, modulated by a phase, and a self-improvement
engine (SIE) that sets how fast all of a layer change.

Only the active set A is stepped; what is not in it is frozen. Tick t, in this order, all in float32:

1. :math:`m = 1 + \varphi \sin(2 \pi f t)`; :math:`da_i = (\alpha W_i (1 - W_i) + \xi_i) m` with :math:`\xi_i` uniform
   in [-noise, noise), a function of (seed, id, t); :math:`do_i = -\beta W_i m`;
   drive :math:`= \max(0, da_i) + stimulus_i`.
2. :math:`dW = g (da + do)` with g the layer's valence v; :math:`W \leftarrow clip(W + dW, 0, 1)`.
3. SIE: :math:`s = |dW|`, :math:`a = 1 - 2^{-1/600}`; :math:`\mu \leftarrow \mu + a (s - \mu)`;
   :math:`var \leftarrow var + a ((s - \mu)^2 - var)`; novelty = s / max s; td = W - 0.99 prev_W over its max size;
   stability = ((1 - min(1, 2 :math:`|\mu - 0.5|`)) + (1 - min(1, :math:`|var - 0.1|` / 0.1))) / 2;
   r = clip(0.5 td + 0.2 novelty - 0.1 :math:`\mu` + 0.2 stability, -1, 1);
   v :math:`\leftarrow` clip(0.7 v + 0.3 (0.5 + 0.5 mean r), 0, 1); prev_W :math:`\leftarrow` W. A maximum of zero gives
   zeros. Nobody active: v stays.
4. The next A: the stimulated, those of A with :math:`|dW| \ge \theta`, and the out-neighbours j of both with affinity
   :math:`S_{ij} = \max(0, da_i) \max(0, da_j) - \lambda |do_i - do_j| > 0`; of more than k_active the largest drives,
   of equal ones the smaller ids.

Whom something reaches in tick t belongs to A in t, and can be one more than k_active. :math:`|dW|` is before clipping.

Without noise and phase a neuron that stays active converges to :math:`W^* = 1 - \beta / \alpha`, 0.6 by default. W = 0
is the other fixed point, and unstable. A void neuron does not spike. Whatever arrives at it in a tick is its stimulus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.models.model import Field, Float32Array, Kept, Model, Parameter, Values

_PARAMETERS = (
    Parameter("alpha", 0.25, "1", 0.0, 4.0, doc="rate of growth"),
    Parameter("beta", 0.1, "1", 0.0, 4.0, doc="rate of decay"),
    Parameter("noise", 0.02, "1", 0.0, 1.0, doc="noise of the growth, uniform between minus this and this"),
    Parameter("frequency", 0.02, "1/tick", 0.0, 0.5, doc="f, of the phase"),
    Parameter("phase", 0.5, "1", 0.0, 1.0, doc="phi, how far the phase modulates; 0 = not at all"),
    Parameter("theta", 1e-3, "1", 0.0, 1.0, doc="a change as large keeps a neuron active"),
    Parameter("affinity_cost", 0.1, "1", 0.0, 1e6, doc="lambda, what unlike decay takes from the affinity"),
    Parameter("k_active", 80_000.0, "1", 1.0, 1 << 32, doc="at most so many stay active from tick to tick"),
    Parameter(
        "w_init", 0.5, "1", 0.0, 1.0, True, "W of a neuron that was never active; prev_W is the same, mu and var 0"
    ),
)


def _check(values: Values, _dt_ms: float) -> list[tuple[str, str]]:
    k = values["k_active"]
    return [] if k == int(k) else [("k_active", f"must be a whole number, not {k:g}")]


def _constants(_values: Values, _dt_ms: float) -> Mapping[str, Any]:
    return {"refractory_ticks": 0.0, "restless": False}


def _reference(
    state: Mapping[str, Float32Array], refractory: npt.NDArray[np.int32], _input: Float32Array, _: Mapping[str, Any]
) -> tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]:
    u = state["u"]
    return {"u": np.where(refractory == 0, np.float32(0), u)}, np.zeros(len(u), dtype=bool)


VOID = Model(
    name="void",
    title="void dynamics with a self-improvement engine",
    parameters={p.name: p for p in _PARAMETERS},
    state=(Field("u", "float32", "1", "always 0: a stimulus lasts for one tick"),),
    absolute=(),
    constants=_constants,
    kernel="engramdb.kernels.void:block",
    kernel_constants=(),
    reference=_reference,
    check=_check,
    weight=Field("weight", "float32", "1", "stimulus"),
    kept=(
        Kept("W", "float32", "1", "the slow variable, 0..1", birth="w_init"),
        Kept("mu", "float32", "1", "running mean of |dW|"),
        Kept("var", "float32", "1", "running variance of |dW|"),
        Kept("prev_W", "float32", "1", "W when the neuron was last active", birth="w_init"),
    ),
)
