"""`Operations`: the array operations of a backend, both as an interface and as a portable implementation.

The methods use only the array namespace of the subclass (`numpy`, `cupy`) and the formulas.  A subclass may
override a method with a faster one; the results must be the same.

Rules of the interface, which the shared tests check on every backend:

- `asarray` creates arrays of a backend and `to_numpy` converts them back; other operations never move or cast them;
- inputs are not modified, except by methods that are documented to work in place;
- ``out`` (and ``dx``, ``dW``, ``db``) receive the result, and are returned;
- float32 stays float32, float64 stays float64; NaN and infinity propagate;
- read-only, non-contiguous and empty arrays work.

Shapes: X (n, n_in), W (n_in, n_out), b (n_out,), as in PyTorch's and scikit-learn's documentation.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backends import formulas, random
from backends.checks import FLOATS, ArgumentChecks
from backends.errors import DtypeError, ShapeError, WrongDeviceError
from backends.float_warnings import callers_float_warnings
from backends.formulas import NAMES, ROW_NAMES, Activation, OutputLoss, Rule
from backends.plan import Array


class Operations(ArgumentChecks):
    """Array operations on one device.

    Parameters
    ----------
    namespace : module
        NumPy, or a module with the same interface.
    erfc : callable
        The only elementary function of the formulas that such modules do not have.

    Attributes
    ----------
    name : str
        Argument of `backends.get_backend`.
    device : str
        Device of its arrays: ``"cpu"``, ``"cuda:0"``, ...
    precisions : tuple of str
        The values of `NetworkPlan.precision` with which it can train.
    exp, log, where, ... : callable
        The elementary functions that formulas, also user-defined ones, may use: `formulas.NAMES` and
        `formulas.ROW_NAMES`.
    """

    name: ClassVar[str]
    device: str = "cpu"
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    def __init__(self, namespace: ModuleType, erfc: Callable[[Array], Array]) -> None:
        self.namespace = namespace
        extra: dict[str, Callable[..., Array]] = {
            "erfc": erfc,
            "row_max": formulas.row_max,
            "row_sum": formulas.row_sum,
        }
        self.functions: Mapping[str, Callable[..., Array]] = {
            name: extra.get(name) or getattr(namespace, name) for name in NAMES + ROW_NAMES
        }
        self._rebind = formulas.bind(self.functions)
        self._bound: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Callable[..., Array]:
        functions = self.__dict__.get("functions", {})
        if name in functions:
            return functions[name]  # type: ignore[no-any-return]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<backend {self.name} on {self.device}>"

    def current_device(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which the array library uses the device of this backend, for work on its arrays by operators.

        The operations enter it by themselves.
        """
        return contextlib.nullcontext()

    # -- transfer and allocation --------------------------------------------------------------------

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """Copy host data to the device.  No other operation does this, or changes a dtype.

        Parameters
        ----------
        x : array_like
            Host data, or an array of this backend, which is returned unchanged if it has the right dtype.
        dtype : dtype, optional
            Default: the dtype of `x`.

        Raises
        ------
        WrongDeviceError
            If `x` is on another device.
        """
        if not isinstance(x, self.namespace.ndarray) and hasattr(x, "__cuda_array_interface__"):
            raise WrongDeviceError(
                f"asarray of backend {self.name!r} expects host data, but this {type(x).__name__} is on a GPU. "
                "Copy it to the host first: backends.get_backend('cupy').to_numpy(x)."
            )
        return self.namespace.asarray(x, dtype=dtype)

    def as_rows(self, x: Any, dtype: Any = None) -> Array:
        """The rows of a data set: `asarray`, unless the backend can train on rows that do not fit on the device.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
        dtype : dtype, optional

        Returns
        -------
        array, shape (n, n_in)
            Or an object in its place that trainers and `take_rows` accept as X, and whose slices are arrays.
        """
        return self.asarray(x, dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Copy x to a NumPy array on the host; a NumPy array is returned unchanged."""
        self._check_device("to_numpy", x)
        return np.asarray(x)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An uninitialized array."""
        return self.namespace.empty(shape, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of zeros."""
        return self.namespace.zeros(shape, dtype=dtype)

    def synchronize(self) -> None:
        """Wait until the device has finished all pending work (returns at once on a CPU)."""

    # -- batched dot products -----------------------------------------------------------------------

    def matmul(
        self, a: Array, b: Array, trans_a: bool = False, trans_b: bool = False, out: Array | None = None
    ) -> Array:
        """Matrix product of a (or its transpose) and b (or its transpose).

        Parameters
        ----------
        a : array, shape (m, k), or (k, m) with `trans_a`
        b : array, shape (k, n), or (n, k) with `trans_b`
        out : array, shape (m, n), optional
            Receives the result; may not overlap a or b.

        Returns
        -------
        array, shape (m, n)

        Raises
        ------
        ShapeError
            If the shapes do not match; the message names the dimensions that must be equal.
        """
        self._check_floats("matmul", a=a, b=b)
        self._check_product(a, b, trans_a, trans_b, out)
        return self.namespace.matmul(a.T if trans_a else a, b.T if trans_b else b, out=out)

    def dense(
        self,
        x: Array,
        W: Array,
        b: Array,
        activation: str | Activation = "identity",
        out: Array | None = None,
        preactivation: Array | None = None,
    ) -> Array:
        """A layer: ``y = f(x @ W + b)``.

        Parameters
        ----------
        x : array, shape (n, n_in)
        W : array, shape (n_in, n_out)
        b : array, shape (n_out,)
        activation : str or Activation
        out : array, shape (n, n_out), optional
            Receives y.
        preactivation : array, shape (n, n_out), optional
            Receives ``z = x @ W + b``, which some activations need in the backward pass (`Activation.saves`).

        Returns
        -------
        array, shape (n, n_out)
        """
        self._check_floats("dense", x=x, W=W, b=b)
        self._check_dense(x, W, b)
        row = formulas.activation(activation)
        z = self.matmul(x, W, out=out if preactivation is None else preactivation)
        z += b
        return self.activate(z, row, out=z if out is None and preactivation is None else out)

    # -- activation kernels -------------------------------------------------------------------------

    def activate(self, z: Array, activation: str | Activation, out: Array | None = None) -> Array:
        """Apply an activation to z, shape (n, n_out); `out` may be z itself."""
        row = formulas.activation(activation)
        self._check_floats("activate", z=z)
        return self._into(out, self._function(row, row.forward)(z), z)

    def activate_backward(
        self, dy: Array, saved: Array, activation: str | Activation, out: Array | None = None
    ) -> Array:
        """Gradient with respect to z from the gradient with respect to y: ``dz = dy * f'(z)``.

        Parameters
        ----------
        dy : array, shape (n, n_out)
        saved : array, shape (n, n_out)
            y, or z for activations with ``saves="z"``.
        activation : str or Activation
        out : array, shape (n, n_out), optional
            May be `dy` itself.

        Raises
        ------
        NotDifferentiableError
            For ``step``.
        """
        row = formulas.activation(activation)
        formulas.require_derivative(row)
        self._check_floats("activate_backward", dy=dy, saved=saved)
        self._check_same_shape("activate_backward", dy=dy, saved=saved)
        return self._into(out, self._function(row, row.backward)(dy, saved), dy)

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
        """Backward pass of `dense`: the gradients of a layer from the gradient of its output.

        With ``dz = dy * f'(z)``: ``dW = x.T @ dz``, ``db = sum of dz over the rows``, ``dx = dz @ W.T``
        (Nielsen's equations BP2-BP4 for a whole batch).

        Parameters
        ----------
        dy : array, shape (n, n_out)
        x : array, shape (n, n_in)
        saved : array, shape (n, n_out)
            As in `activate_backward`; not used for ``"identity"``.
        W : array, shape (n_in, n_out)
        activation : str or Activation
        dx, dW, db : array, optional
            Receive the results.
        need_dx : bool
            Whether to compute dx, which the first layer of a network does not need.

        Returns
        -------
        dx : array, shape (n, n_in), or None
        dW : array, shape (n_in, n_out)
        db : array, shape (n_out,)
        """
        self._check_floats("dense_backward", dy=dy, x=x, W=W)
        self._check_dense_backward(dy, x, W)
        dz = self.activate_backward(dy, saved, activation)
        dW = self.matmul(x, dz, trans_a=True, out=dW)
        db = self._into(db, dz.sum(axis=0), dz)
        return (self.matmul(dz, W, trans_b=True, out=dx) if need_dx else None), dW, db

    # -- output and loss ----------------------------------------------------------------------------

    def loss_and_delta(
        self,
        kind: str | OutputLoss,
        z: Array,
        target: Array,
        weight: Array | None = None,
        batch_weight: float | None = None,
    ) -> tuple[Any, Array]:
        """Loss of a batch from the last layer's logits, and its gradient with respect to them; numerically stable.

        Parameters
        ----------
        kind : str or OutputLoss
            Output activation and loss, such as ``"softmax+cross_entropy"``.
        z : array, shape (n, n_out)
            ``x @ W + b`` of the last layer.
        target : array, shape (n,) of integers or (n, n_out) of z's dtype
            Class numbers (for cross-entropy only), or one row for each row of z.
        weight : array, shape (n,), optional
            Weight of each row.  The loss is the weighted mean of the rows, and zero if all weights are zero.
        batch_weight : float, optional
            Divisor of the sum over the rows, if the rows are a part of a batch: the number of rows, or the sum of the
            weights, of the whole batch.

        Returns
        -------
        loss : scalar of float64
            On the device; converting it to ``float`` waits for the device.
        delta : array, shape (n, n_out)
        """
        kind = formulas.output_loss(kind)
        formulas.require_derivative(kind.output)
        self._check_floats("loss_and_delta", z=z)
        self._check_device("loss_and_delta", target)
        target = self._as_rows(kind, z, target)
        values, delta = self._values_and_delta(kind, z, target)
        row_shares = self._row_shares(z, weight, batch_weight)[:, None]
        loss_factor, delta_factor = kind.shares(z.shape[1])
        if kind.loss.bounded:
            values = self.minimum(values, kind.ceiling(z.dtype))
        # `where` and not only the product: a row with weight zero may contain infinities, and must not contribute them
        loss = self.where(row_shares != 0, values * row_shares, 0).sum(dtype=np.float64)
        return loss * loss_factor, self.where(row_shares != 0, delta * (row_shares * delta_factor), 0)

    def _row_shares(self, z: Array, weight: Array | None, batch_weight: float | None) -> Array:
        """Factor of each row in the mean over the batch, shape (n,); all zero if the batch has no weight."""
        n = z.shape[0]
        if weight is None:
            total = n if batch_weight is None else batch_weight
            return self.namespace.full(n, 1 / total if total > 0 else 0.0, dtype=z.dtype)
        self._check_floats("loss_and_delta", z=z, weight=weight)
        if weight.shape != (n,):
            raise ShapeError(f"loss_and_delta: weight {weight.shape} must be ({n},), one number for each row of z.")
        total = weight.sum() if batch_weight is None else self.namespace.asarray(batch_weight, dtype=z.dtype)
        return weight / self.where(total > 0, total, 1).astype(z.dtype)

    def smooth_labels(
        self, kind: str | OutputLoss, target: Array, n_outputs: int, smoothing: float, dtype: Any
    ) -> Array:
        """Targets moved toward the uniform distribution: ``(1 - s) * target + s / k`` (Szegedy et al. 2016, section 7).

        Parameters
        ----------
        kind : str or OutputLoss
            With cross-entropy, k is `n_outputs`.  With binary cross-entropy, each output is a separate distribution
            over two values, and k is 2.
        target : array, shape (n,) of integers or (n, n_outputs)
        n_outputs : int
        smoothing : float
            s, 0 <= s < 1.
        dtype : dtype
            Of the result.

        Returns
        -------
        array, shape (n, n_outputs)

        Examples
        --------
        >>> import backends, numpy
        >>> xp = backends.get_backend("numpy")
        >>> xp.smooth_labels("softmax+cross_entropy", numpy.array([1, 0]), 2, 0.1, "float64")
        array([[0.05, 0.95],
               [0.95, 0.05]])
        """
        kind = formulas.output_loss(kind)
        self._check_device("smooth_labels", target)
        if target.ndim == 1 and kind.loss.name == "cross_entropy":
            self._check_integers("smooth_labels", target)
            target = (target[:, None] == self.namespace.arange(n_outputs)).astype(dtype)
        if target.shape[1:] != (n_outputs,):
            numbers = " or (n,) of class numbers" if kind.loss.name == "cross_entropy" else ""
            raise ShapeError(f"smooth_labels: target {target.shape} must have shape (n, {n_outputs}){numbers}.")
        k = n_outputs if kind.loss.name == "cross_entropy" else 2
        return target * (1 - smoothing) + smoothing / k

    def _values_and_delta(self, kind: OutputLoss, z: Array, target: Array) -> tuple[Array, Array]:
        if kind.fused is not None:
            return self._function(kind.loss, kind.fused)(z, target)  # type: ignore[no-any-return]
        y = self.activate(z, kind.output)
        levels = (kind.loss.level_of_each(z.shape[1]),) if kind.loss.levels else ()
        values, dy = self._function(kind.loss, kind.loss.formula)(
            y, target, *(self.namespace.asarray(row, dtype=z.dtype) for row in levels)
        )
        return values, self.activate_backward(dy, z if kind.output.saves == "z" else y, kind.output)

    def _as_rows(self, kind: OutputLoss, z: Array, target: Array) -> Array:
        """Targets with one row for each row of z: class numbers are converted to one-hot rows."""
        if target.ndim == 1 and kind.loss.name == "cross_entropy":
            self._check_class_numbers(z, target)
            return (target[:, None] == self.namespace.arange(z.shape[1])).astype(z.dtype)
        self._check_target_rows(kind, z, target)
        return target

    # -- update -------------------------------------------------------------------------------------

    def add_penalty(self, weights: Array, gradient: Array, *, l2: float = 0.0, l1: float = 0.0) -> float:
        """Add the gradient of ``l2/2 * sum(w**2) + l1 * sum(|w|)`` to `gradient`, in place; return the penalty.

        Parameters
        ----------
        weights, gradient : array, shape (n_weights,)
        """
        self._check_floats("add_penalty", weights=weights, gradient=gradient)
        self._check_same_shape("add_penalty", weights=weights, gradient=gradient)
        value = 0.0
        if l2:
            gradient += l2 * weights
            value += 0.5 * l2 * float((weights * weights).sum(dtype=np.float64))
        if l1:
            gradient += l1 * self.sign(weights)
            value += l1 * float(self.abs(weights).sum(dtype=np.float64))
        return value

    def clip(self, gradient: Array, *, by_value: float | None = None, by_norm: float | None = None) -> None:
        """Clip a gradient in place: each entry to +-`by_value`, then its Euclidean norm to `by_norm`.

        Clipping by norm is that of Pascanu et al. 2013, with the factor of PyTorch, which avoids a division by zero:
        ``min(1, by_norm / (norm + 1e-6))``.
        """
        self._check_floats("clip", gradient=gradient)
        if by_value is not None:
            gradient[...] = self.minimum(self.maximum(gradient, -by_value), by_value)
        if by_norm is not None:
            norm = self.sqrt((gradient * gradient).sum(dtype=np.float64))
            gradient *= self.minimum(by_norm / (norm + 1e-6), 1.0).astype(gradient.dtype)

    def multiply(self, x: Array, factor: float) -> None:
        """Multiply an array by a number, in place."""
        self._check_floats("multiply", x=x)
        x *= factor

    def update(self, rule: Rule, params: Array, gradient: Array, state: Array, step: int, learning_rate: float) -> None:
        """Apply an update rule to parameters and state, both in place.

        Parameters
        ----------
        rule : Rule
        params, gradient : array, shape (n_parameters,)
        state : array, shape (len(rule.row.state), n_parameters)
            The rule's state, such as velocities; zeros before the first step.
        step : int
            Number of this update, counted from 1.
        learning_rate : float
        """
        self._check_floats("update", params=params, gradient=gradient, state=state)
        self._check_update(rule, params, gradient, state)
        new, *new_state = self._formula(rule.row.formula)(params, gradient, *state, *rule.scalars(step, learning_rate))
        params[...] = new
        for state_row, value in zip(state, new_state, strict=True):
            state_row[...] = value

    # -- rows and columns ---------------------------------------------------------------------------

    def dropout(
        self,
        x: Array,
        rate: float,
        counter: tuple[int, int, int, int],
        out: Array | None = None,
        first_row: int = 0,
    ) -> Array:
        """Set random units to zero and scale the others by 1 / (1 - rate) (inverted dropout; Srivastava et al. 2014).

        The same counter gives the same mask, so the backward pass applies this function to the gradient.

        Parameters
        ----------
        x : array, shape (n, units)
        rate : float
            Probability of a zero, 0 <= rate < 1.
        counter : tuple of int
            (seed, epoch, step, layer); see `backends.random`.
        out : array, shape (n, units), optional
            May be x itself.
        first_row : int
            Position of the first row of x in the batch that the counter belongs to.
        """
        self._check_floats("dropout", x=x)
        keep = self.asarray(random.keep_mask(x.shape[0], x.shape[1], rate, counter, first_row))
        return self._into(out, self.where(keep, x * (1 / (1 - rate)), 0), x)

    def scale_columns(self, x: Array, factors: Array, out: Array | None = None) -> Array:
        """A scaling layer: each column of x, shape (n, n_in), multiplied by its factor, shape (n_in,)."""
        self._check_floats("scale_columns", x=x, factors=factors)
        self._check_columns("scale_columns", x, factors)
        return self._into(out, x * factors, x)

    def scale_columns_backward(self, dy: Array, x: Array, out: Array | None = None) -> Array:
        """Gradient of a scaling layer's factors, shape (n_in,): the sum of ``dy * x`` over the rows."""
        self._check_floats("scale_columns_backward", dy=dy, x=x)
        self._check_same_shape("scale_columns_backward", dy=dy, x=x)
        return self._into(out, (dy * x).sum(axis=0), dy)

    def take_rows(self, x: Array, rows: Array, out: Array | None = None, scale: float = 1.0) -> Array:
        """Gather rows of x.

        Parameters
        ----------
        x : array, shape (n, ...)
        rows : array of int64, shape (m,)
        out : array, shape (m, ...), optional
            If it has a floating dtype and x an integer one, the values are converted and multiplied by `scale`.
            Networks read images stored as bytes in this way.
        scale : float
        """
        self._check_device("take_rows", x, rows)
        if out is None:
            return x[rows]
        if x.dtype == out.dtype:
            self.namespace.take(x, rows, axis=0, out=out)
        elif x.dtype.kind in "iu" and out.dtype in FLOATS:
            self.namespace.multiply(x[rows], out.dtype.type(scale), out=out)
        else:
            raise DtypeError(
                f"take_rows: rows of dtype {x.dtype} cannot be written to an array of dtype {out.dtype}. "
                f"Give an out of dtype {x.dtype}, or of float32 or float64 for rows of integers."
            )
        return out

    def sum(self, x: Array, axis: int | None = None) -> Array:
        """Sum over all entries, or along `axis`."""
        self._check_device("sum", x)
        return x.sum(axis=axis)

    # -- helpers -------------------------------------------------------------------------------------

    def _formula(self, function: Callable[..., Any]) -> Callable[..., Any]:
        bound = self._bound.get(function)
        if bound is None:
            bound = self._bound[function] = self._rebind(function)
        return bound

    def _function(self, row: Any, function: Callable[..., Any] | None) -> Callable[..., Any]:
        """A formula bound to this backend; a user-defined one gets the backend as its first argument."""
        assert function is not None
        if row.custom:
            return callers_float_warnings()(functools.partial(function, self))
        return self._formula(function)

    def _into(self, out: Array | None, value: Array, like: Array) -> Array:
        if out is None:
            # a formula may return its input (identity), but a result must not share memory with an input
            value = value.copy() if value is like else value
            return value.astype(like.dtype, copy=False)
        if out is not value:
            self._check_out(out, value.shape, like.dtype)
            out[...] = value
        return out
