"""Plots of a regression: predicted and actual values, and the residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.array_checks import check_targets
from mlp.inspection.plots.style import BLUE, DARK_GREY, new_figure, remove_clutter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.network import FeedForward

MAX_OUTPUTS = 4
"""Maximum number of outputs that are shown."""


def predictions(net: FeedForward, X: Any, y: Any) -> Figure:
    """Predicted over actual values, and a histogram of the residuals (predicted minus actual).

    Parameters
    ----------
    net : MLP
        A regression network.
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)

    Returns
    -------
    matplotlib.figure.Figure
        Two panels for each output, for at most four outputs.

    Raises
    ------
    ConfigurationError
        If the network predicts classes.
    ShapeError, DtypeError, DataError
        As in `MLP.evaluate`.

    Examples
    --------
    >>> import mlp
    >>> sine, net = mlp.data.toy("sine"), mlp.MLP([1, 16, 1], loss="mse")
    >>> _ = net.fit(sine.X, sine.y, epochs=3)
    >>> [axes.get_xlabel() for axes in predictions(net, sine.X, sine.y).axes]
    ['actual', 'residual (predicted − actual)']
    """
    predicted, actual = predictions_and_targets(net, X, y)
    n = min(predicted.shape[1], MAX_OUTPUTS)
    figure = new_figure(6.2 * n)
    panels = figure.subplots(2 * n, 1, gridspec_kw={"height_ratios": [1.4, 1] * n})
    for output, (over, residuals) in enumerate(panels.reshape(n, 2)):
        name = f"Output {output}:" if predicted.shape[1] > 1 else "Predictions and targets:"
        _scatter(over, actual[:, output], predicted[:, output], name)
        _histogram(residuals, predicted[:, output] - actual[:, output])
    return figure


def predictions_and_targets(net: FeedForward, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predictions of a regression network, and their targets, both of shape (n, n_out)."""
    predicted = net.feedforward(X)
    target, class_numbers = check_targets(
        y, len(predicted), net.kind, net.sizes[-1], net.dtype, net.xp, require_two_classes=False
    )
    if class_numbers or net.task != "numbers":
        raise ConfigurationError("this network predicts classes, not numbers; use mlp.plots.confusion.")
    return predicted, net.xp.to_numpy(target)


def _scatter(axes: Any, actual: NDArray[Any], predicted: NDArray[Any], name: str) -> None:
    ends = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
    axes.axline((ends[0], ends[0]), slope=1, color=DARK_GREY, linewidth=1, linestyle="--")
    alpha = min(1.0, max(0.1, 40 / np.sqrt(len(actual)) / 4))
    rasterized = len(actual) > 2000  # an SVG with so many separate points would be large
    axes.plot(actual, predicted, "o", color=BLUE, markersize=3.5, alpha=alpha, markeredgewidth=0, rasterized=rasterized)
    total = np.square(actual - actual.mean()).sum()
    r2 = 1 - np.square(actual - predicted).sum() / total if total else float("nan")
    margin = 0.05 * (ends[1] - ends[0]) or 1.0
    limits = ends[0] - margin, ends[1] + margin
    axes.set(xlabel="actual", ylabel="predicted", xlim=limits, ylim=limits)
    axes.set_aspect("equal", adjustable="box")  # so that the diagonal is one
    axes.set_title(f"{name} R² {r2:.4f}", fontsize="medium")
    _few_ticks(axes.xaxis)
    _few_ticks(axes.yaxis)
    remove_clutter(axes)


def _histogram(axes: Any, residual: NDArray[Any]) -> None:
    axes.hist(residual, bins="auto" if len(residual) > 30 else 10, color=BLUE, alpha=0.8)
    axes.axvline(0, color=DARK_GREY, linewidth=1, linestyle="--")
    axes.set(xlabel="residual (predicted − actual)", ylabel="rows")
    rms = float(np.sqrt(np.square(residual).mean()))
    axes.set_title(f"Residuals: RMS {rms:.3g}", fontsize="medium")
    axes.yaxis.get_major_locator().set_params(integer=True)
    _few_ticks(axes.xaxis)
    remove_clutter(axes)


def _few_ticks(axis: Any) -> None:
    """At most five ticks, with large and small numbers as 2e+05, so that the labels do not overlap."""
    axis.get_major_locator().set_params(nbins=4)
    axis.set_major_formatter(lambda value, _: f"{value:.4g}".replace("-", "−"))
