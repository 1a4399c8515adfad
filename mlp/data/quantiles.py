"""Medians and quartiles of columns that come in blocks: exact within a bound of memory, otherwise of a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_ROWS = 2**20
"""Most rows of a sample."""

SAMPLE_BYTES = 2**27
"""Most memory of a sample."""

MAX_DISTINCT = 2**16
"""Most different values of a column that are counted."""

_ALL_DISTINCT = 2**22  # of all columns together
_COLUMN_BYTES = 2**24


def sample_rows(n_columns: int, value_bytes: int) -> int:
    """Number of rows of a sample of so many columns, whose values have so many bytes.

    Examples
    --------
    >>> sample_rows(16, 8), sample_rows(784, 4)
    (1048576, 42799)
    """
    return min(SAMPLE_ROWS, max(SAMPLE_BYTES // max(n_columns * value_bytes, 1), 1))


def max_distinct(n_columns: int) -> int:
    """Number of different values that are counted in each of so many columns.

    Examples
    --------
    >>> max_distinct(10), max_distinct(784)
    (65536, 5349)
    """
    return min(MAX_DISTINCT, max(_ALL_DISTINCT // max(n_columns, 1), 1))


class ColumnQuartiles:
    """Quartiles of each of k columns: of a sample of their rows, or exact where a column has few different values.

    The arithmetic is that of `numpy.median` and `numpy.quantile` (method ``"linear"``) in float64.

    Parameters
    ----------
    n_columns : int
    is_bytes : bool
        Whether all values are integers from 0 to 255: these are always counted.
    complete : bool
        Whether the sample has all rows, so that nothing needs to be counted.

    Examples
    --------
    >>> quartiles = ColumnQuartiles(1, complete=True)
    >>> quartiles.add(np.array([[1.0], [5.0]]), np.array([True, True]))
    >>> quartiles.add(np.array([[2.0]]), np.array([True]))
    >>> quartiles.medians()
    (array([2.]), array([ True]))
    """

    def __init__(self, n_columns: int, *, is_bytes: bool = False, complete: bool = False) -> None:
        self._complete, self._n_columns = complete, n_columns
        self._bytes = np.zeros((n_columns, 256), np.int64) if is_bytes else None
        self._samples: list[NDArray[Any]] = []
        counted = not is_bytes and not complete
        self._counts = [_DistinctCounts(max_distinct(n_columns)) if counted else None for _ in range(n_columns)]

    def add(self, values: NDArray[Any], sampled: NDArray[np.bool_]) -> None:
        """Add rows of shape (n, k), with NaN for missing values, and a mask of those in the sample, shape (n,)."""
        if self._bytes is not None:
            places = values + 256 * np.arange(self._n_columns)
            self._bytes += np.bincount(places.ravel(), minlength=self._bytes.size).reshape(self._bytes.shape)
            return
        if sampled.any():
            self._samples.append(values[sampled])
        for number, counts in enumerate(self._counts):
            if counts is not None and not counts.add(values[:, number]):
                self._counts[number] = None

    def medians(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The medians, shape (k,), NaN for a column without values; and whether each is exact, shape (k,)."""
        quantiles, exact = self._quantiles((0.5,))
        return quantiles[0], exact

    def quartiles(self) -> NDArray[np.float64]:
        """The first and the third quartiles, shape (2, k)."""
        return self._quantiles((0.25, 0.75))[0]

    def _quantiles(self, fractions: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        results = np.full((len(fractions), self._n_columns), np.nan)
        exact = np.ones(self._n_columns, np.bool_)
        if self._bytes is not None:
            for number, counts in enumerate(self._bytes):
                results[:, number] = quantiles_of_counts(np.arange(256.0), counts, fractions)
            return results, exact
        step = max(1, _COLUMN_BYTES // (8 * max(sum(map(len, self._samples)), 1)))
        for first in range(0, self._n_columns, step):
            columns = slice(first, first + step)
            part = [sample[:, columns] for sample in self._samples]
            if part:
                results[:, columns] = _quantiles_of_rows(np.concatenate(part).T.astype(np.float64), fractions)
        for number, distinct in enumerate(self._counts):
            counted = None if distinct is None else distinct.result()
            exact[number] = self._complete or counted is not None
            if counted is not None:
                results[:, number] = quantiles_of_counts(*counted, fractions)
        return results, exact


def _quantiles_of_rows(rows: NDArray[np.float64], fractions: tuple[float, ...]) -> NDArray[np.float64]:
    """Quantiles of the values of each row that are not missing; of the columns of a table, passed as rows."""
    results = np.full((len(fractions), len(rows)), np.nan)
    some = np.flatnonzero(~np.isnan(rows).all(axis=1))
    if len(some):
        values = rows[some]
        with np.errstate(over="ignore", invalid="ignore"):
            for i, fraction in enumerate(fractions):
                exact_middle = fraction == 0.5
                results[i, some] = np.nanmedian(values, axis=1) if exact_middle else np.nanquantile(values, fraction, 1)
    return results


def quantiles_of_counts(
    values: NDArray[Any], counts: NDArray[np.int64], fractions: tuple[float, ...]
) -> NDArray[np.float64]:
    """Quantiles of values that occur so often, as `numpy.median` (one half) and `numpy.quantile` compute them.

    Parameters
    ----------
    values : ndarray of shape (k,)
        Sorted.
    counts : ndarray of int64, shape (k,)
        How often each occurs.
    fractions : tuple of float

    Returns
    -------
    ndarray of float64, shape (len(fractions),)
        NaN if there is no value.

    Examples
    --------
    >>> quantiles_of_counts(np.array([0, 7]), np.array([3, 1]), (0.5, 0.75))
    array([0.  , 1.75])
    """
    ends = counts.cumsum()
    n = int(ends[-1]) if len(ends) else 0
    results = np.full(len(fractions), np.nan)
    for i, fraction in enumerate(fractions if n else ()):
        place = (n - 1) * fraction
        low = int(place)
        a, b = (float(values[np.searchsorted(ends, min(row, n - 1), "right")]) for row in (low, low + 1))
        weight = place - low
        if fraction == 0.5:
            results[i] = a if weight == 0 else (a + b) / 2
        else:  # NumPy's interpolation, which is exact at both ends
            results[i] = b - (b - a) * (1 - weight) if weight >= 0.5 else a + (b - a) * weight
    return results


class _DistinctCounts:
    """How often each value of a column occurs, as long as no more than `limit` are different."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
        self._n_pending = 0

    def add(self, column: NDArray[Any]) -> bool:
        """Count values; return whether no more than `limit` are different, as far as it is known."""
        present = column[~np.isnan(column)] if column.dtype.kind == "f" else column
        values, counts = np.unique(present, return_counts=True)
        self._parts.append((values, counts))
        self._n_pending += len(values)
        return self._n_pending <= 2 * self._limit or self.result() is not None

    def result(self) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
        """The values, sorted, and their counts; None if too many are different."""
        if not self._parts:
            return np.empty(0), np.empty(0, np.int64)
        values, places = np.unique(np.concatenate([part[0] for part in self._parts]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, places, np.concatenate([part[1] for part in self._parts]))
        self._parts, self._n_pending = [(values, counts)], len(values)
        return (values, counts) if len(values) <= self._limit else None
