"""Matrix products and transposition on pointers, for compiled kernels.

A tile of the result, a few rows by two vectors, stays in registers while k runs over the inner dimension.
Each step broadcasts one number of A for each row and multiplies it with two vectors of B.  A is read through
two strides, so a transposed A needs no copy.  The columns of B must be adjacent.

The vector width is that of the processor, determined when the module is imported: 64 bytes with AVX-512, 32
with AVX, else 16 (SSE, NEON).  Columns after the last whole vector use masked instructions with AVX, and are
computed one by one elsewhere.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.integers import larger, smaller
from backends.numba_backend.kernel_cache import target_cpu
from backends.numba_backend.subroutine import subroutine
from backends.numba_backend.vector_math import emit_fma

Pointer = Any
"""A pointer to float32 or float64 in compiled code."""

_FEATURES = target_cpu().features

VECTOR_BYTES = 64 if "avx512f" in _FEATURES else 32 if "avx" in _FEATURES else 16
MASKED = VECTOR_BYTES > 16
"""Whether loads and stores of part of a vector are one instruction."""
ROWS = {64: 8, 32: 6}.get(VECTOR_BYTES, 8 if "neon" in _FEATURES else 4)
"""Rows of a tile: with two vectors of columns, the sums, B and a broadcast fit into the 32 or 16 registers."""

for_strides = functools.partial(subroutine, constants=("a_row", "a_col"))
"""Decorator: a subroutine with a version for each constant stride of A; one of them is 1 in most products."""

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


@intrinsic
def lanes(typingctx: Any, start: Any) -> Any:
    """Number of elements in one vector of the type that `start` points to."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.get_constant(types.intp, _lanes(start.dtype))

    return types.intp(start), codegen


def _lanes(real: types.Float) -> int:
    return VECTOR_BYTES * 8 // int(real.bitwidth)


