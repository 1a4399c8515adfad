"""Checks of the JSON in which a preprocessing is saved: every entry that is wrong is named."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from mlp._backends import FileFormatError
from mlp.checks import quoted


def require(condition: object, where: str, value: object, expected: str) -> None:
    """Raise an error if the condition is false.

    Raises
    ------
    FileFormatError
        With the place, the value and what was expected.

    Examples
    --------
    >>> require(False, "preprocessing scale", "big", "one of none, standard")
    Traceback (most recent call last):
        ...
    backends.errors.FileFormatError: preprocessing scale is 'big', expected one of none, standard; save the model again
    """
    if not condition:
        raise FileFormatError(f"{where} is {quoted(value)}, expected {expected}; save the model again")


def require_keys(state: object, keys: Collection[str], where: str, optional: Collection[str] = ()) -> Mapping[str, Any]:
    """Return an object that has all of the keys, and no others but the optional ones.

    Raises
    ------
    FileFormatError
        If it is no object, or has other keys.

    Examples
    --------
    >>> require_keys({"name": "age"}, {"name"}, "column")
    {'name': 'age'}
    """
    if not isinstance(state, Mapping) or not set(keys) <= set(state) <= {*keys, *optional}:
        actual = (
            f"has the keys {quoted(sorted(map(str, state)))}"
            if isinstance(state, Mapping)
            else f"is a {type(state).__name__}"
        )
        raise FileFormatError(f"{where} {actual}, expected an object with the keys {', '.join(sorted(keys))}")
    return state


def require_list(value: object, where: str) -> list[Any]:
    """Return a list that is not empty.

    Raises
    ------
    FileFormatError
        If it is something else.

    Examples
    --------
    >>> require_list([1], "columns")
    [1]
    """
    require(isinstance(value, list) and value, where, value, "a list that is not empty")
    assert isinstance(value, list)
    return value


def finite_number(value: object, where: str) -> float:
    """Return a finite number as a float.

    Raises
    ------
    FileFormatError
        If it is something else.

    Examples
    --------
    >>> finite_number(2, "shift")
    2.0
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and math.isfinite(_as_float(value)), where, value, "a finite number")
    return _as_float(value)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
