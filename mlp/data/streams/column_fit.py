"""Fit the columns of numbers of a preprocessing on rows that come in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import random
from mlp.checks import counted
from mlp.data.encoders import (
    NumericColumn,
    Scale,
    minmax_divisor,
    number_columns,
    require_values,
    robust_divisor,
    standard_divisor,
)
from mlp.data.moments import FloatMoments, IntegerMoments
from mlp.data.preparation import Note
from mlp.data.quantiles import ColumnQuartiles, max_distinct, sample_rows

_SAMPLE_PART = 2**32
"""The part of `random.chosen_rows` that chooses the sample; those of splits are small."""


class ColumnFit:
    """The statistics of k columns of numbers, and the columns that are fitted to them.

    The arithmetic is that of `Preprocessing.fit`, so the result on the same training rows is the same: to the bit for
    integers, and to rounding for floating-point numbers.

    Parameters
    ----------
    n_columns : int
    dtype : dtype
        Of the values, in native byte order; floating-point numbers may be missing (NaN).
    scale : {"none", "standard", "minmax", "robust"}
    n_training : int
        Number of rows of the training part.
    seed : int
        Chooses the sample.

    Attributes
    ----------
    present : ndarray of int64, shape (k,)
        Number of values that are not missing.
    low, high : ndarray of float64, shape (k,)
        The smallest and the largest value; infinity and its negative without one.
    """

    def __init__(self, n_columns: int, dtype: np.dtype[Any], scale: Scale, n_training: int, seed: int) -> None:
        self._n_columns, self._scale, self._n_training, self._seed = n_columns, scale, n_training, seed
        self._exact = dtype.kind in "biu"
        self._moments = (IntegerMoments if self._exact else FloatMoments)(n_columns) if scale == "standard" else None
        self._sample_rows = sample_rows(n_columns, dtype.itemsize)
        self._complete = n_training <= self._sample_rows
        is_bytes = dtype == np.uint8 or dtype.kind == "b"
        self._quartiles = ColumnQuartiles(n_columns, is_bytes=is_bytes, complete=self._complete)
        self.present = np.zeros(n_columns, np.int64)
        self.low, self.high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)

    def sampled(self, rows: range) -> NDArray[np.bool_]:
        """Mask of the rows that are in the sample, by their numbers alone."""
        if self._complete:
            return np.ones(len(rows), np.bool_)
        return random.chosen_rows(self._seed, self._sample_rows / self._n_training, rows, part=_SAMPLE_PART)

    def add(self, values: NDArray[Any], sampled: NDArray[np.bool_]) -> None:
        """Add training rows, shape (n, k), and the mask of those in the sample, shape (n,)."""
        if not len(values):
            return
        self._quartiles.add(values, sampled)
        if values.dtype.kind == "f":
            values = values.astype(np.float64, copy=False)
            self.present += np.count_nonzero(~np.isnan(values), axis=0)
            self.low = np.fmin(self.low, np.fmin.reduce(values, axis=0))
            self.high = np.fmax(self.high, np.fmax.reduce(values, axis=0))
        else:
            self.present += len(values)
            self.low = np.minimum(self.low, values.min(axis=0))
            self.high = np.maximum(self.high, values.max(axis=0))
        if self._moments is not None:
            self._moments.add(values)

    def finish(
        self, names: Sequence[str], used: NDArray[np.intp] | None = None
    ) -> tuple[tuple[NumericColumn, ...], list[Note]]:
        """Return the fitted columns, and a note if quantiles are those of a sample.

        Parameters
        ----------
        names : sequence of str
            Of all columns.
        used : ndarray of int, optional
            The numbers of those that are used.

        Raises
        ------
        DataError
            If a column has no value, or numbers too large to be scaled.
        """
        if used is None:
            used = np.arange(self._n_columns)
        names = [names[number] for number in used]
        require_values(names, self.present[used] == 0)
        fill, exact = self._quartiles.medians()
        with np.errstate(over="ignore", invalid="ignore"):  # reported by `number_columns`
            shift, divisor = self._shift_and_divisor(fill)
        columns = number_columns(names, fill[used], shift[used], divisor[used], self._scale)
        return columns, self._notes(exact[used])

    def _shift_and_divisor(self, fill: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self._scale == "none":
            return np.zeros(self._n_columns), np.ones(self._n_columns)
        if self._scale == "minmax":
            return self.low, minmax_divisor(self.low, self.high)
        if self._scale == "robust":
            first, third = self._quartiles.quartiles()
            return fill, robust_divisor(self.low, first, third, self.high)
        assert self._moments is not None
        if isinstance(self._moments, FloatMoments):
            self._moments.add_equal(self._n_training - self.present, fill)  # missing values become the median
        mean = self._moments.mean()
        return mean, standard_divisor(mean, self._moments.variance(), self._n_training)

    def _notes(self, exact: NDArray[np.bool_]) -> list[Note]:
        n = int(np.count_nonzero(~exact))
        if not n:
            return []
        what = "medians and quartiles" if self._scale == "robust" else "medians"
        distinct = max_distinct(self._n_columns)
        text = (
            f"{what} of {counted(n, 'column')} with more than {distinct:,} different values are those of a random "
            f"sample of about {self._sample_rows:,} of the {self._n_training:,} training rows"
        )
        return [Note("sample", text)]
