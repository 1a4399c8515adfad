"""Kernels that do nothing but compute or nothing but read: what the processor could do at most, for comparison.

They run on as many threads as a training may use.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba.core import cgutils, types
from numba.extending import intrinsic

from backends.numba_backend.kernel_cache import kernel
from backends.numba_backend.pointers import pointer
from backends.numba_backend.threads import get_num_threads, run
from backends.numba_backend.vector_math import emit_fma
from backends.numba_backend.vectors import VECTOR_BYTES

VECTOR_BITS = 8 * VECTOR_BYTES
LANES = VECTOR_BYTES // 4

_CHAINS = 12
"""Independent sums: enough to hide the latency of the instruction (4 or 5 cycles, two a cycle), and few enough for 16
registers."""


def multiply_adds(repeats: int) -> float:
    """Compute chains of fused multiply-adds in float32 in the registers of every core.

    Parameters
    ----------
    repeats : int
        Length of the chains.

    Returns
    -------
    float
        Number of operations, two for each element of each multiply-add.

    Examples
    --------
    >>> multiply_adds(10) >= 10 * 12 * 4 * 2
    True
    """
    threads = get_num_threads()
    numbers = [np.array([0.5, 0.5, 0.0], np.float32) for _ in range(threads)]
    run(lambda part: _multiply_adds(numbers[part], repeats), threads)
    return 2.0 * threads * repeats * _CHAINS * LANES


def read(words: np.ndarray, repeats: int) -> int:
    """Read an array several times; each core reads its own part.

    Parameters
    ----------
    words : ndarray of uint64, shape (n,)
    repeats : int

    Returns
    -------
    int
        A checksum of what was read, which depends on the number of threads.

    Examples
    --------
    >>> read(np.array([5], np.uint64), repeats=2)
    20
    """
    parts = np.array_split(words, get_num_threads())
    sums = [0] * len(parts)

    def read_part(part: int) -> None:
        sums[part] = int(_read(parts[part], repeats))

    run(read_part, len(parts))
    return sum(sums)


@intrinsic
def _chains(typingctx: Any, numbers: Any, repeats: Any) -> Any:
    """Emit ``sum = sum * a + b`` for each chain, `repeats` times; `numbers` points to a, b and the result."""
    vector = llvm.VectorType(llvm.FloatType(), LANES)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start, count = values

        def number(index: int) -> Any:
            return builder.gep(start, [llvm.IntType(64)(index)])

        def broadcast(value: Any) -> Any:
            one = builder.insert_element(llvm.Constant(vector, llvm.Undefined), value, llvm.IntType(32)(0))
            zeros = llvm.Constant(llvm.VectorType(llvm.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(one, one, zeros)

        a, b = broadcast(builder.load(number(0))), broadcast(builder.load(number(1)))
        sums = [cgutils.alloca_once_value(builder, a) for _ in range(_CHAINS)]  # LLVM moves them to registers
        for chain, place in enumerate(sums):  # different values, or LLVM would compute one chain for all
            builder.store(builder.fmul(a, llvm.Constant(vector, [float(chain)] * LANES)), place)
        with cgutils.for_range(builder, count):
            for place in sums:
                builder.store(emit_fma(builder, builder.load(place), a, b), place)
        total = builder.load(sums[0])
        for place in sums[1:]:
            total = builder.fadd(total, builder.load(place))
        builder.store(builder.extract_element(total, llvm.IntType(32)(0)), number(2))
        return context.get_dummy_value()

    return types.void(numbers, types.intp), codegen


@kernel
def _multiply_adds(numbers, repeats):  # type: ignore[no-untyped-def]
    _chains(pointer(numbers), repeats)


@kernel
def _read(words, repeats):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for _ in range(repeats):
        partial = np.uint64(0)
        for i in range(words.size):
            partial ^= words[i]
        total = total * np.uint64(3) + partial  # so that no pass can be left out
    return total
