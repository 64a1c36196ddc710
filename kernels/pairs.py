"""What pairs of spikes do to the weights of a row, several synapses and several ticks at once.

The plain loops beside which these stand give the same bits: every operation on a weight is rounded by itself, and sums
over pairs are integers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engramdb.kernels.recent import RECENT
from engramdb.kernels.vectors import spread

TICKS = 8  # whose gains are added up together
SYNAPSES = 4  # of a row that are followed together
_DEEP = 4  # spikes of a target that are looked at together
_UNIT = 1.0 / 4294967296.0
_INT32, _INT64, _FLOAT, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()


def _const(value: int) -> Any:
    return ir.Constant(_INT64, value)


class _Array:
    """Numbers of the type ``element`` in a 1-D array, or behind ``row`` of a 2-D one."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any, element: Any, row: Any = None) -> None:
        self.builder, self.element = builder, element
        values = context.make_array(array_type)(context, builder, array)
        place = [_const(0)] if row is None else [row, _const(0)]
        begin = cgutils.get_item_pointer(context, builder, array_type, values, place)
        self.begin = builder.bitcast(begin, element.as_pointer())
        self.align = 8 if element in (_INT64, _DOUBLE) else 4

    def _place(self, at: Any, lanes: int) -> Any:
        place = self.builder.gep(self.begin, [at])
        return place if lanes == 1 else self.builder.bitcast(place, ir.VectorType(self.element, lanes).as_pointer())

    def read(self, at: Any, lanes: int = 1) -> Any:
        return self.builder.load(self._place(at, lanes), align=self.align)

    def write(self, at: Any, values: Any, lanes: int = 1) -> None:
        self.builder.store(values, self._place(at, lanes), align=self.align)


def _lanes(builder: Any, scalars: list[Any]) -> Any:
    """A vector of the ``scalars``."""
    vector = ir.Constant(ir.VectorType(scalars[0].type, len(scalars)), ir.Undefined)
    for lane, scalar in enumerate(scalars):
        vector = builder.insert_element(vector, scalar, ir.Constant(_INT32, lane))
    return vector


def _floats(value: float, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(_DOUBLE, lanes), [value] * lanes)


def _as_floats(builder: Any, values: Any, lanes: int) -> Any:
    """``values`` (int64) as float64, rounded once.

    What few processors do with vectors: the bits of 2^52 + the lower half and of 2^84 + 2^63 + the upper one are put
    together, what is too much is taken away, which is exact, and the two are added.
    """

    def every(word: int) -> Any:
        return ir.Constant(ir.VectorType(_INT64, lanes), [word] * lanes)

    def number(bits: Any) -> Any:
        return builder.bitcast(bits, ir.VectorType(_DOUBLE, lanes))

    lower = builder.or_(builder.and_(values, every(0xFFFFFFFF)), every(0x4330000000000000))
    upper = builder.xor(builder.lshr(values, every(32)), every(0x4530000080000000))
    return builder.fadd(builder.fsub(number(upper), _floats(2.0**84 + 2.0**63 + 2.0**52, lanes)), number(lower))


