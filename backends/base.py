"""`Backend`: the contract that every backend keeps, and its portable implementation in one.

``xp`` stands for a Backend everywhere in this project.  The methods below are written on the array
namespace a subclass binds (`numpy`, `cupy`) and on the formulas; a subclass overrides what it can do
faster, never what it means.

Rules of the contract, which the shared tests hold every backend to:

- arrays enter through `asarray` and leave through `to_numpy`; operations never move or cast them;
- inputs are not written to, except where a method says it works in place;
- ``out`` (and ``dx``, ``dW``, ``db``) are really used, and returned;
- float32 stays float32, float64 stays float64; NaN and infinity propagate;
- read-only, non-contiguous and empty arrays work.

Shapes: X (n, n_in), W (n_in, n_out), b (n_out,), as in PyTorch's and scikit-learn's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backends import formulas, loop, random
from backends.errors import DtypeError, ShapeError, WrongDeviceError
from backends.formulas import NAMES, ROW_NAMES, Activation, OutputLoss, Rule
from backends.plan import Array, BatchHook, Control, EpochPlan, EpochResult

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Backend:
    """Arrays and kernels of one device.

    Parameters
    ----------
    namespace : module
        NumPy, or a module that mirrors it.
    erfc : callable
        The one elementary function the formulas need that such modules lack.

    Attributes
    ----------
    name : str
        What `backends.get_backend` knows it by.
    device : str
        Where its arrays live: ``"cpu"``, ``"cuda:0"``, ...
    exp, log, where, ... : callable
        The elementary functions that formulas, a user's own included, may use: `formulas.NAMES` and
        `formulas.ROW_NAMES`.

    Examples
    --------
    >>> import backends
    >>> xp = backends.get_backend("numpy")
    >>> x, W, b = (xp.asarray(v) for v in ([[1.0, 2.0]], [[1.0], [1.0]], [-5.0]))
    >>> xp.dense(x, W, b, "relu")
    array([[0.]])
    """

    name: ClassVar[str]
    device: str = "cpu"

    def __init__(self, namespace: ModuleType, erfc: Callable[[Array], Array]) -> None:
        self.namespace = namespace
        own: dict[str, Callable[..., Array]] = {"erfc": erfc, "row_max": formulas.row_max, "row_sum": formulas.row_sum}
        self.functions: Mapping[str, Callable[..., Array]] = {
            name: own.get(name) or getattr(namespace, name) for name in NAMES + ROW_NAMES
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

    # -- doors ------------------------------------------------------------------------------------

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """Bring host data in: the one way onto the device, and the one place where the dtype may change.

        Parameters
        ----------
        x : array_like
            Host data, or an array of this backend, which is handed back as it is when its dtype fits.
        dtype : dtype, optional
            Default: keep it.

        Raises
        ------
        WrongDeviceError
            If `x` lives on another device.
        """
        if not isinstance(x, self.namespace.ndarray) and hasattr(x, "__cuda_array_interface__"):
            raise WrongDeviceError(
                f"asarray of backend {self.name!r} takes host data, and this {type(x).__name__} lives on a GPU. "
                "Bring it to the host first: backends.get_backend('cupy').to_numpy(x)."
            )
        return self.namespace.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """The same values as a NumPy array on the host (the array itself where it already is one)."""
        self._own("to_numpy", x)
        return np.asarray(x)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array whose values are yet to be written."""
        return self.namespace.empty(shape, dtype=dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of zeros."""
        return self.namespace.zeros(shape, dtype=dtype)

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it (at once on a CPU)."""

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
            Takes the result; may not overlap a or b.

        Returns
        -------
        array, shape (m, n)

        Raises
        ------
        ShapeError
            Naming the dimensions that must be equal.
        """
        self._floats("matmul", a=a, b=b)
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
            Takes y.
        preactivation : array, shape (n, n_out), optional
            Takes ``z = x @ W + b``, which some activations need on the way back (`Activation.saves`).

        Returns
        -------
        array, shape (n, n_out)
        """
        self._floats("dense", x=x, W=W, b=b)
        self._check_dense(x, W, b)
        row = formulas.activation(activation)
        z = self.matmul(x, W, out=out if preactivation is None else preactivation)
        z += b
        return self.activate(z, row, out=z if out is None and preactivation is None else out)

    # -- activation kernels -------------------------------------------------------------------------

    def activate(self, z: Array, activation: str | Activation, out: Array | None = None) -> Array:
        """Apply an activation to z, shape (n, n_out); `out` may be z itself."""
        row = formulas.activation(activation)
        self._floats("activate", z=z)
        return self._into(out, self._function(row, row.forward)(z), z)

    def activate_backward(
        self, dy: Array, saved: Array, activation: str | Activation, out: Array | None = None
    ) -> Array:
        """Slope in z from the slope in y: ``dz = dy * f'(z)``.

        Parameters
        ----------
        dy : array, shape (n, n_out)
        saved : array, shape (n, n_out)
            y, or z for the activations whose row says ``saves="z"``.
        activation : str or Activation
        out : array, shape (n, n_out), optional
            May be `dy` itself.

        Raises
        ------
        NotDifferentiableError
            For ``step``.
        """
        row = formulas.activation(activation)
        formulas.require_slope(row)
        self._floats("activate_backward", dy=dy, saved=saved)
        self._same_shape("activate_backward", dy=dy, saved=saved)
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
        """Slopes of a layer from the slope of its output: the backward twin of `dense`.

        With ``dz = dy * f'(z)``: ``dW = x.T @ dz``, ``db = sum of dz over the rows``, ``dx = dz @ W.T``
        (Nielsen's equations BP2-BP4 for a whole batch).

        Parameters
        ----------
        dy : array, shape (n, n_out)
        x : array, shape (n, n_in)
        saved : array, shape (n, n_out)
            As in `activate_backward`; not looked at for ``"identity"``.
        W : array, shape (n_in, n_out)
        activation : str or Activation
        dx, dW, db : array, optional
            Take the results.
        need_dx : bool
            The first layer of a network has no use for dx.

        Returns
        -------
        dx : array, shape (n, n_in), or None
        dW : array, shape (n_in, n_out)
        db : array, shape (n_out,)
        """
        self._floats("dense_backward", dy=dy, x=x, W=W)
        self._check_dense_backward(dy, x, W)
        dz = self.activate_backward(dy, saved, activation)
        dW = self.matmul(x, dz, trans_a=True, out=dW)
        db = self._into(db, dz.sum(axis=0), dz)
        return (self.matmul(dz, W, trans_b=True, out=dx) if need_dx else None), dW, db

    # -- output and loss ----------------------------------------------------------------------------

    def loss_and_delta(
        self, kind: str | OutputLoss, z: Array, target: Array, weight: Array | None = None
    ) -> tuple[Any, Array]:
        """Loss of a batch from the last layer's logits, and its slope in them; numerically stable.

        Parameters
        ----------
        kind : str or OutputLoss
            Output activation and loss, such as ``"softmax+cross_entropy"``.
        z : array, shape (n, n_out)
            ``x @ W + b`` of the last layer.
        target : array, shape (n,) of integers or (n, n_out) of z's dtype
            Class numbers (for cross-entropy only), or one row for each row of z.
        weight : array, shape (n,), optional
            Of the rows; the loss is their weighted mean, and zero where all weights are.

        Returns
        -------
        loss : scalar of float64
            On the device: ``float`` of it waits for the device.
        delta : array, shape (n, n_out)
        """
        kind = formulas.output_loss(kind)
        formulas.require_slope(kind.output)
        self._floats("loss_and_delta", z=z)
        self._own("loss_and_delta", target)
        target = self._as_rows(kind, z, target)
        values, delta = self._values_and_delta(kind, z, target)
        portion = self._portions(z, weight)[:, None]
        of_value, of_slope = kind.shares(z.shape[1])
        if kind.loss.bounded:
            values = self.minimum(values, kind.ceiling(z.dtype))
        # where, not the product: a row of weight zero must not bring its infinities in
        loss = self.where(portion != 0, values * portion, 0).sum(dtype=np.float64)
        return loss * of_value, self.where(portion != 0, delta * (portion * of_slope), 0)

    def _portions(self, z: Array, weight: Array | None) -> Array:
        """What each row counts in the mean over the rows, shape (n,): they sum to 1, or to 0 if all weights are 0."""
        n = z.shape[0]
        if weight is None:
            return self.namespace.full(n, 1 / max(n, 1), dtype=z.dtype)
        self._floats("loss_and_delta", z=z, weight=weight)
        if weight.shape != (n,):
            raise ShapeError(f"loss_and_delta: weight {weight.shape} must be ({n},), one number for each row of z.")
        total = weight.sum()
        return weight / self.where(total > 0, total, 1).astype(z.dtype)

    def _values_and_delta(self, kind: OutputLoss, z: Array, target: Array) -> tuple[Array, Array]:
        if kind.fused is not None:
            return self._function(kind.loss, kind.fused)(z, target)  # type: ignore[no-any-return]
        y = self.activate(z, kind.output)
        values, dy = self._function(kind.loss, kind.loss.formula)(y, target)
        return values, self.activate_backward(dy, z if kind.output.saves == "z" else y, kind.output)

    def _as_rows(self, kind: OutputLoss, z: Array, target: Array) -> Array:
        """Targets as one row for each row of z: class numbers become one-hot rows."""
        if target.ndim == 1 and kind.loss.name == "cross_entropy":
            self._check_class_numbers(z, target)
            return (target[:, None] == self.namespace.arange(z.shape[1])).astype(z.dtype)
        self._check_target_rows(kind, z, target)
        return target

    # -- update -------------------------------------------------------------------------------------

    def add_penalty(self, weights: Array, gradient: Array, *, l2: float = 0.0, l1: float = 0.0) -> float:
        """Add the slope of ``l2/2 * sum(w**2) + l1 * sum(|w|)`` to `gradient`, in place; return its value.

        Parameters
        ----------
        weights, gradient : array, shape (n_weights,)
        """
        self._floats("add_penalty", weights=weights, gradient=gradient)
        self._same_shape("add_penalty", weights=weights, gradient=gradient)
        value = 0.0
        if l2:
            gradient += l2 * weights
            value += 0.5 * l2 * float((weights * weights).sum(dtype=np.float64))
        if l1:
            gradient += l1 * self.sign(weights)
            value += l1 * float(self.abs(weights).sum(dtype=np.float64))
        return value

    def clip(self, gradient: Array, *, by_value: float | None = None, by_norm: float | None = None) -> None:
        """Bound a gradient in place: each entry to +-`by_value`, then its Euclidean norm to `by_norm`.

        The norm's bound is that of Pascanu et al. 2013, with PyTorch's guard: the factor is
        ``min(1, by_norm / (norm + 1e-6))``.
        """
        self._floats("clip", gradient=gradient)
        if by_value is not None:
            gradient[...] = self.minimum(self.maximum(gradient, -by_value), by_value)
        if by_norm is not None:
            norm = self.sqrt((gradient * gradient).sum(dtype=np.float64))
            gradient *= self.minimum(by_norm / (norm + 1e-6), 1.0).astype(gradient.dtype)

    def multiply(self, x: Array, factor: float) -> None:
        """Multiply an array by a number, in place."""
        self._floats("multiply", x=x)
        x *= factor

    def update(self, rule: Rule, params: Array, gradient: Array, state: Array, step: int, learning_rate: float) -> None:
        """Apply an update rule to parameters and state, both in place.

        Parameters
        ----------
        rule : Rule
        params, gradient : array, shape (n_parameters,)
        state : array, shape (len(rule.row.state), n_parameters)
            What the rule remembers; zeros before the first step.
        step : int
            Number of this update, from 1.
        learning_rate : float
        """
        self._floats("update", params=params, gradient=gradient, state=state)
        self._check_update(rule, params, gradient, state)
        new, *memory = self._formula(rule.row.formula)(params, gradient, *state, *rule.scalars(step, learning_rate))
        params[...] = new
        for slot, value in zip(state, memory, strict=True):
            slot[...] = value

    # -- the rest -----------------------------------------------------------------------------------

    def dropout(self, x: Array, rate: float, counter: tuple[int, int, int, int], out: Array | None = None) -> Array:
        """Set a random part of the units to zero and scale the rest up (inverted dropout; Srivastava et al. 2014).

        The same counter gives the same mask, so the backward twin is this very function applied to the slope.

        Parameters
        ----------
        x : array, shape (n, units)
        rate : float
            Probability of a zero, 0 <= rate < 1.
        counter : tuple of int
            (seed, epoch, step, layer); see `backends.random`.
        out : array, shape (n, units), optional
            May be x itself.
        """
        self._floats("dropout", x=x)
        keep = self.asarray(random.keep_mask(x.shape[0], x.shape[1], rate, counter))
        return self._into(out, self.where(keep, x * (1 / (1 - rate)), 0), x)

    def take_rows(self, x: Array, rows: Array, out: Array | None = None, scale: float = 1.0) -> Array:
        """Gather rows of x.

        Parameters
        ----------
        x : array, shape (n, ...)
        rows : array of int64, shape (m,)
        out : array, shape (m, ...), optional
            If it is of a floating dtype and x of an integer one, the values are converted and multiplied
            by `scale` on the way: how images of bytes enter a network.
        scale : float
        """
        self._own("take_rows", x, rows)
        if out is None:
            return x[rows]
        if x.dtype == out.dtype:
            self.namespace.take(x, rows, axis=0, out=out)
        elif x.dtype.kind in "iu" and out.dtype in FLOATS:
            self.namespace.multiply(x[rows], out.dtype.type(scale), out=out)
        else:
            raise DtypeError(f"take_rows: rows of {x.dtype} do not go into an array of {out.dtype}.")
        return out

    def sum(self, x: Array, axis: int | None = None) -> Array:
        """Sum over all entries, or along `axis`."""
        self._own("sum", x)
        return x.sum(axis=axis)

    # -- the whole epoch ----------------------------------------------------------------------------

    def train_epoch(
        self,
        plan: EpochPlan,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        control: Control | None = None,
        on_batch: BatchHook | None = None,
    ) -> EpochResult:
        """Train for one epoch; params and state are updated in place.

        Parameters
        ----------
        plan : EpochPlan
        X : array, shape (n, n_in)
            Of the parameters' dtype, or uint8.
        target : array, shape (n,) of class numbers or (n, n_out)
        weight : array, shape (n,), or None
        params : array, shape (n_parameters,)
        state : array, shape (len(rule.row.state), n_parameters)
        control : Control, optional
            Watched for a request to stop, told of progress.
        on_batch : callable, optional
            Called after each batch with its number and loss.

        Notes
        -----
        This is the readable loop of `backends.loop`.  A backend overrides it for plans it can run faster;
        nothing but speed may differ.
        """
        return loop.train_epoch(self, plan, X, target, weight, params, state, control or Control(), on_batch)

    # -- shared checks ------------------------------------------------------------------------------

    def _formula(self, function: Callable[..., Any]) -> Callable[..., Any]:
        bound = self._bound.get(function)
        if bound is None:
            bound = self._bound[function] = self._rebind(function)
        return bound

    def _function(self, row: Any, function: Callable[..., Any] | None) -> Callable[..., Any]:
        """The formula of a table's row, ready for arrays; a user's own takes this backend first."""
        assert function is not None
        if row.custom:
            return lambda *arrays: function(self, *arrays)
        return self._formula(function)

    def _into(self, out: Array | None, value: Array, like: Array) -> Array:
        if out is None:
            # a formula may hand its input back (identity), and a result must not share memory with an input
            value = value.copy() if value is like else value
            return value.astype(like.dtype, copy=False)
        if out is not value:
            self._check_out(out, value.shape, like.dtype)
            out[...] = value
        return out

    def _own(self, operation: str, *arrays: Array) -> None:
        for x in arrays:
            if not isinstance(x, self.namespace.ndarray):
                raise WrongDeviceError(
                    f"{operation}: backend {self.name!r} on {self.device} got a {type(x).__module__}."
                    f"{type(x).__name__}. Bring host data in with xp.asarray(x), and arrays of another backend "
                    "out with its own to_numpy(x) first."
                )

    def _floats(self, operation: str, **arrays: Array) -> None:
        # this runs before every operation, and a step of a small network is a few dozen of them
        shared = None
        for x in arrays.values():
            if not isinstance(x, self.namespace.ndarray):
                self._own(operation, x)
            if shared is None:
                shared = x.dtype
            elif x.dtype is not shared and x.dtype != shared:
                shared = None
                break
        if shared is None or shared not in FLOATS:  # NumPy takes None for float64
            found = ", ".join(f"{name} {x.dtype}" for name, x in arrays.items())
            raise DtypeError(
                f"{operation}: arrays must share one dtype, float32 or float64, and are never cast here; got {found}. "
                "Cast at the door: xp.asarray(x, dtype)."
            )

    def _same_shape(self, operation: str, **arrays: Array) -> None:
        # broadcasting would hide a mistake
        if len({x.shape for x in arrays.values()}) > 1:
            found = " and ".join(f"{name} {x.shape}" for name, x in arrays.items())
            raise ShapeError(f"{operation}: {found} must have one shape.")

    def _check_out(self, out: Array, shape: tuple[int, ...], dtype: Any) -> None:
        self._own("out", out)
        if out.shape != shape:
            raise ShapeError(f"out {out.shape} must have the shape of the result, {shape}.")
        if out.dtype != dtype:
            raise DtypeError(f"out is an array of {out.dtype}, and the result one of {dtype}: nothing is cast here.")

    def _check_product(self, a: Array, b: Array, trans_a: bool, trans_b: bool, out: Array | None) -> None:
        if a.ndim != 2 or b.ndim != 2:
            raise ShapeError(f"matmul: both factors must have two dimensions, not a {a.shape} and b {b.shape}.")
        dim_a, dim_b = (0 if trans_a else 1), (1 if trans_b else 0)
        if a.shape[dim_a] != b.shape[dim_b]:
            hint = ""
            if a.shape[dim_a] == b.shape[1 - dim_b]:
                hint = f" The transpose of b fits: trans_b={not trans_b}."
            elif a.shape[1 - dim_a] == b.shape[dim_b]:
                hint = f" The transpose of a fits: trans_a={not trans_a}."
            raise ShapeError(
                f"matmul: a {a.shape} and b {b.shape} do not fit: dim {dim_a} of a = {a.shape[dim_a]} must equal "
                f"dim {dim_b} of b = {b.shape[dim_b]}.{hint}"
            )
        shape = (a.shape[1 - dim_a], b.shape[1 - dim_b])
        if out is not None:
            self._check_out(out, shape, a.dtype)

    def _check_class_numbers(self, z: Array, target: Array) -> None:
        if target.dtype.kind not in "iu":
            raise DtypeError(f"loss_and_delta: class numbers must be integers, not {target.dtype}.")
        if target.shape != z.shape[:1]:
            raise ShapeError(f"loss_and_delta: target {target.shape} must be ({z.shape[0]},), a class for each row.")

    def _check_target_rows(self, kind: OutputLoss, z: Array, target: Array) -> None:
        if target.shape != z.shape:
            numbers = f" or ({z.shape[0]},) of class numbers" if kind.loss.name == "cross_entropy" else ""
            raise ShapeError(f"loss_and_delta: target {target.shape} must have the shape of z, {z.shape}{numbers}.")
        self._floats("loss_and_delta", z=z, target=target)

    def _check_dense_backward(self, dy: Array, x: Array, W: Array) -> None:
        if dy.shape != (x.shape[0], W.shape[1]) or x.shape[1] != W.shape[0]:
            raise ShapeError(
                f"dense_backward: dy {dy.shape} must be (rows of x, columns of W) and the columns of x the rows of W, "
                f"for x {x.shape} and W {W.shape}."
            )

    def _check_update(self, rule: Rule, params: Array, gradient: Array, state: Array) -> None:
        slots = len(rule.row.state)
        if params.ndim != 1 or state.shape != (slots, *params.shape) or gradient.shape != params.shape:
            raise ShapeError(
                f"update by {rule.name!r}: params {params.shape} need one dimension, a gradient of the same shape, not "
                f"{gradient.shape}, and state ({slots}, {params.size}), not {state.shape}."
            )

    def _check_dense(self, x: Array, W: Array, b: Array) -> None:
        if x.ndim != 2 or W.ndim != 2 or x.shape[1] != W.shape[0] or b.shape != W.shape[1:]:
            raise ShapeError(
                f"dense: x {x.shape}, W {W.shape} and b {b.shape} must be (n, n_in), (n_in, n_out) and (n_out,)."
            )
