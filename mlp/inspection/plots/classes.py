"""What a classifier gets right and wrong: the confusion matrix, and its worst mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.inspection.answers import Answers
from mlp.inspection.plots.images import image_shape
from mlp.inspection.plots.style import (
    BLUE,
    DARK_GREY,
    ON_DARK,
    ON_LIGHT,
    VERMILION,
    bare,
    hide_axes,
    literal,
    new_figure,
    new_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.network import FeedForward

NUMBERED = 20
"""Up to this many classes the cells of a confusion matrix hold their numbers."""


def confusion(net: FeedForward, X: Any, y: Any) -> Figure:
    """The confusion matrix: how many rows of each class were given each answer.

    Parameters
    ----------
    net : MLP
        That chooses one of several classes.
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
    'true class'
    """
    answers = Answers.of(net, X, y)
    counts = answers.confusion
    n = len(counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(4.1)
    axes = figure.subplots()
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    size = max(5.0, min(10.0, 90 / n))
    if n <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = ON_DARK if share[row, column] > 0.55 else ON_LIGHT
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size, color=colour)
    _name_ticks(axes, answers.classes)
    axes.set(xlabel="answer", ylabel="true class")
    right = int(counts.trace())
    axes.set_title(f"{right} of {counts.sum()} rows are answered rightly", fontsize="medium")
    figure.colorbar(image, ax=axes, shrink=0.8, label="% of the true class")
    return figure


def _name_ticks(axes: Any, classes: list[Any]) -> None:
    every = 1 if len(classes) <= NUMBERED else -(-len(classes) // 12)
    at = range(0, len(classes), every)
    names = [literal(classes[i], 14) for i in at]
    long = max(map(len, names)) > 3
    axes.set_xticks(at, names, rotation=45 if long else 0, ha="right" if long else "center", rotation_mode="anchor")
    axes.set_yticks(at, names)
    size = "small" if len(classes) > 12 or long else "medium"
    axes.tick_params(length=0, labelsize=size)


def mistakes(net: FeedForward, X: Any, y: Any, *, n: int = 12, shape: tuple[int, int] | None = None) -> Figure:
    """The rows that the network gets most wrong: surest of a wrong answer.

    Rows that are images are shown; of others, what the network gave the wrong and the true class.

    Parameters
    ----------
    net : MLP
        That chooses one of several classes.
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)
    n : int
        How many at most.
    shape : tuple (height, width), optional
        Of the images; by default square ones are found out by themselves, see `image_shape`.

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
    answers = Answers.of(net, X, y)
    rows = answers.worst(n)
    if not len(rows):
        figure = new_figure(1.0)
        figure.text(0.5, 0.5, f"No mistakes in {len(answers.truth)} rows", ha="center", va="center", fontsize="large")
        return figure
    wrong = int((answers.truth != answers.answer).sum())
    title = f"The worst of {wrong} mistakes in {len(answers.truth)} rows" if wrong > 1 else "The only mistake"
    shape = image_shape(net, shape)
    if shape is None:
        return _bars(answers, rows, title)
    return _pictures(answers, rows, np.asarray(X)[rows].reshape(-1, *shape), title)


def _pictures(answers: Answers, rows: NDArray[Any], images: NDArray[Any], title: str) -> Figure:
    figure, panels = new_panels(len(rows), 3, 2.05, more=0.4)
    for axes, row, image in zip(panels, rows, images, strict=True):
        axes.imshow(image, cmap="gray", interpolation="nearest")
        hide_axes(axes)
        told, true = (_outcome(answers, row, which[row]) for which in (answers.answer, answers.truth))
        axes.set_title(f"says {told}\nis {true}", fontsize="small")
        axes.set_xlabel(f"row {row}", fontsize="small", labelpad=2)
    figure.suptitle(title, fontsize="medium")
    return figure


def _outcome(answers: Answers, row: int, code: int) -> str:
    output = float(answers.outputs[row, code])
    figure = f"{output:.0%}" if answers.are_probabilities else f"{output:.2g}"
    return f"{literal(answers.classes[code], 10)} ({figure.replace('%', ' %')})"


def _in_words(row: int, told: str, true: str) -> str:
    joint = ", " if len(told) + len(true) < 9 else "\n"
    return f"row {row}: says {told}{joint}is {true}"


def _bars(answers: Answers, rows: NDArray[Any], title: str) -> Figure:
    figure = new_figure(0.42 * len(rows) + 1.5)
    axes = figure.subplots()
    scale = 100 if answers.are_probabilities else 1
    at = np.arange(len(rows))
    told, true = (scale * answers.outputs[rows, which[rows]] for which in (answers.answer, answers.truth))
    axes.hlines(at, true, told, color=DARK_GREY, linewidth=1)
    axes.plot(told, at, "s", color=VERMILION, label="its answer")
    axes.plot(true, at, "o", color=BLUE, label="the true class")
    classes = [literal(name, 14) for name in answers.classes]
    names = [_in_words(row, classes[answers.answer[row]], classes[answers.truth[row]]) for row in rows]
    axes.set_yticks(at, names, fontsize="small")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if answers.are_probabilities:
        axes.set_xlim(-3, 103)
    bare(axes)
    axes.set_xlabel("probability, %" if answers.are_probabilities else "output")
    figure.suptitle(title, fontsize="medium")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure
