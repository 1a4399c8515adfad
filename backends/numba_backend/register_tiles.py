"""One tile of a matrix product, in registers: the LLVM IR, and intrinsics for compiled code.

A tile of the result, a few rows by one or two vectors, stays in registers while k runs over the inner dimension.
Each step broadcasts one number of A for each row and multiplies it with the vectors of B.  A is read through
two strides, so a transposed A needs no copy.  The columns of B must be adjacent.

The first arguments of all intrinsics are those of `tiles.multiply`.  Columns after the last whole vector use masked
instructions where the processor has them, and are computed one by one elsewhere.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.kernel_cache import target_cpu
from backends.numba_backend.vector_math import emit_fma
from backends.numba_backend.vectors import VECTOR_BYTES, VectorEmitter, count_lanes

ROWS = {64: 8, 32: 6}.get(VECTOR_BYTES, 8 if "neon" in target_cpu().features else 4)
"""Rows of a tile: with two vectors of columns, the sums, B and a broadcast fit into the 32 or 16 registers."""


def _emit_tile(
    v: VectorEmitter,
    height: int,
    vectors: int,
    arguments: Any,
    *,
    masked: bool = False,
    clamped: bool = False,
    items: Any = None,
    ahead: tuple[Any, Any] | None = None,
) -> None:
    """Emit a tile of `height` rows: C[rows, vectors] (+)= alpha * A[rows, depth] @ B[depth, vectors].

    With `items`, a pointer to `depth` int32 numbers, the sums are over these numbers only.  With `ahead`, a pointer
    and a number of elements, each step prefetches what is so many elements farther than in the step before.
    """
    b = v.builder
    a, a_row, a_col, B, b_row, depth, C, c_row, alpha, accumulate, rows, columns = arguments
    size = depth.type
    steps = [size(i) for i in range(height)]
    # a tile with fewer rows repeats its last row; the repeated rows are computed but not stored
    exists = [b.icmp_signed("<", i, rows) if clamped else None for i in steps]
    row_numbers = [
        b.select(valid, i, b.sub(rows, size(1))) if clamped else i for i, valid in zip(steps, exists, strict=True)
    ]
    row_starts = [b.mul(i, a_row) for i in row_numbers]
    last = v.first_lanes(columns) if masked else None
    masks = [None] * (vectors - 1) + [last]

    before, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("sums")
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(size)
    k.add_incoming(size(0), before)
    sums = [[b.phi(v.vector) for _ in range(vectors)] for _ in range(height)]
    a_k, b_k = (b.phi(a.type), b.phi(B.type)) if items is None else (a, B)
    if items is None:
        a_k.add_incoming(a, before)
        b_k.add_incoming(B, before)
    else:
        item = b.sext(b.load(b.gep(items, [k])), size)
        a_k, b_k = b.gep(a, [b.mul(item, a_col)]), b.gep(B, [b.mul(item, b_row)])
    if ahead is not None:
        v.prefetch(b.gep(ahead[0], [b.mul(k, ahead[1])]))
    b_vectors = [v.load(b.gep(b_k, [size(j * v.lanes)]), masks[j]) for j in range(vectors)]
    totals = []
    for i in range(height):
        a_value = v.broadcast(b.load(b.gep(a_k, [row_starts[i]])))
        totals.append([emit_fma(b, a_value, b_vectors[j], sums[i][j]) for j in range(vectors)])
    for i in range(height):
        for j in range(vectors):
            sums[i][j].add_incoming(v.zeros, before)
            sums[i][j].add_incoming(totals[i][j], loop)
    k_next = b.add(k, size(1))
    k.add_incoming(k_next, loop)
    if items is None:
        a_k.add_incoming(b.gep(a_k, [a_col]), loop)
        b_k.add_incoming(b.gep(b_k, [b_row]), loop)
    b.cbranch(b.icmp_signed("<", k_next, depth), loop, after)

    b.position_at_end(after)
    scale = v.broadcast(alpha)
    # -0 becomes 0: the sign of a zero, which is left if all products are too small, must not depend on added zeros
    totals = [[b.fadd(total, v.zeros) for total in row] for row in totals]

    def finish(i: int, add: bool) -> None:
        for j in range(vectors):
            cell = b.gep(C, [b.add(b.mul(steps[i], c_row), size(j * v.lanes))])
            if add:
                result = emit_fma(b, scale, totals[i][j], v.load(cell, masks[j]))
            else:
                result = b.fmul(scale, totals[i][j])
            v.store(result, cell, masks[j])

    with b.if_else(accumulate) as branches:
        for branch, add in zip(branches, (True, False), strict=True):
            with branch:
                for i in range(height):
                    if exists[i] is None or i == 0:
                        finish(i, add)
                    else:
                        with b.if_then(exists[i]):
                            finish(i, add)


def _signature(a: Any, *further: Any) -> Any:
    size = types.intp
    return types.void(a, size, size, a, size, size, a, size, a.dtype, types.boolean, size, size, *further)


def register_tile(rows: int, vectors: int, *, masked: bool = False, clamped: bool = False, single: bool = False) -> Any:
    """Intrinsic that computes one tile; `masked` and `clamped` tiles read and write only the given columns and rows."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            emitter = VectorEmitter(builder, a.dtype, 1 if single else count_lanes(a.dtype))
            _emit_tile(emitter, rows, vectors, values, masked=masked, clamped=clamped)
            return context.get_dummy_value()

        return _signature(a), codegen

    return tile


def listed_tile(rows: int, vectors: int, *, clamped: bool = False) -> Any:
    """`register_tile` for sums over the numbers in a list, which is the last argument."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any, items: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            *arguments, numbers = values
            emitter = VectorEmitter(builder, a.dtype, count_lanes(a.dtype))
            _emit_tile(emitter, rows, vectors, arguments, clamped=clamped, items=numbers)
            return context.get_dummy_value()

        return _signature(a, items), codegen

    return tile


def tile_ahead(vectors: int) -> Any:
    """`register_tile` of `ROWS` rows whose steps prefetch: the last arguments are a pointer and a step in elements."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any, ahead: Any, step: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            *arguments, start, elements = values
            emitter = VectorEmitter(builder, a.dtype, count_lanes(a.dtype))
            _emit_tile(emitter, ROWS, vectors, arguments, ahead=(start, elements))
            return context.get_dummy_value()

        return _signature(a, a, types.intp), codegen

    return tile


def listed_tile_ahead(vectors: int) -> Any:
    """`tile_ahead` for sums over the numbers in a list, which is the argument before the last two."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any, items: Any, ahead: Any, step: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            *arguments, numbers, start, elements = values
            emitter = VectorEmitter(builder, a.dtype, count_lanes(a.dtype))
            _emit_tile(emitter, ROWS, vectors, arguments, items=numbers, ahead=(start, elements))
            return context.get_dummy_value()

        return _signature(a, items, a, types.intp), codegen

    return tile
