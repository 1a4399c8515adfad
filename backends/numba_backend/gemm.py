"""Matrix products of arrays, from the register tiles of `tiles`.

`gemm` divides the product into blocks that fit the caches.  It copies B into panels of two vectors of columns
where the columns of B are not adjacent, or where its rows are so far apart that each is in another memory page.

**Reproducible bits.**  Every element of the result is summed in order of k, by one chain of fused
multiply-adds in each block of `DEPTH` steps.  The result does not depend on which tile computed it, how the rows
were divided among threads, or whether an operand was packed.  So a product of one row has the same bits as that
row of the whole product.  (OpenBLAS does not guarantee this.)
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import numpy as np

from backends.numba_backend.integers import larger, smaller
from backends.numba_backend.kernel_cache import kernel
from backends.numba_backend.pointers import keep_alive, offset, pointer
from backends.numba_backend.subroutine import noinline, subroutine
from backends.numba_backend.tiles import multiply
from backends.numba_backend.transposition import transpose
from backends.numba_backend.vectors import lanes

DEPTH = 512
"""Longest chain of sums: the part of B that a strip of tiles reads repeatedly stays in the cache."""
COLUMNS = 512
"""Columns of B that are packed at once."""
HEIGHT = 192
"""Rows of A that stay in the cache while the panels of B are read."""
FAR_BYTES, FAR_ROWS = 4096, 64
"""Rows of B at least this many bytes apart are in separate memory pages; packing pays from this many rows of A."""


@subroutine
def _pack(b, b_row, b_col, packed, depth, columns):  # type: ignore[no-untyped-def]
    """Copy B (depth, columns) into panels of two vectors, [panel][k][column]; the end of the last may stay unset."""
    panel = 2 * lanes(b)
    for start in range(0, columns, panel):
        width = smaller(panel, columns - start)
        source, target = offset(b, start * b_col), offset(packed, start * depth)
        if b_row == 1:
            transpose(source, b_col, target, panel, width, depth)
        else:
            for k in range(depth):
                for j in range(width):
                    target[k * panel + j] = source[k * b_row + j * b_col]


@subroutine
def _product(a, a_row, a_col, b, b_row, b_col, c, c_row, scratch, packs, rows, columns, depth, alpha, accumulate):  # type: ignore[no-untyped-def]
    noinline()
    panel = 2 * lanes(a)
    for k in range(0, larger(depth, 1), DEPTH):
        steps = smaller(DEPTH, depth - k)
        add = accumulate or k > 0
        for j in range(0, columns, COLUMNS):
            width = smaller(COLUMNS, columns - j)
            b_block = offset(b, k * b_row + j * b_col)
            if packs:
                _pack(b_block, b_row, b_col, scratch, steps, width)
            for i in range(0, rows, HEIGHT):
                height = smaller(HEIGHT, rows - i)
                a_block, c_block = offset(a, i * a_row + k * a_col), offset(c, i * c_row + j)
                # packed panels are separate in memory; without packing, one product covers all columns
                step = panel if packs else width
                for p in range(0, width, step):
                    b_panel = offset(scratch, p * steps) if packs else b_block
                    multiply(
                        a_block, a_row, a_col, b_panel, panel if packs else b_row, offset(c_block, p), c_row,
                        height, smaller(step, width - p), steps, alpha, add,
                    )  # fmt: skip


@kernel
def gemm(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, trans_a: bool, trans_b: bool, row_start: int, row_stop: int,
    alpha: float, accumulate: bool,
) -> None:  # fmt: skip
    """Compute rows of ``out (+)= alpha * op(a) @ op(b)``, where ``op`` transposes if `trans_a` or `trans_b` is set.

    The bits of a row depend neither on `row_start` and `row_stop` nor on the layouts.

    Parameters
    ----------
    a : ndarray, (M, K), or (K, M) if `trans_a`
        Strides must be multiples of the element size.
    b : ndarray, (K, N), or (N, K) if `trans_b`
        Likewise.  It is copied into panels unless ``op(b)`` has adjacent columns and its rows are close together.
    out : ndarray, (M, N)
        Columns must be adjacent.  Rows `row_start` to `row_stop` are written.  May not overlap a or b.
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
    keep_alive(scratch)
