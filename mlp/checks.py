"""Checks of arguments, once, before any computation; `array_checks` has those of arrays.

Errors name the argument, its value and what is expected.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np

from mlp._backends import Activation, ConfigurationError, DataError, UnknownNameError, formulas

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


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> counted(1, "entry"), counted(2, "entry"), counted(3, "batch")
    ('1 entry', '2 entries', '3 batches')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}es" if noun.endswith("tch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


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


# -- masked arrays -------------------------------------------------------------------------------------


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


def one_per_layer(name: str, value: Any, count: int) -> list[Any]:
    """Return a list with one value for each layer: a single value is repeated, a list must have `count` entries."""
    if isinstance(value, (str, Activation)) or not isinstance(value, Sequence):
        return [value] * count
    values = list(value)
    if len(values) != count:
        layers = counted(count, "hidden layer" if name != "init" else "layer")
        raise ConfigurationError(f"{name} has {counted(len(values), 'entry')}, but the network has {layers}.")
    return values
