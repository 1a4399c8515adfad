"""How good the probabilities of a classifier are: ROC, precision and recall, and calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.inspection.class_predictions import ClassPredictions
from mlp.inspection.plots.style import COLOURS, DARK_GREY, LINES, new_figure, plain_text, remove_clutter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = len(COLOURS)
"""There are no curves for more classes than this."""

_ROWS_OF_A_BIN = 20
_MAX_BINS = 10


def probability_curves(predictions: ClassPredictions) -> Figure:
    """ROC curve, precision over recall, and calibration, from `sklearn.metrics` and `sklearn.calibration`.

    With two classes the curves are those of the second one; with more, each class has curves against the rest, and
    calibration is that of the answers: their probability, and the share of them that is correct.

    Parameters
    ----------
    predictions : ClassPredictions
        With at most `MAX_CURVES` classes.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels, and a third one if the outputs are probabilities.

    Examples
    --------
    >>> import mlp
    >>> moons = mlp.data.load("moons")
    >>> net = mlp.MLP([2, 8, 2])
    >>> _ = net.fit(moons.X, moons.y, epochs=3)
    >>> figure = probability_curves(ClassPredictions.of(net, moons.X_test, moons.y_test))
    >>> [axes.get_title() for axes in figure.axes]
    ['ROC of class 1', 'Precision and recall of class 1', 'Calibration of class 1']
    """
    from sklearn import metrics

    n_panels = 3 if predictions.are_probabilities else 2
    two = len(predictions.classes) == 2
    figure = new_figure(2.9 * n_panels + 0.12 * len(predictions.classes) * (not two))
    panels = figure.subplots(n_panels, 1)
    for colour, line, k in zip(COLOURS, LINES * 2, classes_with_curves(predictions), strict=False):
        is_class, output = predictions.target == k, predictions.outputs[:, k]
        style: dict[str, Any] = {
            "color": colour,
            "linestyle": line,
            "linewidth": 1.6,
            "label": plain_text(predictions.classes[k], 14),
        }
        false, true, _ = metrics.roc_curve(is_class, output)
        panels[0].plot(false, true, **style)
        precision, recall, _ = metrics.precision_recall_curve(is_class, output)
        panels[1].step(recall, precision, where="post", **style)
        if two:
            panels[1].axhline(is_class.mean(), color=DARK_GREY, linewidth=1, linestyle="--")
    panels[0].plot([0, 1], [0, 1], color=DARK_GREY, linewidth=1, linestyle="--")
    of = f" of class {plain_text(predictions.classes[1], 14)}" if two else ""
    panels[0].set(xlabel="false positive rate", ylabel="true positive rate")
    panels[1].set(xlabel="recall", ylabel="precision")
    panels[0].set_title(f"ROC{of}", fontsize="medium")
    panels[1].set_title(f"Precision and recall{of}", fontsize="medium")
    if not two:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    if predictions.are_probabilities:
        mean, share = calibration_points(predictions)
        panels[2].plot([0, 1], [0, 1], color=DARK_GREY, linewidth=1, linestyle="--")
        panels[2].plot(mean, share, "o-", color=COLOURS[0], linewidth=1.6, markersize=4)
        panels[2].set(xlabel="mean probability", ylabel="share of the class" if two else "share of correct answers")
        panels[2].set_title(f"Calibration{of or ' of the answers'}", fontsize="medium")
    for axes in panels:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        remove_clutter(axes)
    return figure


def classes_with_curves(predictions: ClassPredictions) -> list[int]:
    """The classes that have a curve: the second of two, or all; those without rows have none."""
    n = len(predictions.classes)
    return [k for k in ([1] if n == 2 else range(n)) if 0 < (predictions.target == k).mean() < 1]


def calibration_points(predictions: ClassPredictions) -> tuple[NDArray[Any], NDArray[Any]]:
    """The mean probability of each group of rows, and the share of them in which it was right, both (groups,)."""
    from sklearn import calibration

    two = len(predictions.classes) == 2
    probability = predictions.outputs[:, 1] if two else predictions.outputs.max(axis=1)
    happened = predictions.target == (1 if two else predictions.predicted)
    bins = int(np.clip(len(happened) // _ROWS_OF_A_BIN, 2, _MAX_BINS))
    share, mean = calibration.calibration_curve(happened, np.clip(probability, 0, 1), n_bins=bins, strategy="quantile")
    return mean, share
