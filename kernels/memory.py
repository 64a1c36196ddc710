"""Asking the processor for a cache line before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def prefetch(_typing: Any, array: Any, index: Any) -> Any:
    """Start loading ``array[index]`` (any 1-D array) into the caches; never faults, changes no value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        values = context.make_array(array_type)(context, builder, args[0])
        address = cgutils.get_item_pointer(context, builder, array_type, values, [args[1]])
        ask(builder, address)
        return context.get_dummy_value()

    return types.void(array, index), codegen


@intrinsic
def prefetch_to_write(_typing: Any, array: Any, index: Any) -> Any:
    """The same where ``array[index]`` is to be written: another processor's copy of it is called in meanwhile."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        values = context.make_array(array_type)(context, builder, args[0])
        ask(builder, cgutils.get_item_pointer(context, builder, array_type, values, [args[1]]), write=True)
        return context.get_dummy_value()

    return types.void(array, index), codegen


def ask(builder: Any, address: Any, *, write: bool = False) -> None:
    """The instruction that starts loading what lies at ``address``."""
    byte_pointer = ir.IntType(8).as_pointer()
    int32 = ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte_pointer, int32, int32, int32]),
        "llvm.prefetch.p0" if getattr(ir.types, "_PointerType", None) else "llvm.prefetch.p0i8",
    )
    # keep in all levels, data
    builder.call(function, [builder.bitcast(address, byte_pointer), int32(int(write)), int32(3), int32(1)])
