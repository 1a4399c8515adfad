"""Columns of a table: their kind (numbers, text or booleans) and their missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp._backends import DataError, DtypeError, ShapeError
from mlp.checks import refuse_masked

Kind = Literal["number", "text", "boolean", "empty"]
Columns = Mapping[str, NDArray[Any]]

EXACT_INTEGERS = 2**53
"""Every integer up to this one, and down to its negative, is a float64."""


class _Series(Protocol):
    def to_numpy(self) -> NDArray[Any]: ...


class DataFrame(Protocol):
    """The methods of a data frame that are used here; polars and pandas have them."""

    @property
    def columns(self) -> Any:
        """The column names, in order."""

    def __getitem__(self, name: str, /) -> _Series: ...


def as_columns(table: Columns | DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns of a table by name; they must be 1-D arrays of equal length.

    Parameters
    ----------
    table : mapping of str to ndarray of shape (n,), or a polars or pandas data frame
        The table.

    Raises
    ------
    ShapeError
        If a column is not 1-D, or its length differs from the first column.
    DtypeError
        If a column is not an array, or the table is neither a mapping nor a data frame.

    Examples
    --------
    >>> as_columns({"age": np.array([31, 25])})
    {'age': array([31, 25])}
    """
    if isinstance(table, Mapping):
        columns = dict(table)
    elif hasattr(table, "columns"):
        columns = {str(name): table[name].to_numpy() for name in table.columns}
    else:
        raise DtypeError(f"expected a dict of name to 1-D array or a data frame, got {type(table).__name__}")
    length: int | None = None
    for name, column in columns.items():
        if not isinstance(column, np.ndarray):
            raise DtypeError(
                f"column {name!r} is a {type(column).__name__}, expected a 1-D array; use numpy.array(...)"
            )
        refuse_masked(f"column {name!r}", column)
        if column.ndim != 1:
            raise ShapeError(f"column {name!r} has shape {column.shape}, expected one dimension")
        if length is not None and len(column) != length:
            raise ShapeError(f"column {name!r} has {len(column)} rows, but {next(iter(columns))!r} has {length}")
        length = len(column)
    return columns


def column_kind(column: NDArray[Any], where: str) -> Kind:
    """Return the kind of the values in a column; ``"empty"`` if every value is missing.

    Numbers are arrays of integers or floats, and NaN means missing.  Text and booleans are arrays of that type or of
    objects, and None or NaN means missing.

    Raises
    ------
    DtypeError
        If the values have another type, or more than one type.

    Examples
    --------
    >>> column_kind(np.array(["Oslo", None], dtype=object), "column 'city'")
    'text'
    """
    match column.dtype.kind:
        case "f":
            return "empty" if np.isnan(column).all() else "number"
        case "i" | "u":
            return "number"
        case "b":
            return "boolean"
        case "U" | "T":
            return "text"
        case "O":
            return _object_column_kind(column, where)
    raise DtypeError(
        f"{where} holds values of type {column.dtype}, expected numbers, text or booleans; "
        "convert dates and times to numbers, or remove the column"
    )


def _object_column_kind(column: NDArray[Any], where: str) -> Kind:
    first_rows: dict[str, int] = {}  # by kind
    for row, value in enumerate(column):
        if isinstance(value, str):
            first_rows.setdefault("text", row)
        elif isinstance(value, bool | np.bool_):
            first_rows.setdefault("boolean", row)
        elif not _is_missing(value):
            first_rows.setdefault(type(value).__name__, row)
    if not first_rows:
        return "empty"
    if list(first_rows) == ["text"]:
        return "text"
    if list(first_rows) == ["boolean"]:
        return "boolean"
    mixture = ", ".join(f"{kind} (row {row})" for kind, row in first_rows.items())
    raise DtypeError(
        f"{where} holds {mixture}, rows counted from 0; expected only text or only booleans with None for missing "
        "values, or an array of floats with NaN for missing values"
    )


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def as_float64(column: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Return a column of numbers as float64, with NaN for missing values.

    Raises
    ------
    DataError
        If a value is infinite.
    DtypeError
        If the column holds text or booleans.

    Examples
    --------
    >>> as_float64(np.array([1, 2]), "column 'age'")
    array([1., 2.])
    """
    kind = column_kind(column, where)
    if kind == "empty":
        return np.full(len(column), np.nan)
    if kind != "number":
        raise DtypeError(f"{where} holds {kind} values such as {first_value(column)}, expected numbers")
    values = column.astype(np.float64)
    if np.isinf(values).any():
        raise DataError(
            f"{where} holds infinity in {format_rows(np.isinf(values))}; replace it with a number, or NaN for missing"
        )
    return values


def as_categories(column: NDArray[Any], where: str) -> list[str | bool | None]:
    """Return a column of text or booleans as Python values, with None for missing values.

    Raises
    ------
    DtypeError
        If the column holds numbers.

    Examples
    --------
    >>> as_categories(np.array(["b", None, "a"], dtype=object), "column 'city'")
    ['b', None, 'a']
    """
    kind = column_kind(column, where)
    if kind == "empty":
        return [None] * len(column)
    if kind == "number":
        raise DtypeError(f"{where} holds numbers such as {first_value(column)}, expected text or booleans")
    python_type = str if kind == "text" else bool  # JSON cannot store NumPy scalars
    return [None if _is_missing(value) else python_type(value) for value in column.tolist()]


def inexact_integers(where: str) -> DataError:
    """Return the error for a column with missing values and integers beyond `EXACT_INTEGERS`: NaN would round them."""
    return DataError(
        f"{where} has missing values and integers above 2**53, which cannot be stored exactly as floats beside NaN; "
        "remove the column, fill the missing values, or convert it to floats if the last digits do not matter"
    )


def first_value(column: NDArray[Any]) -> str:
    """Return the repr of the first value that is not missing, for an error message.

    Examples
    --------
    >>> first_value(np.array([np.nan, 2.5]))
    '2.5'
    """
    return repr(next((value for value in column.tolist() if not _is_missing(value)), None))


def format_rows(mask: ArrayLike) -> str:
    """Format the row numbers where a mask of shape (n,) is true, counted from 0, for an error message.

    Examples
    --------
    >>> format_rows([False, True, True])
    'rows 1, 2 (counted from 0)'
    """
    rows = np.flatnonzero(mask)
    return format_row_numbers(rows[:5].tolist(), len(rows))


def format_row_numbers(first: Sequence[int], count: int) -> str:
    """Format row numbers, counted from 0: the first of them, up to five, and how many there are.

    Examples
    --------
    >>> format_row_numbers([3, 5, 8, 9, 12], 7)
    'rows 3, 5, 8, 9, 12 and 2 more (counted from 0)'
    """
    more = f" and {count - 5} more" if count > 5 else ""
    return f"row{'s' if count > 1 else ''} {', '.join(map(str, first[:5]))}{more} (counted from 0)"
