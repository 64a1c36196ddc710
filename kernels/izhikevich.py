"""The step of Izhikevich's neuron; see ``engramdb.models.izhikevich`` for the equations."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.slots import BLOCK

_QUADRATIC = np.float32(0.04)
_HALF = np.float32(0.5)


def block(u, fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``.

    Fields: w. Constants: half, linear, drive, a, b, reset, jump, theta, epsilon.
    """
    half, linear, drive = constant[0], constant[1], constant[2]
    a, b, reset, jump = constant[3], constant[4], constant[5], constant[6]
    theta, epsilon = constant[7], constant[8]
    incoming, w = input[0], fields[0]
    for i in range(BLOCK):
        free = refractory[i] == 0
        pushed = _HALF * incoming[i]
        x = u[i]
        x = x + (half[i] * (_QUADRATIC * x * x + linear[i] * x - w[i] + drive[i]) + pushed)
        x = x + (half[i] * (_QUADRATIC * x * x + linear[i] * x - w[i] + drive[i]) + pushed)
        y = w[i] + a[i] * (b[i] * x - w[i])
        fire = free & (x >= theta[i])
        rest = free & (incoming[i] == 0) & (abs(x) < epsilon[i]) & (abs(y) < epsilon[i])
        x = reset[i] if fire else x
        y = y + jump[i] if fire else y
        x = x if free else u[i]
        y = y if free else w[i]
        u[i] = np.float32(0.0) if rest else x
        w[i] = np.float32(0.0) if rest else y
        fires[i] = np.int32(fire)
