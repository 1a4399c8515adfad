"""The scores of a network on rows whose targets are known."""

from __future__ import annotations

from typing import Any

from mlp.inspection.class_predictions import ClassPredictions, require_two_classes
from mlp.inspection.plots.regression import predictions_and_targets
from mlp.inspection.scores import number_scores
from mlp.network import FeedForward


def scores_of(net: FeedForward, X: Any, y: Any, threshold: float | None = None) -> dict[str, Any]:
    """Score a network; see `mlp.inspection.scores` for the keys.  For several labels of a row there are none.

    Parameters
    ----------
    net : MLP
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)
        As in `MLP.fit`.
    threshold : float, optional
        As in `mlp.inspection.class_predictions.classes_above`.

    Raises
    ------
    ConfigurationError
        If there is a threshold, and the network has no probabilities of two classes.
    ShapeError, DtypeError, DataError
        As in `MLP.evaluate`.

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> net = mlp.MLP([64, 10], input_scale=digits.input_scale)
    >>> scores = scores_of(net, digits.X_test, digits.y_test)
    >>> scores["accuracy"] == net.score(digits.X_test, digits.y_test)
    True
    """
    if threshold is not None:
        require_two_classes(net)
    if net.task == "numbers" and not net.class_numbers:
        predicted, target = predictions_and_targets(net, X, y)
        return number_scores(target, predicted)
    if net.task == "labels" and net.sizes[-1] > 1:
        return {}
    return ClassPredictions.of(net, X, y, threshold).scores()
