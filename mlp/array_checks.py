"""Checks of the arrays that a network is given: inputs, targets and weights.

Checked arrays have matching shapes and finite values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlp._backends import Backend, DataError, DtypeError, ShapeError, formulas
from mlp.checks import counted, refuse_masked


def as_array(name: str, value: Any, xp: Backend) -> Any:
    """Convert `value` to an array of the host or of `xp`, of a real dtype.

    Raises
    ------
    DtypeError
        If it is None, sparse, not numeric, or not an array.
    DataError
        If it is a masked array with masked values.
    WrongDeviceError
        If it is on a device that `xp` cannot use.
    """
    if value is None:
        raise DtypeError(f"{name} is None, but an array is needed.")
    refuse_masked(name, value)
    if hasattr(value, "tocsr"):
        raise DtypeError(
            f"{name} is a sparse {type(value).__name__}, but a dense array is needed. Pass {name}.toarray() if it fits "
            "in memory."
        )
    if not isinstance(value, np.ndarray) and hasattr(value, "__cuda_array_interface__"):
        return xp.asarray(value)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DtypeError(
            f"{name} cannot be converted to an array: {error}. Does it have rows of different lengths?"
        ) from error
    if array.dtype.kind not in "buif":
        hints = {
            "O": "it mixes types, or its rows have different lengths; convert it with numpy.asarray(x, dtype=float)",
            "U": "encode text as numbers first; mlp.data.load does that for tables",
            "S": "encode text as numbers first; mlp.data.load does that for tables",
            "c": "pass the real and imaginary parts as separate columns",
        }
        hint = hints.get(array.dtype.kind, "pass numbers")
        raise DtypeError(f"{name} has dtype {array.dtype}, but real numbers are needed: {hint}.")
    return array


def require_finite(name: str, array: Any, remedy: str) -> None:
    """Raise `DataError` with the index of the first entry of `array` that is NaN or infinite."""
    if array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        if math.isfinite(float(array.sum())):  # one pass is enough for nearly all arrays
            return
    host = array if isinstance(array, np.ndarray) else array.get()
    bad = np.argwhere(~np.isfinite(host))
    if len(bad):
        index = ", ".join(str(i) for i in bad[0])
        raise DataError(
            f"{name}[{index}] is {host[tuple(bad[0])]}, and {len(bad)} of its {host.size} values are not finite. "
            f"{remedy}"
        )


def check_inputs(X: Any, n_inputs: int, dtype: Any, xp: Backend) -> Any:
    """Return inputs as a device array, shape (n, n_inputs), of the network's dtype; uint8 stays uint8.

    Raises
    ------
    DtypeError, ShapeError, DataError
    """
    return cast_inputs(check_rows(X, n_inputs, xp), dtype, xp)


def check_rows(X: Any, n_inputs: int, xp: Backend) -> Any:
    """Return inputs as an array of the host or of `xp`, shape (n, n_inputs), of any dtype.

    Raises
    ------
    DtypeError, ShapeError, DataError
    """
    X = as_array("X", X, xp)
    if X.ndim != 2:
        if X.ndim == 1:
            hint = "for one sample use X.reshape(1, -1), for one feature X.reshape(-1, 1)"
        else:
            hint = "flatten each sample with X.reshape(len(X), -1)"
        raise ShapeError(f"X must have two dimensions, (samples, features), not {X.shape}: {hint}.")
    if X.shape[1] != n_inputs:
        columns, inputs = counted(X.shape[1], "column"), counted(n_inputs, "input")
        raise ShapeError(f"X {X.shape} does not fit layer 1: its {columns} must equal the network's {inputs}.")
    if not X.shape[0]:
        raise DataError(f"X is empty, {X.shape}: it must have at least one row.")
    require_finite("X", X, "Remove these rows or replace the values first (sklearn.impute.SimpleImputer).")
    return X


def cast_inputs(X: Any, dtype: Any, xp: Backend) -> Any:
    """Return the result of `check_rows`, or some of its rows, as `check_inputs` does.

    Raises
    ------
    DataError
        If a value is too large for `dtype`.
    """
    return xp.as_rows(X) if X.dtype == np.uint8 else cast("X", X, dtype, xp, convert=xp.as_rows)


def cast(name: str, array: Any, dtype: Any, xp: Backend, convert: Callable[..., Any] | None = None) -> Any:
    """Copy `array` to the device in `dtype`; raise `DataError` if a value is too large for `dtype`.

    `convert` is ``xp.asarray`` or ``xp.as_rows``.
    """
    with np.errstate(over="ignore"):
        converted = (convert or xp.asarray)(array, dtype=dtype)
    if array.dtype.kind == "f" and array.dtype.itemsize > np.dtype(dtype).itemsize:
        require_finite(name, converted, f"They are finite but too large for {np.dtype(dtype)}: scale the data down.")
    return converted


def check_weight(weight: Any, n: int, dtype: Any, xp: Backend) -> Any:
    """Return sample weights as a device array, shape (n,).

    Raises
    ------
    DtypeError, ShapeError, DataError
    """
    weight = as_array("sample_weight", weight, xp)
    if weight.shape != (n,):
        raise ShapeError(f"sample_weight {weight.shape} must be ({n},): one number for each row of X.")
    require_finite("sample_weight", weight, "Every row needs a finite weight.")
    require_no_negative_weight("sample_weight", weight)
    if not float(weight.sum()) > 0:
        raise DataError("sample_weight is zero everywhere: at least one weight must be positive.")
    largest, limits = float(weight.max()), np.finfo(dtype)
    if not limits.tiny * n < largest < limits.max / n:
        raise DataError(
            f"sample_weight has the maximum {largest:g}: sums of such values are out of range for {np.dtype(dtype)}. "
            "Only ratios of weights matter: divide them by their mean."
        )
    return cast("sample_weight", weight, dtype, xp)


def require_no_negative_weight(name: str, weight: Any) -> None:
    """Raise `DataError` with the index of the first negative entry of `weight`, shape (n,)."""
    if len(weight) and float(weight.min()) < 0:
        first = int((weight < 0).argmax())
        raise DataError(f"{name}[{first}] is {float(weight[first])}: a weight must be zero or positive.")


def check_targets(
    y: Any,
    n: int,
    kind: formulas.OutputLoss,
    n_outputs: int,
    dtype: Any,
    xp: Backend,
    *,
    require_two_classes: bool = True,
) -> tuple[Any, bool]:
    """Return targets in the form that `Backend.loss_and_delta` takes, and whether they were class numbers.

    Parameters
    ----------
    y : array_like, shape (n,) or (n, n_outputs)
        A 1-D y for several outputs contains class numbers; otherwise y contains the target of each output.
    require_two_classes : bool
        Whether class numbers that are all equal are an error.

    Raises
    ------
    DtypeError, ShapeError, DataError
    """
    y = as_array("y", y, xp)
    if not y.ndim or y.shape[0] != n:
        length = "no rows" if not y.ndim else counted(y.shape[0], "row")
        raise ShapeError(f"y {y.shape} has {length} and X has {n}: the numbers must be equal.")
    require_finite("y", y, "Remove the rows without a target.")
    if len(kind.loss.levels) > 1 and (y.ndim == 1 or y.shape[1:] == (1,)):  # several quantiles of one target
        y = y.reshape(-1, 1).repeat(n_outputs, axis=1)
    if y.ndim == 2 and y.shape[1] == 1 and n_outputs > 1:
        y = y[:, 0]
    if y.ndim == 1 and n_outputs > 1:
        return _class_numbers(y, kind, n_outputs, dtype, xp, require_two_classes=require_two_classes), True
    if y.ndim == 1:
        y = y.reshape(-1, 1)
    if y.ndim != 2 or y.shape[1] != n_outputs:
        expected = f"({n}, {n_outputs})" + (f" or ({n},) of class numbers" if n_outputs > 1 else f" or ({n},)")
        outputs = counted(n_outputs, "output")
        raise ShapeError(f"y {y.shape} does not fit the last layer's {outputs}: it must be {expected}.")
    target = cast("y", y, dtype, xp)
    _require_in_range(target, kind)
    return target, False


def _class_numbers(
    y: Any, kind: formulas.OutputLoss, n_outputs: int, dtype: Any, xp: Backend, *, require_two_classes: bool
) -> Any:
    lowest, highest = float(y.min()), float(y.max())
    if y.dtype.kind == "f" and not bool((y == y.round()).all()):
        wrong = int((y != y.round()).argmax())
        raise DataError(
            f"y[{wrong}] = {float(y[wrong])} is not a class number; a 1-D y for {n_outputs} outputs must contain "
            f"integers from 0 to {n_outputs - 1}. For regression, use one output, or a y of shape (n, {n_outputs})."
        )
    if lowest < 0 or highest >= n_outputs:
        wrong = int(((y < 0) | (y >= n_outputs)).argmax())
        regression = f"; for regression give y of shape (n, {n_outputs}), or use one output"
        if kind.loss.name in ("cross_entropy", "binary_cross_entropy"):
            regression = ""
        raise DataError(
            f"y[{wrong}] = {int(y[wrong])} is out of range: {n_outputs} outputs are the classes 0 to {n_outputs - 1}. "
            f"Number the classes from 0 (numpy.unique(y, return_inverse=True)), or widen the last layer{regression}."
        )
    if require_two_classes and lowest == highest:
        raise DataError(f"y contains only the class {int(lowest)}: a classifier needs two classes or more.")
    numbers = xp.asarray(y, dtype=np.int64)
    if kind.loss.name == "cross_entropy":
        return numbers
    return xp.asarray(numbers[:, None] == xp.namespace.arange(n_outputs), dtype=dtype)


def _require_in_range(target: Any, kind: formulas.OutputLoss) -> None:
    lowest, highest = float(target.min()), float(target.max())
    name = kind.loss.name
    if name in ("cross_entropy", "binary_cross_entropy") and (lowest < 0 or highest > 1):
        raise DataError(
            f"y ranges from {lowest:g} to {highest:g}, but {name} needs probabilities: every entry from 0 to 1."
        )
    if name == "cross_entropy":
        sums = target.sum(axis=1)
        if float(abs(sums - 1).max()) > 1e-3:
            wrong = int(abs(sums - 1).argmax())
            raise DataError(
                f"row {wrong} of y sums to {float(sums[wrong]):g}, but cross_entropy needs probabilities that sum to "
                "1. For several labels per row use loss='binary_cross_entropy'."
            )
    if name == "poisson" and lowest < 0:
        raise DataError(f"y contains {lowest:g}, but the Poisson loss is for counts: zero or more.")