@intrinsic
def noinline(typingctx: Any) -> Any:
    """Forbid inlining of the calling function: tiles are large, and each inlined copy would be compiled again."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


# ---------------------------------------------------------------------------------------------------
# Register tiles
# ---------------------------------------------------------------------------------------------------


class _TileEmitter:
    """Emits the LLVM IR of one tile: C[rows, vectors] (+)= alpha * A[rows, depth] @ B[depth, vectors]."""

    def __init__(self, builder: Any, real: types.Float, rows: int, vectors: int, lanes: int) -> None:
        self.builder, self.rows, self.vectors, self.lanes = builder, rows, vectors, lanes
        self.scalar = llvm.FloatType() if real == types.float32 else llvm.DoubleType()
        self.vector = llvm.VectorType(self.scalar, lanes)
        self.align = int(real.bitwidth) // 8
        self.name = f"v{lanes}f{real.bitwidth}"
        self.mask_type = llvm.VectorType(llvm.IntType(1), lanes)

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

    def prefetch(self, address: Any) -> None:
        """Begin to load the cache line of an address, which need not be valid, into the second-level cache."""
        kinds = [_i32(0), _i32(2), _i32(1)]  # for reading, level 2, data
        self._intrinsic("llvm.prefetch.p0", llvm.VoidType(), [address, *kinds])

    def emit(
        self, arguments: Any, masked: bool, clamped: bool, items: Any = None, ahead: tuple[Any, Any] | None = None
    ) -> None:
        """Emit the tile.

        With `items`, a pointer to `depth` int32 numbers, the sums are over these numbers only.  With `ahead`, a pointer
        and a number of elements, each step prefetches what is so many elements farther than in the step before.
        """
        b = self.builder
        a, a_row, a_col, B, b_row, depth, C, c_row, alpha, accumulate, rows, columns = arguments
        size = depth.type
        steps = [size(i) for i in range(self.rows)]
        # a tile with fewer rows repeats its last row; the repeated rows are computed but not stored
        exists = [b.icmp_signed("<", i, rows) if clamped else None for i in steps]
        row_numbers = [
            b.select(valid, i, b.sub(rows, size(1))) if clamped else i for i, valid in zip(steps, exists, strict=True)
        ]
        row_starts = [b.mul(i, a_row) for i in row_numbers]
        last = self.first_lanes(columns) if masked else None
        masks = [None] * (self.vectors - 1) + [last]

        before, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("sums")
        b.branch(loop)
        b.position_at_end(loop)
        k = b.phi(size)
        k.add_incoming(size(0), before)
        sums = [[b.phi(self.vector) for _ in range(self.vectors)] for _ in range(self.rows)]
        a_k, b_k = (b.phi(a.type), b.phi(B.type)) if items is None else (a, B)
        if items is None:
            a_k.add_incoming(a, before)
            b_k.add_incoming(B, before)
        else:
            item = b.sext(b.load(b.gep(items, [k])), size)
            a_k, b_k = b.gep(a, [b.mul(item, a_col)]), b.gep(B, [b.mul(item, b_row)])
        if ahead is not None:
            self.prefetch(b.gep(ahead[0], [b.mul(k, ahead[1])]))
        b_vectors = [self.load(b.gep(b_k, [size(j * self.lanes)]), masks[j]) for j in range(self.vectors)]
        totals = []
        for i in range(self.rows):
            a_value = self.broadcast(b.load(b.gep(a_k, [row_starts[i]])))
            totals.append([emit_fma(b, a_value, b_vectors[j], sums[i][j]) for j in range(self.vectors)])
        for i in range(self.rows):
            for j in range(self.vectors):
                sums[i][j].add_incoming(llvm.Constant(self.vector, [0.0] * self.lanes), before)
                sums[i][j].add_incoming(totals[i][j], loop)
        k_next = b.add(k, size(1))
        k.add_incoming(k_next, loop)
        if items is None:
            a_k.add_incoming(b.gep(a_k, [a_col]), loop)
            b_k.add_incoming(b.gep(b_k, [b_row]), loop)
        b.cbranch(b.icmp_signed("<", k_next, depth), loop, after)

        b.position_at_end(after)
        scale, zero = self.broadcast(alpha), llvm.Constant(self.vector, [0.0] * self.lanes)
        # -0 becomes 0: the sign of a zero, which is left if all products are too small, must not depend on added zeros
        totals = [[b.fadd(total, zero) for total in row] for row in totals]

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
                        if exists[i] is None or i == 0:
                            finish(i, add)
                        else:
                            with b.if_then(exists[i]):
                                finish(i, add)


def _listed_tile(rows: int, vectors: int, *, clamped: bool = False) -> Any:
    """`_register_tile` for sums over the numbers in a list, which is the last argument."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any, items: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            *arguments, numbers = values
            _TileEmitter(builder, a.dtype, rows, vectors, _lanes(a.dtype)).emit(arguments, False, clamped, numbers)
            return context.get_dummy_value()

        size = types.intp
        return types.void(a, size, size, a, size, size, a, size, a.dtype, types.boolean, size, size, items), codegen

    return tile


def _register_tile(
    rows: int, vectors: int, *, masked: bool = False, clamped: bool = False, single: bool = False
) -> Any:
    """Intrinsic that computes one tile; `masked` and `clamped` tiles read and write only the given columns and rows."""

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


