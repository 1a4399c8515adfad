"""The result of a learning rate range test, and the rates that it suggests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SKIPPED_FIRST, SKIPPED_LAST = 0.1, 5
"""The suggestions leave out the first tenth of the planned updates, and the last updates before the end."""


MIN_FALL = 0.05
"""A loss that falls by a smaller share only varies from batch to batch."""


@dataclass(frozen=True)
class LearningRateTest:
    """Losses of a training whose learning rate grows with each update.

    Attributes
    ----------
    learning_rates : ndarray of float64, shape (n,)
    losses : ndarray of float64, shape (n,)
        The loss of each batch, before its update.
    smoothed : ndarray of float64, shape (n,)
        Their exponential moving average, without the bias to its beginning.
    planned : int
        Updates that were planned.
    diverged : bool
        Whether the loss grew so much that the test ended before its last update.

    Examples
    --------
    >>> rates = np.geomspace(1e-4, 1, 12)
    >>> losses = np.array([2.0, 2.0, 1.9, 1.5, 1.0, 0.8, 0.7, 0.8, 1.5, 2.0, 3.0, 4.0])
    >>> test = LearningRateTest(rates, losses, losses, planned=12, diverged=True)
    >>> round(test.valley, 4), round(test.steepest, 4)
    (0.0012, 0.0012)
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    planned: int
    diverged: bool

    @property
    def suggestion(self) -> float | None:
        """The learning rate to use: `valley`."""
        return self.valley

    @property
    def valley(self) -> float | None:
        """A rate in the longest stretch in which the loss falls; None if it does not fall by a twentieth.

        It is in the middle of the longest subsequence of falling losses, as in fastai's
        ``fastai.callback.schedule.valley``.
        """
        rates, losses = self._considered()
        if len(losses) < 2:
            return None
        lengths = np.ones(len(losses), dtype=np.int64)
        for last in range(1, len(losses)):
            falling = lengths[:last][losses[:last] > losses[last]]
            lengths[last] = 1 + (falling.max() if falling.size else 0)
        end = int(lengths.argmax())
        length = int(lengths[end])
        third = length / 3
        if not losses[end] < (1 - MIN_FALL) * losses[max(end - length, 0)]:
            return None
        return float(rates[max(end - length + int(third) + int(third / 2), 0)])

    @property
    def steepest(self) -> float | None:
        """The rate at which the loss falls fastest over the logarithm of the rate; None if it does not fall.

        As in fastai's ``fastai.callback.schedule.steep``.
        """
        rates, losses = self._considered()
        if len(losses) < 2:
            return None
        slopes = np.diff(losses) / np.diff(np.log(rates))
        return float(rates[slopes.argmin()]) if slopes.min() < 0 else None

    def _considered(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        part = slice(int(self.planned * SKIPPED_FIRST), max(len(self.losses) - SKIPPED_LAST, 0))
        return self.learning_rates[part], self.smoothed[part]
