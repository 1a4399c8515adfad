"""The loops of the Numba backend, compiled once for float32 and once for float64.

A network's activations, losses and update rules reach a kernel as integers, so no network needs machine code
of its own.  The formulas are those of `backends.formulas`, compiled on scalars by `specialise`; what stands
here is only which elements they are applied to.

Every kernel works on rows (or elements) `first` to `last`, which is how threads share an operation: what is
computed for a row does not depend on the rows beside it.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from backends import formulas
from backends.numba_backend.cache import kernel
from backends.numba_backend.parts import part
from backends.numba_backend.tiles import gemm, leading, offset, pointer
from backends.numba_backend.vector_math import exp, log, minimum, specialise
from backends.random import DROPOUT

_ELEMENTWISE = [row for row in formulas.ACTIVATIONS.values() if not row.rowwise]
_LOSS_FORMULAS: list[Callable[..., Any]] = [row.formula for row in formulas.LOSSES.values() if row.formula is not None]
_LOSS_FORMULAS += [f for (output, _), f in formulas.FUSED.items() if not formulas.ACTIVATIONS[output].rowwise]
_RULE_FORMULAS = list(dict.fromkeys(row.formula for row in formulas.RULES.values()))

ACTIVATION_CODE = {row.name: code for code, row in enumerate(_ELEMENTWISE)}
"""Number of each activation that works entry by entry; softmax has kernels of its own."""
LOSS_CODE = {formula: code for code, formula in enumerate(_LOSS_FORMULAS)}
RULE_CODE = {name: _RULE_FORMULAS.index(row.formula) for name, row in formulas.RULES.items()}
IDENTITY = ACTIVATION_CODE["identity"]


def _switch(cases: Sequence[Any]) -> Any:
    """Compiled ``choose(code, *arguments)``, which calls ``cases[code](*arguments)``.

    Written out as source: compiled functions cannot be looked up in a list, and a chain of closures would be
    optimised anew at every link.
    """
    lines = ["def choose(code, *arguments):"]
    for number in range(len(cases)):
        lines += [f"    {'el' if number else ''}if code == {number}:", f"        case{number}(*arguments)"]
    names: dict[str, Any] = {"__name__": __name__, **{f"case{number}": case for number, case in enumerate(cases)}}
    exec("\n".join(lines), names)
    return part(names["choose"])


@intrinsic
def _high_product(typingctx: Any, x: Any, y: Any) -> Any:
    """Upper 64 bits of the product of two uint64."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        wide = ir.IntType(128)
        product = builder.mul(builder.zext(values[0], wide), builder.zext(values[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@part
def _philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Philox4x64-10: four random words for a counter and a key (see `backends.random`)."""
    for _ in range(10):
        high0, low0 = _high_product(_M0, c0), _M0 * c0
        high1, low1 = _high_product(_M1, c2), _M1 * c2
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += _W0
        k1 += _W1
    return c0, c1, c2, c3


class Blocks(NamedTuple):
    """Loops over one row, or over adjacent elements, that kernels are put together from; all take pointers."""

    apply_activation: Any
    apply_slope: Any
    apply_rule: Any
    softmax_row: Any
    softmax_slope_row: Any
    class_loss: Any
    distribution_loss: Any
    entries_loss: Any
    drop_row: Any


@functools.cache
def blocks(dtype: np.dtype[Any]) -> Blocks:
    """The building blocks for float32 or float64."""
    real = dtype.type
    zero, one = real(0), real(1)
    stream, low_half = np.uint64(DROPOUT), np.uint64(0xFFFFFFFF)

    def in_place(formula: Callable[..., Any]) -> Any:
        f = specialise(formula, dtype)

        @part
        def loop(y, n):  # type: ignore[no-untyped-def]
            for i in range(n):
                y[i] = f(y[i])

        return loop

    def slope_in_place(formula: Callable[..., Any] | None) -> Any:
        f = specialise(formula or formulas.activations.identity_backward, dtype)

        @part
        def loop(delta, saved, n):  # type: ignore[no-untyped-def]
            for i in range(n):
                delta[i] = f(delta[i], saved[i])

        return loop

    def loss_row(formula: Callable[..., Any]) -> Any:
        f = specialise(formula, dtype)

        @part
        def loop(y, target, value, delta, n):  # type: ignore[no-untyped-def]
            for i in range(n):
                value[i], delta[i] = f(y[i], target[i])

        return loop

    def rule(formula: Callable[..., Any]) -> Any:
        f = specialise(formula, dtype)
        row = next(row for row in formulas.RULES.values() if row.formula is formula)
        read_scalars = leading(formula.__code__.co_argcount - 2 - len(row.state))

        @part
        def plain(p, g, s, distance, scalars, n):  # type: ignore[no-untyped-def]
            values = read_scalars(scalars)
            for i in range(n):
                (p[i],) = f(p[i], g[i], *values)

        @part
        def one_slot(p, g, s, distance, scalars, n):  # type: ignore[no-untyped-def]
            values = read_scalars(scalars)
            for i in range(n):
                p[i], s[i] = f(p[i], g[i], s[i], *values)

        @part
        def two_slots(p, g, s, distance, scalars, n):  # type: ignore[no-untyped-def]
            values = read_scalars(scalars)
            r = offset(s, distance)
            for i in range(n):
                p[i], s[i], r[i] = f(p[i], g[i], s[i], r[i], *values)

        return (plain, one_slot, two_slots)[len(row.state)]

    apply_activation = _switch([in_place(row.forward) for row in _ELEMENTWISE])
    apply_slope = _switch([slope_in_place(row.backward) for row in _ELEMENTWISE])
    apply_loss = _switch([loss_row(formula) for formula in _LOSS_FORMULAS])
    apply_rule = _switch([rule(formula) for formula in _RULE_FORMULAS])

    @part
    def exponentials(z, e, n):  # type: ignore[no-untyped-def]
        """Write exp(z - max(z)) to e; return the largest z and the sum."""
        top = z[0]
        for j in range(1, n):
            top = top if top >= z[j] or top != top else z[j]
        for j in range(n):
            e[j] = exp(z[j] - top)
        total = 0.0  # in double precision: a softmax may have thousands of entries
        for j in range(n):
            total += e[j]
        return top, real(total)

    @part
    def softmax_row(z, y, n):  # type: ignore[no-untyped-def]
        _, total = exponentials(z, y, n)
        for j in range(n):
            y[j] = y[j] / total

    @part
    def softmax_slope_row(dy, y, dz, n):  # type: ignore[no-untyped-def]
        total = 0.0
        for j in range(n):
            total += dy[j] * y[j]
        for j in range(n):
            dz[j] = y[j] * (dy[j] - real(total))

    # The losses of one row times its share in the batch; the slope in z (or y) goes to delta.  A row of share zero
    # is not looked at: its infinities would come in as NaN.

    @part
    def nothing(delta, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            delta[j] = zero
        return 0.0

    @part
    def class_loss(z, k, share, ceiling, delta, n):  # type: ignore[no-untyped-def]
        """Softmax and cross-entropy for class k."""
        if share == 0:
            return nothing(delta, n)
        top, total = exponentials(z, delta, n)
        for j in range(n):
            delta[j] = delta[j] / total
        delta[k] -= one
        for j in range(n):
            delta[j] *= share
        return share * minimum(log(total) - (z[k] - top), ceiling)

    @part
    def distribution_loss(z, target, share, ceiling, delta, n):  # type: ignore[no-untyped-def]
        """Softmax and cross-entropy for a row of probabilities."""
        if share == 0:
            return nothing(delta, n)
        top, total = exponentials(z, delta, n)
        log_total, loss = log(total), 0.0
        for j in range(n):
            if target[j] != 0:
                loss += minimum(target[j] * (log_total - (z[j] - top)), ceiling)
            delta[j] = share * (delta[j] / total - target[j])
        return share * loss

    @part
    def entries_loss(code, y, target, value, share, of_slope, ceiling, delta, n):  # type: ignore[no-untyped-def]
        """A loss that works entry by entry; `value` is room for the losses of the entries."""
        if share == 0:
            return nothing(delta, n)
        apply_loss(code, y, target, value, delta, n)
        loss = 0.0
        for j in range(n):
            loss += minimum(value[j], ceiling)
            delta[j] *= share * of_slope
        return loss * share

    @part
    def drop_row(x, y, i, n, first, last, threshold, scale, seed, epoch, step, layer):  # type: ignore[no-untyped-def]
        """Units `first` to `last` of row i, which has n units, with dropout; y may be x."""
        of_row = (n + 7) // 8
        for block in range(first // 8, (last + 7) // 8):
            words = _philox(np.uint64(i * of_row + block), layer, step, epoch, seed, stream)
            for half in range(max(0, first - block * 8), min(8, last - block * 8)):
                word = words[half // 2]
                integer = word >> np.uint64(32) if half % 2 else word & low_half
                j = block * 8 + half
                y[j] = x[j] * scale if integer >= threshold else zero

    return Blocks(
        apply_activation, apply_slope, apply_rule, softmax_row, softmax_slope_row,
        class_loss, distribution_loss, entries_loss, drop_row,
    )  # fmt: skip


class Kernels:
    """The compiled entry points for one dtype, as attributes; compiled, or read from the cache, on first use.

    Each has one signature, which takes arrays of every layout that it can, writeable or not: Numba would
    otherwise compile a version for every combination that it meets.
    """

    def __init__(self, entries: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> None:
        self._entries = entries
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        dispatcher, signature = self._entries[name]
        with self._lock:  # two threads may ask for their first kernel at once
            if name not in self.__dict__:
                dispatcher.compile(signature)
                dispatcher.disable_compile()
                setattr(self, name, dispatcher)
        return dispatcher


@functools.cache
def kernels(dtype: np.dtype[Any]) -> Kernels:
    """The kernels for float32 or float64."""
    real = dtype.type
    one = real(1)
    (
        apply_activation, apply_slope, apply_rule, softmax_row, softmax_slope_row,
        class_loss, distribution_loss, entries_loss, drop_row,
    ) = blocks(dtype)  # fmt: skip

    @kernel
    def product(a, b, out, trans_a, trans_b, first, last):  # type: ignore[no-untyped-def]
        gemm(a, b, out, trans_a, trans_b, first, last, one, False)

    @kernel
    def activate(z, b, y, keep, code, first, last):  # type: ignore[no-untyped-def]
        """Rows of y = f(z + b); z + b is kept in z, or z is y itself.  An empty b adds nothing."""
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
        apply_activation(code, target, count)

    @kernel
    def softmax(z, y):  # type: ignore[no-untyped-def]
        n = z.shape[1]
        for i in range(z.shape[0]):
            softmax_row(offset(pointer(z), i * n), offset(pointer(y), i * n), n)

    @kernel
    def softmax_backward(dy, y, dz):  # type: ignore[no-untyped-def]
        n = y.shape[1]
        for i in range(y.shape[0]):
            at = i * n
            softmax_slope_row(offset(pointer(dy), at), offset(pointer(y), at), offset(pointer(dz), at), n)

    @kernel
    def slope(delta, saved, code, first, last):  # type: ignore[no-untyped-def]
        """Turn rows of delta from the slope in y into the slope in z."""
        n = delta.shape[1]
        start = first * n
        apply_slope(code, offset(pointer(delta), start), offset(pointer(saved), start), (last - first) * n)

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
    def loss_rows(y, target, portion, of_slope, ceiling, value, delta, code):  # type: ignore[no-untyped-def]
        """Sum of the losses, and their slopes in y (for a fused formula, in z), times each row's portion."""
        n, loss, room = y.shape[1], 0.0, pointer(value)
        for i in range(y.shape[0]):
            row, goal, slope = offset(pointer(y), i * n), offset(pointer(target), i * n), offset(pointer(delta), i * n)
            loss += entries_loss(code, row, goal, room, portion[i], of_slope, ceiling, slope, n)
        return loss

    @kernel
    def cross_entropy_numbers(z, target, portion, ceiling, delta):  # type: ignore[no-untyped-def]
        """`loss_rows` of softmax and cross-entropy for class numbers."""
        n, loss = z.shape[1], 0.0
        for i in range(z.shape[0]):
            row, slope = offset(pointer(z), i * n), offset(pointer(delta), i * n)
            loss += class_loss(row, target[i], portion[i], ceiling, slope, n)
        return loss

    @kernel
    def cross_entropy_rows(z, target, portion, ceiling, delta):  # type: ignore[no-untyped-def]
        """`loss_rows` of softmax and cross-entropy for rows of probabilities."""
        n, loss = z.shape[1], 0.0
        for i in range(z.shape[0]):
            row, goal, slope = offset(pointer(z), i * n), offset(pointer(target), i * n), offset(pointer(delta), i * n)
            loss += distribution_loss(row, goal, portion[i], ceiling, slope, n)
        return loss

    @kernel
    def update(p, g, state, scalars, code, first, last):  # type: ignore[no-untyped-def]
        """Apply a rule to elements of the parameters and of the rows of state, in place."""
        slots = offset(pointer(state), first)
        apply_rule(
            code, offset(pointer(p), first), offset(pointer(g), first), slots, p.size, pointer(scalars), last - first
        )

    @kernel
    def take_bytes(x, rows, out, scale):  # type: ignore[no-untyped-def]
        """Gather rows of bytes as numbers, multiplied by `scale`."""
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
            "slope": (slope, (write(2), read(2), size, size, size)),
            "column_sums": (column_sums, (read(2), write(1))),
            "loss_rows": (loss_rows, (read(2), read(2), read(1), f, f, write(1), write(2), size)),
            "cross_entropy_numbers": (cross_entropy_numbers, (read(2), read(1, types.int64), read(1), f, write(2))),
            "cross_entropy_rows": (cross_entropy_rows, (read(2), read(2), read(1), f, write(2))),
            "update": (update, (write(1), read(1), write(2), read(1), size, size, size)),
            "take_bytes": (take_bytes, (read(2, types.uint8, "A"), read(1, types.int64), write(2), f)),
            "dropout": (dropout, (read(2), write(2), word, f, word, word, word, word, size)),
        }
    )
