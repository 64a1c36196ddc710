"""e^x in float32, of additions and multiplications alone: the same bits on every machine, and on vectors.

``engramdb.models.exponential`` has the same in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from engramdb.kernels.compiled import njit

# the nearest whole number of a float32 below 2^22 in size: what is left of it beside 1.5 * 2^23
_ROUNDER = np.float32(12582912.0)
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)  # ln 2 in two parts, the first so short that whole times it is exact
_LN2_LOW = np.float32(-2.12194440e-4)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1.0 / n) for n in (2, 6, 24, 120, 720, 5040))
_ONE = np.float32(1.0)


@intrinsic
def _float_of_bits(_typing: Any, _bits: Any) -> Any:
    """The float32 that has the bits of an int32."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(inline="always")
def exp32(x):
    """e^x for a float32, clipped to -87 .. 88, within 2 units in the last place; 1 at 0."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = (x * _LOG2_E + _ROUNDER) - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = _C7 * r + _C6
    p = p * r + _C5
    p = p * r + _C4
    p = p * r + _C3
    p = p * r + _C2
    p = p * r + _ONE
    p = p * r + _ONE
    return p * _float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))
