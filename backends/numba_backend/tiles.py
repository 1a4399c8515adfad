"""Matrix products from register tiles, for the shapes of neural networks and from inside compiled kernels.

A tile of the result, a few rows by two vectors, stays in registers while k runs over the inner dimension;
each step broadcasts one number of A a row and multiplies it with two vectors of B.  A is read through two
strides, so ``a.T`` costs nothing; B wants its columns adjacent, and `gemm` copies it into panels where they
are not, or where rows far apart would cost a page of memory each.

**Reproducible bits.**  Every element of the result is summed in order of k, by one chain of fused
multiply-adds in each block of `DEPTH` steps.  Which tile computed it, how the rows were divided among
threads and whether an operand was packed change nothing, so one row alone gives the bits it has in the
whole product.  (OpenBLAS does not promise this.)

The vector width is the processor's, found when the module is imported: 64 bytes with AVX-512, 32 with AVX,
else 16 (SSE, NEON).  Columns beyond the last whole vector are masked with AVX, and single elsewhere.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.cache import kernel, target_cpu
from backends.numba_backend.parts import part
from backends.numba_backend.vector_math import emit_fma

Pointer = Any
"""A pointer to float32 or float64 in compiled code."""

_FEATURES = target_cpu().features

VECTOR_BYTES = 64 if "avx512f" in _FEATURES else 32 if "avx" in _FEATURES else 16
MASKED = VECTOR_BYTES > 16
"""Whether loads and stores of part of a vector are one instruction."""
ROWS = {64: 8, 32: 6}.get(VECTOR_BYTES, 8 if "neon" in _FEATURES else 4)
"""Rows of a tile: with two vectors of columns the sums, B and a broadcast fit the 32 or 16 registers."""

DEPTH = 512
"""Longest chain of sums: the part of B that a strip of tiles reads again and again stays in the cache."""
COLUMNS = 512
"""Columns of B that are packed at once."""
HEIGHT = 192
"""Rows of A that stay in the cache while the panels of B pass by."""
FAR_BYTES, FAR_ROWS = 4096, 64
"""Rows of B this far apart lie in pages of their own: with this many rows of A, packing pays."""

_i32 = llvm.IntType(32)


# ---------------------------------------------------------------------------------------------------
# Pointers
# ---------------------------------------------------------------------------------------------------


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """Address of the first element of an array of any layout."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), codegen  # type: ignore[attr-defined]


@intrinsic
def offset(typingctx: Any, start: Any, elements: Any) -> Any:
    """Pointer `elements` further on."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [values[1]])

    return start(start, types.intp), codegen


def leading(count: int) -> Any:
    """Function for compiled code that reads the first `count` elements behind a pointer, as a tuple."""

    @intrinsic
    def read(typingctx: Any, start: Any) -> Any:
        result = types.UniTuple(start.dtype, count)  # type: ignore[attr-defined]

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            elements = [builder.load(builder.gep(values[0], [llvm.IntType(64)(i)])) for i in range(count)]
            return context.make_tuple(builder, result, elements)

        return result(start), codegen

    return read


@intrinsic
def lanes(typingctx: Any, start: Any) -> Any:
    """Numbers in one vector of the type that `start` points to."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant(types.intp, _lanes(start.dtype))

    return types.intp(start), codegen


def _lanes(real: types.Float) -> int:
    return VECTOR_BYTES * 8 // int(real.bitwidth)


