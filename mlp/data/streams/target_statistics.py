"""Statistics of regression targets that come in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.data.moments import FloatMoments, IntegerMoments


class TargetStatistics:
    """Mean, standard deviation and range of the regression targets of the training part.

    Parameters
    ----------
    n_out : int
        Targets per row.

    Attributes
    ----------
    low, high : ndarray of float64, shape (n_out,)
        The smallest and the largest.

    Examples
    --------
    >>> statistics = TargetStatistics(1)
    >>> statistics.add(np.array([[1], [3]]))
    >>> statistics.mean, statistics.std, statistics.low, statistics.high
    (array([2.]), array([1.]), array([1.]), array([3.]))
    """

    def __init__(self, n_out: int) -> None:
        self._n_out = n_out
        self._moments: FloatMoments | IntegerMoments | None = None
        self.low, self.high = np.full(n_out, np.inf), np.full(n_out, -np.inf)

    def add(self, values: NDArray[Any]) -> None:
        """Add the targets of some rows, shape (n, n_out), of one dtype."""
        if not len(values):
            return
        if self._moments is None:
            self._moments = (FloatMoments if values.dtype.kind == "f" else IntegerMoments)(self._n_out)
        self._moments.add(values.astype(np.float64) if values.dtype.kind == "f" else values)
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))

    @property
    def mean(self) -> NDArray[np.float64]:
        """The means, shape (n_out,)."""
        return np.full(self._n_out, np.nan) if self._moments is None else self._moments.mean()

    @property
    def std(self) -> NDArray[np.float64]:
        """The standard deviations (ddof 0), shape (n_out,)."""
        return np.full(self._n_out, np.nan) if self._moments is None else np.sqrt(self._moments.variance())
