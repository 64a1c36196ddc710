"""The type of a layer's weights: the grid on which the weight of every synapse of its neurons lies.

A weight is rounded when it comes to be, by a rule, an import or a command. So memory and disk hold the same numbers,
and the store keeps narrow ones in fewer bytes without knowing of types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import InvalidInput

if TYPE_CHECKING:
    from engramdb.layer import Layer
    from engramdb.spec import Spec

FLOAT32, FLOAT16, INT8 = TYPES = ("float32", "float16", "int8")
LARGEST_STEP = 127
"""An int8 weight is a whole number of the layer's ``weight_step``, from minus this many to this many."""

WeightArray = npt.NDArray[np.float32]


def grid(layer: Layer) -> float:
    """The layer's grid as kernels take it (:mod:`engramdb.kernels.weights`): 0 for all float32, -1 for float16."""
    if layer.weights == INT8:
        assert layer.weight_step is not None, "checked when the spec was made"
        return layer.weight_step
    return -1.0 if layer.weights == FLOAT16 else 0.0


def on_grid(weight: WeightArray, layer: Layer) -> WeightArray:
    """``weight`` rounded to the layer's grid, halves to even, wherever its ends are."""
    if layer.weights == FLOAT16:
        return weight.astype(np.float16).astype(np.float32)
    if layer.weights == INT8:
        return (np.rint(weight.astype(np.float64) / grid(layer)) * grid(layer) + 0.0).astype(np.float32)
    return weight


def too_large(weight: WeightArray, layer: Layer) -> npt.NDArray[np.bool_]:
    """Which weights lie beyond the ends of the layer's grid."""
    if layer.weights != INT8:
        return np.zeros(weight.shape, bool)
    return np.asarray(np.rint(np.abs(weight.astype(np.float64)) / grid(layer)) > LARGEST_STEP)


def reach(layer: Layer) -> str:
    """How far the weights of an int8 layer go, for the end of a message."""
    return f'weights = "{INT8}" of {grid(layer):g} mV reach {LARGEST_STEP * grid(layer):g} mV'


def rounded(pre: IdArray, weight: WeightArray, spec: Spec) -> WeightArray:
    """``weight[i]`` of a synapse of ``pre[i]``, rounded to the grid of that neuron's layer.

    Raises InvalidInput for one that is too large.
    """
    narrow = [layer for layer in spec.layers if layer.weights != FLOAT32]
    if not narrow or not pre.size:
        return weight
    weight, index = weight.copy(), pre >> np.uint64(48)
    for layer in narrow:
        where = np.flatnonzero(index == layer.index)
        own = weight[where]
        wrong = np.flatnonzero(too_large(own, layer))
        if wrong.size:
            neuron = format_id(int(pre[where[wrong[0]]]))
            raise InvalidInput(f"weight {own[wrong[0]]:g} mV of neuron {neuron} is too large: {reach(layer)}")
        weight[where] = on_grid(own, layer)
    return weight
