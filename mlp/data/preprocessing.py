"""Imputing, scaling and one-hot encoding, fitted on the training part.

The arithmetic is that of scikit-learn's SimpleImputer, StandardScaler, MinMaxScaler and OneHotEncoder.  The fitted
state is stored in the model file as plain JSON, without a pickle.
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
from mlp.checks import quoted, refuse_masked
from mlp.data.columns import Columns, DataFrame, as_categories, as_columns, as_float64, column_kind, first_value
from mlp.data.row_blocks import row_blocks

Scale = Literal["none", "standard", "minmax"]
SCALES: tuple[Scale, ...] = get_args(Scale)

MAX_CATEGORIES = 1000
"""A text column with more distinct values is probably a key (a name, a date) and not a category."""

_BLOCK_BYTES = 2**22

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
        """The name of the column, as a tuple."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class CategoricalColumn:
    """A column of text or booleans: one output per category; None (last) is the category of missing values.

    Examples
    --------
    >>> CategoricalColumn("city", ("Bergen", "Oslo", None)).feature_names
    ('city=Bergen', 'city=Oslo', 'city is missing')
    """

    name: str
    categories: tuple[str | bool | None, ...]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per category."""
        return tuple(f"{self.name} is missing" if c is None else f"{self.name}={c}" for c in self.categories)

    @property
    def kind(self) -> Literal["text", "boolean", "empty"]:
        """The required kind of the values; ``"empty"`` never occurs in a fitted column."""
        first = self.categories[0]
        return "empty" if first is None else "text" if isinstance(first, str) else "boolean"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The fitted transformation from a table, or a matrix of numbers, to a model's inputs.

    Create one with `fit`; the attributes are the complete state.

    Attributes
    ----------
    scale : {"none", "standard", "minmax"}
        Scaling of the numeric columns.
    columns : tuple of NumericColumn or CategoricalColumn
        The transformation of each column, in the order of the outputs.

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

        Numeric columns: missing values become the median.  Then ``standard`` subtracts the mean and divides by the
        standard deviation (ddof 0; by 1 if the column is constant up to rounding), ``minmax`` maps the range to
        [0, 1] (a constant to 0), and ``none`` does nothing.  Text and boolean columns are one-hot encoded in sorted
        order.  If there are missing values, the last output stands for them.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,), data frame, or ndarray of shape (n, k)
            The table; the columns of a matrix are named ``x0, x1, ...``.
        scale : {"none", "standard", "minmax"}
            Scaling of the numeric columns.

        Returns
        -------
        Preprocessing
            The fitted transformation.

        Raises
        ------
        DataError
            If there are no rows or columns, or a column has no values, an infinite value, numbers too large to be
            scaled, or more than `MAX_CATEGORIES` categories.
        DtypeError, ShapeError
            If a column is not a 1-D array of numbers, text or booleans, or the lengths differ.
        UnknownNameError
            If `scale` is unknown.

        Examples
        --------
        >>> Preprocessing.fit(np.array([[1.0], [3.0]])).columns
        (NumericColumn(name='x0', fill=2.0, shift=2.0, scale=1.0),)
        """
        if scale not in SCALES:
            raise UnknownNameError.among("scale", scale, SCALES)
        if isinstance(columns, np.ndarray):
            _check_matrix(columns)
            _check_not_empty(*columns.shape)
            step = max(1, _BLOCK_BYTES // (8 * len(columns)))  # several columns at once, for the speed
            blocks = [range(i, min(i + step, columns.shape[1])) for i in range(0, columns.shape[1], step)]
            return cls(
                scale,
                tuple(
                    column
                    for block in blocks
                    for column in _fit_numbers(
                        tuple(f"x{i}" for i in block),
                        np.ascontiguousarray(columns[:, block.start : block.stop].T, dtype=np.float64),
                        scale,
                    )
                ),
            )
        table = as_columns(columns)
        _check_not_empty(min((len(column) for column in table.values()), default=0), len(table))
        return cls(scale, tuple(_fit_column(name, column, scale) for name, column in table.items()))

    def transform(
        self, columns: Columns | DataFrame | NDArray[Any], *, out: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Transform a table or matrix; an unknown category gives zeros in all outputs of its column.

        Columns that the training data did not have are ignored.  The columns of a matrix are matched by position; a
        matrix is accepted only if all columns are numeric.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,), data frame, or ndarray of shape (n, k)
            The rows; not changed, unless they are `out`.
        out : ndarray of shape (n, n_outputs), float64, optional
            For a matrix, where to store the result; may be the matrix itself.

        Returns
        -------
        ndarray of shape (n, n_outputs), float64
            The model's inputs.

        Raises
        ------
        ShapeError
            If a column is missing, or the number of columns of a matrix is wrong.
        DtypeError
            If the kind of a column differs from training.
        DataError
            If a numeric column contains infinity.

        Examples
        --------
        >>> Preprocessing.fit(np.array([[1.0], [3.0]])).transform(np.array([[np.nan], [5.0]]))
        array([[0.],
               [3.]])
        """
        if isinstance(columns, np.ndarray):
            return self._transform_matrix(columns, out)
        table = as_columns(columns)
        missing = [column.name for column in self.columns if column.name not in table]
        if missing:
            raise ShapeError(
                f"the table lacks column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} of the "
                f"training data; it has {', '.join(map(repr, table)) or 'none'}"
            )
        outputs = np.zeros((len(next(iter(table.values()))), self.n_outputs))
        start = 0
        for column in self.columns:
            stop = start + len(column.feature_names)
            _encode_column(column, table[column.name], outputs[:, start:stop])
            start = stop
        return outputs

    def _transform_matrix(self, matrix: NDArray[Any], out: NDArray[np.float64] | None) -> NDArray[np.float64]:
        _check_matrix(matrix)
        numeric = [column for column in self.columns if isinstance(column, NumericColumn)]
        if len(numeric) != len(self.columns):
            raise ShapeError(
                f"a matrix cannot replace the text and boolean columns of the training data "
                f"({', '.join(c.name for c in self.columns if isinstance(c, CategoricalColumn))}); pass a table"
            )
        if matrix.shape[1] != len(numeric):
            raise ShapeError(f"the matrix has {matrix.shape[1]} columns, the training data had {len(numeric)}")
        fill, shift, scale = np.array([(column.fill, column.shift, column.scale) for column in numeric]).T
        if out is None:
            out = np.empty(matrix.shape)
        for rows in row_blocks(matrix):
            out[rows] = _impute_and_scale(matrix[rows].astype(np.float64, copy=False), fill, shift, scale)
        return out

    @property
    def n_outputs(self) -> int:
        """Number of columns after encoding."""
        # without the names: that of a column is repeated for each category, which a small file could abuse
        return sum(1 if isinstance(c, NumericColumn) else len(c.categories) for c in self.columns)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns after encoding: ``age``, ``city=Oslo``, ``city is missing``."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text columns of the training data; the argument `text` of `mlp.data.read_table`."""
        return tuple(c.name for c in self.columns if isinstance(c, CategoricalColumn) and c.kind == "text")

    def to_dict(self) -> dict[str, Any]:
        """Return the state as dicts, lists, strings and numbers, for `json.dumps`.

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
        """Create the object from the result of `to_dict`; every entry is checked.

        Parameters
        ----------
        state : object
            The result of `to_dict`, or of `json.loads`.

        Raises
        ------
        FileFormatError
            If an entry is missing, unknown, of the wrong type or out of range; the message names it.

        Examples
        --------
        >>> fitted = Preprocessing.fit(np.array([[1.0], [3.0]]))
        >>> Preprocessing.from_dict(fitted.to_dict()) == fitted
        True
        """
        entry = _require_keys(state, {"scale", "columns"}, "preprocessing")
        _require(entry["scale"] in SCALES, "preprocessing scale", entry["scale"], f"one of {', '.join(SCALES)}")
        listed = entry["columns"]
        _require(isinstance(listed, list) and listed, "preprocessing columns", listed, "a list that is not empty")
        columns = tuple(_column_from_dict(column, f"preprocessing columns[{i}]") for i, column in enumerate(listed))
        names = [column.name for column in columns]
        _require(len(set(names)) == len(names), "preprocessing columns", names, "different names")
        return cls(entry["scale"], columns)


def _check_not_empty(n_rows: int, n_columns: int) -> None:
    if n_rows == 0 or n_columns == 0:
        raise DataError(
            f"cannot fit preprocessing on {n_rows} rows of {n_columns} columns; at least one of each is needed"
        )


def _check_matrix(array: NDArray[Any]) -> None:
    refuse_masked("the matrix", array)
    if array.ndim != 2:
        raise ShapeError(f"expected a matrix of shape (rows, columns), got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"expected a matrix of numbers, got dtype {array.dtype}; pass a table for text")
    if array.dtype.kind != "f":
        return
    count, place = 0, ""
    for rows in row_blocks(array):
        infinite = np.isinf(array[rows])
        if infinite.any() and not count:
            row, column = np.argwhere(infinite)[0]
            place = f"row {rows.start + row}, column {column}"
        count += int(np.count_nonzero(infinite))
    if count:
        raise DataError(
            f"the matrix holds infinity {count} times, first in {place} (counted from 0); replace it with a number, or "
            "NaN for missing"
        )


def _fit_column(name: str, column: NDArray[Any], scale: Scale) -> NumericColumn | CategoricalColumn:
    where = f"column {name!r}"
    kind = column_kind(column, where)
    if kind == "empty":
        raise _no_values_error(where)
    if kind == "number":
        return _fit_numbers((name,), as_float64(column, where)[np.newaxis], scale)[0]
    categories = set(as_categories(column, where))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"{where} has {len(categories)} different values in {len(column)} rows; at most {MAX_CATEGORIES} "
            "categories are allowed. Remove the column, or convert it to numbers"
        )
    # None cannot be compared with the other values, so it is not sorted with them
    return CategoricalColumn(name, (*sorted(categories - {None}), *sorted(categories & {None})))  # type: ignore[type-var]


def _fit_numbers(names: tuple[str, ...], rows: NDArray[np.float64], scale: Scale) -> tuple[NumericColumn, ...]:
    """Fit columns, passed as rows: sums over contiguous memory are pairwise, so they are exact to a few ULP."""
    missing = np.isnan(rows)
    empty = np.flatnonzero(missing.all(axis=1))
    if len(empty):
        raise _no_values_error(f"column {names[empty[0]]!r}")
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is reported below, with the column name
        fill = np.nanmedian(rows, axis=1) if missing.any() else np.median(rows, axis=1)
        filled = np.where(missing, fill[:, np.newaxis], rows)
        shift, divisor = _shift_and_scale(filled, scale)
    for name, *fitted in zip(names, fill, shift, divisor, strict=True):
        if not np.isfinite(fitted).all():
            raise DataError(
                f"column {name!r} holds numbers too large to be scaled in float64; divide them by a constant"
            )
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
    # scikit-learn's bound on the rounding error of a variance; below it the column is treated as constant
    n = rows.shape[1]
    constant = np.isfinite(variance) & (variance <= n * _EPS * variance + (n * mean * _EPS) ** 2)
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _no_values_error(where: str) -> DataError:
    return DataError(f"{where} has no value in any training row; remove it")


def _impute_and_scale(values: NDArray[np.float64], fill: Any, shift: Any, scale: Any) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # the model reports infinite inputs, with the row
        result: NDArray[np.float64] = (np.where(np.isnan(values), fill, values) - shift) / scale
    return result


def _encode_column(
    column: NumericColumn | CategoricalColumn, values: NDArray[Any], outputs: NDArray[np.float64]
) -> None:
    where = f"column {column.name!r}"
    if isinstance(column, NumericColumn):
        outputs[:, 0] = _impute_and_scale(as_float64(values, where), column.fill, column.shift, column.scale)
        return
    kind = column_kind(values, where)
    if kind not in ("empty", column.kind):
        raise DtypeError(
            f"{where} had {column.kind} values in training, but has {kind} values now, such as {first_value(values)}"
        )
    position = {category: j for j, category in enumerate(column.categories)}
    codes = np.array([position.get(value, -1) for value in as_categories(values, where)], dtype=np.intp)
    known = np.flatnonzero(codes >= 0)
    outputs[known, codes[known]] = 1.0


def _column_to_dict(column: NumericColumn | CategoricalColumn) -> dict[str, Any]:
    if isinstance(column, NumericColumn):
        return {"name": column.name, "fill": column.fill, "shift": column.shift, "scale": column.scale}
    return {"name": column.name, "categories": list(column.categories)}


def _column_from_dict(state: object, where: str) -> NumericColumn | CategoricalColumn:
    categorical = isinstance(state, Mapping) and "categories" in state
    entry = _require_keys(state, {"name", "categories"} if categorical else {"name", "fill", "shift", "scale"}, where)
    _require(isinstance(entry["name"], str), f"{where} name", entry["name"], "a string")
    if not categorical:
        fill, shift, scale = (_finite_number(entry[key], f"{where} {key}") for key in ("fill", "shift", "scale"))
        _require(scale > 0, f"{where} scale", scale, "a number above 0")
        return NumericColumn(entry["name"], fill, shift, scale)
    listed = entry["categories"]
    _require(isinstance(listed, list) and listed, f"{where} categories", listed, "a list that is not empty")
    values = listed[:-1] if listed[-1] is None else listed
    one_type = len({type(value) for value in values}) == 1 and isinstance(values[0], str | bool)
    increasing = one_type and all(a < b for a, b in itertools.pairwise(values))
    _require(
        increasing, f"{where} categories", listed, "strings or booleans, sorted, each once, and null only at the end"
    )
    return CategoricalColumn(entry["name"], tuple(listed))


def _require_keys(state: object, keys: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(state, Mapping) or set(state) != keys:
        actual = (
            f"has the keys {quoted(sorted(map(str, state)))}"
            if isinstance(state, Mapping)
            else f"is a {type(state).__name__}"
        )
        raise FileFormatError(f"{where} {actual}, expected an object with the keys {', '.join(sorted(keys))}")
    return state


def _finite_number(value: object, where: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _require(is_number and math.isfinite(_as_float(value)), where, value, "a finite number")
    return _as_float(value)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _require(condition: object, where: str, value: object, expected: str) -> None:
    if not condition:
        raise FileFormatError(f"{where} is {quoted(value)}, expected {expected}; save the model again")
