"""The step of the leaky integrate-and-fire neuron; see ``engramdb.models.lif`` for the equation."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.slots import BLOCK


def block(u, _fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``. Constants: decay, theta, reset, epsilon, bias.

    Without branches, so that it runs on vectors.
    """
    decay, layer_theta, layer_reset, epsilon, bias = constant[0], constant[1], constant[2], constant[3], constant[4]
    incoming = input[0]
    for i in range(BLOCK):
        theta = layer_theta[i] - bias[i]
        before = u[i]
        free = refractory[i] == 0
        decayed = before * decay[i]
        driven = decayed + incoming[i]
        fire = free & (driven >= theta)
        rest = free & (incoming[i] == 0) & (abs(driven) < epsilon[i]) & (theta > 0)
        after = driven if free else before
        after = np.float32(0.0) if rest else after
        u[i] = layer_reset[i] - bias[i] if fire else after
        fires[i] = np.int32(fire)
