"""Vectors of the processor, as intrinsics build them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

_INT32 = ir.IntType(32)


def spread(builder: Any, scalar: Any, lanes: int) -> Any:
    """``scalar`` in each of the ``lanes`` of a vector; itself where there is only one."""
    if lanes == 1:
        return scalar
    none = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    one = builder.insert_element(none, scalar, _INT32(0))
    return builder.shuffle_vector(one, none, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes))
