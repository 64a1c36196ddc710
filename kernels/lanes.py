"""Vectors of numbers, added up in an order that no compiler may change: 32 lanes side by side, then a tree.

Lane l sums the products at l, l + 32, l + 64, ..., each product and each sum rounded to float32, no fused multiply-add;
the 32 sums are then added in halves, lane l to lane l + 16, then to l + 8, 4, 2, 1. The result has the same bits on
every processor, with vectors of any width, and is as fast as memory: a plain sum in one variable could not be
vectorised, and one that the compiler may reorder would differ from machine to machine.

Float16 numbers come as uint16 bits, for Numba knows no float16 on processors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engramdb.kernels.memory import ask
from engramdb.kernels.vectors import spread

LANES = 32
BLOCK = 8  # numbers that are changed together
_LINE = 64  # bytes of the caches
_FLOAT, _HALF, _BYTE = ir.FloatType(), ir.HalfType(), ir.IntType(8)
_LARGEST_HALF = 65504.0
_STORED = {types.float32: _FLOAT, types.uint16: _HALF, types.int8: _BYTE}


class _Row:
    """Row ``i`` of a 2-D array, to be read and written by lanes or one by one."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any, i: Any) -> None:
        self.builder = builder
        self.element = _STORED[array_type.dtype]
        values = context.make_array(array_type)(context, builder, array)
        begin = cgutils.get_item_pointer(context, builder, array_type, values, [i, ir.Constant(ir.IntType(64), 0)])
        self.begin = builder.bitcast(begin, self.element.as_pointer())
        self.length = cgutils.unpack_tuple(builder, values.shape)[1]
        self.align = {_FLOAT: 4, _HALF: 2, _BYTE: 1}[self.element]

    def _place(self, at: Any, lanes: int) -> Any:
        place = self.builder.gep(self.begin, [at])
        return place if lanes == 1 else self.builder.bitcast(place, ir.VectorType(self.element, lanes).as_pointer())

    def read(self, at: Any, lanes: int) -> Any:
        """``lanes`` of its numbers from ``at`` on, as float32."""
        found = self.builder.load(self._place(at, lanes), align=self.align)
        return self.widened(found, lanes)

    def ask_for(self, at: Any, lanes: int) -> None:
        """Ask for ``lanes`` of its numbers from ``at`` on: what lies elsewhere the processor does not guess."""
        if lanes > 1:
            for line in range(0, lanes * self.align, _LINE):
                place = self.builder.gep(
                    self.begin, [self.builder.add(at, ir.Constant(ir.IntType(64), line // self.align))]
                )
                ask(self.builder, place)

    def widened(self, found: Any, lanes: int) -> Any:
        if self.element is _HALF:
            return self.builder.fpext(found, _floats(lanes))
        return self.builder.sitofp(found, _floats(lanes)) if self.element is _BYTE else found

    def write(self, at: Any, lanes: int, values: Any) -> Any:
        """Put ``values`` (float32) there, rounded to what the row holds; returns what it holds now, as float32."""
        builder = self.builder
        if self.element is _HALF:
            for sign, beyond in ((1.0, ">"), (-1.0, "<")):
                most = _constant(sign * _LARGEST_HALF, lanes)
                values = builder.select(builder.fcmp_ordered(beyond, values, most), most, values)
            values = builder.fptrunc(values, _HALF if lanes == 1 else ir.VectorType(_HALF, lanes))
        builder.store(values, self._place(at, lanes), align=self.align)
        return self.widened(values, lanes)


def _floats(lanes: int) -> Any:
    return _FLOAT if lanes == 1 else ir.VectorType(_FLOAT, lanes)


def _constant(value: float, lanes: int) -> Any:
    return ir.Constant(_floats(lanes), value if lanes == 1 else [value] * lanes)


def _total(builder: Any, length: Any, term: Callable[[Any, int], Any]) -> Any:
    """The sum of ``term(at, lanes)`` over a row of ``length`` numbers, as the module says."""
    int32, int64 = ir.IntType(32), ir.IntType(64)
    width = ir.Constant(int64, LANES)
    sums = cgutils.alloca_once_value(builder, _constant(0.0, LANES))
    whole = builder.udiv(length, width)
    with cgutils.for_range(builder, whole) as loop:
        found = term(builder.mul(loop.index, width), LANES)
        builder.store(builder.fadd(builder.load(sums), found), sums)
    behind = builder.mul(whole, width)
    with cgutils.for_range(builder, builder.sub(length, behind)) as loop:
        found = term(builder.add(behind, loop.index), 1)
        lane = builder.trunc(loop.index, int32)
        before = builder.load(sums)
        after = builder.fadd(builder.extract_element(before, lane), found)
        builder.store(builder.insert_element(before, after, lane), sums)
    return _in_halves(builder, builder.load(sums))


def _in_halves(builder: Any, left: Any) -> Any:
    """The sum of all LANES lanes of ``left``, by halves."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        halves = [_some(builder, left, left, places) for places in (range(lanes), range(lanes, 2 * lanes))]
        left = builder.fadd(*halves)
    return builder.extract_element(left, ir.Constant(ir.IntType(32), 0))


def _some(builder: Any, one: Any, other: Any, lanes: Iterable[int]) -> Any:
    """The ``lanes`` of ``one``, and of ``other`` behind it."""
    places = list(lanes)
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))


@intrinsic
def dot(_typing: Any, w: Any, i: Any, x: Any, k: Any) -> Any:
    """The sum of ``w[i, j] * x[k, j]``, float32. ``w``: float32, uint16 (float16) or int8; ``x``: float32; both 2-D."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = _Row(context, builder, signature.args[0], args[0], args[1])
        other = _Row(context, builder, signature.args[2], args[2], args[3])
        return _total(builder, one.length, lambda at, n: builder.fmul(one.read(at, n), other.read(at, n)))

    return types.float32(w, i, x, k), codegen


@intrinsic
def add_scaled(_typing: Any, w: Any, i: Any, ahead: Any, factor: Any, x: Any) -> Any:
    """``w[i, j] += factor * x[0, j]``; returns the sum of the squares of what changed, float32.

    ``w``: float32 or uint16 (float16, rounded half to even, held within its range); ``factor``: float32. Row ``ahead``
    is asked for meanwhile.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _Row(context, builder, signature.args[0], args[0], args[1])
        following = _Row(context, builder, signature.args[0], args[0], args[2])
        other = _Row(context, builder, signature.args[4], args[4], ir.Constant(ir.IntType(64), 0))

        def term(at: Any, lanes: int) -> Any:
            following.ask_for(at, lanes)
            before = row.read(at, lanes)
            step = builder.fmul(spread(builder, args[3], lanes), other.read(at, lanes))
            change = builder.fsub(row.write(at, lanes, builder.fadd(before, step)), before)
            return builder.fmul(change, change)

        return _total(builder, row.length, term)

    return types.float32(w, i, ahead, factor, x), codegen


@intrinsic
def add_scaled_where(_typing: Any, w: Any, i: Any, ahead: Any, factor: Any, x: Any, shown: Any, n: Any) -> Any:
    """As :func:`add_scaled`, but where ``x[0, j]`` is 0 ``w[i, j]`` is left as it is.

    ``shown[g, : n[g]]`` (int64, rising): of the numbers in whole LANES, the blocks of BLOCK in which ``x`` is not all
    0, by where they begin; those of group g begin at g * BLOCK in their LANES.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        int64 = ir.IntType(64)
        row = _Row(context, builder, signature.args[0], args[0], args[1])
        following = _Row(context, builder, signature.args[0], args[0], args[2])
        other = _Row(context, builder, signature.args[4], args[4], ir.Constant(int64, 0))

        def term(at: Any, lanes: int) -> Any:
            before, given = row.read(at, lanes), other.read(at, lanes)
            after = builder.fadd(before, builder.fmul(spread(builder, args[3], lanes), given))
            after = builder.select(builder.fcmp_unordered("!=", given, _constant(0.0, lanes)), after, before)
            change = builder.fsub(row.write(at, lanes, after), before)
            return builder.fmul(change, change)

        places = context.make_array(signature.args[5])(context, builder, args[5])
        counts = context.make_array(signature.args[6])(context, builder, args[6])
        groups = []
        for g in range(LANES // BLOCK):
            group = ir.Constant(int64, g)
            sums = cgutils.alloca_once_value(builder, _constant(0.0, BLOCK))
            count = builder.load(cgutils.get_item_pointer(context, builder, signature.args[6], counts, [group]))
            with cgutils.for_range(builder, count) as loop:
                place = [group, loop.index]
                at = builder.load(cgutils.get_item_pointer(context, builder, signature.args[5], places, place))
                following.ask_for(at, BLOCK)
                builder.store(builder.fadd(builder.load(sums), term(at, BLOCK)), sums)
            groups.append(builder.load(sums))
        while len(groups) > 1:
            lanes = range(2 * groups[0].type.count)
            groups = [_some(builder, *pair, lanes) for pair in zip(groups[::2], groups[1::2], strict=True)]
        sums = cgutils.alloca_once_value(builder, groups[0])
        behind = builder.mul(builder.udiv(row.length, ir.Constant(int64, LANES)), ir.Constant(int64, LANES))
        with cgutils.for_range(builder, builder.sub(row.length, behind)) as loop:
            found = term(builder.add(behind, loop.index), 1)
            lane = builder.trunc(loop.index, ir.IntType(32))
            after = builder.fadd(builder.extract_element(builder.load(sums), lane), found)
            builder.store(builder.insert_element(builder.load(sums), after, lane), sums)
        return _in_halves(builder, builder.load(sums))

    return types.float32(w, i, ahead, factor, x, shown, n), codegen