@intrinsic
def stay_a_call(typingctx: Any) -> Any:
    """Forbid inlining of the function that calls this: tiles are large, and every copy is compiled anew."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


# ---------------------------------------------------------------------------------------------------
# The tile
# ---------------------------------------------------------------------------------------------------


class _TileEmitter:
    """Writes the LLVM code of one tile: C[rows, vectors] (+)= alpha * A[rows, depth] @ B[depth, vectors]."""

    def __init__(self, builder: Any, real: types.Float, rows: int, vectors: int, lanes: int) -> None:
        self.builder, self.rows, self.vectors, self.lanes = builder, rows, vectors, lanes
        self.scalar = llvm.FloatType() if real == types.float32 else llvm.DoubleType()
        self.vector = llvm.VectorType(self.scalar, lanes)
        self.align = int(real.bitwidth) // 8
        self.name = f"v{lanes}f{real.bitwidth}"
        self.mask_type = llvm.VectorType(llvm.IntType(1), lanes)

    def splat(self, value: Any) -> Any:
        many = llvm.VectorType(value.type, self.lanes)
        first = self.builder.insert_element(llvm.Constant(many, llvm.Undefined), value, _i32(0))
        zeros = llvm.Constant(llvm.VectorType(_i32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, llvm.Constant(many, llvm.Undefined), zeros)

    def first_lanes(self, count: Any) -> Any:
        """Mask that is true in the first `count` lanes."""
        numbers = llvm.Constant(llvm.VectorType(count.type, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count))

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
            return self.builder.load(self._as_vector(address), align=self.align)
        zero = llvm.Constant(self.vector, [0.0] * self.lanes)
        values = [self._as_vector(address), _i32(self.align), mask, zero]
        return self._intrinsic(f"llvm.masked.load.{self.name}.p0", self.vector, values)

    def store(self, value: Any, address: Any, mask: Any) -> None:
        if mask is None:
            self.builder.store(value, self._as_vector(address), align=self.align)
        else:
            values = [value, self._as_vector(address), _i32(self.align), mask]
            self._intrinsic(f"llvm.masked.store.{self.name}.p0", llvm.VoidType(), values)

    def emit(self, arguments: Any, masked: bool, clamped: bool) -> None:
        b = self.builder
        a, a_row, a_col, B, b_row, depth, C, c_row, alpha, accumulate, rows, columns = arguments
        size = depth.type
        steps = [size(i) for i in range(self.rows)]
        # the rows that a short tile lacks repeat its last one; they are computed but never stored
        inside = [b.icmp_signed("<", i, rows) if clamped else None for i in steps]
        taken = [
            b.select(here, i, b.sub(rows, size(1))) if clamped else i for i, here in zip(steps, inside, strict=True)
        ]
        row_starts = [b.mul(i, a_row) for i in taken]
        last = self.first_lanes(columns) if masked else None
        masks = [None] * (self.vectors - 1) + [last]

        before, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("sums")
        b.branch(loop)
        b.position_at_end(loop)
        k, a_k, b_k = b.phi(size), b.phi(a.type), b.phi(B.type)
        for phi, start in ((k, size(0)), (a_k, a), (b_k, B)):
            phi.add_incoming(start, before)
        sums = [[b.phi(self.vector) for _ in range(self.vectors)] for _ in range(self.rows)]
        b_vectors = [self.load(b.gep(b_k, [size(j * self.lanes)]), masks[j]) for j in range(self.vectors)]
        totals = []
        for i in range(self.rows):
            a_value = self.splat(b.load(b.gep(a_k, [row_starts[i]])))
            totals.append([emit_fma(b, a_value, b_vectors[j], sums[i][j]) for j in range(self.vectors)])
        for i in range(self.rows):
            for j in range(self.vectors):
                sums[i][j].add_incoming(llvm.Constant(self.vector, [0.0] * self.lanes), before)
                sums[i][j].add_incoming(totals[i][j], loop)
        k_next = b.add(k, size(1))
        k.add_incoming(k_next, loop)
        a_k.add_incoming(b.gep(a_k, [a_col]), loop)
        b_k.add_incoming(b.gep(b_k, [b_row]), loop)
        b.cbranch(b.icmp_signed("<", k_next, depth), loop, after)

        b.position_at_end(after)
        scale = self.splat(alpha)

        def finish(i: int, add: bool) -> None:
            for j in range(self.vectors):
                cell = b.gep(C, [b.add(b.mul(steps[i], c_row), size(j * self.lanes))])
                if add:
                    result = emit_fma(b, scale, totals[i][j], self.load(cell, masks[j]))
                else:
                    result = b.fmul(scale, totals[i][j])
                self.store(result, cell, masks[j])

        with b.if_else(accumulate) as branches:
            for branch, add in zip(branches, (True, False), strict=True):
                with branch:
                    for i in range(self.rows):
                        if inside[i] is None or i == 0:
                            finish(i, add)
                        else:
                            with b.if_then(inside[i]):
                                finish(i, add)


def _register_tile(
    rows: int, vectors: int, *, masked: bool = False, clamped: bool = False, single: bool = False
) -> Any:
    """Intrinsic that computes one tile; `masked` and `clamped` tiles keep to the given columns and rows."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            width = 1 if single else _lanes(a.dtype)
            _TileEmitter(builder, a.dtype, rows, vectors, width).emit(values, masked, clamped)
            return context.get_dummy_value()

        size = types.intp
        return types.void(a, size, size, a, size, size, a, size, a.dtype, types.boolean, size, size), codegen

    return tile