@intrinsic
def add_up(_typing: Any, plus: Any, rule: Any, distances: Any, at: Any, n_open: Any, gains: Any) -> Any:
    """Fill ``gains`` (float64): what a spike in each of ``n_open`` (int64) ticks gains by arrivals; one more is 0.

    ``distances`` (uint32): RECENT of them from ``at`` (int64) on, ticks from each arrival to the first of those ticks.
    ``plus[rule]`` (int64, in 2^-32) has an entry for each distance up to TICKS more than the largest; ``gains`` has
    room for as many more.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table = _Array(context, builder, signature.args[0], args[0], _INT64, args[1])
        distance = _Array(context, builder, signature.args[2], args[2], _INT32)
        out = _Array(context, builder, signature.args[5], args[5], _DOUBLE)
        first = [builder.zext(distance.read(builder.add(args[3], _const(k))), _INT64) for k in range(RECENT)]
        blocks = builder.udiv(builder.add(args[4], _const(TICKS - 1)), _const(TICKS))
        with cgutils.for_range(builder, blocks) as loop:
            begin = builder.mul(loop.index, _const(TICKS))
            amount = ir.Constant(ir.VectorType(_INT64, TICKS), [0] * TICKS)
            for place in first:
                amount = builder.add(amount, table.read(builder.add(place, begin), TICKS))
            found = builder.fmul(_as_floats(builder, amount, TICKS), _floats(_UNIT, TICKS))
            out.write(begin, found, TICKS)
        out.write(args[4], ir.Constant(_DOUBLE, 0.0))
        return context.get_dummy_value()

    return types.void(plus, rule, distances, at, n_open, gains), codegen


@intrinsic
def follow(
    _typing: Any, link: Any, at: Any, ages: Any, row: Any, most: Any, deep: Any, ahead: Any, none: Any, gains: Any,
    minus: Any, rule: Any, sign: Any, low: Any, high: Any, by_distance: Any,
) -> Any:  # fmt: skip
    """As ``_follow`` of :mod:`engramdb.kernels.plasticity` for the SYNAPSES synapses from ``link[at]`` on.

    ``row``: the number of the first of them in ``ages``. All integers int64. Whether any weight has changed.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        own_type = ir.VectorType(_DOUBLE, SYNAPSES)
        weight_type = ir.VectorType(_FLOAT, SYNAPSES)
        synapse = _Array(context, builder, signature.args[0], args[0], _INT32)
        age = _Array(context, builder, signature.args[2], args[2], _INT32)
        gain = _Array(context, builder, signature.args[8], args[8], _DOUBLE)
        table = _Array(context, builder, signature.args[9], args[9], _INT64, args[10])
        sign_, low_, high_ = (spread(builder, value, SYNAPSES) for value in args[11:14])
        one, nothing = _floats(1.0, SYNAPSES), _floats(0.0, SYNAPSES)
        first = [builder.mul(builder.add(args[3], _const(lane)), _const(RECENT)) for lane in range(SYNAPSES)]

        def rounded(amount: Any, own: Any, moved: Any) -> Any:
            """``moved`` within the bounds, as a weight holds it; ``own`` where the ``amount`` is nothing."""
            held = builder.select(builder.fcmp_ordered(">", low_, moved), low_, moved)
            held = builder.select(builder.fcmp_ordered("<", high_, held), high_, held)
            after = builder.fpext(builder.fptrunc(held, weight_type), own_type)
            return builder.select(builder.fcmp_unordered("!=", amount, nothing), after, own)

        place = builder.mul(args[1], _const(2))
        links = synapse.read(place, 2 * SYNAPSES)
        words = ir.Constant(ir.VectorType(_INT32, SYNAPSES), [2 * lane + 1 for lane in range(SYNAPSES)])
        before = builder.bitcast(builder.shuffle_vector(links, links, words), weight_type)
        own = cgutils.alloca_once_value(builder, builder.fmul(sign_, builder.fpext(before, own_type)))
        with cgutils.for_range(builder, args[4]) as loop:
            k = builder.sub(builder.sub(args[4], _const(1)), loop.index)
            found = []
            for begin in first:
                tick = builder.sub(args[6], builder.zext(age.read(builder.add(begin, k)), _INT64))
                tick = builder.select(builder.icmp_unsigned("<", tick, args[7]), tick, args[7])
                found.append(gain.read(tick))
            amount, held = _lanes(builder, found), builder.load(own)
            factor = builder.select(args[14], builder.fsub(high_, held), one)
            moved = builder.fadd(held, builder.fmul(amount, factor))
            builder.store(rounded(amount, held, moved), own)
        sums = [cgutils.alloca_once_value(builder, _const(0)) for _ in range(SYNAPSES)]
        blocks = builder.udiv(builder.add(args[5], _const(_DEEP - 1)), _const(_DEEP))
        with cgutils.for_range(builder, blocks) as loop:
            for begin, total in zip(first, sums, strict=True):
                amount = builder.load(total)
                for k in range(_DEEP):
                    at = builder.add(builder.mul(loop.index, _const(_DEEP)), builder.add(begin, _const(k)))
                    amount = builder.add(amount, table.read(builder.zext(age.read(at), _INT64)))
                builder.store(amount, total)
        amount = _as_floats(builder, _lanes(builder, [builder.load(total) for total in sums]), SYNAPSES)
        amount, held = builder.fmul(amount, _floats(_UNIT, SYNAPSES)), builder.load(own)
        factor = builder.select(args[14], builder.fsub(held, low_), one)
        moved = builder.fsub(held, builder.fmul(amount, factor))
        weight = builder.fptrunc(builder.fmul(sign_, rounded(amount, held, moved)), weight_type)
        order = [lane if lane % 2 == 0 else 2 * SYNAPSES + lane // 2 for lane in range(2 * SYNAPSES)]
        wide = builder.shuffle_vector(
            builder.bitcast(weight, ir.VectorType(_INT32, SYNAPSES)),
            ir.Constant(ir.VectorType(_INT32, SYNAPSES), ir.Undefined),
            ir.Constant(ir.VectorType(_INT32, 2 * SYNAPSES), [lane % SYNAPSES for lane in range(2 * SYNAPSES)]),
        )
        links = builder.shuffle_vector(links, wide, ir.Constant(ir.VectorType(_INT32, 2 * SYNAPSES), order))
        synapse.write(place, links, 2 * SYNAPSES)
        differ = builder.bitcast(builder.fcmp_unordered("!=", weight, before), ir.IntType(SYNAPSES))
        return builder.icmp_unsigned("!=", differ, ir.Constant(ir.IntType(SYNAPSES), 0))

    return types.boolean(
        link, at, ages, row, most, deep, ahead, none, gains, minus, rule, sign, low, high, by_distance
    ), codegen  # fmt: skip
