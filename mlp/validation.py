"""The door of a network: what may come in, and what is said to what may not.

Everything is checked here, once, before any work is done; behind this door shapes fit and numbers are finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np

from mlp._backends import (
    Activation,
    Backend,
    ConfigurationError,
    DataError,
    DtypeError,
    ShapeError,
    UnknownNameError,
    formulas,
)

# -- numbers ------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def require_positive(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number above zero."""
    if not _is_number(value) or value <= 0:
        raise ConfigurationError(f"{name} must be a positive number, not {value!r}.")


def require_nonnegative(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number, zero or above."""
    if not _is_number(value) or value < 0:
        raise ConfigurationError(f"{name} must be zero or a positive number, not {value!r}.")


def require_fraction(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless 0 <= value < 1."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ConfigurationError(f"{name} must be at least 0 and below 1, not {value!r}.")


def require_count(name: str, value: Any) -> int:
    """Return `value` as an int, or raise `ConfigurationError` unless it is a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number, 1 or more, not {value!r}.")
    return int(value)


# -- arrays -------------------------------------------------------------------------------------------


def as_array(name: str, value: Any, xp: Backend) -> Any:
    """`value` as an array of the host or of `xp`, of a real dtype; anything else is refused with the reason."""
    if value is None:
        raise DtypeError(f"{name} is None, and an array is needed.")
    if hasattr(value, "tocsr"):
        raise DtypeError(
            f"{name} is a sparse {type(value).__name__}, and a network multiplies dense arrays. Pass {name}.toarray() "
            "if it fits in memory."
        )
    if not isinstance(value, np.ndarray) and hasattr(value, "__cuda_array_interface__"):
        return xp.asarray(value)  # raises where xp cannot take it
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DtypeError(f"{name} cannot be made into an array: {error}. Are its rows of different lengths?") from error
    if array.dtype.kind not in "buif":
        hints = {
            "O": "it mixes types, or its rows have different lengths; convert it with numpy.asarray(x, dtype=float)",
            "U": "text has to be encoded as numbers first; mlp.data.load does that for tables",
            "S": "text has to be encoded as numbers first; mlp.data.load does that for tables",
            "c": "complex numbers have no order; pass the real and imaginary parts as separate columns",
        }
        hint = hints.get(array.dtype.kind, "pass numbers")
        raise DtypeError(f"{name} has dtype {array.dtype}, and a network needs real numbers: {hint}.")
    return array


def require_finite(name: str, array: Any, remedy: str) -> None:
    """Raise `DataError` with the first place where `array` is NaN or infinite."""
    if array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        if math.isfinite(float(array.sum())):  # one cheap pass settles nearly every case
            return
    host = array if isinstance(array, np.ndarray) else array.get()
    bad = np.argwhere(~np.isfinite(host))
    if len(bad):
        place = ", ".join(str(i) for i in bad[0])
        raise DataError(
            f"{name}[{place}] is {host[tuple(bad[0])]}, and {len(bad)} of its {host.size} values are not finite. "
            f"{remedy}"
        )


def check_inputs(X: Any, n_inputs: int, dtype: Any, xp: Backend) -> Any:
    """Inputs as a device array, shape (n, n_inputs), of the network's dtype; uint8 stays uint8.

    Raises
    ------
    DtypeError, ShapeError, DataError
    """
    X = as_array("X", X, xp)
    if X.ndim != 2:
        if X.ndim == 1:
            hint = "one sample is X.reshape(1, -1), one feature is X.reshape(-1, 1)"
        else:
            hint = "flatten each sample: X.reshape(len(X), -1)"
        raise ShapeError(f"X must have two dimensions, (samples, features), not {X.shape}: {hint}.")
    if X.shape[1] != n_inputs:
        raise ShapeError(
            f"X {X.shape} does not fit layer 1: its {X.shape[1]} columns must equal the network's {n_inputs} inputs."
        )
    if not X.shape[0]:
        raise DataError(f"X is empty, {X.shape}: there is nothing to compute.")
    require_finite("X", X, "Remove these rows or fill them in first (sklearn.impute.SimpleImputer).")
    return xp.asarray(X) if X.dtype == np.uint8 else cast("X", X, dtype, xp)


def cast(name: str, array: Any, dtype: Any, xp: Backend) -> Any:
    """`array` on the device in `dtype`; raise `DataError` where its numbers are too large for that."""
    with np.errstate(over="ignore"):
        cast = xp.asarray(array, dtype=dtype)
    if array.dtype.kind == "f" and array.dtype.itemsize > np.dtype(dtype).itemsize:
        require_finite(name, cast, f"They are finite but too large for {np.dtype(dtype)}: scale the data down.")
    return cast


def check_weight(weight: Any, n: int, dtype: Any, xp: Backend) -> Any:
    """Sample weights as a device array, shape (n,)."""
    weight = as_array("sample_weight", weight, xp)
    if weight.shape != (n,):
        raise ShapeError(f"sample_weight {weight.shape} must be ({n},): one number for each row of X.")
    require_finite("sample_weight", weight, "Every row needs a weight.")
    if float(weight.min()) < 0:
        raise DataError(f"sample_weight holds {float(weight.min())}: a weight must be zero or positive.")
    if not float(weight.sum()) > 0:
        raise DataError("sample_weight is zero everywhere: there is nothing to learn from.")
    largest, limits = float(weight.max()), np.finfo(dtype)
    if not limits.tiny * n < largest < limits.max / n:
        raise DataError(
            f"sample_weight goes up to {largest:g}, and sums of such numbers leave the range of {np.dtype(dtype)}. "
            "Only ratios of weights count: divide them by their mean."
        )
    return cast("sample_weight", weight, dtype, xp)


def check_targets(
    y: Any, n: int, kind: formulas.OutputLoss, n_outputs: int, dtype: Any, xp: Backend, *, whole: bool = True
) -> tuple[Any, bool]:
    """Targets as `Backend.loss_and_delta` wants them, and whether they were class numbers.

    Parameters
    ----------
    y : array_like, shape (n,) or (n, n_outputs)
        A 1-D y for several outputs holds class numbers; otherwise its numbers are the targets themselves.
    whole : bool
        These are all the targets there will be, so one class alone is a mistake.

    Raises
    ------
    DtypeError, ShapeError, DataError
    """
    y = as_array("y", y, xp)
    if not y.ndim or y.shape[0] != n:
        length = "no rows" if not y.ndim else f"{y.shape[0]} rows"
        raise ShapeError(f"y {y.shape} has {length} and X has {n}: they must be equal.")
    require_finite("y", y, "Remove the rows without a target.")
    if y.ndim == 2 and y.shape[1] == 1 and n_outputs > 1:
        y = y[:, 0]
    if y.ndim == 1 and n_outputs > 1:
        return _class_numbers(y, kind, n_outputs, dtype, xp, whole=whole), True
    if y.ndim == 1:
        y = y.reshape(-1, 1)
    if y.ndim != 2 or y.shape[1] != n_outputs:
        wanted = f"({n}, {n_outputs})" + (f" or ({n},) of class numbers" if n_outputs > 1 else f" or ({n},)")
        raise ShapeError(f"y {y.shape} does not fit the last layer's {n_outputs} outputs: it must be {wanted}.")
    rows = cast("y", y, dtype, xp)
    _require_in_range(rows, kind)
    return rows, False


def _class_numbers(y: Any, kind: formulas.OutputLoss, n_outputs: int, dtype: Any, xp: Backend, *, whole: bool) -> Any:
    lowest, highest = float(y.min()), float(y.max())
    if y.dtype.kind == "f" and not bool((y == y.round()).all()):
        wrong = int((y != y.round()).argmax())
        raise DataError(
            f"y[{wrong}] = {float(y[wrong])} is no class number; a 1-D y for {n_outputs} outputs holds whole numbers "
            f"from 0 to {n_outputs - 1}. For regression, give the network one output, or y the shape (n, {n_outputs})."
        )
    if lowest < 0 or highest >= n_outputs:
        wrong = int(((y < 0) | (y >= n_outputs)).argmax())
        raise DataError(
            f"y[{wrong}] = {int(y[wrong])} is out of range: {n_outputs} outputs stand for the classes 0 to "
            f"{n_outputs - 1}. Number them from 0 (numpy.unique(y, return_inverse=True)), or widen the last layer."
        )
    if whole and lowest == highest:
        raise DataError(f"y holds the class {int(lowest)} alone: a classifier needs examples of two classes or more.")
    numbers = xp.asarray(y, dtype=np.int64)
    if kind.loss.name == "cross_entropy":
        return numbers
    return xp.asarray(numbers[:, None] == xp.namespace.arange(n_outputs), dtype=dtype)


def _require_in_range(rows: Any, kind: formulas.OutputLoss) -> None:
    lowest, highest = float(rows.min()), float(rows.max())
    name = kind.loss.name
    if name in ("cross_entropy", "binary_cross_entropy") and (lowest < 0 or highest > 1):
        raise DataError(
            f"y ranges from {lowest:g} to {highest:g}, and {name} needs probabilities: every entry from 0 to 1."
        )
    if name == "cross_entropy":
        sums = rows.sum(axis=1)
        if float(abs(sums - 1).max()) > 1e-3:
            wrong = int(abs(sums - 1).argmax())
            raise DataError(
                f"row {wrong} of y sums to {float(sums[wrong]):g}, and cross_entropy needs probabilities that sum to "
                "1. For labels that do not exclude each other use loss='binary_cross_entropy'."
            )
    if name == "poisson" and lowest < 0:
        raise DataError(f"y holds {lowest:g}, and the Poisson loss is for counts: zero or more.")


def check_batch_size(batch_size: Any, n: int) -> int:
    """The number of rows in a batch; None: 32, or all where there are fewer.

    Raises
    ------
    ConfigurationError
        If it is no count, or larger than the set.
    """
    if batch_size is None:
        return min(32, n)
    size = require_count("batch_size", batch_size)
    if size > n:
        raise ConfigurationError(
            f"batch_size={size} is larger than the {n} rows there are; use batch_size={n} or less."
        )
    return size


# -- what a network is made from ------------------------------------------------------------------------


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Widths of all layers as a tuple, or `ConfigurationError`."""
    if isinstance(sizes, (str, bytes)) or not isinstance(sizes, Iterable):
        raise ConfigurationError(f"sizes must be a list of widths such as [784, 128, 10], not {sizes!r}.")
    checked = tuple(require_count("every width in sizes", size) for size in sizes)
    if len(checked) < 2:
        raise ConfigurationError(f"sizes needs an input and an output, such as [784, 10], not {list(checked)}.")
    if sum(n_in * n_out for n_in, n_out in pairwise(checked)) > 2**40:
        raise ConfigurationError(f"a network of sizes {list(checked)} has more than 2**40 weights.")
    return checked


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """float32 or float64 as a dtype, or `UnknownNameError`."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise UnknownNameError.among("dtype", dtype, ("float32", "float64")) from None
    if dtype is None or str(found) not in ("float32", "float64"):
        raise UnknownNameError.among("dtype", dtype if dtype is None else str(found), ("float32", "float64"))
    return found


def check_classes(classes: Sequence[Any] | None, n_outputs: int) -> tuple[Any, ...] | None:
    """Names of the classes as plain Python values, one for each output, or `ConfigurationError`."""
    if classes is None:
        return None
    names = tuple(item.item() if isinstance(item, np.generic) else item for item in classes)
    if len(names) != n_outputs and not (len(names) == 2 and n_outputs == 1):
        raise ConfigurationError(f"{len(names)} names of classes do not fit {n_outputs} outputs.")
    return names


def check_target_scaling(
    scaling: tuple[Sequence[float], Sequence[float]] | None, kind: formulas.OutputLoss, n_outputs: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Shifts and scales of the outputs as floats, or `ConfigurationError`."""
    if scaling is None:
        return None
    if kind.output.name != "identity":
        raise ConfigurationError(f"target_scaling is for outputs of any size, and {kind.output.name!r} is bounded.")
    shift, scale = (tuple(float(number) for number in part) for part in scaling)
    if len(shift) != n_outputs or len(scale) != n_outputs:
        raise ConfigurationError(f"target_scaling needs {n_outputs} shifts and scales, one for each output.")
    for number in scale:
        require_positive("every scale in target_scaling", number)
    return shift, scale


def for_each_layer(name: str, value: Any, count: int) -> list[Any]:
    """One value for every layer, or the list of them that was given."""
    if isinstance(value, (str, Activation)) or not isinstance(value, Sequence):
        return [value] * count
    values = list(value)
    if len(values) != count:
        what = "hidden layers" if name != "init" else "layers"
        raise ConfigurationError(f"{name} has {len(values)} entries, and the network has {count} {what}.")
    return values
