"""Imputing, scaling and one-hot encoding, fitted on the training part.

The arithmetic is that of scikit-learn's SimpleImputer, StandardScaler, MinMaxScaler and OneHotEncoder.  The fitted
state is stored in the model file as plain JSON, without a pickle.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, DtypeError, ShapeError, UnknownNameError
from mlp.checks import counted, quoted, refuse_masked
from mlp.data.columns import Columns, DataFrame, as_columns
from mlp.data.encoders import (
    MAX_CATEGORIES,
    SCALES,
    CategoricalColumn,
    Column,
    NumericColumn,
    Scale,
    column_from_dict,
    column_to_dict,
    different,
    encode_column,
    fit_column,
    fit_numbers,
    impute_and_scale,
)
from mlp.data.moments import IntegerMoments
from mlp.data.preparation import Note, Preparation, plain, require_same_columns
from mlp.data.row_blocks import row_blocks
from mlp.data.saved_state import require, require_keys, require_list
from mlp.data.table_counts import Occurrences, TableCounts

__all__ = ["MAX_CATEGORIES", "SCALES", "CategoricalColumn", "NumericColumn", "Preprocessing", "Scale"]

logger = logging.getLogger("mlp")

_BLOCK_BYTES = 2**22

FAR = {"standard": 1e6, "minmax": 1e6, "none": 1e30, "robust": 1e30}
"""A number of a raw table that is larger after scaling is read as missing: a network cannot compute with it."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The fitted transformation from a table, or a matrix of numbers, to a model's inputs.

    Create one with `fit`; the attributes are the complete state.

    Attributes
    ----------
    scale : {"none", "standard", "minmax", "robust"}
        Scaling of the numeric columns.
    columns : tuple of NumericColumn or CategoricalColumn
        The transformation of each column, in the order of the outputs.
    preparation : Preparation or None
        For raw tables: how their columns are read before, such as dates as numbers; see `mlp.data.load`.

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
    columns: tuple[Column, ...]
    preparation: Preparation | None = None

    @classmethod
    def fit(
        cls, columns: Columns | DataFrame | NDArray[Any], scale: Scale = "standard", *, share_rare: bool = False
    ) -> Preprocessing:
        """Fit on the training part.

        Numeric columns: missing values become the median.  Then ``standard`` subtracts the mean and divides by the
        standard deviation (ddof 0; by 1 if the column is constant up to rounding), ``minmax`` maps the range to
        [0, 1] (a constant to 0), and ``none`` does nothing.  ``robust`` subtracts the median and divides by the
        distance of the quartiles of the values that are not missing (by half their range if that is 0), and then clips
        smoothly: z becomes z / sqrt(1 + (z / 3)^2), so that a few large values do not matter.  Text and boolean
        columns are one-hot encoded in sorted order.  If there are missing values, the last output stands for them.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,), data frame, or ndarray of shape (n, k)
            The table; the columns of a matrix are named ``x0, x1, ...``.
        scale : {"none", "standard", "minmax", "robust"}
            Scaling of the numeric columns.
        share_rare : bool
            Let the rare categories of a column share one output, the last one.  Unknown categories belong to them.
            In a column of at most 10 categories none is rare.  Otherwise those are that occur in fewer than 10 rows,
            or in fewer than 1 % of them (but at least two) if there are fewer than 1000.  At most 100 are not rare.

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
        (NumericColumn(name='x0', fill=2.0, shift=2.0, scale=1.0, clipped=False),)
        """
        if scale not in SCALES:
            raise UnknownNameError.among("scale", scale, SCALES)
        if isinstance(columns, np.ndarray):
            _check_matrix(columns)
            _check_not_empty(*columns.shape)
            return cls(scale, _fit_matrix(columns, scale))
        table = as_columns(columns)
        _check_not_empty(min((len(column) for column in table.values()), default=0), len(table))
        return cls(scale, tuple(fit_column(name, column, scale, share_rare) for name, column in table.items()))

    def transform(
        self, columns: Columns | DataFrame | NDArray[Any], *, out: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Transform a table or matrix; an unknown category gives zeros in all outputs of its column.

        If rare categories share an output, an unknown one belongs to them.  Unknown categories, and values of a raw
        table that are not of the kind of their column, are counted in a warning in the log.

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
        X, counts = self.transform_and_count(columns)
        self.warn(counts)
        return X

    def warn(self, counts: TableCounts) -> None:
        """Log the warnings of `transform` for rows in which this was found."""
        for note in self.notes(counts):
            if note.heading != "missing":
                logger.warning("%s", note.text)

    def transform_table(self, columns: Columns | DataFrame) -> tuple[NDArray[np.float64], list[Note]]:
        """Transform a table as `transform` does, and return what it would warn of.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,), or data frame
            The rows.

        Returns
        -------
        X : ndarray of shape (n, n_outputs), float64
        notes : list of Note

        Raises
        ------
        ShapeError, DtypeError, DataError
            As `transform`.
        """
        X, counts = self.transform_and_count(columns)
        return X, self.notes(counts)

    def transform_and_count(self, columns: Columns | DataFrame) -> tuple[NDArray[np.float64], TableCounts]:
        """As `transform_table`, but return counts, which can be added to those of other rows; see `notes`."""
        prepared, counts = self._prepare(as_columns(columns))
        X, counts.unknown = self._encode(prepared)
        return X, counts

    def notes(self, counts: TableCounts) -> list[Note]:
        """Return what is to be said of rows in which this was found."""
        raw = () if self.preparation is None else self.preparation.columns
        notes = [
            note for column in raw if column.name in counts.read for note in counts.read[column.name].notes(column)
        ]
        notes += [_far_note(column, counts.far[column.name]) for column in self.columns if column.name in counts.far]
        unknown = counts.unknown
        return notes + [
            unknown_note(column, unknown[column.name].n, unknown[column.name].example)
            for column in self.columns
            if column.name in unknown
        ]

    def prepare(self, table: Columns) -> tuple[Columns, list[Note]]:
        """Return the columns that are encoded, and what was read as missing: the first half of `transform_table`."""
        prepared, counts = self._prepare(table)
        return prepared, self.notes(counts)

    def _prepare(self, table: Columns) -> tuple[Columns, TableCounts]:
        if self.preparation is None:
            return table, TableCounts()
        require_columns([column.name for column in self.preparation.columns], table)
        prepared, read = self.preparation.apply_and_count(table)
        far = {
            column.name: found
            for column in self.columns
            if isinstance(column, NumericColumn)
            and (found := _leave_out_far(column, prepared[column.name], FAR[self.scale])).n
        }
        return prepared, TableCounts(read, far)

    def encode(self, columns: Columns) -> NDArray[np.float64]:
        """Transform a table whose columns are prepared already: they are those of `columns`, and dates are numbers.

        Raises
        ------
        ShapeError, DtypeError, DataError
            As `transform`.
        """
        return self.encode_and_count(as_columns(columns))[0]

    def encode_and_count(self, table: Columns) -> tuple[NDArray[np.float64], list[Note]]:
        """Return the inputs for prepared columns, and how many categories are unknown."""
        X, unknown = self._encode(table)
        return X, self.notes(TableCounts(unknown=unknown))

    def _encode(self, table: Columns) -> tuple[NDArray[np.float64], dict[str, Occurrences]]:
        require_columns([column.name for column in self.columns], table)
        outputs = np.zeros((len(next(iter(table.values()))), self.n_outputs))
        start, unknown = 0, {}
        for column in self.columns:
            stop = start + column.n_outputs
            n, example = encode_column(column, table[column.name], outputs[:, start:stop])
            if n:
                unknown[column.name] = Occurrences(n, example)
            start = stop
        return outputs, unknown

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
            out[rows] = impute_and_scale(
                matrix[rows].astype(np.float64, copy=False), fill, shift, scale, clipped=self.scale == "robust"
            )
        return out

    @property
    def n_outputs(self) -> int:
        """Number of columns after encoding."""
        # without the names: that of a column is repeated for each category, which a small file could abuse
        return sum(column.n_outputs for column in self.columns)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns after encoding: ``age``, ``city=Oslo``, ``city is missing``."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text columns of the training data; the argument `text` of `mlp.data.read_table`."""
        if self.preparation is not None:
            return self.preparation.text_columns
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
        state: dict[str, Any] = {
            "scale": self.scale,
            "columns": [column_to_dict(column) for column in self.columns],
        }
        if self.preparation is not None:
            state["preparation"] = self.preparation.to_dict()
        return state

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
        entry = require_keys(state, {"scale", "columns"}, "preprocessing", optional={"preparation"})
        require(entry["scale"] in SCALES, "preprocessing scale", entry["scale"], f"one of {', '.join(SCALES)}")
        listed = require_list(entry["columns"], "preprocessing columns")
        columns = tuple(column_from_dict(column, f"preprocessing columns[{i}]") for i, column in enumerate(listed))
        names = [column.name for column in columns]
        different(names, "preprocessing columns")
        for column in columns:
            clipped = isinstance(column, NumericColumn) and column.clipped
            if isinstance(column, NumericColumn) and clipped != (entry["scale"] == "robust"):
                expected = "true with the scale robust, and with no other"
                require(False, f"preprocessing clipped of column {quoted(column.name)}", clipped, expected)
        if "preparation" not in entry:
            return cls(entry["scale"], columns)
        where = "preprocessing preparation"
        preparation = Preparation.from_dict(entry["preparation"], where)
        require_same_columns(preparation, names, where)
        return cls(entry["scale"], columns, preparation)


def _fit_matrix(matrix: NDArray[Any], scale: Scale) -> tuple[NumericColumn, ...]:
    step = max(1, _BLOCK_BYTES // (8 * len(matrix)))  # several columns at once, for the speed
    blocks = [range(i, min(i + step, matrix.shape[1])) for i in range(0, matrix.shape[1], step)]
    moments = _moments(matrix) if scale == "standard" and matrix.dtype.kind in "biu" else None
    return tuple(
        column
        for block in blocks
        for column in fit_numbers(
            tuple(f"x{i}" for i in block),
            np.ascontiguousarray(matrix[:, block.start : block.stop].T, dtype=np.float64),
            scale,
            None if moments is None else (moments[0][block.start : block.stop], moments[1][block.start : block.stop]),
        )
    )


def _moments(matrix: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact means and variances of integers; so they do not depend on how a larger file is read in blocks."""
    moments = IntegerMoments(matrix.shape[1])
    for rows in row_blocks(matrix):
        moments.add(matrix[rows])
    return moments.mean(), moments.variance()


def require_columns(names: list[str], table: Mapping[str, Any]) -> None:
    """Raise an error if a table lacks columns of the training data.

    Raises
    ------
    ShapeError
        If so; the message lists the columns of the table.
    """
    missing = [name for name in names if name not in table]
    if missing:
        raise ShapeError(
            f"the table lacks column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} of the "
            f"training data; it has {', '.join(map(repr, table)) or 'none'}"
        )


def _leave_out_far(column: NumericColumn, values: NDArray[np.float64], limit: float) -> Occurrences:
    """Make numbers missing that are larger than the limit after scaling."""
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.abs((values - column.shift) / column.scale) > limit
    if not far.any():
        return Occurrences()
    example = values[far.argmax()]
    values[far] = np.nan
    return Occurrences(int(np.count_nonzero(far)), example)


def _far_note(column: Column, far: Occurrences) -> Note:
    numbers = f"{counted(far.n, 'number')} such as {far.example:g}"
    return Note("stray", f"{plain(column.name)}: {numbers} out of all range, read as missing")


def unknown_note(column: Column, n: int, example: object) -> Note:
    """What is to be said of `n` rows with a category that the training rows did not have, such as `example`."""
    assert isinstance(column, CategoricalColumn)
    effect = "read as rare" if column.rare else "which sets none of its inputs"
    are = "that the training rows did not have"
    if column.rare and not column.rare_names:  # they were too many to be kept
        are = "that is rare or " + are
    rows = f"{counted(n, 'row')} with a category {are}, such as {quoted(example)}"
    return Note("unknown", f"{plain(column.name)}: {rows}, {effect}")


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