def _tile_ahead(vectors: int) -> Any:
    """`_register_tile` of `ROWS` rows whose steps prefetch: the last arguments are a pointer and a step in elements."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any, ahead: Any, step: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            emitter = _TileEmitter(builder, a.dtype, ROWS, vectors, _lanes(a.dtype))
            emitter.emit(values[:-2], False, False, ahead=(values[-2], values[-1]))
            return context.get_dummy_value()

        size = types.intp
        arguments = (a, size, size, a, size, size, a, size, a.dtype, types.boolean, size, size, a, size)
        return types.void(*arguments), codegen

    return tile


def _listed_tile_ahead(vectors: int) -> Any:
    """`_tile_ahead` for sums over the numbers in a list, which is the argument before the last two."""

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_col: Any, b: Any, b_row: Any, depth: Any, c: Any, c_row: Any,
        alpha: Any, accumulate: Any, rows_left: Any, columns_left: Any, items: Any, ahead: Any, step: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            emitter = _TileEmitter(builder, a.dtype, ROWS, vectors, _lanes(a.dtype))
            emitter.emit(values[:-3], False, False, values[-3], (values[-2], values[-1]))
            return context.get_dummy_value()

        size = types.intp
        arguments = (a, size, size, a, size, size, a, size, a.dtype, types.boolean, size, size, items, a, size)
        return types.void(*arguments), codegen

    return tile


def _strip(vectors: int, *, masked: bool = False, single: bool = False) -> Any:
    """Compiled function for one strip of columns: full tiles, then one smaller tile for the remaining rows."""
    full = _register_tile(ROWS, vectors, masked=masked, single=single)
    partial = _register_tile(ROWS, vectors, masked=masked, single=single, clamped=True)
    half = _register_tile(ROWS // 2, vectors, masked=masked, single=single, clamped=True)
    one = _register_tile(1, vectors, masked=masked, single=single)
    height = ROWS

    @subroutine
    def rest(a, a_row, a_col, b, b_row, c, c_row, rows, columns, depth, alpha, accumulate):  # type: ignore[no-untyped-def]
        noinline()
        if rows > height // 2:
            partial(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, rows, columns)
        elif rows > 1:
            half(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, rows, columns)
        else:
            one(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, rows, columns)

    @for_strides
    def strip(a, a_row, a_col, b, b_row, c, c_row, rows, columns, depth, alpha, accumulate):  # type: ignore[no-untyped-def]
        noinline()
        i = 0
        while rows - i >= height:
            full(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, height, columns)
            a = offset(a, height * a_row)
            c = offset(c, height * c_row)
            i += height
        if rows > i:
            rest(a, a_row, a_col, b, b_row, c, c_row, rows - i, columns, depth, alpha, accumulate)

    return strip


def _listed_strip(vectors: int) -> Any:
    """`_strip` with a list for each tile: the number of its entries, then the numbers that its sums are over."""
    full, partial = _listed_tile(ROWS, vectors), _listed_tile(ROWS, vectors, clamped=True)
    one, height = _listed_tile(1, vectors), ROWS

    @subroutine
    def rest(a, a_row, a_col, b, b_row, c, c_row, rows, depth, items, alpha, accumulate):  # type: ignore[no-untyped-def]
        noinline()
        if rows > 1:
            partial(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, rows, 0, items)
        else:
            one(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, rows, 0, items)

    @for_strides
    def strip(a, a_row, a_col, b, b_row, c, c_row, rows, lists, stride, alpha, accumulate):  # type: ignore[no-untyped-def]
        noinline()
        for i in range(0, rows, height):
            items, left = offset(lists, 1), smaller(height, rows - i)
            # an empty list has an entry whose product is zero; to add a negative number times zero changes nothing
            depth = larger(lists[0], 1)
            if lists[0] == 0 and accumulate and alpha < 0:
                pass
            elif left == height:
                full(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, left, 0, items)
            else:
                rest(a, a_row, a_col, b, b_row, c, c_row, left, depth, items, alpha, accumulate)
            a = offset(a, height * a_row)
            c = offset(c, height * c_row)
            lists = offset(lists, stride)

    return strip


def _strip_ahead(vectors: int) -> Any:
    """Whole tiles of a strip, with lists or without, which prefetch rows of A for later: see `multiply_panel_ahead`."""
    full, listed, height = _tile_ahead(vectors), _listed_tile_ahead(vectors), ROWS

    @subroutine
    def strip(a, a_row, b, b_row, c, c_row, rows, depth, lists, stride, alpha, accumulate, ahead):  # type: ignore[no-untyped-def]
        noinline()
        line = lanes(a) * 64 // VECTOR_BYTES  # elements of a cache line
        for _ in range(0, rows, height):
            if stride:
                count = max(lists[0], 1)
                step = min((height * depth + count - 1) // count, line)
                listed(
                    a, a_row, 1, b, b_row, count, c, c_row, alpha, accumulate, height, 0, offset(lists, 1), ahead, step
                )  # fmt: skip
            else:
                full(a, a_row, 1, b, b_row, depth, c, c_row, alpha, accumulate, height, 0, ahead, height)
            a = offset(a, height * a_row)
            c = offset(c, height * c_row)
            ahead = offset(ahead, height * a_row)
            lists = offset(lists, stride)

    return strip


_wide = _strip(2)
_long_row = _register_tile(1, 8)  # a single row needs many columns to hide the latency of its sums
_wide_edge = _strip(2, masked=True)
_edge = _strip(1, masked=True)
_narrow = _strip(1)
_column = _strip(1, single=True)
_wide_listed, _narrow_listed = _listed_strip(2), _listed_strip(1)
_wide_ahead, _narrow_ahead = _strip_ahead(2), _strip_ahead(1)


@for_strides
def multiply(
    a: Pointer, a_row: int, a_col: int, b: Pointer, b_row: int, c: Pointer, c_row: int,
    rows: int, columns: int, depth: int, alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """Compute ``C (+)= alpha * A @ B`` on pointers, for kernels with their own memory layout.

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
    noinline()
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
            _long_row(a, a_row, a_col, b, b_row, depth, c, c_row, alpha, accumulate, 1, 0)
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


