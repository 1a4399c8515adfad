"""Work on a matrix in blocks of rows, so that intermediate results stay small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 2**22


def row_blocks(X: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of the rows of X, each of a few megabytes.

    Examples
    --------
    >>> [rows.stop for rows in row_blocks(np.zeros((3, 2**19)))]
    [1, 2, 3]
    """
    step = max(1, BLOCK_BYTES // max(1, X.itemsize * (X.size // max(1, len(X)))))
    for first in range(0, len(X), step):
        yield slice(first, min(first + step, len(X)))


def take_rows(X: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Return the rows with these numbers, in native byte order.

    Examples
    --------
    >>> take_rows(np.array([[1.0], [2.0], [3.0]], dtype=">f8"), np.array([2, 0]))
    array([[3.],
           [1.]])
    """
    taken = np.empty((len(rows), *X.shape[1:]), X.dtype.newbyteorder("="))
    for block in row_blocks(taken):
        taken[block] = X[rows[block]]
    return taken
