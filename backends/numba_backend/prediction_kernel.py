"""The outputs of a network for any number of rows as one compiled call for each thread.

The rows are taken through all layers in blocks, so that the numbers between the layers stay in the cache.  The threads
take the blocks one after the other, and whoever is free takes the next.

**The bits are those of `dense`, layer by layer.**  Each entry of a product is one chain of fused multiply-adds in each
`DEPTH` steps of the inner dimension, as in `gemm`, and the bias is added to it.  So they depend neither on the number
of rows nor on blocks, threads, or what follows.

For few rows the products read the weights where they are.  For many, the caller copies the weights into panels, and
zeros of the input are left out of the first product if there are enough of them in a block (see `nonzero_lists`) and
all weights of that layer are finite: zero times infinity would be lost.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
import math
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.formula_loops import apply_activation
from backends.numba_backend.gemm import DEPTH
from backends.numba_backend.kernel_cache import kernel
from backends.numba_backend.nonzero_lists import DENSE_COLUMNS, GROUP, largest, list_columns, list_length
from backends.numba_backend.pointers import keep_alive, offset, pointer
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.subroutine import noinline, subroutine
from backends.numba_backend.synchronization import atomic_add, atomic_store
from backends.numba_backend.tiles import multiply, multiply_panel, multiply_panel_ahead
from backends.numba_backend.vector_math import exp
from backends.numba_backend.vectors import lanes

FIELDS = ("n_in", "n_out", "weights", "weights_row", "bias", "activation", "padded", "row", "panels")
"""Columns of the table of layers.

n_in, n_out           as in its ``W (n_in, n_out)``
weights, weights_row  address of W, whose columns are adjacent, and the stride of its rows in elements
bias                  address of b
activation            address of the loop of its activation, `IDENTITY` or `SOFTMAX`
padded                n_out rounded up to whole vectors
row                   stride of the rows of its output
panels                position of its first panel, if the weights are packed
"""

N_IN, N_OUT, WEIGHTS, WEIGHTS_ROW, BIAS, ACTIVATION, PADDED, ROW, PANELS = range(len(FIELDS))

IDENTITY, SOFTMAX = 0, -1

BLOCKS, FAILED = range(2)
"""Entries of the kernel's state: number of blocks taken; whether an input or output is not finite."""


