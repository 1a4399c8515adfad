"""Rows with a fault, counted in the order of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlp.data.columns import format_row_numbers

_NAMED = 5


class FaultyRows:
    """The numbers of the first rows with a fault, and how many there are.

    Examples
    --------
    >>> faulty = FaultyRows()
    >>> faulty.add(np.array([True, False, True]), first=100)
    >>> str(faulty), bool(faulty)
    ('rows 100, 102 (counted from 0)', True)
    """

    def __init__(self) -> None:
        self.first: list[int] = []
        self.count = 0

    def add(self, faulty: NDArray[np.bool_], first: int) -> None:
        """Add those of a block, by a mask of shape (n,) and the number of its first row."""
        rows = np.flatnonzero(faulty)
        self.count += len(rows)
        self.first += (first + rows[: _NAMED - len(self.first)]).tolist()

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return format_row_numbers(self.first, self.count)
