"""The step of the adaptive exponential integrate-and-fire neuron; see ``engramdb.models.adex`` for the equations."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.exponential import exp32
from engramdb.kernels.slots import BLOCK

_HALF = np.float32(0.5)
_ONE = np.float32(1.0)


def block(u, fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``.

    Fields: w, i_syn. Constants: substeps, leak, upswing, inverse_slope, drive, rate, a, rate_w, decay, reset, jump,
    theta, epsilon, epsilon_w; the substeps are those of the whole layer.
    """
    leak, upswing, inverse_slope, drive, rate = constant[1], constant[2], constant[3], constant[4], constant[5]
    a, rate_w, decay = constant[6], constant[7], constant[8]
    reset, jump, theta, epsilon, epsilon_w = constant[9], constant[10], constant[11], constant[12], constant[13]
    w, current, incoming = fields[0], fields[1], input[0]
    for i in range(BLOCK):
        fires[i] = 0
    for _ in range(np.int32(constant[0, 0])):
        for i in range(BLOCK):
            free = (refractory[i] == 0) & (fires[i] == 0)
            x, y, flow = u[i], w[i], current[i]
            # Heun: a step along the slope at its beginning, then one along the mean of that and the slope at its end
            swing = exp32(x * inverse_slope[i]) - _ONE
            slope_x = rate[i] * (upswing[i] * swing - leak[i] * x - y + flow + drive[i])
            slope_x = slope_x if free else np.float32(0.0)
            slope_y = rate_w[i] * (a[i] * x - y)
            end_x, end_y, flow = min(x + slope_x, theta[i]) if free else x, y + slope_y, flow * decay[i]
            swing = exp32(end_x * inverse_slope[i]) - _ONE
            last_x = rate[i] * (upswing[i] * swing - leak[i] * end_x - end_y + flow + drive[i])
            last_x = last_x if free else np.float32(0.0)
            last_y = rate_w[i] * (a[i] * end_x - end_y)
            x = x + _HALF * (slope_x + last_x)
            y = y + _HALF * (slope_y + last_y)
            crossed = free & (x >= theta[i])
            u[i] = reset[i] if crossed else x
            w[i] = y + jump[i] if crossed else y
            current[i] = flow
            fires[i] = fires[i] | np.int32(crossed)
    for i in range(BLOCK):
        flow = current[i] + incoming[i]
        free = (refractory[i] == 0) & (fires[i] == 0)
        near = (abs(u[i]) < epsilon[i]) & (abs(w[i]) < epsilon_w[i]) & (abs(flow) < epsilon_w[i])
        rest = free & (incoming[i] == 0) & near
        u[i] = np.float32(0.0) if rest else u[i]
        w[i] = np.float32(0.0) if rest else w[i]
        current[i] = np.float32(0.0) if rest else flow
