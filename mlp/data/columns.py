"""What a column of a table is: numbers, text or booleans, and which of its values are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp._backends import DataError, DtypeError, ShapeError

Kind = Literal["number", "text", "boolean", "empty"]
Columns = Mapping[str, NDArray[Any]]


class _Series(Protocol):
    def to_numpy(self) -> NDArray[Any]: ...


class DataFrame(Protocol):
    """The part of a data frame that is used here; those of polars and pandas have it."""

    @property
    def columns(self) -> Any:
        """The names, in order."""

    def __getitem__(self, name: str, /) -> _Series: ...


def as_columns(table: Columns | DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns of a table by name, checked to be 1-D arrays of one length.

    Parameters
    ----------
    table : mapping of str to ndarray of shape (n,), or a polars or pandas data frame
        The table.

    Raises
    ------
    ShapeError
        If a column is not 1-D, or as long as the first.
    DtypeError
        If a column is not an array, or the table neither a mapping nor a data frame.

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
        if column.ndim != 1:
            raise ShapeError(f"column {name!r} has shape {column.shape}, expected one dimension")
        if length is not None and len(column) != length:
            raise ShapeError(f"column {name!r} has {len(column)} rows, but {next(iter(columns))!r} has {length}")
        length = len(column)
    return columns


def kind_of(column: NDArray[Any], where: str) -> Kind:
    """Tell what a column holds; ``"empty"`` if every value is missing.

    Numbers are arrays of integers or floats, missing where NaN.  Text and booleans are arrays of their own
    type, or of objects, missing where None or NaN.

    Raises
    ------
    DtypeError
        If the values are of another type, or of more than one.

    Examples
    --------
    >>> kind_of(np.array(["Oslo", None], dtype=object), "column 'city'")
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
            return _kind_of_objects(column, where)
    raise DtypeError(
        f"{where} holds values of type {column.dtype}, expected numbers, text or booleans; "
        "turn dates and times into numbers, or leave the column out"
    )


def _kind_of_objects(column: NDArray[Any], where: str) -> Kind:
    kinds: dict[str, int] = {}  # kind -> its first row
    for row, value in enumerate(column):
        if isinstance(value, str):
            kinds.setdefault("text", row)
        elif isinstance(value, bool | np.bool_):
            kinds.setdefault("boolean", row)
        elif not _is_missing(value):
            kinds.setdefault(type(value).__name__, row)
    if not kinds:
        return "empty"
    if list(kinds) == ["text"]:
        return "text"
    if list(kinds) == ["boolean"]:
        return "boolean"
    found = ", ".join(f"{kind} (row {row})" for kind, row in kinds.items())
    raise DtypeError(
        f"{where} holds {found}, rows counted from 0; expected only text or only booleans with None where missing, "
        "or an array of floats with NaN where missing"
    )


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def numbers(column: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Return a column of numbers as float64, with NaN where missing.

    Raises
    ------
    DataError
        If a value is infinite.
    DtypeError
        If the column holds text or booleans.

    Examples
    --------
    >>> numbers(np.array([1, 2]), "column 'age'")
    array([1., 2.])
    """
    kind = kind_of(column, where)
    if kind == "empty":
        return np.full(len(column), np.nan)
    if kind != "number":
        raise DtypeError(f"{where} holds {kind} values such as {example(column)}, expected numbers")
    values = column.astype(np.float64)
    if np.isinf(values).any():
        raise DataError(
            f"{where} holds infinity in {name_rows(np.isinf(values))}; replace it by a number, or NaN for missing"
        )
    return values


def categories(column: NDArray[Any], where: str) -> list[str | bool | None]:
    """Return a column of text or booleans as Python values, with None where missing.

    Raises
    ------
    DtypeError
        If the column holds numbers.

    Examples
    --------
    >>> categories(np.array(["b", None, "a"], dtype=object), "column 'city'")
    ['b', None, 'a']
    """
    kind = kind_of(column, where)
    if kind == "empty":
        return [None] * len(column)
    if kind == "number":
        raise DtypeError(f"{where} holds numbers such as {example(column)}, expected text or booleans")
    plain = str if kind == "text" else bool  # numpy's own scalar types would not go into JSON
    return [None if _is_missing(value) else plain(value) for value in column.tolist()]


def example(column: NDArray[Any]) -> str:
    """Write out the first value that is not missing, for an error message.

    Examples
    --------
    >>> example(np.array([np.nan, 2.5]))
    '2.5'
    """
    return repr(next((value for value in column.tolist() if not _is_missing(value)), None))


def name_rows(mask: ArrayLike) -> str:
    """Name the rows where a mask of shape (n,) is true, counted from 0, for an error message.

    Examples
    --------
    >>> name_rows([False, True, True])
    'rows 1, 2 (counted from 0)'
    """
    rows = np.flatnonzero(mask)
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{more} (counted from 0)"
