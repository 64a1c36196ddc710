"""Calling compiled code by its address.

What is called in the ordinary way becomes part of the caller's machine code, which is then compiled once for each
combination of what it calls. A call by address costs some nanoseconds, and the caller is compiled once.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def address_of(function: Any, *arguments: object) -> int:
    """Where the machine code of ``function``, compiled with ``njit``, for arguments like these lies; it is compiled."""
    signature = tuple(numba.typeof(argument) for argument in arguments)
    function.compile(signature)
    made = function.overloads[signature]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))


@intrinsic
def call(_typing: Any, address: Any, arguments: Any) -> Any:
    """The int64 that the function at ``address`` returns for a tuple of ``arguments``.

    They have to be of the very types for which :func:`address_of` was told where it lies: nothing checks it.
    """
    signature = types.int64(address, arguments)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args[1].types
        parts = cgutils.unpack_tuple(builder, values[1], len(kinds))
        function_type = context.call_conv.get_function_type(types.int64, kinds)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        status, result = context.call_conv.call_function(builder, function, types.int64, kinds, parts)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    return signature, codegen
