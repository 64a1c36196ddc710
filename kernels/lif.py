"""The step of the leaky integrate-and-fire neuron; see ``engramdb.models.lif`` for the equation."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT

_LOW = np.int64(0xFFFFFFFF)
_FROM_FIXED = 1.0 / 4294967296.0


@njit(cache=True, nogil=True)
def step(slots, constants, refractory_ticks, first_block, last_block, fired, count):
    """Step every awake block in ``[first_block, last_block)`` by one tick.

    ``constants``: float32 (L, 4), each layer's decay, theta, reset, epsilon in mV; ``refractory_ticks``: int32 (L,).
    Appends the slots that fire to ``fired`` (int64) from ``count[0]`` on, which it advances; returns the block at
    which it stopped because ``fired`` had no room for another whole block, else ``last_block``.
    """
    n = count[0]
    threads = slots.input.shape[0]
    biased = slots.bias.shape[0] > 1
    total = np.zeros(BLOCK, dtype=np.int64)
    bias = np.zeros(BLOCK, dtype=np.float32)
    fires = np.zeros(BLOCK, dtype=np.int32)
    for block in range(first_block, last_block):
        if not slots.block_awake[block]:
            continue
        if n + BLOCK > fired.shape[0]:
            count[0] = n
            return block
        first = block << BLOCK_SHIFT
        last = first + BLOCK
        total[:] = slots.input[0, first:last]
        slots.input[0, first:last] = 0
        for thread in range(1, threads):
            for i in range(BLOCK):
                total[i] += slots.input[thread, first + i]
            slots.input[thread, first:last] = 0
        if biased:
            bias[:] = slots.bias[first:last]
        layer = slots.block_layer[block]
        awake = _step_block(
            total, bias, slots.u[first:last], slots.refractory[first:last], constants[layer, 0], constants[layer, 1],
            constants[layer, 2], constants[layer, 3], refractory_ticks[layer], fires,
        )  # fmt: skip
        slots.block_awake[block] = np.uint8(awake != 0)
        if awake & 2:
            for i in range(BLOCK):
                fired[n] = first + i
                n += fires[i]
    count[0] = n
    return last_block


@njit(cache=True, nogil=True)
def _step_block(total, bias, u, refractory, decay, layer_theta, layer_reset, epsilon, refractory_ticks, fires):
    """One block, without branches so that it runs on vectors; bit 0 of the result: somebody is awake, 1: fires.

    Reductions have loops of their own, and integers stay 32 bits wide: both halve the vectors otherwise.
    """
    for i in range(BLOCK):
        # The sum of input in mV, as float64(total) * 2^-32 rounds it: both halves are exact, their sum rounds once.
        high = np.float64(np.int32(total[i] >> np.int64(32)))
        low = np.float64(np.uint32(total[i] & _LOW))
        incoming = np.float32(high + low * _FROM_FIXED)
        theta = layer_theta - bias[i]
        before = u[i]
        left = refractory[i]
        free = left == 0
        decayed = before * decay
        driven = decayed + incoming
        fire = free & (driven >= theta)
        rest = free & (incoming == 0) & (abs(driven) < epsilon) & (theta > 0)
        after = driven if free else before
        after = np.float32(0.0) if rest else after
        u[i] = layer_reset - bias[i] if fire else after
        refractory[i] = refractory_ticks if fire else np.int32(left - np.int32(left != 0))
        fires[i] = np.int32(fire)
    fired = np.int32(0)
    for i in range(BLOCK):
        fired |= fires[i]
    awake = np.int32(0)
    for i in range(BLOCK):
        awake |= np.int32((u[i] != 0) | (refractory[i] != 0) | (layer_theta - bias[i] <= 0))
    return awake | fired << np.int32(1)
