"""What all neuron models share in a tick: find the blocks that are awake, sum their input, collect who fires.

A model brings the step of one block, ``block(u, fields, refractory, input, constant, fires)``, in which every array
has the BLOCK slots of the block as its last axis:

- ``u``, float32 (BLOCK,), and ``fields``, float32 (fields beyond u, BLOCK): state relative to rest, stepped in place;
- ``refractory``, int32 (BLOCK,): ticks left; it is counted down behind the step. Where it is not 0, ``u`` must keep its
  value, and fields that are zero must stay zero while ``u`` is zero: free slots are refractory for ever;
- ``input``, float32: (1, BLOCK) the sum of what arrives in this tick, or (2, BLOCK) the sums of what is positive and of
  what is negative, both as magnitudes;
- ``constant``, float32 (constants, BLOCK): the model's constants, each neuron's own where they differ;
- ``fires``, int32 (BLOCK,): set to 1 for who fires, else to 0.

Stepping a neuron at rest without input must leave all fields zero, bit for bit. A neuron comes to rest only by a field
being set to exactly zero, which the block does where every field is within its epsilon and no input came.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from engramdb.kernels.bits import as_float64, lowest_bit
from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT, RESTLESS

_FAR = 4  # blocks: to what lies nearer the processor reads on by itself
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_LOW_BITS = np.uint64(0x4330000000000000)  # of 2^52: the unit of its last place is 1
_HIGH_BITS = np.uint64(0x4530000080000000)  # of 2^84 + 2^63: that unit is 2^32; the sign is turned into an offset
_HIGH = 2.0**84 + 2.0**63 + 2.0**52
_FROM_FIXED = 1.0 / 4294967296.0

Step = Callable[..., int]


# what _step is compiled with for a model; these here are only there to be read
_block_step: Any = None
_FIELDS = _CONSTANTS = _INPUTS = 0


@njit(inline="always")
def _take_input(sums, first, total):
    """``total`` (int64, (BLOCK,)) = the sums of all threads (int64, (threads, c)) of the block, which become zero."""
    # a slice: where an index could be negative, each element is looked at by itself
    plane = sums[0, first : first + BLOCK]
    for i in range(BLOCK):
        total[i] = plane[i]
        plane[i] = 0
    for thread in range(1, sums.shape[0]):
        plane = sums[thread, first : first + BLOCK]
        for i in range(BLOCK):
            total[i] += plane[i]
            plane[i] = 0


@njit(inline="always")
def _to_float(total, out):
    """``out[i]`` = float32 of ``total[i]`` (int64) * 2^-32: both halves are exact in float64, their sum rounds once.

    Processors without AVX-512 convert no vectors of 64-bit integers. So each half becomes the low bits of a float64
    of known exponent, from which that of the exponent alone is taken away: no conversion, only bits.
    """
    for i in range(BLOCK):
        word = np.uint64(total[i])
        high = as_float64((word >> _HALF) ^ _HIGH_BITS) - _HIGH
        low = as_float64((word & _LOW) | _LOW_BITS)
        out[i] = np.float32((high + low) * _FROM_FIXED)


@njit(inline="always")
def _next_awake(block_awake, eights, block, last_block):
    """The first block from ``block`` on that is awake; ``last_block``, or one after it, where there is none before it.

    ``eights``: the flags as uint64. Where few of millions of slots are awake, a look at each flag would be most of a
    tick.
    """
    while block < last_block:
        if block & 7 == 0 and block + 8 <= last_block and eights[block >> 3] == 0:
            block += 8
        elif block_awake[block]:
            return block
        else:
            block += 1
    return block


@njit(inline="always")
def _ask_for(slots, block):
    """Ask for the arrays of a block that lies far behind the one stepped: the processor could not guess it."""
    first = block << BLOCK_SHIFT
    for plane in range(slots.input.shape[0]):
        for i in range(0, BLOCK, 8):
            prefetch(slots.input[plane], first + i)
    for i in range(0, BLOCK, 16):
        prefetch(slots.u, first + i)
        prefetch(slots.refractory, first + i)


def _step(slots, constants, rows, mine, first_block, last_block, fired, count):
    """Step every awake block in ``[first_block, last_block)`` whose layer is one of the model's by one tick.

    ``constants``: float32 (L, constants + 1), of each layer, its refractory ticks last; ``rows``: int32, alike, the row
    of ``slots.param`` that has each neuron's own, or -1; ``mine``: uint8 (L,), which layers are of this model. Appends
    the slots that fire to ``fired`` (int64) from ``count[0]`` on, which it advances; returns the block at which it
    stopped because ``fired`` had no room for another whole block, else ``last_block``.
    """
    n = count[0]
    total = np.zeros(BLOCK, dtype=np.int64)
    minus = np.zeros(BLOCK, dtype=np.int64)
    incoming = np.zeros((_INPUTS, BLOCK), dtype=np.float32)
    constant = np.zeros((_CONSTANTS + 1, BLOCK), dtype=np.float32)
    fires = np.zeros(BLOCK, dtype=np.int32)
    apart = slots.inhibition.shape[0] > 0
    filled_for = np.int32(-1)
    eights = slots.block_awake[: slots.block_awake.shape[0] & ~7].view(np.uint64)
    following = _next_awake(slots.block_awake, eights, first_block, last_block)
    while following < last_block:
        block = following
        following = _next_awake(slots.block_awake, eights, block + 1, last_block)
        if block + _FAR <= following < last_block:
            _ask_for(slots, following)
        layer = slots.block_layer[block]
        if not mine[layer]:
            continue
        if n + BLOCK > fired.shape[0]:
            count[0] = n
            return block
        first = block << BLOCK_SHIFT
        last = first + BLOCK
        _take_input(slots.input, first, total)
        if _INPUTS == 1:
            if apart:
                _take_input(slots.inhibition, first, minus)
                for i in range(BLOCK):
                    total[i] += minus[i]
            _to_float(total, incoming[0])
        else:
            _take_input(slots.inhibition, first, minus)
            for i in range(BLOCK):
                minus[i] = -minus[i]
            _to_float(total, incoming[0])
            _to_float(minus, incoming[1])
        if layer != filled_for:
            for k in range(_CONSTANTS + 1):
                for i in range(BLOCK):
                    constant[k, i] = constants[layer, k]
            filled_for = layer
        for k in range(_CONSTANTS + 1):
            row = rows[layer, k]
            if row >= 0:
                for i in range(BLOCK):
                    constant[k, i] = slots.param[block, row, i]
        u, fields, refractory = slots.u[first:last], slots.aux[block], slots.refractory[first:last]
        _block_step(u, fields, refractory, incoming, constant, fires)
        firing_low = np.uint32(0)
        firing_high = np.uint32(0)
        awake = np.int32(0)
        for i in range(BLOCK):
            left = refractory[i] - np.int32(refractory[i] > 0)
            refractory[i] = np.int32(constant[_CONSTANTS, i]) if fires[i] else left
        # reductions have loops of their own: beside other work they halve the vectors
        for i in range(BLOCK // 2):
            firing_low |= np.uint32(np.uint32(fires[i]) << np.uint32(i))
        for i in range(BLOCK // 2):
            firing_high |= np.uint32(np.uint32(fires[BLOCK // 2 + i]) << np.uint32(i))
        for i in range(BLOCK):
            awake |= np.int32((u[i] != 0) | (refractory[i] > 0))
        for k in range(_FIELDS):
            for i in range(BLOCK):
                awake |= np.int32(fields[k, i] != 0)
        slots.block_awake[block] = np.uint8((awake | np.int32(slots.block_flags[block] & RESTLESS)) != 0)
        firing = np.uint64(firing_high) << np.uint64(32) | np.uint64(firing_low)
        while firing:
            fired[n] = first + lowest_bit(firing)
            n += 1
            firing &= firing - np.uint64(1)
    count[0] = n
    return last_block


def stepper(block: Callable[..., None], name: str, *, fields: int, constants: int, inputs: int) -> Step:
    """The step of a model whose block step is ``block``, a plain Python function; compiled when it is first called.

    ``fields``: beyond u; ``constants``: without the refractory ticks; ``inputs``: 1, or 2 where signs are summed apart.
    The machine code is kept for the file of ``block``; a function that has none (typed into a shell) is compiled anew.
    """
    plain = getattr(block, "py_func", block)
    values = {"_FIELDS": fields, "_CONSTANTS": constants, "_INPUTS": inputs}
    # as NumPy divides: a test for zero would be a branch, and what is in free slots must not matter
    numeric: dict[str, Any] = {"error_model": "numpy"}
    world = {**globals(), **values, "_block_step": njit(inline="always", **numeric)(plain)}
    step = FunctionType(_step.__code__, world, "_step")
    # Numba tells what it has kept apart by name; it does not look at what globals are
    step.__qualname__ = f"_step_{re.sub(r'[^0-9A-Za-z]', '_', name)}_{fields}_{constants}_{inputs}"
    return njit(of=(plain,), cache=True, nogil=True, **numeric)(step)
