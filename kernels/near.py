"""Who will soon need a row that is not there: the potential is the predictor."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.rows import QUEUED
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT


@njit(cache=True, nogil=True)
def near(slots, records, constants, fraction, first_block, last_block, out):
    """Fill ``out`` (int64) with slots that are near their threshold and whose row is neither there nor being read.

    Near is ``u >= fraction * theta`` in blocks where somebody is awake. ``constants``: float32 (L, 4), see
    ``lif.step``; ``fraction``: float32, in 0..1. Returns (their number, the block it came to: less than ``last_block``
    where ``out`` has no room for another whole block).
    """
    n = 0
    biased = slots.bias.shape[0] > 1
    u, used, record, bias = slots.u, slots.used, slots.record, slots.bias
    block_awake, block_layer = slots.block_awake, slots.block_layer
    for block in range(first_block, last_block):
        if not block_awake[block]:
            continue
        if n + BLOCK > out.shape[0]:
            return n, block
        theta = constants[block_layer[block], 1]
        first = block << BLOCK_SHIFT
        # most blocks have nobody: a loop without branches runs on vectors
        somebody = False
        if biased:
            for slot in range(first, first + BLOCK):
                somebody |= u[slot] >= fraction * (theta - bias[slot])
        else:
            least = fraction * theta
            for slot in range(first, first + BLOCK):
                somebody |= u[slot] >= least
        if not somebody:
            continue
        for slot in range(first, first + BLOCK):
            least = fraction * (theta - (bias[slot] if biased else np.float32(0.0)))
            if used[slot] and u[slot] >= least:
                r = record[slot]
                if r < 0 or (records[r].offset < 0 and not records[r].flags & QUEUED):
                    out[n] = slot
                    n += 1
    return n, last_block


@njit(cache=True, nogil=True)
def unread(slots, records, fired, out):
    """Fill ``out`` (int64) with those of the slots ``fired``, which have records, whose row is not there."""
    n = 0
    for i in range(fired.shape[0]):
        if records[slots.record[fired[i]]].offset < 0:
            out[n] = fired[i]
            n += 1
    return n
