"""Training curves: loss and score over the epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp._backends import ConfigurationError, DataError
from mlp.inspection.plots.style import (
    BLUE,
    DARK_GREY,
    VERMILION,
    new_figure,
    plain_log_axis,
    remove_clutter,
    set_epoch_axis,
)
from mlp.training import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(history: History, *, loss: str = "loss", score: str = "score") -> Figure:
    """Loss and score over the epochs, for training and, if there is one, for the validation set.

    Parameters
    ----------
    history : History
    loss, score : str
        Names for the axes; ``"accuracy"`` is shown in per cent.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If `history` is no `History`.
    DataError
        If the history is empty.

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> net = mlp.MLP([64, 32, 10])
    >>> figure = curves(net.fit(digits.X, digits.y, epochs=3, validation_fraction=0.1), score="accuracy")
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['mean loss', 'accuracy, %']
    """
    if not isinstance(history, History):
        raise ConfigurationError(
            f"curves needs a History, which net.fit returns and net.history contains, not {history!r:.80}."
        )
    if not len(history):
        raise DataError("the history has no epoch yet, so there are no curves to draw; train first.")
    validated = np.isfinite(history.val_score).any()
    figure = new_figure(4.8 if validated else 3.0)
    panels = figure.subplots(2 if validated else 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(panels[0], history, loss)
    if validated:
        _draw_score(panels[1], history, score)
    for axes in panels:
        remove_clutter(axes)
        _mark_best(axes, history.best_epoch)
    set_epoch_axis(panels[-1])
    return figure


def _draw_loss(axes: Any, history: History, name: str) -> None:
    _line(axes, history.loss, BLUE, "-", "training")
    losses = history.loss
    if np.isfinite(history.val_loss).any():
        _line(axes, history.val_loss, VERMILION, "--", "validation")
        losses = [*losses, *history.val_loss]
        axes.legend(frameon=False)
    losses = [value for value in losses if math.isfinite(value)]
    if min(losses) > 0 and max(losses) > 30 * min(losses):
        axes.set_yscale("log")
        plain_log_axis(axes.yaxis)
    first, last = history.loss[0], history.loss[-1]
    epochs = f"{len(history)} epochs" if len(history) > 1 else "1 epoch"
    axes.set_title(f"Training loss: {first:.3g} → {last:.3g} in {epochs}", fontsize="medium")
    axes.set_ylabel("mean loss" if name == "loss" else f"mean loss\n({name})")


def _draw_score(axes: Any, history: History, name: str) -> None:
    percent = name == "accuracy"
    values = [100 * value if percent else value for value in history.val_score]
    _line(axes, values, VERMILION, "--", "validation")
    last = [value for value in values if math.isfinite(value)][-1]
    final = f"{last:.4g} %" if percent else f"{last:.3g}"
    axes.set_title(f"Final validation {name}: {final}", fontsize="medium")
    axes.set_ylabel(f"{name}, %" if percent else name)


def _line(axes: Any, values: list[float], colour: str, style: str, label: str) -> None:
    epochs = np.arange(1, len(values) + 1)
    axes.plot(
        epochs, values, style, color=colour, marker="o" if len(values) <= 30 else None, markersize=3.5, label=label
    )


def _mark_best(axes: Any, epoch: int | None) -> None:
    if epoch is None:
        return
    axes.axvline(epoch, color=DARK_GREY, linestyle=":", linewidth=1.2)
    axes.annotate(
        f"best: epoch {epoch}", (epoch, 0.5), (-4, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", rotation=90, ha="right", va="center", fontsize="medium", color=DARK_GREY,
    )  # fmt: skip
