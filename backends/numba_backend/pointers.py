"""Pointers in compiled code: the address of an array, and what stands at an address."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

Pointer = Any
"""A pointer to float32 or float64 in compiled code."""


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """Address of the first element of an array of any layout."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), codegen  # type: ignore[attr-defined]


@intrinsic
def keep_alive(typingctx: Any, array: Any) -> Any:
    """Nothing; but a local array that is read or written through its `pointer` is not freed before this call.

    Numba frees an array after the last statement that names it, and knows nothing of pointers.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic
def offset(typingctx: Any, start: Any, elements: Any) -> Any:
    """Pointer to the element `elements` after `start`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [values[1]])

    return start(start, types.intp), codegen


def leading(count: int) -> Any:
    """Compiled function that reads the first `count` elements at a pointer, as a tuple."""

    @intrinsic
    def read(typingctx: Any, start: Any) -> Any:
        result = types.UniTuple(start.dtype, count)  # type: ignore[attr-defined]

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            elements = [builder.load(builder.gep(values[0], [llvm.IntType(64)(i)])) for i in range(count)]
            return context.make_tuple(builder, result, elements)

        return result(start), codegen

    return read
