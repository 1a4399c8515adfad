"""Mean and variance of columns that come in blocks: exact for integers, merged in order for floating-point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 2**18
"""Rows that are summed at once."""

_LIMB_BITS = 22
_LIMB_MASK = 2**_LIMB_BITS - 1
_N_LIMBS = 3  # for 64 bits
_MAX_SUM = 2**63 - 1


class IntegerMoments:
    """The exact sum, and the exact sum of squares, of each of k columns of integers.

    No sum can overflow.  At most 2**18 rows are summed at once.  A value x with abs(x) < 2**22 has a square below
    2**44, so the sums are below 2**62.  Larger values are cut into three parts of 22 bits, x = a * 2**44 + b * 2**22
    + c, whose products are summed in the same way.  The sums of blocks are added in int64 as long as a bound on them
    is below 2**63, and are then moved to integers of Python, which have any size.

    Parameters
    ----------
    n_columns : int

    Examples
    --------
    >>> moments = IntegerMoments(1)
    >>> moments.add(np.array([[2**62], [2**62], [2**62 + 3]]))
    >>> moments.mean() == np.float64(2**62 + 1), moments.variance()
    (array([ True]), array([2.]))
    """

    def __init__(self, n_columns: int) -> None:
        self.n_rows = 0
        self._sums = np.zeros((2, n_columns), object)
        self._pending = np.zeros((2, n_columns), np.int64)
        self._bound = 0

    def add(self, values: NDArray[Any]) -> None:
        """Add rows, of shape (n, k), of integers or booleans."""
        for first in range(0, len(values), _ROWS):
            self._add(values[first : first + _ROWS])

    def _add(self, values: NDArray[Any]) -> None:
        self.n_rows += len(values)
        largest = max(abs(int(values.max())), abs(int(values.min())))
        if largest > _LIMB_MASK:
            self._sums += _sums_by_limbs(values)
            return
        bound = max(largest, 1) ** 2 * len(values)  # of the squares, which are not smaller than the absolute values
        if self._bound + bound > _MAX_SUM:
            self._flush()
        self._bound += bound
        numbers = values.astype(np.int64, copy=False)
        self._pending[0] += numbers.sum(axis=0)
        self._pending[1] += np.einsum("ij,ij->j", numbers, numbers)

    def _flush(self) -> None:
        self._sums += self._pending.astype(object)
        self._pending[:] = 0
        self._bound = 0

    def mean(self) -> NDArray[np.float64]:
        """The means, shape (k,), rounded once."""
        self._flush()
        return np.array([total / self.n_rows for total in self._sums[0]], np.float64)  # exact integers, one division

    def variance(self) -> NDArray[np.float64]:
        """The variances (ddof 0), shape (k,), rounded once: (n * sum of squares - sum**2) / n**2."""
        self._flush()
        n = self.n_rows
        return np.array([(n * squares - total**2) / n**2 for total, squares in self._sums.T], np.float64)


def _sums_by_limbs(values: NDArray[Any]) -> NDArray[Any]:
    """Sums and sums of squares as integers of Python, shape (2, k)."""
    limbs = []
    rest = values  # an arithmetic shift keeps the sign in the highest part
    for _ in range(_N_LIMBS - 1):
        limbs.append((rest & rest.dtype.type(_LIMB_MASK)).astype(np.int64))
        rest = rest >> rest.dtype.type(_LIMB_BITS)
    limbs.append(rest.astype(np.int64))
    sums = np.zeros((2, values.shape[1]), object)
    for i, one in enumerate(limbs):
        sums[0] += one.sum(axis=0).astype(object) << i * _LIMB_BITS
        for j, other in enumerate(limbs):
            sums[1] += np.einsum("ij,ij->j", one, other).astype(object) << (i + j) * _LIMB_BITS
    return sums


class FloatMoments:
    """Number, mean and variance of the values of each of k columns that are not missing (NaN).

    The moments of a block are computed in float64 in two passes, and merged with those of the blocks before (Chan,
    Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances", equation 2.1).
    The mean of the first block is subtracted from all values before, so that the digits of a large mean are not lost in
    each step.  So the result depends on the order of the blocks and on their rows alone.

    Parameters
    ----------
    n_columns : int

    Attributes
    ----------
    count : ndarray of int64, shape (k,)

    Examples
    --------
    >>> moments = FloatMoments(1)
    >>> moments.add(np.array([[1.0], [np.nan]]))
    >>> moments.add(np.array([[2.0], [3.0]]))
    >>> moments.mean(), moments.variance()
    (array([2.]), array([0.66666667]))
    """

    def __init__(self, n_columns: int) -> None:
        self.count = np.zeros(n_columns, np.int64)
        self._origin = np.zeros(n_columns)
        self._mean = np.zeros(n_columns)  # from the origin
        self._squares = np.zeros(n_columns)  # of the differences from the mean

    def add(self, values: NDArray[np.float64]) -> None:
        """Add rows, of shape (n, k)."""
        for first in range(0, len(values), _ROWS):
            self._add(values[first : first + _ROWS])

    def _add(self, values: NDArray[np.float64]) -> None:
        present = ~np.isnan(values)
        count = np.count_nonzero(present, axis=0)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what has overflowed is reported with the name of its column
            first = (self.count == 0) & (count > 0)
            if first.any():
                self._origin = np.where(first, values.sum(axis=0, where=present) / np.maximum(count, 1), self._origin)
            shifted = np.where(present, values - self._origin, 0.0)
            mean = shifted.sum(axis=0) / np.maximum(count, 1)
            differences = np.where(present, shifted - mean, 0.0)
            self._merge(count, mean, np.einsum("ij,ij->j", differences, differences))

    def add_equal(self, count: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Add, to each column, so many equal values; both of shape (k,)."""
        self._merge(count, values - self._origin, np.zeros(len(values)))

    def _merge(self, count: NDArray[np.int64], mean: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        total = np.maximum(self.count + count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = mean - self._mean
            self._squares = self._squares + squares + difference**2 * (self.count * (count / total))
            self._mean = self._mean + difference * (count / total)
        self.count = self.count + count

    def mean(self) -> NDArray[np.float64]:
        """The means, shape (k,)."""
        return self._origin + self._mean

    def variance(self) -> NDArray[np.float64]:
        """The variances (ddof 0), shape (k,)."""
        return self._squares / np.maximum(self.count, 1)
