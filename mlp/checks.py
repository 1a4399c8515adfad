"""Input checking: arguments and arrays are checked here once, before any computation.

Checked arrays have matching shapes and finite values.  Errors name the argument, its value and what is expected.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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

# -- values in messages --------------------------------------------------------------------------------

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict = 2, 6, 3
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 50


def quoted(value: object) -> str:
    """The repr of a value, at most 80 characters; the repr of a large value is not computed.

    Examples
    --------
    >>> quoted([0] * 10**6), quoted("a" * 10**6)
    ('[0, 0, 0, 0, 0, 0, ...]', "'aaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaa'")
    """
    try:
        text = _REPR.repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        return f"a value of type {type(value).__name__}"
    return shortened(text, 80)


def difference(one: Any, other: Any) -> str:
    """``ONE, not OTHER``; of mappings and lists only what differs.

    Examples
    --------
    >>> difference({"numpy": "2.0", "numba": "0.60"}, {"numpy": "2.1", "numba": "0.60"})
    "{'numpy': '2.0'}, not {'numpy': '2.1'}"
    """
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        one, other = ({name: values.get(name) for name in names} for values in (one, other))
    elif isinstance(one, list) and isinstance(other, list):
        one, other = [x for x in one if x not in other], [x for x in other if x not in one]
    return f"{quoted(one)}, not {quoted(other)}"


def shortened(text: object, length: int = 200) -> str:
    """A text in one line of at most `length` characters, without those that control a terminal.

    Examples
    --------
    >>> shortened("a b\\nc", 5), shortened("abcdefgh", 6)
    ('a b c', 'abc...')
    """
    line = " ".join(str(text)[: 2 * length].split())
    line = line if line.isprintable() else ascii(line)
    return line if len(line) <= length else line[: length - 3] + "..."


# -- numbers ------------------------------------------------------------------------------------------


def is_finite(value: Any) -> bool:
    """Whether a number is finite as a float; an integer may be too large for one.

    Examples
    --------
    >>> is_finite(2), is_finite(10**400), is_finite(math.nan)
    (True, False, False)
    """
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and is_finite(value)


def require_positive(name: str, value: Any, remedy: str = "") -> None:
    """Raise `ConfigurationError` unless `value` is a finite number > 0; `remedy` ends the message."""
    if not _is_number(value) or value <= 0:
        raise ConfigurationError(" ".join(filter(None, (f"{name} must be a positive number, not {value!r}.", remedy))))


def require_nonnegative(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number >= 0."""
    if not _is_number(value) or value < 0:
        raise ConfigurationError(f"{name} must be zero or a positive number, not {value!r}.")


