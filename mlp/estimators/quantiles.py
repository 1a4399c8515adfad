"""Regressors that estimate quantiles: levels, and the methods that return quantiles and intervals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from mlp._backends import ConfigurationError
from mlp.checks import check_quantile

MEDIAN = 0.5


def check_levels(quantile: Any) -> tuple[float, ...]:
    """Return the levels that the parameter `quantile` of a regressor describes.

    Raises
    ------
    ConfigurationError
        If a level does not lie between 0 and 1, or if several levels do not increase or lack the median.
    """
    levels = check_quantile(quantile)
    if len(levels) > 1 and (MEDIAN not in levels or list(levels) != sorted(set(levels))):
        raise ConfigurationError(
            f"quantile={list(levels)} must contain 0.5, the median, which predict returns, and the levels must "
            f"increase: {sorted({*levels, MEDIAN})}."
        )
    return levels


def repeat_target(y: NDArray[Any], levels: tuple[float, ...]) -> NDArray[Any]:
    """The targets of all outputs, shape (n, n_outputs), from those of a user, shape (n, n_targets).

    Raises
    ------
    ConfigurationError
        If there are several levels and several targets.
    """
    if len(levels) < 2:
        return y
    if y.shape[1] > 1:
        raise ConfigurationError(
            f"quantile has {len(levels)} levels and y has {y.shape[1]} targets: several levels are for one target. Use "
            "one level, or fit an estimator for each target."
        )
    return y.repeat(len(levels), axis=1)


def _has_quantiles(regressor: QuantilesMixin) -> bool:
    if not regressor._estimates_quantiles():
        raise AttributeError(f"this {type(regressor).__name__} estimates means, not quantiles: see its parameters.")
    return True


class QuantilesMixin(ABC):
    """The methods `predict_quantiles` and `predict_interval` of a regressor."""

    @abstractmethod
    def _estimates_quantiles(self) -> bool:
        """Whether the parameters ask for quantiles."""

    @abstractmethod
    def _levels(self) -> tuple[float, ...]:
        """The levels of the quantiles; empty for a regressor of means."""

    @abstractmethod
    def _all_outputs(self, X: Any) -> NDArray[Any]:
        """The outputs of the network, shape (n, n_outputs)."""

    def _predict(self, X: Any) -> NDArray[Any]:
        """What `predict` returns: of several quantiles the median."""
        levels = self._levels()
        y = self._sorted_outputs(X)
        if len(levels) > 1:
            return y[:, levels.index(MEDIAN)]
        return y[:, 0] if y.shape[1] == 1 else y

    def _sorted_outputs(self, X: Any) -> NDArray[Any]:
        y = self._all_outputs(X)
        return np.sort(y, axis=1) if len(self._levels()) > 1 else y

    @available_if(_has_quantiles)  # type: ignore[untyped-decorator]
    def predict_quantiles(self, X: Any) -> NDArray[Any]:
        """Predict the quantiles of all levels of the parameter `quantile`; only of a regressor for quantiles.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            As in `predict`.

        Returns
        -------
        ndarray, shape (n_samples, n_levels)
            Increasing in each row: the outputs for different levels could cross, so those of each row are sorted, which
            never makes them worse [1]_.  For one level and several targets, a column for each target.

        References
        ----------
        .. [1] V. Chernozhukov, I. Fernández-Val and A. Galichon, "Quantile and probability curves without crossing",
           Econometrica 78, 2010.
        """
        return self._sorted_outputs(X)

    @available_if(_has_quantiles)  # type: ignore[untyped-decorator]
    def predict_interval(self, X: Any, coverage: float | None = None) -> NDArray[Any]:
        """Predict an interval for the target of each row; only of a regressor for several quantiles.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            As in `predict`.
        coverage : float, optional
            The probability of the interval, such as 0.9 for the levels 0.05 and 0.95, which must be among those of
            `quantile`.  Default: from the lowest level to the highest.

        Returns
        -------
        ndarray, shape (n_samples, 2)
            Lower and upper end.

        Raises
        ------
        ConfigurationError
            If the levels of the ends are not among those of `quantile`.
        """
        levels = np.array(self._levels())
        if coverage is not None and not 0 < coverage < 1:
            raise ConfigurationError(f"coverage={coverage!r:.80} must be a probability between 0 and 1, such as 0.9.")
        ends = levels[[0, -1]] if coverage is None else np.array([(1 - coverage) / 2, (1 + coverage) / 2])
        close = np.isclose(levels, ends[:, np.newaxis], rtol=0, atol=1e-9)
        if len(levels) == 1 or not close.any(axis=1).all():
            needed = [0.05, MEDIAN, 0.95] if coverage is None else [ends[0].round(9), MEDIAN, ends[1].round(9)]
            raise ConfigurationError(
                f"an interval{'' if coverage is None else f' of coverage {coverage}'} needs two of the levels "
                f"{levels.tolist()} of quantile as its ends: fit with quantile={list(map(float, needed))}."
            )
        return self._sorted_outputs(X)[:, close.argmax(axis=1)]
