"""The step of NEURON's IntFire1; see ``engramdb.models.intfire1`` for the equation."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.slots import BLOCK


def block(u, _fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``. Constants: decay, epsilon. ``u`` is m."""
    decay, epsilon, incoming = constant[0], constant[1], input[0]
    for i in range(BLOCK):
        free = refractory[i] == 0
        driven = u[i] * decay[i] + incoming[i]
        fire = free & (driven > np.float32(1.0))
        rest = free & (incoming[i] == 0) & (abs(driven) < epsilon[i])
        after = driven if free else u[i]
        u[i] = np.float32(0.0) if rest | fire else after
        fires[i] = np.int32(fire)