def _strip(vectors: int, *, masked: bool = False, single: bool = False) -> Any:
    """Compiled function for one strip of columns: whole tiles, then one short tile for the rows left."""
    whole = _register_tile(ROWS, vectors, masked=masked, single=single)
    short = _register_tile(ROWS, vectors, masked=masked, single=single, clamped=True)
    shorter = _register_tile(ROWS // 2, vectors, masked=masked, single=single, clamped=True)
    one = _register_tile(1, vectors, masked=masked, single=single)
    height = ROWS

    @part
    def strip(a, a_row, a_col, b, b_row, c, c_row, rows, columns, depth, alpha, accumulate):  # type: ignore[no-untyped-def]
        stay_a_call()
        i = 0
        while rows - i >= height:
            whole(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, height, columns)
            a = offset(a, height * a_row)
            c = offset(c, height * c_row)
            i += height
        left = rows - i
        if left > height // 2:
            short(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, left, columns)
        elif left > 1:
            shorter(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, left, columns)
        elif left == 1:
            one(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, left, columns)

    return strip


_wide = _strip(2)
_one_long = _register_tile(1, 8)  # a single row has only its columns to hide the latency of its sums
_wide_edge = _strip(2, masked=True)
_edge = _strip(1, masked=True)
_narrow = _strip(1)
_column = _strip(1, single=True)


@part
def multiply(
    a: Pointer, a_row: int, a_col: int, b: Pointer, b_row: int, c: Pointer, c_row: int,
    rows: int, columns: int, depth: int, alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """Compute ``C (+)= alpha * A @ B`` on pointers: the product for kernels that lay out their own buffers.

    Parameters
    ----------
    a, a_row, a_col
        Pointer to A (rows, depth) and its strides, in elements.
    b, b_row
        Pointer to B (depth, columns) and the stride of its rows; its columns are adjacent.
    c, c_row
        The same for C (rows, columns), which must not overlap A or B.
    alpha : number of the pointers' type
    accumulate : bool
        Add to C instead of overwriting it.
    """
    stay_a_call()
    if depth < 1:
        if not accumulate:
            for i in range(rows):
                for j in range(columns):
                    c[i * c_row + j] = 0
        return
    width = lanes(a)
    j = 0
    while j < columns:
        left = columns - j
        if rows == 1 and left >= 8 * width:
            _one_long(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, 1, 0)
            step = 8 * width
        elif left >= 2 * width:
            _wide(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)
            step = 2 * width
        elif MASKED and left > width:
            _wide_edge(a, a_row, a_col, b, b_row, c, c_row, rows, left - width, depth, alpha, accumulate)
            step = left
        elif MASKED:
            _edge(a, a_row, a_col, b, b_row, c, c_row, rows, left, depth, alpha, accumulate)
            step = left
        elif left >= width:
            _narrow(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)
            step = width
        else:
            _column(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)
            step = 1
        b = offset(b, step)
        c = offset(c, step)
        j += step


@part
def multiply_panel(
    a: Pointer, a_row: int, a_col: int, b: Pointer, b_row: int, c: Pointer, c_row: int,
    rows: int, columns: int, depth: int, alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """`multiply` for exactly one or two vectors of columns, as padded buffers have them; `depth` is at least 1."""
    if columns > lanes(a):
        _wide(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)
    else:
        _narrow(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)


# ---------------------------------------------------------------------------------------------------
# Transposition
# ---------------------------------------------------------------------------------------------------


def _transpose_square(edge: bool) -> Any:
    """Intrinsic that transposes a square of one vector by one vector in registers; at an edge, a part of it."""

    @intrinsic
    def square(
        typingctx: Any, source: Any, source_row: Any, target: Any, target_row: Any, rows: Any, columns: Any
    ) -> Any:
        def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
            source_pointer, source_stride, target_pointer, target_stride, row_count, column_count = values
            width = _lanes(source.dtype)
            tile = _TileEmitter(b, source.dtype, width, 1, width)
            steps = [source_stride.type(i) for i in range(width)]
            load_mask = tile.first_lanes(column_count) if edge else None
            store_mask = tile.first_lanes(row_count) if edge else None
            vectors = []
            for i in steps:
                row = b.select(b.icmp_signed("<", i, row_count), i, steps[0]) if edge else i
                vectors.append(tile.load(b.gep(source_pointer, [b.mul(row, source_stride)]), load_mask))
            # exchange off-diagonal blocks of width / 2, then within each block of width / 4, ..., then of 1
            block = width // 2
            while block:
                low = [width + lane - block if lane & block else lane for lane in range(width)]
                high = [width + lane if lane & block else lane + block for lane in range(width)]
                for i in range(width):
                    if not i & block:
                        pair = vectors[i], vectors[i + block]
                        for at, order in ((i, low), (i + block, high)):
                            indices = llvm.Constant(llvm.VectorType(_i32, width), order)
                            vectors[at] = b.shuffle_vector(*pair, indices)
                block //= 2
            for i, vector in zip(steps, vectors, strict=True):
                cells = b.gep(target_pointer, [b.mul(i, target_stride)])
                if edge:
                    with b.if_then(b.icmp_signed("<", i, column_count)):
                        tile.store(vector, cells, store_mask)
                else:
                    tile.store(vector, cells, store_mask)
            return context.get_dummy_value()

        size = types.intp
        return types.void(source, size, source, size, size, size), codegen

    return square


_whole_square, _part_of_square = _transpose_square(edge=False), _transpose_square(edge=True)


@part
def transpose(source: Pointer, source_row: int, target: Pointer, target_row: int, rows: int, columns: int) -> None:
    """Write ``target[j, i] = source[i, j]`` for a source (rows, columns); strides of the rows in elements."""
    stay_a_call()
    width = lanes(source)
    for i in range(0, rows, width):
        for j in range(0, columns, width):
            here, there = offset(source, i * source_row + j), offset(target, j * target_row + i)
            height, length = min(width, rows - i), min(width, columns - j)
            if height == width and length == width:
                _whole_square(here, source_row, there, target_row, height, length)
            elif MASKED:
                _part_of_square(here, source_row, there, target_row, height, length)
            else:
                for u in range(height):
                    for v in range(length):
                        there[v * target_row + u] = here[u * source_row + v]


# ---------------------------------------------------------------------------------------------------
# Products of arrays
# ---------------------------------------------------------------------------------------------------


@part
def _pack(b, b_row, b_col, packed, depth, columns):  # type: ignore[no-untyped-def]
    """Copy B (depth, columns) into panels of two vectors, [panel][k][column]; the last one may be partly unset."""
    panel = 2 * lanes(b)
    for start in range(0, columns, panel):
        width = min(panel, columns - start)
        here, there = offset(b, start * b_col), offset(packed, start * depth)
        if b_row == 1:
            transpose(here, b_col, there, panel, width, depth)
        else:
            for k in range(depth):
                for j in range(width):
                    there[k * panel + j] = here[k * b_row + j * b_col]


@part
def _product(a, a_row, a_col, b, b_row, b_col, c, c_row, scratch, packs, rows, columns, depth, alpha, accumulate):  # type: ignore[no-untyped-def]
    stay_a_call()
    panel = 2 * lanes(a)
    for k in range(0, max(depth, 1), DEPTH):
        steps = min(DEPTH, depth - k)
        add = accumulate or k > 0
        for j in range(0, columns, COLUMNS):
            width = min(COLUMNS, columns - j)
            b_block = offset(b, k * b_row + j * b_col)
            if packs:
                _pack(b_block, b_row, b_col, scratch, steps, width)
            for i in range(0, rows, HEIGHT):
                height = min(HEIGHT, rows - i)
                a_block, c_block = offset(a, i * a_row + k * a_col), offset(c, i * c_row + j)
                # panels lie apart in packed form and side by side otherwise
                step = panel if packs else width
                for p in range(0, width, step):
                    b_panel = offset(scratch, p * steps) if packs else b_block
                    multiply(
                        a_block, a_row, a_col, b_panel, panel if packs else b_row, offset(c_block, p), c_row,
                        height, min(step, width - p), steps, alpha, add,
                    )  # fmt: skip


@kernel
def gemm(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, trans_a: bool, trans_b: bool, row_start: int, row_stop: int,
    alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """Compute rows of ``out (+)= alpha * op(a) @ op(b)``, where ``op`` transposes if its flag says so.

    The bits of a row depend neither on `row_start` and `row_stop` nor on the layouts.

    Parameters
    ----------
    a : ndarray, (M, K), or (K, M) if `trans_a`
        Of any strides that are multiples of the element's size.
    b : ndarray, (K, N), or (N, K) if `trans_b`
        The same; copied into panels unless ``op(b)`` has adjacent columns and rows that lie near.
    out : ndarray, (M, N)
        With adjacent columns; written from `row_start` to `row_stop`, and overlapping neither input.
    alpha : number of the arrays' type
    accumulate : bool
        Add to `out` instead of overwriting it.
    """
    size = a.itemsize
    a_row, a_col = a.strides[0] // size, a.strides[1] // size
    b_row, b_col = b.strides[0] // size, b.strides[1] // size
    depth = a.shape[1]
    if trans_a:
        a_row, a_col, depth = a_col, a_row, a.shape[0]
    if trans_b:
        b_row, b_col = b_col, b_row
    rows, columns, c_row = row_stop - row_start, out.shape[1], out.strides[0] // size
    if rows <= 0 or columns <= 0:
        return
    packs = depth > 0 and (b_col != 1 or (b_row * size >= FAR_BYTES and rows >= FAR_ROWS))
    panel = 2 * lanes(pointer(a))
    scratch = np.empty(min(depth, DEPTH) * min(-(-columns // panel) * panel, COLUMNS) if packs else 0, a.dtype)
    _product(
        offset(pointer(a), row_start * a_row), a_row, a_col, pointer(b), b_row, b_col,
        offset(pointer(out), row_start * c_row), c_row, pointer(scratch), packs, rows, columns, depth,
        alpha, accumulate,
    )  # fmt: skip
