"""The last spikes of a slot, as one vector of the processor.

RECENT uint32 for each slot, end to end, are the ticks of its last spikes, newest first, modulo 2^32. Where it had fewer
of late, what is there is far from now.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

RECENT = 16  # spikes of a slot that lie ready as ticks: a cache line
_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, RECENT)


def _vector(context: Any, builder: Any, array_type: Any, array: Any, slot: Any) -> Any:
    """A pointer to the vector that begins at ``array[RECENT * slot]``."""
    values = context.make_array(array_type)(context, builder, array)
    place = builder.mul(slot, ir.Constant(slot.type, RECENT))
    address = cgutils.get_item_pointer(context, builder, array_type, values, [place])
    return builder.bitcast(address, _VECTOR.as_pointer())


def _spread(builder: Any, scalar: Any) -> Any:
    """``scalar`` in every lane."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(one, one, ir.Constant(_VECTOR, [0] * RECENT))


@intrinsic
def ages(_typing: Any, recent: Any, slot: Any, now: Any, most: Any, out: Any, row: Any, young: Any) -> Any:
    """``out[RECENT * row + k]`` (uint32) = how long before ``now`` (uint32) the k-th last spike of ``slot`` was.

    Held down to ``most`` (uint32). Returns how many are not older than ``young`` (uint32). ``slot``, ``row``: int64.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ticks = builder.load(_vector(context, builder, signature.args[0], args[0], args[1]), align=4)
        found = builder.sub(_spread(builder, args[2]), ticks)
        limit = _spread(builder, args[3])
        found = builder.select(builder.icmp_unsigned("<", found, limit), found, limit)
        builder.store(found, _vector(context, builder, signature.args[4], args[4], args[5]), align=4)
        bits = builder.icmp_unsigned("<=", found, _spread(builder, args[6]))
        return builder.zext(builder.ctpop(builder.bitcast(bits, ir.IntType(RECENT))), _WORD)

    return types.uint32(recent, slot, now, most, out, row, young), codegen


@intrinsic
def push(_typing: Any, recent: Any, slot: Any, tick: Any) -> Any:
    """Make ``tick`` (uint32) the last spike of ``slot`` (int64); its oldest one is forgotten."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _vector(context, builder, signature.args[0], args[0], args[1])
        before = builder.load(pointer, align=4)
        newest = builder.insert_element(before, args[2], ir.Constant(_WORD, 0))
        order = ir.Constant(ir.VectorType(_WORD, RECENT), [RECENT, *range(RECENT - 1)])
        builder.store(builder.shuffle_vector(before, newest, order), pointer, align=4)
        return context.get_dummy_value()

    return types.void(recent, slot, tick), codegen
