"""Steps walked eight at a time, in vectors: one by one, each target waits for the one before it.

Arrays are one-dimensional and contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from engramdb.kernels.vectors import spread

LANES = 8
_INT8, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)

ZEROS = np.array(
    [([at for at in range(LANES) if zeros >> at & 1] + [0] * LANES)[:LANES] for zeros in range(256)], np.uint8
).reshape(-1)
"""For each byte, as :func:`stride` returns it: where its bits are, lowest first; 8 each."""


def _vector(element: Any) -> Any:
    return ir.VectorType(element, LANES)


def _indices(places: list[int]) -> Any:
    return ir.Constant(_vector(_INT32), places)


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """The eight elements of a one-dimensional array from ``at`` on."""
    begin = builder.gep(context.make_array(array_type)(context, builder, array).data, [at])
    return builder.bitcast(begin, _vector(context.get_value_type(array_type.dtype)).as_pointer())


@intrinsic
def stride(_typing: Any, step: Any, at: Any, source: Any, target: Any) -> Any:
    """Walk from ``source`` by the eight steps from ``at`` on (both uint64), and fill ``target`` (uint64) there.

    ``step``: int8 to int64. Returns the last of these targets, and a byte whose bit i says that step i is 0.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = signature.args[0].dtype.bitwidth
        found = builder.load(_place(context, builder, signature.args[0], args[0], args[1]), align=bits // 8)
        zeros = builder.bitcast(
            builder.icmp_signed("==", found, ir.Constant(found.type, [0] * LANES)), ir.IntType(LANES)
        )
        # twice as wide holds the sum of eight
        walked = found if bits == 64 else builder.sext(found, _vector(ir.IntType(2 * bits)))
        nothing = ir.Constant(walked.type, [0] * LANES)
        for by in (1, 2, 4):
            moved = _indices([LANES if at < by else at - by for at in range(LANES)])
            walked = builder.add(walked, builder.shuffle_vector(walked, nothing, moved))
        if walked.type != _vector(_INT64):
            walked = builder.sext(walked, _vector(_INT64))
        walked = builder.add(walked, spread(builder, args[2], LANES))
        builder.store(walked, _place(context, builder, signature.args[3], args[3], args[1]), align=8)
        last = builder.extract_element(walked, _INT32(LANES - 1))
        return context.make_tuple(builder, signature.return_type, [last, builder.zext(zeros, _INT64)])

    return types.UniTuple(types.uint64, 2)(step, at, source, target), codegen


@intrinsic
def mark(_typing: Any, known: Any, zeros: Any, at: Any, place: Any, end: Any) -> Any:
    """Put ``at`` plus the place of each bit of ``zeros`` (a byte) into ``place`` (int64) from ``end`` on.

    ``known``: :data:`ZEROS`; ``zeros``, ``at`` and ``end``: uint64. Eight elements are written, of which as many mean
    something as there are bits: returns ``end`` plus that many.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = builder.mul(args[1], _INT64(LANES))
        found = builder.load(_place(context, builder, signature.args[0], args[0], row), align=1)
        places = builder.add(builder.zext(found, _vector(_INT64)), spread(builder, args[2], LANES))
        builder.store(places, _place(context, builder, signature.args[3], args[3], args[4]), align=8)
        return builder.add(args[4], builder.ctpop(args[1]))

    return types.uint64(known, zeros, at, place, end), codegen
