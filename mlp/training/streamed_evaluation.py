"""Loss and score of a network on a stream, whose rows are never in memory all at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import no_float_warnings
from mlp.network import Examples, FeedForward
from mlp.training.evaluation import loss_and_outputs, quantile_score, r_squared, score
from mlp.training.streamed_examples import StreamedExamples


def evaluate_stream(
    net: FeedForward, examples: StreamedExamples, *, require_finite: bool = False
) -> tuple[float, float]:
    """As `evaluate`, window by window; up to rounding the results are the same.

    The score of quantiles needs all targets and outputs in memory.
    """
    task = "classes" if examples.class_numbers else net.task
    levels, parts = net.kind.loss.levels, list[tuple[NDArray[Any], ...]]()
    loss, weights, hits, finite, squares = 0.0, 0.0, 0.0, True, Squares()
    with no_float_warnings():
        for window in examples.windows():
            part = net.on_device(window)
            part_loss, part_weight, y = loss_and_outputs(net, part)
            loss, weights = loss + part_loss, weights + part_weight
            if require_finite:
                net.require_finite_outputs(y, part.X)
            elif not np.isfinite(y).all():
                finite = False
            if not finite:
                continue
            target, weight = window.target, _ones(window)
            if levels:
                parts.append((y, target, weight))
            elif task == "numbers":
                squares.add(y, target, weight)
            elif part_weight:
                hits += score(task, y, target, weight) * part_weight
        if not finite:
            return loss / weights, math.nan
        if levels:
            return loss / weights, quantile_score(levels, *map(np.concatenate, zip(*parts, strict=True)))
        return loss / weights, squares.r_squared() if task == "numbers" else hits / weights


def _ones(examples: Examples) -> NDArray[Any]:
    return np.ones(examples.rows) if examples.weight is None else np.asarray(examples.weight)


class Squares:
    """Sums for R^2 over parts of the rows, with the mean and the squares about it merged.

    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", equations 2.1.
    """

    def __init__(self) -> None:
        self._weight = 0.0
        self._mean: Any = 0.0
        self._about_mean: Any = 0.0
        self._residual: Any = 0.0
        self._lowest: Any = math.inf
        self._highest: Any = -math.inf

    def add(self, y: NDArray[Any], target: NDArray[Any], weight: NDArray[Any]) -> None:
        """Add rows: outputs and targets of shape (n, n_out), weights of shape (n,)."""
        y, target, weight = (array.astype(np.float64) for array in (y, target, weight))
        total = float(weight.sum())
        if not total:
            return
        mean = weight @ target / total
        self._residual += weight @ np.square(y - target)
        both = self._weight + total
        difference = mean - self._mean
        self._about_mean += weight @ np.square(target - mean) + np.square(difference) * (self._weight * total / both)
        self._mean += difference * (total / both)
        self._weight = both
        seen = target[weight > 0]
        self._lowest, self._highest = np.minimum(self._lowest, seen.min(0)), np.maximum(self._highest, seen.max(0))

    def r_squared(self) -> float:
        """The coefficient of determination, mean over the outputs."""
        varies = self._highest > self._lowest
        return r_squared(self._residual / self._weight, self._about_mean / self._weight, varies)
