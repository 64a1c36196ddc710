"""The step of the integrate-and-fire neuron with exponential currents; see ``engramdb.models.lif_exp``."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.slots import BLOCK


def block(u, fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``.

    Fields: g. Constants: p11, p21, p22, theta, reset, epsilon, bias.
    """
    p11, p21, p22, epsilon, bias = constant[0], constant[1], constant[2], constant[5], constant[6]
    layer_theta, layer_reset = constant[3], constant[4]
    incoming, g = input[0], fields[0]
    for i in range(BLOCK):
        theta = layer_theta[i] - bias[i]
        free = refractory[i] == 0
        stepped = u[i] * p22[i] + g[i] * p21[i]
        driven = stepped if free else u[i]
        current = g[i] * p11[i] + incoming[i]
        fire = free & (driven >= theta)
        near = (abs(driven) < epsilon[i]) & (abs(current) < epsilon[i])
        rest = free & (incoming[i] == 0) & near & (theta > 0)
        after = np.float32(0.0) if rest else driven
        u[i] = layer_reset[i] - bias[i] if fire else after
        g[i] = np.float32(0.0) if rest & (not fire) else current
        fires[i] = np.int32(fire)
