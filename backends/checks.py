"""`ArgumentChecks`: the checks of the arguments of operations."""

from __future__ import annotations

from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from backends.errors import ConfigurationError, DtypeError, ShapeError, WrongDeviceError
from backends.formulas import OutputLoss, Rule
from backends.plan import Array, NetworkPlan

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class ArgumentChecks:
    """Checks of device, dtype and shape; base class of `Operations`."""

    name: ClassVar[str]
    device: str
    precisions: ClassVar[tuple[str, ...]]
    namespace: ModuleType

    def _check_device(self, operation: str, *arrays: Array) -> None:
        for x in arrays:
            if not isinstance(x, self.namespace.ndarray):
                raise WrongDeviceError(
                    f"{operation}: backend {self.name!r} on {self.device} got a {type(x).__module__}."
                    f"{type(x).__name__}. Convert host data with xp.asarray(x); copy arrays of another backend to the "
                    "host first, with that backend's to_numpy(x)."
                )

    def _check_floats(self, operation: str, **arrays: Array) -> None:
        # must be fast: it runs before every operation, and a step of a small network has a few dozen operations
        dtype = None
        for x in arrays.values():
            if not isinstance(x, self.namespace.ndarray):
                self._check_device(operation, x)
            if dtype is None:
                dtype = x.dtype
            elif x.dtype is not dtype and x.dtype != dtype:
                dtype = None
                break
        if dtype is None or dtype not in FLOATS:  # the first test is needed: for NumPy, None equals float64
            found = ", ".join(f"{name} {x.dtype}" for name, x in arrays.items())
            raise DtypeError(
                f"{operation}: all arrays must have the same dtype, float32 or float64; got {found}. "
                "Convert them before the call: xp.asarray(x, dtype)."
            )

    def _check_same_shape(self, operation: str, **arrays: Array) -> None:
        # without this check, broadcasting could hide a mistake
        if len({x.shape for x in arrays.values()}) > 1:
            found = " and ".join(f"{name} {x.shape}" for name, x in arrays.items())
            raise ShapeError(f"{operation}: {found} must have the same shape.")

    def _check_out(self, out: Array, shape: tuple[int, ...], dtype: Any) -> None:
        self._check_device("out", out)
        if out.shape != shape:
            raise ShapeError(f"out {out.shape} must have the shape of the result, {shape}.")
        if out.dtype != dtype:
            raise DtypeError(f"out has dtype {out.dtype}, but must have the dtype of the result, {dtype}.")

    def _check_product(self, a: Array, b: Array, trans_a: bool, trans_b: bool, out: Array | None) -> None:
        if a.ndim != 2 or b.ndim != 2:
            raise ShapeError(f"matmul: a {a.shape} and b {b.shape} must have two dimensions.")
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

    def _check_integers(self, operation: str, target: Array) -> None:
        if target.dtype.kind not in "iu":
            raise DtypeError(f"{operation}: class numbers must be integers, not {target.dtype}.")

    def _check_class_numbers(self, z: Array, target: Array) -> None:
        self._check_integers("loss_and_delta", target)
        if target.shape != z.shape[:1]:
            raise ShapeError(
                f"loss_and_delta: target {target.shape} must be ({z.shape[0]},), one class number for each row of z."
            )

    def _check_target_rows(self, kind: OutputLoss, z: Array, target: Array) -> None:
        if target.shape != z.shape:
            numbers = f" or ({z.shape[0]},) of class numbers" if kind.loss.name == "cross_entropy" else ""
            raise ShapeError(f"loss_and_delta: target {target.shape} must have the shape of z, {z.shape}{numbers}.")
        self._check_floats("loss_and_delta", z=z, target=target)

    def _check_dense_backward(self, dy: Array, x: Array, W: Array) -> None:
        if dy.shape != (x.shape[0], W.shape[1]) or x.shape[1] != W.shape[0]:
            raise ShapeError(
                f"dense_backward: dy {dy.shape}, x {x.shape} and W {W.shape} must be (n, n_out), (n, n_in) and "
                "(n_in, n_out)."
            )

    def _check_update(self, rule: Rule, params: Array, gradient: Array, state: Array) -> None:
        state_rows = len(rule.row.state)
        if params.ndim != 1 or state.shape != (state_rows, *params.shape) or gradient.shape != params.shape:
            raise ShapeError(
                f"update by {rule.name!r}: params {params.shape} must have one dimension, gradient {gradient.shape} "
                f"the same shape, and state {state.shape} the shape ({state_rows}, {params.size})."
            )

    def _check_dense(self, x: Array, W: Array, b: Array) -> None:
        if x.ndim != 2 or W.ndim != 2 or x.shape[1] != W.shape[0] or b.shape != W.shape[1:]:
            raise ShapeError(
                f"dense: x {x.shape}, W {W.shape} and b {b.shape} must be (n, n_in), (n_in, n_out) and (n_out,)."
            )

    def _check_columns(self, operation: str, x: Array, factors: Array) -> None:
        if x.ndim != 2 or factors.shape != x.shape[1:]:
            raise ShapeError(
                f"{operation}: factors {factors.shape} must have one entry for each column of x {x.shape}."
            )


def require_precision(xp: ArgumentChecks, network: NetworkPlan) -> None:
    """Raise `ConfigurationError` if the backend `xp` cannot train a network with its precision."""
    if network.precision not in xp.precisions:
        raise ConfigurationError(
            f"backend {xp.name!r} on {xp.device} cannot train with precision={network.precision!r}; it has "
            f"{', '.join(xp.precisions)}. Use a GPU, with device='cuda', or use precision='float32'."
        )
