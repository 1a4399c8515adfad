"""Vectors of numbers in compiled code: their width on this processor, and the LLVM IR to load and store them.

The width is determined when the module is imported: 64 bytes with AVX-512, 32 with AVX, else 16 (SSE, NEON).
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.kernel_cache import target_cpu

_FEATURES = target_cpu().features

VECTOR_BYTES = 64 if "avx512f" in _FEATURES else 32 if "avx" in _FEATURES else 16
MASKED = VECTOR_BYTES > 16
"""Whether loads and stores of part of a vector are one instruction."""

_i32 = llvm.IntType(32)


@intrinsic
def lanes(typingctx: Any, start: Any) -> Any:
    """Number of elements in one vector of the type that `start` points to."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant(types.intp, count_lanes(start.dtype))

    return types.intp(start), codegen


def count_lanes(real: types.Float) -> int:
    """`lanes`, while code is generated."""
    return VECTOR_BYTES * 8 // int(real.bitwidth)


class VectorEmitter:
    """Emits LLVM IR that works on vectors of `lanes` numbers; a mask, or None, says which of them."""

    def __init__(self, builder: Any, real: types.Float, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self.scalar = llvm.FloatType() if real == types.float32 else llvm.DoubleType()
        self.vector = llvm.VectorType(self.scalar, lanes)
        self.zeros = llvm.Constant(self.vector, [0.0] * lanes)
        self._align = int(real.bitwidth) // 8
        self._name = f"v{lanes}f{real.bitwidth}"

    def broadcast(self, value: Any) -> Any:
        vector = llvm.VectorType(value.type, self.lanes)
        first = self.builder.insert_element(llvm.Constant(vector, llvm.Undefined), value, _i32(0))
        zeros = llvm.Constant(llvm.VectorType(_i32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, llvm.Constant(vector, llvm.Undefined), zeros)

    def first_lanes(self, count: Any) -> Any:
        """Mask that is true in the first `count` lanes."""
        numbers = llvm.Constant(llvm.VectorType(count.type, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.broadcast(count))

    def _as_vector(self, address: Any) -> Any:
        return self.builder.bitcast(address, self.vector.as_pointer())

    def _intrinsic(self, name: str, result: Any, values: list[Any]) -> Any:
        function = self.builder.module.globals.get(name)
        if function is None:
            function = llvm.Function(
                self.builder.module, llvm.FunctionType(result, [value.type for value in values]), name
            )
        return self.builder.call(function, values)

    def load(self, address: Any, mask: Any) -> Any:
        if mask is None:
            return self.builder.load(self._as_vector(address), align=self._align)
        values = [self._as_vector(address), _i32(self._align), mask, self.zeros]
        return self._intrinsic(f"llvm.masked.load.{self._name}.p0", self.vector, values)

    def store(self, value: Any, address: Any, mask: Any) -> None:
        if mask is None:
            self.builder.store(value, self._as_vector(address), align=self._align)
        else:
            values = [value, self._as_vector(address), _i32(self._align), mask]
            self._intrinsic(f"llvm.masked.store.{self._name}.p0", llvm.VoidType(), values)

    def prefetch(self, address: Any) -> None:
        """Begin to load the cache line of an address, which need not be valid, into the second-level cache."""
        kinds = [_i32(0), _i32(2), _i32(1)]  # for reading, level 2, data
        self._intrinsic("llvm.prefetch.p0", llvm.VoidType(), [address, *kinds])
