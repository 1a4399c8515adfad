"""Parts of a training step that many plans do not need: dropout, the losses, penalties of the gradient and sums of it.

As the loops of formulas, each part is compiled on its own, or loaded from the cache, when a plan first needs it.  The
epoch kernel calls it by its address: `step_part` gives the address, and `call` is the call in compiled code.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir as llvm
from numba.core import cgutils, types
from numba.extending import intrinsic

from backends.numba_backend.formula_loops import apply_activation, apply_derivative
from backends.numba_backend.kernel_cache import function_address
from backends.numba_backend.operation_kernels import row_functions
from backends.numba_backend.panels import (
    ACTIVATION,
    DELTA,
    DERIVATIVE,
    N_IN,
    N_OUT,
    NUMBER,
    ROW,
    SAVED,
    SAVES_Z,
    SCALE,
    THRESHOLD,
)
from backends.numba_backend.pointers import offset
from backends.numba_backend.subroutine import subroutine
from backends.numba_backend.vector_math import abs as absolute
from backends.numba_backend.vector_math import maximum, minimum, sign

CLASS, DISTRIBUTION, FUSED, ENTRIES, SOFTMAX = range(5)
"""Kinds of loss: cross-entropy for class numbers; for rows of probabilities; a formula fused with its output's
activation; a formula on any other output; on softmax."""

_compiling = threading.Lock()  # two threads may need the same part at the same time


def step_part(make: Callable[[np.dtype[Any]], Any], dtype: np.dtype[Any]) -> int:
    """Address of `dropout`, `penalties`, `sums` or one of the `LOSSES` for float32 or float64."""
    with _compiling:
        return _address(make, dtype)


@functools.cache
def _address(make: Callable[[np.dtype[Any]], Any], dtype: np.dtype[Any]) -> int:
    function, *kinds = make(dtype)
    real = numba.from_dtype(dtype)
    named = {"int": types.intp, "word": types.uint64, "real": real, "double": types.float64}
    pointers = {f"{name}*": types.CPointer(kind) for name, kind in named.items()}  # type: ignore[attr-defined]
    return function_address(function, tuple((named | pointers)[kind] for kind in kinds))


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call a part with a tuple of arguments, whose types must be those of the part."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = [context.get_value_type(kind) for kind in arguments]
        function = builder.inttoptr(values[0], llvm.FunctionType(llvm.VoidType(), kinds).as_pointer())
        builder.call(function, cgutils.unpack_tuple(builder, values[1]))
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen


# Arguments: `layer` points to a layer's row of the table of `panels`, `space` to the buffer; i are rows of the batch.


def dropout(dtype: np.dtype[Any]) -> Any:
    """Dropout on inputs `first` to `last` of a layer, or on their gradients; row 0 has the numbers of `first_row`."""
    drop_row = row_functions(dtype).drop_row

    def drop(layer, space, x, row, i0, i1, first, last, seed, epoch, step, first_row):  # type: ignore[no-untyped-def]
        threshold, scale, number = np.uint64(layer[THRESHOLD]), space[layer[SCALE]], np.uint64(layer[NUMBER])
        for i in range(i0, i1):
            x_row = offset(x, i * row)
            drop_row(x_row, x_row, first_row + i, layer[N_IN], first, last, threshold, scale, seed, epoch, step, number)

    return drop, "int*", "real*", "real*", *("int",) * 5, *("word",) * 3, "int"


def _losses(kind: int, dtype: np.dtype[Any]) -> Any:
    """Losses of rows i0 to i1, and their gradients with respect to z."""
    real, by_row = dtype.type, row_functions(dtype)
    class_loss, distribution_loss, entries_loss = by_row.class_loss, by_row.distribution_loss, by_row.entries_loss
    softmax_row, softmax_backward_row = by_row.softmax_row, by_row.softmax_backward_row

    # `row` is the number of the row in the data; `y` has room for the outputs
    def of_class(layer, loop, row, numbers, targets, z, y, scratch, row_share, delta_factor, ceiling, delta):  # type: ignore[no-untyped-def]
        return class_loss(z, numbers[row], row_share, ceiling, delta, layer[N_OUT])

    def of_distribution(layer, loop, row, numbers, targets, z, y, scratch, row_share, delta_factor, ceiling, delta):  # type: ignore[no-untyped-def]
        n = layer[N_OUT]
        return distribution_loss(z, offset(targets, row * n), row_share, ceiling, delta, n)

    def fused(layer, loop, row, numbers, targets, z, y, scratch, row_share, delta_factor, ceiling, delta):  # type: ignore[no-untyped-def]
        n = layer[N_OUT]
        return entries_loss(loop, z, offset(targets, row * n), scratch, row_share, delta_factor, ceiling, delta, n)

    def of_entries(layer, loop, row, numbers, targets, z, y, scratch, row_share, delta_factor, ceiling, delta):  # type: ignore[no-untyped-def]
        n = layer[N_OUT]
        for j in range(n):
            y[j] = z[j]
        apply_activation(layer[ACTIVATION], y, n)
        loss = entries_loss(loop, y, offset(targets, row * n), scratch, row_share, delta_factor, ceiling, delta, n)
        apply_derivative(layer[DERIVATIVE], delta, z if layer[SAVES_Z] else y, n)
        return loss

    def of_softmax(layer, loop, row, numbers, targets, z, y, scratch, row_share, delta_factor, ceiling, delta):  # type: ignore[no-untyped-def]
        n = layer[N_OUT]
        softmax_row(z, y, n)
        loss = entries_loss(loop, y, offset(targets, row * n), scratch, row_share, delta_factor, ceiling, delta, n)
        softmax_backward_row(delta, y, delta, n)
        return loss

    row_loss = subroutine((of_class, of_distribution, fused, of_entries, of_softmax)[kind])

    def losses(  # type: ignore[no-untyped-def]
        layer, space, loop, delta_factor, ceiling, order, numbers, targets, row_shares, weighted, start, rows, i0, i1,
        scratch, result,
    ):  # fmt: skip
        y = offset(scratch, layer[N_OUT])
        for i in range(i0, i1):
            z, delta = offset(space, layer[SAVED] + i * layer[ROW]), offset(space, layer[DELTA] + i * layer[ROW])
            row_share = row_shares[start + i] if weighted else real(1.0 / rows)
            result[i] = row_loss(
                layer, loop, order[start + i], numbers, targets, z, y, scratch, row_share, delta_factor, ceiling, delta
            )

    return (
        losses, "int*", "real*", "int", "real", "real", "int*", "int*", "real*", "real*", *("int",) * 5,
        "real*", "double*",
    )  # fmt: skip


LOSSES = [functools.partial(_losses, kind) for kind in (CLASS, DISTRIBUTION, FUSED, ENTRIES, SOFTMAX)]
"""The part for each kind of loss."""


def penalties(dtype: np.dtype[Any]) -> Any:
    """Add the gradients of the penalties to those of `n_weights` weights, and clip n gradients by value."""
    zero, infinity = dtype.type(0), dtype.type(np.inf)

    def penalize(W, g, n_weights, n, l2, l1, clip_value):  # type: ignore[no-untyped-def]
        if l2 != zero:
            for j in range(n_weights):
                g[j] += l2 * W[j]
        if l1 != zero:
            for j in range(n_weights):
                g[j] += l1 * sign(W[j])
        if clip_value < infinity:
            for j in range(n):
                g[j] = minimum(maximum(g[j], -clip_value), clip_value)

    return penalize, "real*", "real*", "int", "int", "real", "real", "real"


def sums(dtype: np.dtype[Any]) -> Any:
    """Sums of the squares and of the absolute values of n elements, in double precision, `width` at a time."""

    def add(x, n, width, scratch, result):  # type: ignore[no-untyped-def]
        squares, magnitudes = scratch, offset(scratch, width)
        for j in range(width):
            squares[j] = magnitudes[j] = 0.0
        for i in range(0, n, width):
            for j in range(width):
                squares[j] += x[i + j] * x[i + j]
                magnitudes[j] += absolute(x[i + j])
        result[0] = result[1] = 0.0
        for j in range(width):
            result[0] += squares[j]
            result[1] += magnitudes[j]

    return add, "real*", "int", "int", "double*", "double*"
