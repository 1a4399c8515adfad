"""`NumbaBackend`: the operations of `backends.operations`, implemented with the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backends import formulas, random
from backends.base import Backend
from backends.checks import FLOATS
from backends.formulas import Activation, OutputLoss, Rule
from backends.loop import Trainer
from backends.numba_backend import threads
from backends.numba_backend.formula_loops import activation_loop, derivative_loop, loss_loop, rule_loop
from backends.numba_backend.gradient_parts import DivisibleTrainer
from backends.numba_backend.operation_kernels import kernels
from backends.numba_backend.predictor import FusedPredictor
from backends.plan import Array, NetworkPlan

BLOCK = 8
"""Rows are divided among threads in multiples of this, the height of a register tile."""


class NumbaBackend(Backend):
    """Kernels compiled for this processor, on NumPy arrays.

    Results have the same bits for any number of threads.  User-defined activations and losses run in the portable
    implementation.
    """

    name = "numba"

    def __init__(self) -> None:
        super().__init__(np, erfc=formulas.erfc)

    # -- batched dot products -----------------------------------------------------------------------

    def matmul(
        self, a: Array, b: Array, trans_a: bool = False, trans_b: bool = False, out: Array | None = None
    ) -> Array:
        self._check_floats("matmul", a=a, b=b)
        self._check_product(a, b, trans_a, trans_b, out)
        a, b = _aligned(a), _aligned(b)
        m, k = a.shape[::-1] if trans_a else a.shape
        n = b.shape[0 if trans_b else 1]
        result = self._writable(out, (m, n), a.dtype)
        product = kernels(a.dtype).product
        _run_on_rows(m, m * k * n, lambda first, last: product(a, b, result, trans_a, trans_b, first, last))
        return _copied_to_out(result, out)

    def dense(
        self,
        x: Array,
        W: Array,
        b: Array,
        activation: str | Activation = "identity",
        out: Array | None = None,
        preactivation: Array | None = None,
    ) -> Array:
        row = formulas.activation(activation)
        if row.custom or row.rowwise:
            return super().dense(x, W, b, row, out, preactivation)
        self._check_floats("dense", x=x, W=W, b=b)
        self._check_dense(x, W, b)
        x, W = _aligned(x), _aligned(W)
        shape = x.shape[0], W.shape[1]
        y = self._writable(out, shape, x.dtype)
        z = y if preactivation is None else self._writable(preactivation, shape, x.dtype)
        compiled, loop, bias = kernels(x.dtype), activation_loop(row, x.dtype), np.ascontiguousarray(b)

        def rows(first: int, last: int) -> None:
            compiled.product(x, W, z, False, False, first, last)
            compiled.activate(z, bias, y, z is not y, loop, first, last)

        _run_on_rows(shape[0], x.size * shape[1], rows)
        if preactivation is not None:
            _copied_to_out(z, preactivation)
        return _copied_to_out(y, out)

    # -- activation kernels -------------------------------------------------------------------------

    def activate(self, z: Array, activation: str | Activation, out: Array | None = None) -> Array:
        row = formulas.activation(activation)
        self._check_floats("activate", z=z)
        if row.custom or z.ndim != 2:
            return super().activate(z, row, out)
        y = self._writable(out, z.shape, z.dtype)
        if row.rowwise:
            if z.size:
                kernels(z.dtype).softmax(np.ascontiguousarray(z), y)
        else:
            if y is not z:
                y[...] = z
            loop, no_bias = activation_loop(row, z.dtype), np.empty(0, z.dtype)
            kernels(z.dtype).activate(y, no_bias, y, False, loop, 0, z.shape[0])
        return _copied_to_out(y, out)

    def activate_backward(
        self, dy: Array, saved: Array, activation: str | Activation, out: Array | None = None
    ) -> Array:
        row = formulas.activation(activation)
        formulas.require_derivative(row)
        self._check_floats("activate_backward", dy=dy, saved=saved)
        self._check_same_shape("activate_backward", dy=dy, saved=saved)
        if row.custom or dy.ndim != 2:
            return super().activate_backward(dy, saved, row, out)
        dz, saved = self._writable(out, dy.shape, dy.dtype), np.ascontiguousarray(saved)
        if row.rowwise:
            kernels(dy.dtype).softmax_backward(np.ascontiguousarray(dy), saved, dz)
        else:
            if dz is not dy:
                dz[...] = dy
            kernels(dy.dtype).activation_backward(dz, saved, derivative_loop(row, dy.dtype), 0, dy.shape[0])
        return _copied_to_out(dz, out)

    # -- backward pass ------------------------------------------------------------------------------

    def dense_backward(
        self,
        dy: Array,
        x: Array,
        saved: Array,
        W: Array,
        activation: str | Activation = "identity",
        *,
        dx: Array | None = None,
        dW: Array | None = None,
        db: Array | None = None,
        need_dx: bool = True,
    ) -> tuple[Array | None, Array, Array]:
        row = formulas.activation(activation)
        if row.custom or row.rowwise:
            return super().dense_backward(dy, x, saved, W, row, dx=dx, dW=dW, db=db, need_dx=need_dx)
        formulas.require_derivative(row)
        self._check_floats("dense_backward", dy=dy, x=x, W=W)
        self._check_dense_backward(dy, x, W)
        x, W = _aligned(x), _aligned(W)
        self._check_floats("dense_backward", dy=dy, saved=saved)
        self._check_same_shape("dense_backward", dy=dy, saved=saved)
        dtype, compiled, is_identity = dy.dtype, kernels(dy.dtype), row.name == "identity"
        delta, loop = np.ascontiguousarray(dy) if is_identity else dy.copy(), derivative_loop(row, dtype)
        saved = np.ascontiguousarray(saved)
        grad_x = self._writable(dx, x.shape, dtype) if need_dx else None
        grad_W, grad_b = self._writable(dW, W.shape, dtype), self._writable(db, W.shape[1:], dtype)

        def rows(first: int, last: int) -> None:
            if not is_identity:
                compiled.activation_backward(delta, saved, loop, first, last)
            if need_dx:
                compiled.product(delta, W, grad_x, False, True, first, last)

        work = W.size * x.shape[0]
        _run_on_rows(x.shape[0], work if need_dx else delta.size, rows)
        _run_on_rows(W.shape[0], work, lambda first, last: compiled.product(x, delta, grad_W, True, False, first, last))
        compiled.column_sums(delta, grad_b)
        return (
            None if grad_x is None else _copied_to_out(grad_x, dx),
            _copied_to_out(grad_W, dW),
            _copied_to_out(grad_b, db),
        )

    # -- output and loss ----------------------------------------------------------------------------

    def loss_and_delta(
        self,
        kind: str | OutputLoss,
        z: Array,
        target: Array,
        weight: Array | None = None,
        batch_weight: float | None = None,
    ) -> tuple[Any, Array]:
        kind = formulas.output_loss(kind)
        formulas.require_derivative(kind.output)
        if kind.loss.custom or kind.output.custom:
            return super().loss_and_delta(kind, z, target, weight, batch_weight)
        self._check_floats("loss_and_delta", z=z)
        self._check_device("loss_and_delta", target)
        row_shares = self._row_shares(z, weight, batch_weight)
        loss_factor, delta_factor = map(z.dtype.type, kind.shares(z.shape[1]))
        ceiling = z.dtype.type(kind.ceiling(z.dtype))
        compiled, z, delta = kernels(z.dtype), np.ascontiguousarray(z), np.empty(z.shape, z.dtype)
        if kind.loss.name == "cross_entropy":
            if target.ndim == 1:
                self._check_class_numbers(z, target)
                numbers = np.ascontiguousarray(target, dtype=np.int64)
                if not _within(numbers, z.shape[1]):  # the kernel uses them as indices without a check
                    return super().loss_and_delta(kind, z, target, weight, batch_weight)
                return compiled.cross_entropy_numbers(z, numbers, row_shares, ceiling, delta), delta
            self._check_target_rows(kind, z, target)
            return compiled.cross_entropy_rows(z, np.ascontiguousarray(target), row_shares, ceiling, delta), delta
        self._check_target_rows(kind, z, target)
        target, scratch = np.ascontiguousarray(target), np.empty(z.shape[1], z.dtype)
        loop = loss_loop(kind, z.shape[1], z.dtype)
        if kind.fused is not None:
            loss = compiled.loss_rows(z, target, row_shares, delta_factor, ceiling, scratch, delta, loop)
            return loss * loss_factor, delta
        y = self.activate(z, kind.output)
        loss = compiled.loss_rows(y, target, row_shares, delta_factor, ceiling, scratch, delta, loop)
        delta = self.activate_backward(delta, z if kind.output.saves == "z" else y, kind.output, out=delta)
        if weight is not None:
            delta[row_shares == 0] = 0  # a row with weight zero may contain infinities, and must not contribute them
        return loss * loss_factor, delta

    # -- update -------------------------------------------------------------------------------------

    def update(self, rule: Rule, params: Array, gradient: Array, state: Array, step: int, learning_rate: float) -> None:
        self._check_floats("update", params=params, gradient=gradient, state=state)
        self._check_update(rule, params, gradient, state)
        if not (params.flags.c_contiguous and state.flags.c_contiguous):
            return super().update(rule, params, gradient, state, step, learning_rate)
        scalars = np.array(rule.scalars(step, learning_rate), dtype=params.dtype)
        gradient, loop = np.ascontiguousarray(gradient), rule_loop(rule.name, params.dtype)
        update = kernels(params.dtype).update
        # a division and a square root take as long as twenty multiplications
        _run_on_rows(
            params.size,
            20 * params.size,
            lambda first, last: update(params, gradient, state, scalars, loop, first, last),
        )
        return None

    # -- rows and columns ---------------------------------------------------------------------------

    def dropout(
        self,
        x: Array,
        rate: float,
        counter: tuple[int, int, int, int],
        out: Array | None = None,
        first_row: int = 0,
    ) -> Array:
        self._check_floats("dropout", x=x)
        result, source = self._writable(out, x.shape, x.dtype), np.ascontiguousarray(x)
        seed, epoch, step, layer = counter
        threshold, scale = random.dropout_threshold(rate), x.dtype.type(1 / (1 - rate))
        kernels(x.dtype).dropout(source, result, threshold, scale, seed, epoch, step, layer, first_row)
        return _copied_to_out(result, out)

    def take_rows(self, x: Array, rows: Array, out: Array | None = None, scale: float = 1.0) -> Array:
        if out is None or x.dtype != np.uint8 or x.ndim != 2 or out.dtype not in FLOATS:
            return super().take_rows(x, rows, out, scale)
        self._check_device("take_rows", x, rows)
        numbers = np.ascontiguousarray(rows, np.int64)
        if numbers.ndim != 1 or not _within(numbers, x.shape[0]):  # the kernel uses them as indices without a check
            return super().take_rows(x, rows, out, scale)
        result = self._writable(out, (numbers.size, x.shape[1]), out.dtype)
        kernels(out.dtype).take_bytes(x, numbers, result, out.dtype.type(scale))
        return _copied_to_out(result, out)

    # -- prediction and training --------------------------------------------------------------------

    def predictor(
        self,
        layers: Sequence[tuple[Array, Array, str | Activation]],
        factors: Array | None = None,
        input_scale: float = 1.0,
    ) -> FusedPredictor:
        return FusedPredictor(self, layers, factors, input_scale)

    def trainer(
        self,
        network: NetworkPlan,
        rule: Rule,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        batch_size: int,
    ) -> Trainer:
        return DivisibleTrainer(self, network, rule, X, target, weight, params, state, batch_size)

    # -- helpers ------------------------------------------------------------------------------------

    def _writable(self, out: Array | None, shape: tuple[int, ...], dtype: Any) -> Array:
        """A C-contiguous array for the result: `out` itself if it is one, else a new array."""
        if out is not None:
            self._check_out(out, shape, dtype)
            if out.flags.c_contiguous:
                return out
        return np.empty(shape, dtype)


def _aligned(a: Array) -> Array:
    """The array, or a copy if its entries are not at multiples of their size, as those of a field of a record."""
    return a if a.flags.aligned else a.copy()


def _within(numbers: Array, count: int) -> bool:
    """Whether all numbers are from 0 to `count` - 1."""
    return not numbers.size or bool(numbers.min() >= 0 and numbers.max() < count)


def _copied_to_out(result: Array, out: Array | None) -> Array:
    """Copy the result to `out` if it is another array; return the caller's array."""
    if out is None or out is result:
        return result
    out[...] = result
    return out


def _run_on_rows(count: int, work: float, task: Callable[[int, int], object]) -> None:
    """Call ``task(first, last)`` on the rows 0 to `count`, divided among threads if there is enough work."""
    available = threads.get_num_threads() if work >= threads.SHARED_WORK else 1
    parts = min(available, count // BLOCK)
    if parts <= 1:
        task(0, count)
        return
    bounds = [count * part // parts // BLOCK * BLOCK for part in range(parts)] + [count]
    threads.run(lambda part: task(bounds[part], bounds[part + 1]), parts)
