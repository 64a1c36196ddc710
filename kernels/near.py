"""Who will soon need a row that is not there: the potential is the predictor."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.bits import lowest_bit
from engramdb.kernels.blocks import reaching
from engramdb.kernels.compiled import njit
from engramdb.kernels.rows import QUEUED
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT

_ONE = np.uint64(1)


@njit(cache=True, nogil=True)
def near(slots, records, threshold, own, fraction, first_block, last_block, out):
    """Fill ``out`` (int64) with slots that are near their threshold and whose row is neither there nor being read.

    Near is ``u >= fraction * (theta - bias)``, with ``fraction`` float32 in 0..1, in blocks where somebody is awake.
    ``threshold``: float32 (L, 2), theta and bias of each layer; ``own``: int32 (L, 2), the rows of ``slots.param`` that
    have each neuron's own, or -1. Returns (their number, the block it came to: less than ``last_block`` where ``out``
    has no room for another whole block).
    """
    n = 0
    u, used, record, param = slots.u, slots.used, slots.record, slots.param
    block_awake, block_layer = slots.block_awake, slots.block_layer
    least = np.empty(BLOCK, dtype=np.float32)
    filled_for = np.int32(-1)
    for block in range(first_block, last_block):
        if not block_awake[block]:
            continue
        if n + BLOCK > out.shape[0]:
            return n, block
        layer = block_layer[block]
        first = block << BLOCK_SHIFT
        own_theta, own_bias = own[layer, 0], own[layer, 1]
        if layer != filled_for or own_theta >= 0 or own_bias >= 0:
            filled_for = layer
            for i in range(BLOCK):
                theta = param[block, own_theta, i] if own_theta >= 0 else threshold[layer, 0]
                bias = param[block, own_bias, i] if own_bias >= 0 else threshold[layer, 1]
                least[i] = fraction * (theta - bias)
        close = reaching(u, first, least)
        while close:
            slot = first + lowest_bit(close)
            close &= close - _ONE
            if used[slot]:
                r = record[slot]
                if r < 0 or (records[r].offset < 0 and not records[r].flags & QUEUED):
                    out[n] = slot
                    n += 1
    return n, last_block


@njit(borrows=True, cache=True, nogil=True)
def unread(slots, records, fired, out):
    """Fill ``out`` (int64) with those of the slots ``fired``, which have records, whose row is not there."""
    n = 0
    for i in range(fired.shape[0]):
        if records[slots.record[fired[i]]].offset < 0:
            out[n] = fired[i]
            n += 1
    return n
