"""The curve of a learning rate range test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlp._backends import DataError
from mlp.inspection.plots.style import BLUE, DARK_GREY, SKY, VERMILION, new_figure, remove_clutter
from mlp.training.learning_rate_test import LearningRateTest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIGHEST = 1.6
"""The axis of the loss ends at so many times the first loss: what is above says only that the rate is too high."""


def learning_rates(test: LearningRateTest) -> Figure:
    """The loss over the learning rate, with the suggested rates.

    Parameters
    ----------
    test : LearningRateTest
        From `mlp.find_learning_rate`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the test has fewer than two losses.

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> figure = learning_rates(mlp.find_learning_rate(mlp.MLP([64, 16, 10]), digits.X, digits.y))
    >>> figure.axes[0].get_xlabel()
    'learning rate'
    """
    if len(test.losses) < 2:
        raise DataError("the test has fewer than two losses, so there is no curve to draw; begin with a lower rate.")
    figure = new_figure(3.4)
    axes = figure.subplots()
    axes.plot(test.learning_rates, test.losses, ".", color=SKY, markersize=3, label="each batch")
    axes.plot(test.learning_rates, test.smoothed, color=BLUE, label="smoothed")
    for name, rate, colour, marker in (
        ("valley (suggested)", test.valley, VERMILION, "o"),
        ("steepest", test.steepest, DARK_GREY, "s"),
    ):
        if rate is not None:
            height = float(np.interp(np.log(rate), np.log(test.learning_rates), test.smoothed))
            axes.plot([rate], [height], marker, color=colour, markersize=7, label=f"{name}: {rate:.2g}")
    low, high = float(test.smoothed.min()), float(test.smoothed[0])
    margin = 0.1 * (HIGHEST * high - low)
    axes.set_ylim(min(low, float(np.quantile(test.losses, 0.02))) - margin, HIGHEST * high + margin)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss of the batch")
    verb = "The loss diverges" if test.diverged else "The test ends"
    axes.set_title(f"{verb} at a learning rate of {test.learning_rates[-1]:.2g}", fontsize="medium")
    axes.legend(frameon=False, fontsize="medium")
    remove_clutter(axes)
    return figure
