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
from engramdb.kernels.blocks import clear, copy, count_down, nonzero, to_float
from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT, RESTLESS

_FAR = 4  # blocks: to what lies nearer the processor reads on by itself
_ZERO, _ONE, _BLOCK = np.uint64(0), np.uint64(1), np.uint64(BLOCK)
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
def _to_float(total, first, out, at):
    """``out[at + i]`` = float32 of ``total[first + i]`` (int64) * 2^-32.

    Where one of the block has too many digits for a float64, each half of all of them is exact in one, and their sum
    rounds once.
    """
    if not to_float(total, first, out, at):
        for i in range(_BLOCK):
            word = np.uint64(total[first + i])
            high = as_float64((word >> _HALF) ^ _HIGH_BITS) - _HIGH
            low = as_float64((word & _LOW) | _LOW_BITS)
            out[at + i] = np.float32((high + low) * _FROM_FIXED)


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
def _ask_for(plane, u, refractory, block):
    """Ask for the arrays of a block that lies far behind the one stepped: the processor could not guess it."""
    first = block << BLOCK_SHIFT
    for i in range(0, BLOCK, 8):
        prefetch(plane, first + i)
    for i in range(0, BLOCK, 16):
        prefetch(u, first + i)
        prefetch(refractory, first + i)


def _step(slots, constants, rows, mine, first_block, last_block, fired, count):
    """Step every awake block in ``[first_block, last_block)`` whose layer is one of the model's by one tick.

    ``constants``: float32 (L, constants + 1), of each layer, its refractory ticks last; ``rows``: int32, alike, the row
    of ``slots.param`` that has each neuron's own, or -1; ``mine``: uint8 (L,), which layers are of this model. Appends
    the slots that fire to ``fired`` (int64) from ``count[0]`` on, which it advances; returns the block at which it
    stopped because ``fired`` had no room for another whole block, else ``last_block``.
    """
    # As locals, and copied block by block: a loop that takes arrays out of the tuple, or slices of them, counts
    # references each time round. The rows of one array are known not to overlap.
    all_u, all_refractory = slots.u, slots.refractory
    all_fields, own = slots.aux.reshape(-1), slots.param.reshape(-1)
    fields_a_block, own_a_block = np.uint64(slots.aux.shape[1]), np.uint64(slots.param.shape[1])
    input, inhibition = slots.input, slots.inhibition
    block_awake, block_layer, block_flags = slots.block_awake, slots.block_layer, slots.block_flags
    floats = np.zeros((_INPUTS + _CONSTANTS + 1 + 1 + _FIELDS, BLOCK), dtype=np.float32)
    integers = np.zeros((2, BLOCK), dtype=np.int32)
    total = np.zeros(BLOCK, dtype=np.int64)
    incoming, constant = floats[:_INPUTS], floats[_INPUTS : _INPUTS + _CONSTANTS + 1]
    u, fields = floats[_INPUTS + _CONSTANTS + 1], floats[_INPUTS + _CONSTANTS + 2 :]
    refractory, fires = integers[0], integers[1]
    all_floats = floats.reshape(-1)
    at_constants = np.uint64(_INPUTS * BLOCK)
    at_u = at_constants + np.uint64((_CONSTANTS + 1) * BLOCK)
    apart = inhibition.shape[0] > 0
    n = count[0]
    room = fired.shape[0] - BLOCK
    filled_for = np.int32(-1)
    eights = block_awake[: block_awake.shape[0] & ~7].view(np.uint64)
    following = _next_awake(block_awake, eights, first_block, last_block)
    while following < last_block:
        block = following
        following = _next_awake(block_awake, eights, block + 1, last_block)
        if block + _FAR <= following < last_block:
            _ask_for(input, all_u, all_refractory, following)
        layer = block_layer[block]
        if not mine[layer]:
            continue
        if n > room:
            count[0] = n
            return block
        at = np.uint64(block)
        first = at << np.uint64(BLOCK_SHIFT)
        if _INPUTS == 1 and apart:
            for i in range(_BLOCK):
                total[i] = input[first + i] + inhibition[first + i]
            _to_float(total, _ZERO, all_floats, _ZERO)
        else:
            _to_float(input, first, all_floats, _ZERO)
        if _INPUTS == 2:
            for i in range(_BLOCK):
                total[i] = -inhibition[first + i]
            _to_float(total, _ZERO, all_floats, _BLOCK)
        clear(input, first)
        if apart:
            clear(inhibition, first)
        if layer != filled_for:
            for k in range(_CONSTANTS + 1):
                constant[k] = constants[layer, k]
            filled_for = layer
        for k in range(np.uint64(_CONSTANTS + 1)):
            row = rows[layer, k]
            if row >= 0:
                copy(own, (at * own_a_block + np.uint64(row)) * _BLOCK, all_floats, at_constants + k * _BLOCK)
        copy(all_u, first, all_floats, at_u)
        for k in range(np.uint64(_FIELDS)):
            copy(all_fields, (at * fields_a_block + k) * _BLOCK, all_floats, at_u + (k + _ONE) * _BLOCK)
        copy(all_refractory, first, refractory, _ZERO)
        _block_step(u, fields, refractory, incoming, constant, fires)
        awake = count_down(all_refractory, first, fires, all_floats, at_u - _BLOCK)
        awake |= nonzero(u, _ZERO)
        copy(u, _ZERO, all_u, first)
        for k in range(np.uint64(_FIELDS)):
            awake |= nonzero(all_floats, at_u + (k + _ONE) * _BLOCK)
            copy(all_floats, at_u + (k + _ONE) * _BLOCK, all_fields, (at * fields_a_block + k) * _BLOCK)
        block_awake[block] = awake != _ZERO or block_flags[block] & RESTLESS
        firing = nonzero(fires, _ZERO)
        while firing:
            fired[n] = first + lowest_bit(firing)
            n += 1
            firing &= firing - _ONE
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
