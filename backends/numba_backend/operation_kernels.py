"""The loops of the Numba backend, compiled once for float32 and once for float64.

A kernel gets the formulas of activations, losses and update rules as addresses of loops (see `formula_loops`), so
one compiled kernel serves all networks.

Kernels that threads divide work on rows (or elements) `first` to `last`.  The result of a row does not depend
on the other rows.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir as llvm
from numba.core import types
from numba.extending import intrinsic

from backends.numba_backend.formula_loops import apply_activation, apply_derivative, apply_loss, apply_rule
from backends.numba_backend.gemm import gemm
from backends.numba_backend.integers import larger, smaller
from backends.numba_backend.kernel_cache import compile_or_load, kernel
from backends.numba_backend.pointers import offset, pointer
from backends.numba_backend.subroutine import subroutine
from backends.numba_backend.vector_math import exp, log, minimum
from backends.random import DROPOUT


@intrinsic
def _high_product(typingctx: Any, x: Any, y: Any) -> Any:
    """Upper 64 bits of the product of two uint64."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        wide = llvm.IntType(128)
        product = builder.mul(builder.zext(values[0], wide), builder.zext(values[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), llvm.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@subroutine
def _philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Philox4x64-10: four random words for a counter and a key (see `backends.random`)."""
    for _ in range(10):
        high0, low0 = _high_product(_M0, c0), _M0 * c0
        high1, low1 = _high_product(_M1, c2), _M1 * c2
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


class RowFunctions(NamedTuple):
    """Loops over one row, or over adjacent elements, that kernels are built from; all take pointers."""

    softmax_row: Any
    softmax_backward_row: Any
    class_loss: Any
    distribution_loss: Any
    entries_loss: Any
    drop_row: Any


@functools.cache
def row_functions(dtype: np.dtype[Any]) -> RowFunctions:
    """The functions for float32 or float64."""
    real = dtype.type
    zero, one = real(0), real(1)
    stream, low_half = np.uint64(DROPOUT), np.uint64(0xFFFFFFFF)

    @subroutine
    def exponentials(z, e, n):  # type: ignore[no-untyped-def]
        """Write exp(z - max(z)) to e; return the largest z and the sum."""
        largest = z[0]
        for j in range(1, n):
            largest = largest if largest >= z[j] or largest != largest else z[j]
        for j in range(n):
            e[j] = exp(z[j] - largest)
        total = 0.0  # in double precision: a softmax may have thousands of entries
        for j in range(n):
            total += e[j]
        return largest, real(total)

    @subroutine
    def softmax_row(z, y, n):  # type: ignore[no-untyped-def]
        _, total = exponentials(z, y, n)
        for j in range(n):
            y[j] = y[j] / total

    @subroutine
    def softmax_backward_row(dy, y, dz, n):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(n):
            total += dy[j] * y[j]
        for j in range(n):
            dz[j] = y[j] * (dy[j] - real(total))

    # Each function returns the loss of one row times its factor in the batch mean (row_share), and writes the
    # gradient with respect to z (or y) to delta.  A row with factor zero is skipped: 0 times infinity would be NaN.

    @subroutine
    def zero_loss(delta, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            delta[j] = zero
        return 0.0

    @subroutine
    def class_loss(z, k, row_share, ceiling, delta, n):  # type: ignore[no-untyped-def]
        """Softmax and cross-entropy for class k."""
        if row_share == 0:
            return zero_loss(delta, n)
        largest, total = exponentials(z, delta, n)
        for j in range(n):
            delta[j] = delta[j] / total
        delta[k] -= one
        for j in range(n):
            delta[j] *= row_share
        return row_share * minimum(log(total) - (z[k] - largest), ceiling)

    @subroutine
    def distribution_loss(z, target, row_share, ceiling, delta, n):  # type: ignore[no-untyped-def]
        """Softmax and cross-entropy for a row of probabilities."""
        if row_share == 0:
            return zero_loss(delta, n)
        largest, total = exponentials(z, delta, n)
        log_total, loss = log(total), 0.0
        for j in range(n):
            if target[j] != 0:
                loss += minimum(target[j] * (log_total - (z[j] - largest)), ceiling)
            delta[j] = row_share * (delta[j] / total - target[j])
        return row_share * loss

    @subroutine
    def entries_loss(loop, y, target, scratch, row_share, delta_factor, ceiling, delta, n):  # type: ignore[no-untyped-def]
        """An elementwise loss; `scratch` receives the losses of the entries."""
        if row_share == 0:
            return zero_loss(delta, n)
        apply_loss(loop, y, target, scratch, delta, n)
        loss = 0.0
        for j in range(n):
            loss += minimum(scratch[j], ceiling)
            delta[j] *= row_share * delta_factor
        return loss * row_share

    @subroutine
    def drop_row(x, y, i, n, first, last, threshold, scale, seed, epoch, step, layer):  # type: ignore[no-untyped-def]
        """Dropout on units `first` to `last` of row i, which has n units (see `backends.random`); y may be x."""
        blocks_per_row = (n + 7) // 8
        for block in range(first // 8, (last + 7) // 8):
            words = _philox(np.uint64(i * blocks_per_row + block), layer, step, epoch, seed, stream)
            for unit in range(larger(0, first - block * 8), smaller(8, last - block * 8)):
                word = words[unit // 2]
                integer = word >> np.uint64(32) if unit % 2 else word & low_half
                j = block * 8 + unit
                y[j] = x[j] * scale if integer >= threshold else zero

    return RowFunctions(
        softmax_row, softmax_backward_row, class_loss, distribution_loss, entries_loss, drop_row
    )  # fmt: skip


class Kernels:
    """The kernels for one dtype, as attributes; compiled, or loaded from the cache, on first use.

    Each kernel has one signature, which accepts all supported layouts, read-only or writeable.  Otherwise Numba
    would compile a version for every combination of arguments.
    """

    def __init__(self, entries: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> None:
        self._entries = entries
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        dispatcher, signature = self._entries[name]
        with self._lock:  # two threads may request the same kernel at the same time
            if name not in self.__dict__:
                compile_or_load(dispatcher, signature)
                setattr(self, name, dispatcher)
        return dispatcher


@functools.cache
def kernels(dtype: np.dtype[Any]) -> Kernels:
    """The kernels for float32 or float64."""
    real = dtype.type
    one = real(1)
    (
        softmax_row, softmax_backward_row, class_loss, distribution_loss, entries_loss, drop_row
    ) = row_functions(dtype)  # fmt: skip

    @kernel
    def product(a, b, out, trans_a, trans_b, first, last):  # type: ignore[no-untyped-def]
        gemm(a, b, out, trans_a, trans_b, first, last, one, False)

    @kernel
    def activate(z, b, y, keep, loop, first, last):  # type: ignore[no-untyped-def]
        """Rows of y = f(z + b).  With `keep`, z receives z + b; otherwise z is y.  An empty b adds nothing."""
        n = z.shape[1]
        start, count = first * n, (last - first) * n
        if b.size:
            for i in range(first, last):
                row = offset(pointer(z), i * n)
                for j in range(n):
                    row[j] += b[j]
        source, target = offset(pointer(z), start), offset(pointer(y), start)
        if keep:
            for i in range(count):
                target[i] = source[i]
        apply_activation(loop, target, count)

    @kernel
    def softmax(z, y):  # type: ignore[no-untyped-def]
        n = z.shape[1]
        for i in range(z.shape[0]):
            softmax_row(offset(pointer(z), i * n), offset(pointer(y), i * n), n)

    @kernel
    def softmax_backward(dy, y, dz):  # type: ignore[no-untyped-def]
        n = y.shape[1]
        for i in range(y.shape[0]):
            start = i * n
            softmax_backward_row(offset(pointer(dy), start), offset(pointer(y), start), offset(pointer(dz), start), n)

    @kernel
    def activation_backward(delta, saved, loop, first, last):  # type: ignore[no-untyped-def]
        """Convert rows of delta from the gradient with respect to y to that with respect to z, in place."""
        n = delta.shape[1]
        start = first * n
        apply_derivative(loop, offset(pointer(delta), start), offset(pointer(saved), start), (last - first) * n)

    @kernel
    def column_sums(x, out):  # type: ignore[no-untyped-def]
        n = x.shape[1]
        for j in range(n):
            out[j] = 0
        for i in range(x.shape[0]):
            row = offset(pointer(x), i * n)
            for j in range(n):
                out[j] += row[j]

    @kernel
    def loss_rows(y, target, row_shares, delta_factor, ceiling, scratch, delta, loop):  # type: ignore[no-untyped-def]
        """Sum over the rows of loss times row share; writes the gradient in y (for a fused formula, in z) to delta."""
        n, loss, row_scratch = y.shape[1], 0.0, pointer(scratch)
        for i in range(y.shape[0]):
            y_row, t_row = offset(pointer(y), i * n), offset(pointer(target), i * n)
            delta_row = offset(pointer(delta), i * n)
            loss += entries_loss(
                loop, y_row, t_row, row_scratch, row_shares[i], delta_factor, ceiling, delta_row, n
            )  # fmt: skip
        return loss

    @kernel
    def cross_entropy_numbers(z, target, row_shares, ceiling, delta):  # type: ignore[no-untyped-def]
        """`loss_rows` of softmax and cross-entropy for class numbers."""
        n, loss = z.shape[1], 0.0
        for i in range(z.shape[0]):
            z_row, delta_row = offset(pointer(z), i * n), offset(pointer(delta), i * n)
            loss += class_loss(z_row, target[i], row_shares[i], ceiling, delta_row, n)
        return loss

    @kernel
    def cross_entropy_rows(z, target, row_shares, ceiling, delta):  # type: ignore[no-untyped-def]
        """`loss_rows` of softmax and cross-entropy for rows of probabilities."""
        n, loss = z.shape[1], 0.0
        for i in range(z.shape[0]):
            z_row, t_row = offset(pointer(z), i * n), offset(pointer(target), i * n)
            delta_row = offset(pointer(delta), i * n)
            loss += distribution_loss(z_row, t_row, row_shares[i], ceiling, delta_row, n)
        return loss

    @kernel
    def update(p, g, state, scalars, loop, first, last):  # type: ignore[no-untyped-def]
        """Apply a rule to elements of the parameters and of the rows of state, in place."""
        p_first, g_first, state_first = (
            offset(pointer(p), first),
            offset(pointer(g), first),
            offset(pointer(state), first),
        )
        apply_rule(loop, p_first, g_first, state_first, p.size, pointer(scalars), last - first)

    @kernel
    def take_bytes(x, rows, out, scale):  # type: ignore[no-untyped-def]
        """Gather rows of bytes as floating-point numbers, multiplied by `scale`."""
        for i in range(rows.size):
            k = rows[i]
            for j in range(x.shape[1]):
                out[i, j] = real(x[k, j]) * scale

    @kernel
    def dropout(x, out, threshold, scale, seed, epoch, step, layer, first_row):  # type: ignore[no-untyped-def]
        n = x.shape[1]
        for i in range(x.shape[0]):
            row, target = offset(pointer(x), i * n), offset(pointer(out), i * n)
            drop_row(row, target, first_row + i, n, 0, n, threshold, scale, seed, epoch, step, layer)

    f, size = numba.from_dtype(dtype), types.intp

    def read(ndim: int, kind: Any = f, layout: Any = "C") -> Any:
        return types.Array(kind, ndim, layout, readonly=True)

    def write(ndim: int) -> Any:
        return types.Array(f, ndim, "C")

    flag, word = types.boolean, types.uint64
    return Kernels(
        {
            "product": (product, (read(2, f, "A"), read(2, f, "A"), write(2), flag, flag, size, size)),
            "activate": (activate, (write(2), read(1), write(2), flag, size, size, size)),
            "softmax": (softmax, (read(2), write(2))),
            "softmax_backward": (softmax_backward, (read(2), read(2), write(2))),
            "activation_backward": (activation_backward, (write(2), read(2), size, size, size)),
            "column_sums": (column_sums, (read(2), write(1))),
            "loss_rows": (loss_rows, (read(2), read(2), read(1), f, f, write(1), write(2), size)),
            "cross_entropy_numbers": (cross_entropy_numbers, (read(2), read(1, types.int64), read(1), f, write(2))),
            "cross_entropy_rows": (cross_entropy_rows, (read(2), read(2), read(1), f, write(2))),
            "update": (update, (write(1), read(1), write(2), read(1), size, size, size)),
            "take_bytes": (take_bytes, (read(2, types.uint8, "A"), read(1, types.int64), write(2), f)),
            "dropout": (dropout, (read(2), write(2), word, f, word, word, word, word, size)),
        }
    )
