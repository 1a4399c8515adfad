"""Plots of a classifier: the confusion matrix, and the worst mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp.inspection.class_predictions import ClassPredictions
from mlp.inspection.plots.images import image_shape
from mlp.inspection.plots.style import (
    BLUE,
    DARK_GREY,
    ON_DARK,
    ON_LIGHT,
    VERMILION,
    WIDTH,
    hide_axes,
    new_figure,
    new_panels,
    plain_text,
    remove_clutter,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.network import FeedForward

MAX_NUMBERED = 10
"""With more classes than this, the cells of a confusion matrix contain no numbers, which would be too small."""

MAX_COUNTED = 3
"""Up to this number of classes, they contain the number of rows too."""


def confusion(net: FeedForward, X: Any, y: Any) -> Figure:
    """The confusion matrix in per cent of each true class: which classes are predicted as which.

    Each row adds up to 100 %; the number of rows of a class is beside its name. Up to three classes, the cells also
    contain the number of rows.

    Parameters
    ----------
    net : MLP
        A classifier of one of several classes.
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)
        As in `MLP.fit`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> net = mlp.MLP([64, 32, 10], input_scale=digits.input_scale)
    >>> _ = net.fit(digits.X, digits.y, epochs=3)
    >>> confusion(net, digits.X_test, digits.y_test).axes[0].get_ylabel()
    'true class (rows)'
    """
    predictions = ClassPredictions.of(net, X, y)
    counts = predictions.confusion
    n = len(counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(4.1)
    axes = figure.subplots()
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    if n <= MAX_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = ON_DARK if share[row, column] > 0.55 else ON_LIGHT
                text = _percent(share[row, column])
                if n <= MAX_COUNTED:
                    text += f" %\n{count:,} rows" if count > 1 else " %\n1 row"
                axes.text(column, row, text, ha="center", va="center", fontsize="medium", color=colour)
    _name_ticks(axes, predictions.classes, counts.sum(axis=1))
    axes.set(xlabel="predicted class", ylabel="true class (rows)")
    correct = int(counts.trace())
    figure.suptitle(f"{correct} of {counts.sum()} rows are classified correctly", fontsize="medium")
    if n > MAX_NUMBERED:
        figure.colorbar(image, ax=axes, shrink=0.8, label="% of the true class")
    else:
        axes.set_title("Numbers: % of the true class", fontsize="medium")
    return figure


def _percent(share: float) -> str:
    """A share in whole per cent, but never 0 for a mistake nor 100 where there is one.

    Examples
    --------
    >>> _percent(0.25), _percent(0.001), _percent(0.999), _percent(1.0)
    ('25', '<1', '>99', '100')
    """
    return "<1" if 0 < share < 0.005 else ">99" if 0.995 <= share < 1 else f"{100 * share:.0f}"


def _name_ticks(axes: Any, classes: list[Any], rows: NDArray[Any]) -> None:
    every = 1 if len(classes) <= MAX_NUMBERED else -(-len(classes) // 8)
    positions = range(0, len(classes), every)
    names = [plain_text(classes[i], 14) for i in positions]
    long = max(map(len, names)) > 3
    axes.set_xticks(
        positions, names, rotation=45 if long else 0, ha="right" if long else "center", rotation_mode="anchor"
    )
    axes.set_yticks(positions, [f"{name} ({rows[i]:,})" for i, name in zip(positions, names, strict=True)])
    axes.tick_params(length=0)


def mistakes(
    net: FeedForward,
    X: Any,
    y: Any,
    *,
    n: int = 12,
    shape: tuple[int, int] | None = None,
    numbers: ArrayLike | None = None,
) -> Figure:
    """The wrong predictions with the highest confidence.

    For images the rows are drawn; for other inputs, the outputs for the predicted class and for the true class.

    Parameters
    ----------
    net : MLP
        A classifier of one of several classes.
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)
    n : int
        Maximum number of rows.
    shape : tuple (height, width), optional
        Of the images; by default `image_shape` detects square images.
    numbers : array_like of int, shape (n,), optional
        What to call the rows of X, such as their numbers in a file; by default 0, 1, ...

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> net = mlp.MLP([64, 32, 10], input_scale=digits.input_scale)
    >>> _ = net.fit(digits.X, digits.y, epochs=2)
    >>> len(mistakes(net, digits.X_test, digits.y_test, n=4).axes)
    4
    """
    predictions = ClassPredictions.of(net, X, y)
    rows = predictions.worst(n)
    if not len(rows):
        figure = new_figure(1.0)
        figure.text(
            0.5, 0.5, f"No mistakes in {len(predictions.target)} rows", ha="center", va="center", fontsize="large"
        )
        return figure
    wrong = int((predictions.target != predictions.predicted).sum())
    title = f"The worst of {wrong} mistakes in {len(predictions.target)} rows" if wrong > 1 else "The only mistake"
    shape = image_shape(net, shape)
    called = rows if numbers is None else np.asarray(numbers)[rows]
    if shape is None:
        return _bars(predictions, rows, called, title)
    return _pictures(predictions, rows, called, np.asarray(X)[rows].reshape(-1, *shape), title)


def _pictures(
    predictions: ClassPredictions, rows: NDArray[Any], called: NDArray[Any], images: NDArray[Any], title: str
) -> Figure:
    longest = max(len(str(name)) for name in predictions.classes)
    across = 3 if longest <= 4 else 2  # names need room beside each other
    figure, panels = new_panels(len(rows), across, WIDTH / across + 0.65, extra=0.4)
    for axes, row, name, image in zip(panels, rows, called, images, strict=True):
        axes.imshow(image, cmap="gray", interpolation="nearest")
        hide_axes(axes)
        predicted, true = (
            _class_output(predictions, row, codes[row]) for codes in (predictions.predicted, predictions.target)
        )
        axes.set_title(f"pred. {predicted}\ntrue {true}", fontsize="medium")
        axes.set_xlabel(f"row {name}", fontsize="medium", labelpad=2)
    figure.suptitle(title, fontsize="medium")
    return figure


def _class_output(predictions: ClassPredictions, row: int, code: int) -> str:
    output = float(predictions.outputs[row, code])
    text = f"{output:.0%}" if predictions.are_probabilities else f"{output:.2g}"
    return f"{plain_text(predictions.classes[code], 8)} ({text.replace('%', ' %')})"


def _row_label(name: int, predicted: str, true: str) -> str:
    separator = ", " if len(predicted) + len(true) < 9 else "\n"
    return f"row {name}: predicted {predicted}{separator}true {true}"


def _bars(predictions: ClassPredictions, rows: NDArray[Any], called: NDArray[Any], title: str) -> Figure:
    figure = new_figure(0.42 * len(rows) + 1.5)
    axes = figure.subplots()
    scale = 100 if predictions.are_probabilities else 1
    heights = np.arange(len(rows))
    predicted, true = (
        scale * predictions.outputs[rows, codes[rows]] for codes in (predictions.predicted, predictions.target)
    )
    axes.hlines(heights, true, predicted, color=DARK_GREY, linewidth=1)
    axes.plot(predicted, heights, "s", color=VERMILION, label="predicted class")
    axes.plot(true, heights, "o", color=BLUE, label="true class")
    classes = [plain_text(name, 14) for name in predictions.classes]
    labels = [
        _row_label(name, classes[predictions.predicted[row]], classes[predictions.target[row]])
        for name, row in zip(called, rows, strict=True)
    ]
    axes.set_yticks(heights, labels, fontsize="medium")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if predictions.are_probabilities:
        axes.set_xlim(-3, 103)
    remove_clutter(axes)
    axes.set_xlabel("probability, %" if predictions.are_probabilities else "output")
    figure.suptitle(title, fontsize="medium")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="medium")
    return figure
