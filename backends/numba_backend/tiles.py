"""Matrix products on pointers, for compiled kernels: strips of register tiles.

A strip is one or two vectors of columns of the result, a tile below the other; see `register_tiles`.
"""

from __future__ import annotations

import functools
from typing import Any

from backends.numba_backend.integers import larger, smaller
from backends.numba_backend.pointers import Pointer, offset
from backends.numba_backend.register_tiles import ROWS, listed_tile, listed_tile_ahead, register_tile, tile_ahead
from backends.numba_backend.subroutine import noinline, subroutine
from backends.numba_backend.vectors import MASKED, VECTOR_BYTES, lanes

for_strides = functools.partial(subroutine, constants=("a_row", "a_col"))
"""Decorator: a subroutine with a version for each constant stride of A; one of them is 1 in most products."""


def _strip(vectors: int, *, masked: bool = False, single: bool = False) -> Any:
    """Compiled function for one strip of columns: full tiles, then one smaller tile for the remaining rows."""
    full = register_tile(ROWS, vectors, masked=masked, single=single)
    partial = register_tile(ROWS, vectors, masked=masked, single=single, clamped=True)
    half = register_tile(ROWS // 2, vectors, masked=masked, single=single, clamped=True)
    one = register_tile(1, vectors, masked=masked, single=single)
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
    full, partial = listed_tile(ROWS, vectors), listed_tile(ROWS, vectors, clamped=True)
    one, height = listed_tile(1, vectors), ROWS

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
    full, listed, height = tile_ahead(vectors), listed_tile_ahead(vectors), ROWS

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
_long_row = register_tile(1, 8)  # a single row needs many columns to hide the latency of its sums
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
