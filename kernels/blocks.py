"""The BLOCK slots of a block as vectors of the processor.

Loops of so few rounds are unrolled before they could become vectors, and what is left of them is done one by one. These
are vectors to begin with, as wide as the processor has them. Arrays have one axis; the block begins at the place given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engramdb.kernels.slots import BLOCK

_LANES = 8
_BIT, _BYTE, _WORD, _LONG = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
_FROM_FIXED = 1.0 / 4294967296.0
_SMALL = 1 << 51  # numbers below it in magnitude fit into the digits of a float64 beside its sign
_MIDDLE_BITS, _MIDDLE = 0x4338000000000000, 2.0**52 + 2.0**51  # the unit of its last place is 1, whatever is added


def _vectors(context: Any, builder: Any, array_type: Any, array: Any, first: Any, element: Any) -> Iterator[Any]:
    """Pointers to one vector of ``element`` after the other."""
    values = context.make_array(array_type)(context, builder, array)
    for lane in range(0, BLOCK, _LANES):
        place = builder.add(first, ir.Constant(first.type, lane))
        address = cgutils.get_item_pointer(context, builder, array_type, values, [place])
        yield builder.bitcast(address, ir.VectorType(element, _LANES).as_pointer())


def _load(builder: Any, pointer: Any, element: Any) -> Any:
    return builder.load(pointer, align=element.width // 8 if isinstance(element, ir.IntType) else 4)


def _each(element: Any, value: Any) -> Any:
    """The vector that has ``value`` in each lane."""
    return ir.Constant(ir.VectorType(element, _LANES), [ir.Constant(element, value)] * _LANES)


def _flags(builder: Any, bits: Iterator[Any]) -> Any:
    """uint64 that has bit i set where lane i of all ``bits`` is."""
    word = ir.Constant(_LONG, 0)
    for place, vector in enumerate(bits):
        part = builder.zext(builder.bitcast(vector, ir.IntType(_LANES)), _LONG)
        word = builder.or_(word, builder.shl(part, ir.Constant(_LONG, place * _LANES)))
    return word


@intrinsic
def to_float(_typing: Any, sums: Any, first: Any, out: Any, at: Any) -> Any:
    """``out[at + i]`` (float32) = ``sums[first + i]`` (int64) * 2^-32, rounded once; whether all fit into 52 bits.

    Processors without AVX-512 convert no vectors of 64-bit integers. So a number becomes the low bits of a float64 of
    known exponent, from which that of the exponent alone is taken away. Where one has too many bits, ``out`` is wrong.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sources = _vectors(context, builder, signature.args[0], args[0], args[1], _LONG)
        targets = _vectors(context, builder, signature.args[2], args[2], args[3], _FLOAT)
        wide = _each(_LONG, 0)
        for source, target in zip(sources, targets, strict=True):
            number = _load(builder, source, _LONG)
            wide = builder.or_(wide, builder.add(number, _each(_LONG, _SMALL)))
            bits = builder.add(number, _each(_LONG, _MIDDLE_BITS))
            double = builder.fsub(builder.bitcast(bits, ir.VectorType(_DOUBLE, _LANES)), _each(_DOUBLE, _MIDDLE))
            scaled = builder.fmul(double, _each(_DOUBLE, _FROM_FIXED))
            builder.store(builder.fptrunc(scaled, ir.VectorType(_FLOAT, _LANES)), target, align=4)
        too_wide = builder.icmp_unsigned(">=", wide, _each(_LONG, 2 * _SMALL))
        return builder.icmp_unsigned("==", builder.bitcast(too_wide, ir.IntType(_LANES)), ir.Constant(_BYTE, 0))

    return types.boolean(sums, first, out, at), codegen


@intrinsic
def clear(_typing: Any, sums: Any, first: Any) -> Any:
    """``sums[first + i]`` (int64) = 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for target in _vectors(context, builder, signature.args[0], args[0], args[1], _LONG):
            builder.store(_each(_LONG, 0), target, align=8)
        return context.get_dummy_value()

    return types.void(sums, first), codegen


@intrinsic
def copy(_typing: Any, source: Any, first: Any, target: Any, at: Any) -> Any:
    """``target[at + i] = source[first + i]``, of 32 bits each; the arrays do not overlap."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sources = _vectors(context, builder, signature.args[0], args[0], args[1], _WORD)
        targets = _vectors(context, builder, signature.args[2], args[2], args[3], _WORD)
        for pointer, goal in zip(list(sources), list(targets), strict=True):
            builder.store(_load(builder, pointer, _WORD), goal, align=4)
        return context.get_dummy_value()

    return types.void(source, first, target, at), codegen


@intrinsic
def nonzero(_typing: Any, values: Any, first: Any) -> Any:
    """uint64 that has bit i set where ``values[first + i]`` (int32 or float32) is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        is_float = isinstance(signature.args[0].dtype, types.Float)
        element = _FLOAT if is_float else _WORD

        def bits() -> Iterator[Any]:
            for pointer in _vectors(context, builder, signature.args[0], args[0], args[1], element):
                values = _load(builder, pointer, element)
                if is_float:
                    yield builder.fcmp_unordered("!=", values, _each(element, 0.0))
                else:
                    yield builder.icmp_signed("!=", values, _each(element, 0))

        return _flags(builder, bits())

    return types.uint64(values, first), codegen


@intrinsic
def reaching(_typing: Any, values: Any, first: Any, least: Any) -> Any:
    """uint64 that has bit i set where ``values[first + i] >= least[i]`` (both float32)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[1].type, 0)
        found = _vectors(context, builder, signature.args[0], args[0], args[1], _FLOAT)
        wanted = _vectors(context, builder, signature.args[2], args[2], zero, _FLOAT)

        def bits() -> Iterator[Any]:
            for pointer, bound in zip(list(found), list(wanted), strict=True):
                there, enough = (_load(builder, place, _FLOAT) for place in (pointer, bound))
                yield builder.fcmp_ordered(">=", there, enough)

        return _flags(builder, bits())

    return types.uint64(values, first, least), codegen


@intrinsic
def count_down(_typing: Any, ticks: Any, at: Any, fires: Any, fresh: Any, begin: Any) -> Any:
    """``ticks[at + i]`` (int32) becomes one less where it was more than 0; where ``fires[i]`` (int32), it becomes
    ``fresh[begin + i]`` (float32, a whole number). uint64 that has bit i set where it is more than 0 now.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[1].type, 0)
        places = list(_vectors(context, builder, signature.args[0], args[0], args[1], _WORD))
        firing = list(_vectors(context, builder, signature.args[2], args[2], zero, _WORD))
        new = list(_vectors(context, builder, signature.args[3], args[3], args[4], _FLOAT))

        def bits() -> Iterator[Any]:
            nothing = _each(_WORD, 0)
            for place, fire, anew in zip(places, firing, new, strict=True):
                before = _load(builder, place, _WORD)
                counting = builder.icmp_signed(">", before, nothing)
                less = builder.add(before, builder.sext(counting, ir.VectorType(_WORD, _LANES)))
                begun = builder.fptosi(_load(builder, anew, _FLOAT), ir.VectorType(_WORD, _LANES))
                now = builder.select(builder.icmp_signed("!=", _load(builder, fire, _WORD), nothing), begun, less)
                builder.store(now, place, align=4)
                yield builder.icmp_signed(">", now, nothing)

        return _flags(builder, bits())

    return types.uint64(ticks, at, fires, fresh, begin), codegen
