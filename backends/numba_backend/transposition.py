"""Transposition on pointers, for compiled kernels: squares of one vector by one vector, in registers."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.integers import smaller
from backends.numba_backend.pointers import Pointer, offset
from backends.numba_backend.subroutine import noinline, subroutine
from backends.numba_backend.vectors import MASKED, VectorEmitter, count_lanes, lanes


def _transpose_square(edge: bool) -> Any:
    """Intrinsic that transposes a square of one vector by one vector in registers, or a part of it at an edge."""

    @intrinsic
    def square(
        typingctx: Any, source: Any, source_row: Any, target: Any, target_row: Any, rows: Any, columns: Any
    ) -> Any:
        def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
            source_pointer, source_stride, target_pointer, target_stride, row_count, column_count = values
            width = count_lanes(source.dtype)
            emitter = VectorEmitter(b, source.dtype, width)
            steps = [source_stride.type(i) for i in range(width)]
            load_mask = emitter.first_lanes(column_count) if edge else None
            store_mask = emitter.first_lanes(row_count) if edge else None
            vectors = []
            for i in steps:
                row = b.select(b.icmp_signed("<", i, row_count), i, steps[0]) if edge else i
                vectors.append(emitter.load(b.gep(source_pointer, [b.mul(row, source_stride)]), load_mask))
            # exchange off-diagonal blocks of width / 2, then within each block of width / 4, ..., then of 1
            block = width // 2
            while block:
                low = [width + lane - block if lane & block else lane for lane in range(width)]
                high = [width + lane if lane & block else lane + block for lane in range(width)]
                for i in range(width):
                    if not i & block:
                        pair = vectors[i], vectors[i + block]
                        for position, order in ((i, low), (i + block, high)):
                            indices = llvm.Constant(llvm.VectorType(llvm.IntType(32), width), order)
                            vectors[position] = b.shuffle_vector(*pair, indices)
                block //= 2
            for i, vector in zip(steps, vectors, strict=True):
                cells = b.gep(target_pointer, [b.mul(i, target_stride)])
                if edge:
                    with b.if_then(b.icmp_signed("<", i, column_count)):
                        emitter.store(vector, cells, store_mask)
                else:
                    emitter.store(vector, cells, store_mask)
            return context.get_dummy_value()

        size = types.intp
        return types.void(source, size, source, size, size, size), codegen

    return square


_full_square, _edge_square = _transpose_square(edge=False), _transpose_square(edge=True)


@subroutine
def transpose(source: Pointer, source_row: int, target: Pointer, target_row: int, rows: int, columns: int) -> None:
    """Write ``target[j, i] = source[i, j]`` for a source (rows, columns); strides of the rows in elements."""
    noinline()
    width = lanes(source)
    for i in range(0, rows, width):
        for j in range(0, columns, width):
            source_square, target_square = offset(source, i * source_row + j), offset(target, j * target_row + i)
            height, length = smaller(width, rows - i), smaller(width, columns - j)
            if height == width and length == width:
                _full_square(source_square, source_row, target_square, target_row, height, length)
            elif MASKED:
                _edge_square(source_square, source_row, target_square, target_row, height, length)
            else:
                for u in range(height):
                    for v in range(length):
                        target_square[v * target_row + u] = source_square[u * source_row + v]
