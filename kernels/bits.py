"""Single bits: what the processor does in one instruction and Numba has no name for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def lowest_bit(_typing: Any, word: Any) -> Any:
    """The place (int64, 0 to 63) of the lowest bit that is set in ``word`` (uint64, not zero)."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(word), codegen


@intrinsic
def highest_bit(_typing: Any, word: Any) -> Any:
    """The place (int64, 0 to 63) of the highest bit that is set in ``word`` (uint64, not zero)."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.sub(ir.Constant(ir.IntType(64), 63), builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1)))

    return types.int64(word), codegen


@intrinsic
def as_float64(_typing: Any, word: Any) -> Any:
    """The float64 whose bits are those of ``word`` (uint64)."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(word), codegen


@intrinsic
def choose(_typing: Any, condition: Any, first: Any, second: Any) -> Any:
    """``first`` where ``condition`` holds, else ``second``, both float64 and both worked out.

    Of ``a if b else c`` the compiler makes a branch, which costs much where the processor cannot guess the way. So that
    it makes none of this, the condition is to compare two float64.
    """

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return types.float64(condition, first, second), codegen
