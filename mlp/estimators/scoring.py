"""Early stopping on any score: a scorer of scikit-learn, applied to the validation set after each epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from sklearn.metrics import check_scoring

from mlp.estimators.inputs import Data

LOSS = "loss"
"""The name of the score minus validation loss, as in `sklearn.ensemble.HistGradientBoostingClassifier`."""


def check_scorer(estimator: Any, scoring: Any) -> Any:
    """The function ``scorer(estimator, X, y)`` for a name or a function; None for ``"loss"``.

    Raises
    ------
    ValueError
        If scikit-learn has no scorer of this name; the message lists all names.
    """
    return None if scoring == LOSS else check_scoring(estimator, scoring)


class Scorer:
    """Scores the current weights of a training.

    Parameters
    ----------
    estimator : estimator
        Predictions are made by copies of it.
    scoring : str or callable
    data : Data
        The validation set on the host.
    layers : callable
        Returns the current weights and biases as lists of host arrays.
    """

    def __init__(
        self,
        estimator: Any,
        scoring: str | Callable[..., float],
        data: Data,
        layers: Callable[[], tuple[list[NDArray[Any]], list[NDArray[Any]]]],
    ) -> None:
        self._scorer, self._layers = check_scorer(estimator, scoring), layers
        self._copy = copy.copy(estimator)
        vars(self._copy).pop("feature_names_in_", None)  # X has no names here, and needs no warning
        self._X, self._y = data.X, estimator._labels(data.y)
        self._weight = {} if data.weight is None else {"sample_weight": data.weight}

    def __call__(self, loss: float) -> float:
        """The score of the current weights, whose validation loss is known; higher is better."""
        if self._scorer is None:
            return -loss
        self._copy.coefs_, self._copy.intercepts_ = self._layers()
        return float(self._scorer(self._copy, self._X, self._y, **self._weight))