@for_strides
def multiply_panel(
    a: Pointer, a_row: int, a_col: int, b: Pointer, b_row: int, c: Pointer, c_row: int,
    rows: int, columns: int, depth: int, alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """`multiply` for exactly one or two vectors of columns, as in padded buffers; `depth` must be at least 1."""
    if columns > lanes(a):
        _wide(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)
    else:
        _narrow(a, a_row, a_col, b, b_row, c, c_row, rows, 0, depth, alpha, accumulate)


@for_strides
def multiply_panel_listed(
    a: Pointer, a_row: int, a_col: int, b: Pointer, b_row: int, c: Pointer, c_row: int,
    rows: int, columns: int, lists: Pointer, stride: int, alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """`multiply_panel`, where the columns of A in which all `ROWS` rows of a tile are zero are left out.

    The result has the same bits if B is finite.

    Parameters
    ----------
    lists : pointer to int32
        Of the first `ROWS` rows of A: how many columns are not left out, and their numbers; if there are none, the
        number of any column.
    stride : int
        From one list to that of the next `ROWS` rows.
    """
    if columns > lanes(a):
        _wide_listed(a, a_row, a_col, b, b_row, c, c_row, rows, lists, stride, alpha, accumulate)
    else:
        _narrow_listed(a, a_row, a_col, b, b_row, c, c_row, rows, lists, stride, alpha, accumulate)


@subroutine
def multiply_panel_ahead(
    a: Pointer, a_row: int, b: Pointer, b_row: int, c: Pointer, c_row: int,
    rows: int, columns: int, depth: int, lists: Pointer, stride: int, alpha: float, accumulate: bool, ahead: Pointer,
) -> None:  # fmt: skip
    """`multiply_panel`, or with a `stride` `multiply_panel_listed`, which prefetches later rows of A from memory.

    The columns of A must be adjacent.

    Parameters
    ----------
    ahead : pointer
        Rows with the stride of A; while a tile is computed, most of ``ROWS * depth`` elements there are prefetched.
        Need not point to valid memory.
    """
    whole = rows // ROWS * ROWS
    if columns > lanes(a):
        _wide_ahead(a, a_row, b, b_row, c, c_row, whole, depth, lists, stride, alpha, accumulate, ahead)
    else:
        _narrow_ahead(a, a_row, b, b_row, c, c_row, whole, depth, lists, stride, alpha, accumulate, ahead)
    if whole < rows:
        a, c = offset(a, whole * a_row), offset(c, whole * c_row)  # without a list the bits are the same
        multiply_panel(a, a_row, 1, b, b_row, c, c_row, rows - whole, columns, depth, alpha, accumulate)


# ---------------------------------------------------------------------------------------------------
# Transposition
# ---------------------------------------------------------------------------------------------------


def _transpose_square(edge: bool) -> Any:
    """Intrinsic that transposes a square of one vector by one vector in registers, or a part of it at an edge."""

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
                        for position, order in ((i, low), (i + block, high)):
                            indices = llvm.Constant(llvm.VectorType(_i32, width), order)
                            vectors[position] = b.shuffle_vector(*pair, indices)
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
