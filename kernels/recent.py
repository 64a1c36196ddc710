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

from engramdb.kernels.vectors import spread

RECENT = 16  # spikes of a slot that lie ready as ticks: a cache line
_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, RECENT)


def _vector(context: Any, builder: Any, array_type: Any, array: Any, slot: Any) -> Any:
    """A pointer to the vector that begins at ``array[RECENT * slot]``."""
    values = context.make_array(array_type)(context, builder, array)
    place = builder.mul(slot, ir.Constant(slot.type, RECENT))
    address = cgutils.get_item_pointer(context, builder, array_type, values, [place])
    return builder.bitcast(address, _VECTOR.as_pointer())


def _ages(builder: Any, pointer: Any, now: Any, limit: Any) -> Any:
    """How long before ``now`` the ticks at ``pointer`` were, held down to ``limit`` (both vectors)."""
    found = builder.sub(now, builder.load(pointer, align=4))
    return _least(builder, found, limit)


def _least(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_unsigned("<", one, other), one, other)


@intrinsic
def ages(_typing: Any, recent: Any, slot: Any, now: Any, most: Any, out: Any, row: Any) -> Any:
    """``out[RECENT * row + k]`` (uint32) = how long before ``now`` (uint32) the k-th last spike of ``slot`` was.

    Held down to ``most`` (uint32). ``slot``, ``row``: int64.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _vector(context, builder, signature.args[0], args[0], args[1])
        found = _ages(builder, pointer, spread(builder, args[2], RECENT), spread(builder, args[3], RECENT))
        builder.store(found, _vector(context, builder, signature.args[4], args[4], args[5]), align=4)
        return context.get_dummy_value()

    return types.void(recent, slot, now, most, out, row), codegen


@intrinsic
def ages_of_row(
    _typing: Any, recent: Any, link: Any, begin: Any, n: Any, now: Any, most: Any, out: Any, row: Any
) -> Any:
    """As :func:`ages` for the slots of ``link[begin]`` and those behind it, ``n`` (int64) together, from row 0 on.

    ``out[RECENT * row + k]`` = the least of all that are at k in those rows.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        links = context.make_array(signature.args[1])(context, builder, args[1])
        now_, limit = spread(builder, args[4], RECENT), spread(builder, args[5], RECENT)
        least = cgutils.alloca_once_value(builder, limit)
        with cgutils.for_range(builder, args[3]) as loop:
            place = builder.add(args[2], loop.index)
            synapse = cgutils.get_item_pointer(context, builder, signature.args[1], links, [place])
            slot = builder.load(builder.bitcast(synapse, _WORD.as_pointer()), align=4)  # its first field
            slot = builder.zext(slot, ir.IntType(64))
            found = _ages(builder, _vector(context, builder, signature.args[0], args[0], slot), now_, limit)
            builder.store(found, _vector(context, builder, signature.args[6], args[6], loop.index), align=4)
            builder.store(_least(builder, builder.load(least), found), least)
        builder.store(builder.load(least), _vector(context, builder, signature.args[6], args[6], args[7]), align=4)
        return context.get_dummy_value()

    return types.void(recent, link, begin, n, now, most, out, row), codegen


@intrinsic
def younger(_typing: Any, ages: Any, row: Any, most: Any) -> Any:
    """How many (int64) of ``ages[RECENT * row:][:RECENT]`` are not more than ``most`` (uint32)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.load(_vector(context, builder, signature.args[0], args[0], args[1]), align=4)
        bits = builder.icmp_unsigned("<=", found, spread(builder, args[2], RECENT))
        return builder.zext(builder.ctpop(builder.bitcast(bits, ir.IntType(RECENT))), ir.IntType(64))

    return types.int64(ages, row, most), codegen


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
