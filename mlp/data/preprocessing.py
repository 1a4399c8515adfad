"""Imputing, scaling and one-hot encoding, fitted once and kept as a table of numbers and categories.

The arithmetic is that of scikit-learn's SimpleImputer, StandardScaler, MinMaxScaler and OneHotEncoder.  What
is fitted here can be written into a model's file as plain JSON and read back by anyone, without a pickle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, DtypeError, FileFormatError, ShapeError, UnknownNameError
from mlp.data.columns import Columns, DataFrame, as_columns, categories, example, kind_of, numbers

Scale = Literal["none", "standard", "minmax"]
SCALES: tuple[Scale, ...] = get_args(Scale)

MAX_CATEGORIES = 1000
"""More distinct values than this are rather a key (a name, a date) than a category."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """A column of numbers: missing values become `fill`, then x becomes (x - shift) / scale.

    Examples
    --------
    >>> NumericColumn("age", fill=40.0, shift=41.5, scale=12.0)
    NumericColumn(name='age', fill=40.0, shift=41.5, scale=12.0)
    """

    name: str
    fill: float
    shift: float
    scale: float

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The one output, under the name of the column."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class CategoricalColumn:
    """A column of text or booleans: one output for each category, None (last) for missing values.

    Examples
    --------
    >>> CategoricalColumn("city", ("Bergen", "Oslo", None)).feature_names
    ('city=Bergen', 'city=Oslo', 'city is missing')
    """

    name: str
    categories: tuple[str | bool | None, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name for each category."""
        return tuple(f"{self.name} is missing" if c is None else f"{self.name}={c}" for c in self.categories)

    @property
    def kind(self) -> Literal["text", "boolean", "empty"]:
        """What the values must be; ``"empty"`` never occurs in a fitted column."""
        first = self.categories[0]
        return "empty" if first is None else "text" if isinstance(first, str) else "boolean"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The fitted transformation from a table, or a matrix of numbers, to a model's inputs.

    Make one with `fit`; the attributes are the whole state.

    Attributes
    ----------
    scale : {"none", "standard", "minmax"}
        How numeric columns are scaled.
    columns : tuple of NumericColumn or CategoricalColumn
        What is done to each column, in the order of the outputs.

    Examples
    --------
    >>> training = {"age": np.array([20.0, 40.0, np.nan]), "city": np.array(["Oslo", "Bergen", "Oslo"])}
    >>> preprocessing = Preprocessing.fit(training, scale="minmax")
    >>> preprocessing.feature_names
    ('age', 'city=Bergen', 'city=Oslo')
    >>> preprocessing.transform({"age": np.array([25.0]), "city": np.array(["Paris"])})
    array([[0.25, 0.  , 0.  ]])
    """

    scale: Scale
    columns: tuple[NumericColumn | CategoricalColumn, ...]

    @classmethod
    def fit(cls, columns: Columns | DataFrame | NDArray[Any], scale: Scale = "standard") -> Preprocessing:
        """Fit on the training part.

        Numeric columns: missing values become the median, then ``standard`` subtracts the mean and divides by the
        standard deviation (ddof 0; by 1 where the column is constant up to rounding), ``minmax`` maps the range to
        [0, 1] (a constant to 0), ``none`` does nothing.  Text and boolean columns are one-hot encoded in sorted
        order, with an output for missing values, last, if there are any.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,), data frame, or ndarray of shape (n, k)
            The table; the columns of a matrix are called ``x0, x1, ...``.
        scale : {"none", "standard", "minmax"}
            How to scale numeric columns.

        Returns
        -------
        Preprocessing
            The fitted transformation.

        Raises
        ------
        DataError
            If there are no rows or columns, a column has no value at all, infinity, numbers too large to be
            scaled, or more than `MAX_CATEGORIES` categories.
        DtypeError, ShapeError
            If a column is no 1-D array of numbers, text or booleans, or they differ in length.
        UnknownNameError
            If there is no such `scale`.

        Examples
        --------
        >>> Preprocessing.fit(np.array([[1.0], [3.0]])).columns
        (NumericColumn(name='x0', fill=2.0, shift=2.0, scale=1.0),)
        """
        if scale not in SCALES:
            raise UnknownNameError.among("scale", scale, SCALES)
        if isinstance(columns, np.ndarray):
            matrix = _matrix(columns)
            names = tuple(f"x{i}" for i in range(matrix.shape[1]))
            _check_filled(*matrix.shape)
            return cls(scale, _fit_numbers(names, np.ascontiguousarray(matrix.T), scale))
        table = as_columns(columns)
        _check_filled(min((len(column) for column in table.values()), default=0), len(table))
        return cls(scale, tuple(_fit_column(name, column, scale) for name, column in table.items()))

    def transform(self, columns: Columns | DataFrame | NDArray[Any]) -> NDArray[np.float64]:
        """Apply to a table or matrix; a category that training has not seen gives zeros only.

        Columns that were not there in training are left aside.  A matrix is taken by position, and fits only where
        all columns are numeric.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,), data frame, or ndarray of shape (n, k)
            The rows; not changed.

        Returns
        -------
        ndarray of shape (n, n_outputs), float64
            The model's inputs.

        Raises
        ------
        ShapeError
            If a column is missing, or a matrix has another number of columns.
        DtypeError
            If a column is of another kind than in training.
        DataError
            If a numeric column holds infinity.

        Examples
        --------
        >>> Preprocessing.fit(np.array([[1.0], [3.0]])).transform(np.array([[np.nan], [5.0]]))
        array([[0.],
               [3.]])
        """
        if isinstance(columns, np.ndarray):
            return self._transform_matrix(_matrix(columns))
        table = as_columns(columns)
        absent = [column.name for column in self.columns if column.name not in table]
        if absent:
            raise ShapeError(
                f"the table lacks column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))} of the "
                f"training data; it has {', '.join(map(repr, table)) or 'none'}"
            )
        outputs = np.zeros((len(next(iter(table.values()))), self.n_outputs))
        start = 0
        for column in self.columns:
            stop = start + len(column.feature_names)
            _fill_outputs(column, table[column.name], outputs[:, start:stop])
            start = stop
        return outputs

    def _transform_matrix(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        numeric = [column for column in self.columns if isinstance(column, NumericColumn)]
        if len(numeric) != len(self.columns):
            raise ShapeError(
                f"a matrix cannot stand for the text and boolean columns of the training data "
                f"({', '.join(c.name for c in self.columns if isinstance(c, CategoricalColumn))}); pass a table"
            )
        if matrix.shape[1] != len(numeric):
            raise ShapeError(f"the matrix has {matrix.shape[1]} columns, the training data had {len(numeric)}")
        fill, shift, scale = np.array([(column.fill, column.shift, column.scale) for column in numeric]).T
        return _scaled(matrix, fill, shift, scale)

    @property
    def n_outputs(self) -> int:
        """Number of columns after encoding."""
        return len(self.feature_names)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns after encoding: ``age``, ``city=Oslo``, ``city is missing``."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that held text in training, for `mlp.data.read_table` to read as such."""
        return tuple(c.name for c in self.columns if isinstance(c, CategoricalColumn) and c.kind == "text")

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain dicts, lists, strings and numbers, ready for `json.dumps`.

        Examples
        --------
        >>> Preprocessing.fit({"n": np.array([1, 3]), "ok": np.array([True, False])}).to_dict() == {
        ...     "scale": "standard",
        ...     "columns": [
        ...         {"name": "n", "fill": 2.0, "shift": 2.0, "scale": 1.0},
        ...         {"name": "ok", "categories": [False, True]},
        ...     ],
        ... }
        True
        """
        return {"scale": self.scale, "columns": [_column_to_dict(column) for column in self.columns]}

    @classmethod
    def from_dict(cls, state: object) -> Preprocessing:
        """Read back what `to_dict` wrote, checking every entry.

        Parameters
        ----------
        state : object
            What `json.loads` returned.

        Raises
        ------
        FileFormatError
            If anything is missing, unknown, of the wrong type or out of range; the text says where.

        Examples
        --------
        >>> fitted = Preprocessing.fit(np.array([[1.0], [3.0]]))
        >>> Preprocessing.from_dict(fitted.to_dict()) == fitted
        True
        """
        entry = _entry(state, {"scale", "columns"}, "preprocessing")
        _expect(entry["scale"] in SCALES, "preprocessing scale", entry["scale"], f"one of {', '.join(SCALES)}")
        listed = entry["columns"]
        _expect(isinstance(listed, list) and listed, "preprocessing columns", listed, "a list that is not empty")
        columns = tuple(_column_from_dict(column, f"preprocessing columns[{i}]") for i, column in enumerate(listed))
        names = [column.name for column in columns]
        _expect(len(set(names)) == len(names), "preprocessing columns", names, "different names")
        return cls(entry["scale"], columns)


def _check_filled(n_rows: int, n_columns: int) -> None:
    if n_rows == 0 or n_columns == 0:
        raise DataError(
            f"preprocessing was to be fitted on {n_rows} rows of {n_columns} columns; it needs at least one"
        )


def _matrix(array: NDArray[Any]) -> NDArray[np.float64]:
    if array.ndim != 2:
        raise ShapeError(f"expected a matrix of shape (rows, columns), got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"expected a matrix of numbers, got dtype {array.dtype}; pass a table for text")
    matrix: NDArray[np.float64] = array.astype(np.float64, copy=False)
    infinite = np.isinf(matrix)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise DataError(
            f"the matrix holds infinity {infinite.sum()} times, first in row {row}, column {column} (counted from 0); "
            "replace it by a number, or NaN for missing"
        )
    return matrix


def _fit_column(name: str, column: NDArray[Any], scale: Scale) -> NumericColumn | CategoricalColumn:
    where = f"column {name!r}"
    kind = kind_of(column, where)
    if kind == "empty":
        raise _without_values(where)
    if kind == "number":
        return _fit_numbers((name,), numbers(column, where)[np.newaxis], scale)[0]
    seen = set(categories(column, where))
    if len(seen) > MAX_CATEGORIES:
        raise DataError(
            f"{where} has {len(seen)} different values in {len(column)} rows, more than the {MAX_CATEGORIES} that are "
            "taken as categories; leave it out, or turn it into numbers"
        )
    # text and booleans never mix here, so they sort; None would not
    return CategoricalColumn(name, (*sorted(seen - {None}), *sorted(seen & {None})))  # type: ignore[type-var]


def _fit_numbers(names: tuple[str, ...], rows: NDArray[np.float64], scale: Scale) -> tuple[NumericColumn, ...]:
    """Fit columns given as rows, so that sums run along memory (pairwise, hence exact to a few ULP)."""
    missing = np.isnan(rows)
    empty = np.flatnonzero(missing.all(axis=1))
    if len(empty):
        raise _without_values(f"column {names[empty[0]]!r}")
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is reported below, by name
        fill = np.nanmedian(rows, axis=1) if missing.any() else np.median(rows, axis=1)
        filled = np.where(missing, fill[:, np.newaxis], rows)
        shift, divisor = _shift_and_scale(filled, scale)
    for name, *fitted in zip(names, fill, shift, divisor, strict=True):
        if not np.isfinite(fitted).all():
            raise DataError(f"column {name!r} holds numbers too large to be scaled in float64; divide them first")
    columns = zip(names, fill.tolist(), shift.tolist(), divisor.tolist(), strict=True)
    return tuple(NumericColumn(*column) for column in columns)


def _shift_and_scale(rows: NDArray[np.float64], scale: Scale) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if scale == "none":
        return np.zeros(len(rows)), np.ones(len(rows))
    if scale == "minmax":
        low = rows.min(axis=1)
        width = rows.max(axis=1) - low
        return low, np.where(width < 10 * _EPS, 1.0, width)
    mean = rows.mean(axis=1)
    variance = rows.var(axis=1)
    # scikit-learn's bound on the rounding error of a variance: below it the column counts as constant
    n = rows.shape[1]
    constant = np.isfinite(variance) & (variance <= n * _EPS * variance + (n * mean * _EPS) ** 2)
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _without_values(where: str) -> DataError:
    return DataError(f"{where} has no value in any training row; leave it out")


def _scaled(values: NDArray[np.float64], fill: Any, shift: Any, scale: Any) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # infinity is for the model to report, with the row
        result: NDArray[np.float64] = (np.where(np.isnan(values), fill, values) - shift) / scale
    return result


def _fill_outputs(
    column: NumericColumn | CategoricalColumn, values: NDArray[Any], outputs: NDArray[np.float64]
) -> None:
    where = f"column {column.name!r}"
    if isinstance(column, NumericColumn):
        outputs[:, 0] = _scaled(numbers(values, where), column.fill, column.shift, column.scale)
        return
    kind = kind_of(values, where)
    if kind not in ("empty", column.kind):
        raise DtypeError(f"{where} held {column.kind} in training, and now holds {kind} such as {example(values)}")
    position = {category: j for j, category in enumerate(column.categories)}
    codes = np.array([position.get(value, -1) for value in categories(values, where)], dtype=np.intp)
    known = np.flatnonzero(codes >= 0)
    outputs[known, codes[known]] = 1.0


def _column_to_dict(column: NumericColumn | CategoricalColumn) -> dict[str, Any]:
    if isinstance(column, NumericColumn):
        return {"name": column.name, "fill": column.fill, "shift": column.shift, "scale": column.scale}
    return {"name": column.name, "categories": list(column.categories)}


def _column_from_dict(state: object, where: str) -> NumericColumn | CategoricalColumn:
    categorical = isinstance(state, Mapping) and "categories" in state
    entry = _entry(state, {"name", "categories"} if categorical else {"name", "fill", "shift", "scale"}, where)
    _expect(isinstance(entry["name"], str), f"{where} name", entry["name"], "a string")
    if not categorical:
        fill, shift, scale = (_number(entry[key], f"{where} {key}") for key in ("fill", "shift", "scale"))
        _expect(scale > 0, f"{where} scale", scale, "a number above 0")
        return NumericColumn(entry["name"], fill, shift, scale)
    listed = entry["categories"]
    _expect(isinstance(listed, list) and listed, f"{where} categories", listed, "a list that is not empty")
    present = listed[:-1] if listed[-1] is None else listed
    same = len({type(value) for value in present}) == 1 and isinstance(present[0], str | bool)
    increasing = same and all(a < b for a, b in itertools.pairwise(present))
    _expect(
        increasing, f"{where} categories", listed, "strings or booleans, sorted, each once, and null only at the end"
    )
    return CategoricalColumn(entry["name"], tuple(listed))


def _entry(state: object, keys: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(state, Mapping) or set(state) != keys:
        found = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise FileFormatError(f"{where} is {found}, expected a table with the keys {', '.join(sorted(keys))}")
    return state


def _number(value: object, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    _expect(number and math.isfinite(_as_float(value)), where, value, "a finite number")
    return _as_float(value)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _expect(true: object, where: str, value: object, expected: str) -> None:
    if not true:
        raise FileFormatError(f"{where} is {value!r:.80}, expected {expected}; save the model again")