@intrinsic
def _pointer_like(typingctx: Any, start: Any, address: Any) -> Any:
    """The number `address` as a pointer of the type of `start`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[1], values[0].type)

    return start(start, types.int64), codegen


@functools.cache
def prediction_kernel(dtype: np.dtype[Any]) -> Any:
    """The kernel for float32 or float64; compiled, or loaded from the cache, on first use."""
    real = dtype.type
    one = real(1)
    n_fields, list_stride = len(FIELDS), list_length(DEPTH)

    @subroutine
    def copy_rows(source, rows, n_in, target, row):  # type: ignore[no-untyped-def]
        """Copy rows of the input, converted and with adjacent entries."""
        noinline()
        x, x_row, x_col, bytes_, bytes_row, bytes_col, are_bytes, input_scale = source
        for i in range(rows):
            y = offset(target, i * row)
            if not are_bytes:
                for k in range(n_in):
                    y[k] = x[i * x_row + k * x_col]
            elif bytes_col == 1:
                adjacent = offset(bytes_, i * bytes_row)
                for k in range(n_in):
                    y[k] = real(adjacent[k]) * input_scale
            else:
                for k in range(n_in):
                    y[k] = real(bytes_[i * bytes_row + k * bytes_col]) * input_scale

    @subroutine
    def list_inputs(x, x_row, rows, n_in, lists, tiles):  # type: ignore[no-untyped-def]
        """List the columns of each tile of the block; return whether products should use the lists."""
        noinline()
        count = 0
        for i in range(0, rows, ROWS):
            for k in range(0, n_in, DEPTH):
                target = offset(lists, (k // DEPTH * tiles + i // ROWS) * list_stride)
                steps, height = min(DEPTH, n_in - k), min(ROWS, rows - i)
                list_columns(offset(x, i * x_row + k), x_row, height, steps, target, list_stride)
                count += target[0]
            if i == 0 and count > DENSE_COLUMNS * n_in:
                return False
        return True

    @subroutine
    def product(layer, x, x_row, z, rows):  # type: ignore[no-untyped-def]
        """Rows of ``x @ W``, from the weights where they are."""
        noinline()
        W, W_row = _pointer_like(x, layer[WEIGHTS]), layer[WEIGHTS_ROW]
        for k in range(0, layer[N_IN], DEPTH):
            steps = min(DEPTH, layer[N_IN] - k)
            multiply(
                offset(x, k), x_row, 1, offset(W, k * W_row), W_row, z, layer[ROW], rows, layer[N_OUT], steps, one,
                k > 0,
            )  # fmt: skip

    @subroutine
    def packed_product(layer, panels, x, x_row, z, rows, lists, tiles, distance):  # type: ignore[no-untyped-def]
        """Rows of ``x @ W``, from the panels.

        With `tiles` > 0, sums are over the entries in the lists.  With a `distance`, rows of x that are so many
        elements farther are prefetched.
        """
        noinline()
        wide, stride = 2 * lanes(x), list_stride if tiles else 0
        for k in range(0, layer[N_IN], DEPTH):
            steps = min(DEPTH, layer[N_IN] - k)
            for p in range(0, layer[PADDED], wide):
                width = min(wide, layer[PADDED] - p)
                panel = offset(panels, layer[PANELS] + k * layer[PADDED] + p * steps)
                if tiles or distance:
                    ahead = offset(x, (distance if p == 0 else 0) + ROWS * k)
                    multiply_panel_ahead(
                        offset(x, k), x_row, panel, width, offset(z, p), layer[ROW], rows, width, steps,
                        offset(lists, k // DEPTH * tiles * list_stride), stride, one, k > 0, ahead,
                    )  # fmt: skip
                else:
                    multiply_panel(
                        offset(x, k), x_row, 1, panel, width, offset(z, p), layer[ROW], rows, width, steps, one, k > 0
                    )

    @subroutine
    def activate(layer, z, rows, logits):  # type: ignore[no-untyped-def]
        """Add the bias to rows of z, and apply the activation unless it is softmax or the `logits` are wanted."""
        noinline()
        row, bias = layer[ROW], _pointer_like(z, layer[BIAS])
        for i in range(rows):
            entries = offset(z, i * row)
            for j in range(layer[N_OUT]):
                entries[j] += bias[j]
        if not logits and layer[ACTIVATION] != IDENTITY and layer[ACTIVATION] != SOFTMAX:
            apply_activation(layer[ACTIVATION], z, rows * row)  # whole rows, with the zeros that pad them

    @subroutine
    def all_finite(x, x_row, rows, n_in, z, row):  # type: ignore[no-untyped-def]
        """Whether the inputs of rows are finite, from which the first layer made z."""
        # if one is not, no entry of z is: each is a sum that includes its product with a weight
        if largest(z, rows * row) < math.inf:
            return True
        finite = True
        for i in range(rows):
            finite &= largest(offset(x, i * x_row), n_in) < math.inf
        return finite

    @subroutine
    def softmax(z, row, y, rows, n):  # type: ignore[no-untyped-def]
        """`softmax_row` for many rows, whose exponentials are computed together; z is overwritten."""
        noinline()
        for i in range(rows):
            entries = offset(z, i * row)
            highest = entries[0]
            for j in range(1, n):
                highest = highest if highest >= entries[j] or highest != highest else entries[j]
            for j in range(n):
                entries[j] = entries[j] - highest
        for i in range(rows * row):
            z[i] = exp(z[i])
        for i in range(rows):
            e, result, total = offset(z, i * row), offset(y, i * n), 0.0
            for j in range(n):
                total += e[j]
            for j in range(n):
                result[j] = e[j] / real(total)

    @kernel
    def predict(x, x_bytes, input_scale, table, panels, leave_out, y, block, logits, state):  # type: ignore[no-untyped-def]
        """Write the outputs (or the logits) for rows of x to y, block by block, until `state` says that all are taken.

        `leave_out` says whether zeros may be left out; `panels` is empty if the weights are not packed.
        """
        first_layer, n_layers, n_rows = pointer(table), table.shape[0], y.shape[0]
        n_in, n_out, size = table[0, N_IN], table[n_layers - 1, N_OUT], x.itemsize
        are_bytes, is_packed, all_panels = x_bytes.shape[0] > 0, panels.size > 0, pointer(panels)
        x_row, x_col = x.strides[0] // size, x.strides[1] // size
        # lists are made from groups of entries, which must not reach beyond the array
        copies = are_bytes or x_col != 1 or (leave_out and n_in % GROUP != 0)
        in_row = (n_in + GROUP - 1) // GROUP * GROUP
        longest = 0
        for l in range(n_layers):
            longest = max(longest, table[l, ROW])
        tiles = (block + ROWS - 1) // ROWS
        space = np.empty(block * (2 * longest + (in_row if copies else 0)), x.dtype)
        list_buffer = np.empty(tiles * ((n_in + DEPTH - 1) // DEPTH) * list_stride if leave_out else 0, np.int32)
        results, lists, counts = pointer(y), pointer(list_buffer), pointer(state)
        copied = offset(pointer(space), 2 * block * longest)
        first = atomic_add(counts, BLOCKS, 1) * block
        while first < n_rows:
            following = atomic_add(counts, BLOCKS, 1) * block
            distance = 0 if copies or following >= n_rows else (following - first) * x_row
            rows = min(block, n_rows - first)
            inputs, row = offset(pointer(x), first * x_row), x_row
            if copies:
                source = (
                    inputs, x_row, x_col,
                    offset(pointer(x_bytes), first * x_bytes.strides[0]), x_bytes.strides[0], x_bytes.strides[1],
                    are_bytes, input_scale,
                )  # fmt: skip
                copy_rows(source, rows, n_in, copied, in_row)
                inputs, row = copied, in_row
            listed, finite = 0, True
            if leave_out and list_inputs(inputs, row, rows, n_in, lists, tiles):
                listed = tiles
            for l in range(n_layers):
                layer = offset(first_layer, l * n_fields)
                z = offset(pointer(space), (l & 1) * block * longest)
                if is_packed:
                    packed_product(layer, all_panels, inputs, row, z, rows, lists, listed, distance)
                else:
                    product(layer, inputs, row, z, rows)
                if l == 0 and not are_bytes:
                    finite = all_finite(inputs, row, rows, n_in, z, layer[ROW])
                activate(layer, z, rows, logits and l == n_layers - 1)
                inputs, row, listed, distance = z, layer[ROW], 0, 0
            result = offset(results, first * n_out)
            if not logits and table[n_layers - 1, ACTIVATION] == SOFTMAX:
                softmax(inputs, row, result, rows, n_out)
            else:
                for i in range(rows):
                    for j in range(n_out):
                        result[i * n_out + j] = inputs[i * row + j]
            finite &= largest(result, rows * n_out) < math.inf
            if not finite:
                atomic_store(counts, FAILED, 1)  # any thread may write this, and nothing else
            first = following
        keep_alive(space)
        keep_alive(list_buffer)

    f, size, flag = numba.from_dtype(dtype), types.intp, types.boolean

    def read(kind: Any, ndim: int, layout: Any = "C") -> Any:
        return types.Array(kind, ndim, layout, readonly=True)

    predict.compile(
        (
            read(f, 2, "A"), read(types.uint8, 2, "A"), f, read(types.int64, 2), read(f, 1), flag,
            types.Array(f, 2, "C"), size, flag, types.Array(types.int64, 1, "C"),
        )
    )  # fmt: skip
    predict.disable_compile()
    return predict