def require_fraction(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless 0 <= value < 1."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ConfigurationError(f"{name} must be at least 0 and below 1, not {value!r}.")


def require_count(name: str, value: Any) -> int:
    """Return `value` as an int; raise `ConfigurationError` unless it is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigurationError(f"{name} must be a positive integer, not {value!r}.")
    return int(value)


# -- arrays -------------------------------------------------------------------------------------------


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


def refuse_masked(name: str, value: Any) -> None:
    """Raise `DataError` if `value` is a masked array, or a list of them, with a masked value: NumPy drops the mask."""
    if isinstance(value, (list, tuple)):
        for i, row in enumerate(value):
            if isinstance(row, np.ma.MaskedArray):
                refuse_masked(f"{name}[{i}]", row)
        return
    if not isinstance(value, np.ma.MaskedArray) or not np.ma.is_masked(value):
        return
    mask = np.ma.getmaskarray(value)
    first = np.argwhere(mask)[0]
    place = f"{name}[{', '.join(map(str, first))}]" if len(first) else name
    raise DataError(
        f"{place} is masked, and {mask.sum()} of the {mask.size} values of {name} are, but masks are not supported. "
        "Fill the values, for example with x.filled(0), or with sklearn.impute.SimpleImputer and x.filled(np.nan), or "
        "drop their rows from all arrays."
    )


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


def check_batch_size(batch_size: Any, n: int) -> int:
    """Return the number of rows in a batch; for None, 32 or n, whichever is smaller.

    Raises
    ------
    ConfigurationError
        If it is not a positive integer, or is larger than n.
    """
    if batch_size is None:
        return min(32, n)
    size = require_count("batch_size", batch_size)
    if size > n:
        raise ConfigurationError(f"batch_size={size} is larger than the {n} rows; use batch_size={n} or less.")
    return size


# -- configuration of a network -------------------------------------------------------------------------


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the widths of all layers as a tuple, or raise `ConfigurationError`."""
    if isinstance(sizes, (str, bytes)) or not isinstance(sizes, Iterable):
        raise ConfigurationError(f"sizes must be a list of widths such as [784, 128, 10], not {sizes!r}.")
    checked = tuple(require_count("every width in sizes", size) for size in sizes)
    if len(checked) < 2:
        raise ConfigurationError(f"sizes needs an input and an output, such as [784, 10], not {list(checked)}.")
    if sum(n_in * n_out for n_in, n_out in pairwise(checked)) > 2**40:
        raise ConfigurationError(f"a network of sizes {list(checked)} has more than 2**40 weights.")
    return checked


def check_quantile(quantile: Any) -> tuple[float, ...]:
    """Return the levels of one or several quantiles as floats, or raise `ConfigurationError`."""
    levels = np.atleast_1d(np.asarray(quantile, dtype=object)).ravel()
    if not len(levels) or any(isinstance(level, bool) or not isinstance(level, Real) for level in levels):
        raise ConfigurationError(
            f"quantile must be a number between 0 and 1, such as 0.9, or a list of them, not {quantile!r:.80}."
        )
    for level in levels:
        if not 0 < level < 1:
            raise ConfigurationError(f"quantile has the level {level!r}, but levels lie between 0 and 1.")
    return tuple(map(float, levels))


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype, or raise `UnknownNameError`."""
    try:
        result: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise UnknownNameError.among("dtype", dtype, ("float32", "float64")) from None
    if dtype is None or str(result) not in ("float32", "float64"):
        raise UnknownNameError.among("dtype", dtype if dtype is None else str(result), ("float32", "float64"))
    return result


def check_classes(classes: Sequence[Any] | None, n_outputs: int) -> tuple[Any, ...] | None:
    """Return class names as plain Python values, one for each output, or raise `ConfigurationError`."""
    if classes is None:
        return None
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Iterable):
        raise ConfigurationError(f"classes must be a list of names, one for each output, not {classes!r}.")
    names = tuple(item.item() if isinstance(item, np.generic) else item for item in classes)
    if len(names) != n_outputs and not (len(names) == 2 and n_outputs == 1):
        raise ConfigurationError(
            f"classes has {counted(len(names), 'name')}, but the network has {counted(n_outputs, 'output')}."
        )
    try:
        counts = Counter(names)
    except TypeError:
        raise ConfigurationError("every name in classes must be a string, a number or a boolean.") from None
    for name, count in counts.items():
        if count > 1:
            raise ConfigurationError(f"classes has the name {name!r} {count} times: the names must be different.")
    return names


def check_target_scaling(
    scaling: tuple[Sequence[float], Sequence[float]] | None, kind: formulas.OutputLoss, n_outputs: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the shift and scale of each output as floats, or raise `ConfigurationError`."""
    if scaling is None:
        return None
    if kind.output.name != "identity":
        raise ConfigurationError(f"target_scaling needs output_activation='identity', not {kind.output.name!r}.")
    try:
        shift, scale = (tuple(float(value) for value in values) for values in scaling)
    except (TypeError, ValueError):
        raise ConfigurationError(
            "target_scaling must be a pair of sequences ([shift], [scale]), one number for each output, "
            f"not {scaling!r}."
        ) from None
    if len(shift) != n_outputs or len(scale) != n_outputs:
        needed = f"{counted(n_outputs, 'shift')} and {counted(n_outputs, 'scale')}"
        raise ConfigurationError(f"target_scaling needs {needed}, one for each output.")
    for value in scale:
        require_positive("every scale in target_scaling", value)
    return shift, scale


def use_plain_numbers(settings: object) -> None:
    """Replace the numbers of NumPy among the fields of a dataclass object by those of Python, which files can hold."""
    for name, value in list(vars(settings).items()):
        if isinstance(value, np.generic):
            object.__setattr__(settings, name, value.item())  # it may be frozen


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> counted(1, "entry"), counted(2, "entry"), counted(3, "batch")
    ('1 entry', '2 entries', '3 batches')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}es" if noun.endswith("tch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def one_per_layer(name: str, value: Any, count: int) -> list[Any]:
    """Return a list with one value for each layer: a single value is repeated, a list must have `count` entries."""
    if isinstance(value, (str, Activation)) or not isinstance(value, Sequence):
        return [value] * count
    values = list(value)
    if len(values) != count:
        layers = counted(count, "hidden layer" if name != "init" else "layer")
        raise ConfigurationError(f"{name} has {counted(len(values), 'entry')}, but the network has {layers}.")
    return values
