"""Convert networks from scikit-learn, with the same predictions; training can continue."""

from __future__ import annotations

import logging
from typing import Any

from mlp._backends import ConfigurationError
from mlp.configuration import LOSS_FOR, configure
from mlp.network import FeedForward
from mlp.optimizers import GradientDescent

logger = logging.getLogger("mlp")

_OUR_NAMES = {"logistic": "sigmoid"}
_OUR_LOSSES = {"squared_error": "quadratic", "poisson": "poisson", "quantile": "quantile"}


def from_sklearn(estimator: Any, *, backend: str = "auto", device: str = "auto") -> FeedForward:
    """Convert a fitted estimator; see `mlp.from_sklearn`."""
    _check_estimator(estimator)
    output = _our_name(estimator.out_activation_)
    hidden, kind, loss = estimator.activation, getattr(estimator, "loss", None), LOSS_FOR.get(output, "quadratic")
    levels = estimator._loss_function().levels if kind == "quantile" else None
    configuration = configure(
        [len(estimator.coefs_[0]), *(len(b) for b in estimator.intercepts_)],
        [_our_name(name) for name in hidden] if isinstance(hidden, (list, tuple)) else _our_name(hidden),
        output,
        _OUR_LOSSES.get(kind, loss) if isinstance(kind, str) else loss,
        quantile=levels,
        dropout=getattr(estimator, "dropout", 0.0),
        l2=_penalty(estimator),
        dtype=estimator.coefs_[0].dtype,
        classes=getattr(estimator, "classes_", None),
    )
    net = FeedForward(configuration, backend, device)
    net.weights, net.biases = estimator.coefs_, estimator.intercepts_
    return net


def _our_name(activation: Any) -> Any:
    return _OUR_NAMES.get(activation, activation) if isinstance(activation, str) else activation


def _check_estimator(estimator: Any) -> None:
    kind = type(estimator).__name__
    if hasattr(estimator, "best_estimator_") or hasattr(estimator, "steps"):
        attribute = "best_estimator_" if hasattr(estimator, "best_estimator_") else "steps[-1][1]"
        raise ConfigurationError(
            f"a {kind} contains more than a network: pass its estimator.{attribute}, and give the network the inputs "
            "of that estimator (in a pipeline: estimator[:-1].transform(X))."
        )
    if not hasattr(estimator, "hidden_layer_sizes"):
        raise ConfigurationError(f"from_sklearn takes a fitted MLPClassifier or MLPRegressor, not {estimator!r:.80}.")
    if not hasattr(estimator, "coefs_"):
        raise ConfigurationError(f"this {kind} is not fitted, so it has no weights: call its fit(X, y) first.")
    if len(getattr(estimator, "classes_", (0, 1))) < 2:
        raise ConfigurationError(
            f"this {kind} was fitted to the single class {estimator.classes_.tolist()[0]!r}; fit it to two classes or "
            "more."
        )


def _penalty(estimator: Any) -> float:
    """`l2` for the `alpha` of the estimator: scikit-learn divides it by the rows of each batch."""
    if not estimator.t_:
        logger.info("alpha=%g was divided by an unknown number of rows: l2 is 0", estimator.alpha)
        return 0.0
    rows = estimator.t_ / estimator.n_iter_
    if isinstance(estimator.solver, GradientDescent):
        return float(estimator.alpha / rows)
    return float(estimator.alpha / min(200 if estimator.batch_size == "auto" else estimator.batch_size, rows))
