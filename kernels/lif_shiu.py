"""The step of the neuron of the fruit fly's whole-brain model; see ``engramdb.models.lif_shiu``."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.slots import BLOCK


def block(u, fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``.

    Fields: g. Constants: p11, p21, p22, theta, reset, epsilon.
    """
    p11, p21, p22 = constant[0], constant[1], constant[2]
    theta, reset, epsilon = constant[3], constant[4], constant[5]
    incoming, g = input[0], fields[0]
    for i in range(BLOCK):
        free = refractory[i] == 0
        stepped = u[i] * p22[i] + g[i] * p21[i]
        driven = stepped if free else u[i]
        arrived = g[i] * p11[i] + incoming[i]
        current = arrived if free else g[i]
        fire = free & (driven > theta[i])
        near = (abs(driven) < epsilon[i]) & (abs(current) < epsilon[i])
        rest = free & (incoming[i] == 0) & near
        after = np.float32(0.0) if rest else driven
        u[i] = reset[i] if fire else after
        g[i] = np.float32(0.0) if rest | fire else current
        fires[i] = np.int32(fire)
