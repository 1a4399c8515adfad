"""Loss and score of a network on examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import formulas, no_float_warnings
from mlp.network import CHUNK, Examples, FeedForward


def evaluate(
    net: FeedForward, examples: Examples, task: str | None = None, *, require_finite: bool = False
) -> tuple[float, float]:
    """Mean loss (without penalties) and score: accuracy for classes, R^2 for numbers, D^2 for quantiles.

    Parameters
    ----------
    net : FeedForward
    examples : Examples
    task : str, optional
        Default: `net.task`.
    require_finite : bool
        Whether outputs that are not finite are a `DataError`.  Otherwise, as in a training, the score is NaN then.
    """
    with no_float_warnings():
        total_loss, total_weight, y = loss_and_outputs(net, examples)
        if require_finite:
            net.require_finite_outputs(y, examples.X)
        elif not np.isfinite(y).all():
            return total_loss / total_weight, math.nan  # the largest of some NaN would count as a prediction
        xp = net.xp
        weight = None if examples.weight is None else xp.to_numpy(examples.weight)
        target, levels = xp.to_numpy(examples.target), net.kind.loss.levels
        if levels:
            return total_loss / total_weight, quantile_score(levels, y, target, weight)
        return total_loss / total_weight, score(task or net.task, y, target, weight)


def loss_and_outputs(net: FeedForward, examples: Examples) -> tuple[float, float, NDArray[Any]]:
    """The sum of the rows' losses times their weights, the sum of the weights, and the outputs, shape (n, n_out)."""
    xp, outputs = net.xp, []
    total_loss, total_weight = 0.0, 0.0
    for first in range(0, examples.rows, CHUNK):
        chunk = slice(first, first + CHUNK)
        z = net.logits(examples.X[chunk])
        weight = None if examples.weight is None else examples.weight[chunk]
        chunk_weight = float(z.shape[0]) if weight is None else float(xp.sum(weight))
        total_loss += chunk_weight * float(xp.loss_and_delta(net.kind, z, examples.target[chunk], weight)[0])
        total_weight += chunk_weight
        outputs.append(xp.to_numpy(xp.activate(z, net.kind.output)))
    return total_loss, total_weight, np.concatenate(outputs)


def evaluate_rows(net: FeedForward, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
    """Check these rows and evaluate `net` on them; see `MLP.evaluate`."""
    examples, class_numbers = net.check_examples(X, y, sample_weight)
    return evaluate(net, examples, "classes" if class_numbers else net.task, require_finite=True)


def score(task: str, y: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None = None) -> float:
    """Accuracy, or for numbers the coefficient of determination R^2, mean over the outputs.

    Parameters
    ----------
    task : {"classes", "labels", "numbers"}
        As `MLP.task`.
    y : ndarray, shape (n, n_out)
        Outputs of the network.
    target : ndarray, shape (n,) of class numbers or (n, n_out)
    weight : ndarray, shape (n,), optional
        Sample weights.

    Returns
    -------
    float

    Examples
    --------
    >>> score("classes", np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
    0.5
    """
    if task == "classes":
        classes = target if target.ndim == 1 else target.argmax(axis=1)
        return float(np.average(y.argmax(axis=1) == classes, weights=weight))
    if task == "labels":
        return float(np.average(((y > 0.5) == (target > 0.5)).all(axis=1), weights=weight))
    y, target = y.astype(np.float64), target.astype(np.float64)
    residual = np.average(np.square(y - target), axis=0, weights=weight)
    variance = np.average(np.square(target - np.average(target, axis=0, weights=weight)), axis=0, weights=weight)
    return r_squared(residual, variance, np.ptp(target if weight is None else target[weight > 0], axis=0) > 0)


def r_squared(residual: NDArray[Any], variance: NDArray[Any], varies: NDArray[np.bool_]) -> float:
    """R^2, mean over the outputs, from the mean squared error and the variance of each, and whether it varies."""
    # R^2 is undefined for a constant target: 1 if the prediction is exact, else 0, as in scikit-learn
    r2 = np.where(varies, 1 - residual / np.where(varies, variance, 1), np.where(residual > 0, 0.0, 1.0))
    return float(r2.mean())


def quantile_score(
    levels: tuple[float, ...], y: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None = None
) -> float:
    """D^2, the share of the quantile loss of the best constants that the outputs avoid (Koenker & Machado 1999).

    It is for quantiles what R^2 is for means: 1 for exact predictions, and 0 for those constants.

    Parameters
    ----------
    levels : tuple of float
        The level of each output, or one for all.
    y, target : ndarray, shape (n, n_out)
    weight : ndarray, shape (n,), optional
        Sample weights.

    Returns
    -------
    float
        The mean over the outputs.

    Examples
    --------
    >>> quantile_score((0.5,), np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [5.0]]))
    0.5
    """
    y, target = y.astype(np.float64), target.astype(np.float64)
    weight = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    order = np.argsort(target, axis=0)
    below = np.cumsum(weight[order], axis=0)
    # the lowest target below which there is at least a share `levels` of the weight
    place = (below >= np.multiply(levels, below[-1])).argmax(axis=0)
    constant = np.take_along_axis(target, np.take_along_axis(order, place[np.newaxis], axis=0), axis=0)

    formula = formulas.LOSSES["quantile"].formula
    assert formula is not None

    def loss(prediction: NDArray[Any]) -> Any:
        return np.average(formula(prediction, target, np.array(levels))[0], axis=0, weights=weight)

    avoidable, remaining = loss(constant), loss(y)
    varies = avoidable > 0
    d2 = np.where(varies, 1 - remaining / np.where(varies, avoidable, 1), np.where(remaining > 0, 0.0, 1.0))
    return float(d2.mean())
