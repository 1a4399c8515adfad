"""Metrics of the validation set after each epoch, by scikit-learn's scorers or by functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.network import Examples, FeedForward
from mlp.training.callbacks import Run
from mlp.training.streamed_examples import AnyExamples, StreamedExamples

Metric = Callable[[Any, Any, Any], float]
"""Called with the network, X and y of the validation set."""


def check_metrics(metrics: Any, validation: AnyExamples | None) -> dict[str, str | Metric]:
    """Return the metrics of `fit` by name.

    Raises
    ------
    UnknownNameError
        If scikit-learn has no scorer of a name.
    ConfigurationError
        If one is neither a name nor a function, if two have the same name, or without a validation set in memory.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise ConfigurationError(f"metrics must be a list of names and functions, not {metrics!r}.")
    found: dict[str, str | Metric] = {}
    for metric in metrics:
        if isinstance(metric, str):
            _require_scorer(metric)
            name = metric
        elif callable(metric):
            name = getattr(metric, "__name__", type(metric).__name__)
        else:
            raise ConfigurationError(f"a metric must be the name of a scorer or a function, not {metric!r}.")
        if name in found:
            raise ConfigurationError(f"two metrics have the name {name!r}; rename one of the functions.")
        found[name] = metric
    if found and validation is None:
        raise ConfigurationError(
            "metrics are computed on a validation set: give validation_data or validation_fraction."
        )
    if found and isinstance(validation, StreamedExamples):
        raise ConfigurationError(
            "metrics are computed on all validation rows at once, but these are a stream: give arrays as "
            "validation_data=(X, y), or omit the metrics."
        )
    return found


def record_metrics(run: Run, metrics: Mapping[str, str | Metric], validation: Examples) -> None:
    """Append the metrics of the validation set to the history."""
    net, history = run.net, run.history
    X, y = net.xp.to_numpy(validation.X), _targets(net, net.xp.to_numpy(validation.target))
    weight = None if validation.weight is None else net.xp.to_numpy(validation.weight)
    answers = Answers(net, validation.X)
    for name, metric in metrics.items():
        value = metric(net, X, y) if callable(metric) else answers.score(metric, y, weight)
        history.append_metric(name, float(value))


def _require_scorer(name: str) -> None:
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if name not in names:
        raise UnknownNameError.among("metric", name, names)


def _targets(net: FeedForward, target: NDArray[Any]) -> NDArray[Any]:
    """What `predict` should return: class numbers, labels, or numbers in their own units."""
    if net.task == "classes" and target.ndim == 2:
        return np.asarray(target.argmax(axis=1))
    if net.task == "labels":
        target = (target > 0.5).astype(np.int64)
    elif net.task == "numbers" and net.target_scaling is not None:
        shift, scale = (np.array(values) for values in net.target_scaling)
        target = target * scale + shift
    return target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target


class Answers:
    """The answers of a network for some rows, computed once for all scorers."""

    def __init__(self, net: FeedForward, X: Any) -> None:
        self.net, self.X = net, X
        self.predict = cache(lambda: net.predict(X))
        self.predict_proba = cache(lambda: net.predict_proba(X))

    def score(self, name: str, y: NDArray[Any], weight: NDArray[Any] | None) -> float:
        """Return the value of a scorer of scikit-learn."""
        from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
        from sklearn.metrics import get_scorer

        answers = self
        mixin: Any = RegressorMixin if self.net.task == "numbers" else ClassifierMixin

        class Estimator(mixin, BaseEstimator):  # type: ignore[misc]
            classes_ = np.arange(max(self.net.sizes[-1], 2))

            def __sklearn_is_fitted__(self) -> bool:
                return True

            def predict(self, X: Any) -> NDArray[Any]:
                return answers.predict()

            def predict_proba(self, X: Any) -> NDArray[Any]:
                return answers.predict_proba()

        keywords = {} if weight is None else {"sample_weight": weight}
        try:
            return float(get_scorer(name)(Estimator(), self.X, y, **keywords))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"the metric {name!r} cannot be computed for a network that predicts {self.net.task}: {error}"
            ) from error
