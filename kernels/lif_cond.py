"""The step of the integrate-and-fire neuron with conductances; see ``engramdb.models.lif_cond`` for the equation."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.exponential import exp32
from engramdb.kernels.slots import BLOCK


def block(u, fields, refractory, input, constant, fires):
    """One tick of one block; see ``engramdb.kernels.stepping``.

    Fields: g_e, g_i. Constants: leak, rate, drive_e, drive_i, half_e, half_i, decay_e, decay_i, theta, reset, epsilon,
    epsilon_g.
    """
    leak, rate, drive_e, drive_i = constant[0], constant[1], constant[2], constant[3]
    half_e, half_i, decay_e, decay_i = constant[4], constant[5], constant[6], constant[7]
    theta, reset, epsilon, epsilon_g = constant[8], constant[9], constant[10], constant[11]
    g_e, g_i = fields[0], fields[1]
    for i in range(BLOCK):
        free = refractory[i] == 0
        middle_e = g_e[i] * half_e[i]
        middle_i = g_i[i] * half_i[i]
        total = leak[i] + middle_e + middle_i
        level = (middle_e * drive_e[i] + middle_i * drive_i[i]) / total
        stepped = level + (u[i] - level) * exp32(-(rate[i] * total))
        driven = stepped if free else u[i]
        e = g_e[i] * decay_e[i] + input[0, i]
        n = g_i[i] * decay_i[i] + input[1, i]
        fire = free & (driven >= theta[i])
        silent = (input[0, i] == 0) & (input[1, i] == 0)
        near = (abs(driven) < epsilon[i]) & (e < epsilon_g[i]) & (n < epsilon_g[i])
        rest = free & silent & near
        after = np.float32(0.0) if rest else driven
        u[i] = reset[i] if fire else after
        g_e[i] = np.float32(0.0) if rest & (not fire) else e
        g_i[i] = np.float32(0.0) if rest & (not fire) else n
        fires[i] = np.int32(fire)
