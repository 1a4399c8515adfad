"""How a training went: loss and score over the epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp._backends import DataError
from mlp.inspection.plots.style import BLUE, DARK_GREY, VERMILION, bare, new_figure, whole_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.training import History


def curves(history: History, *, loss: str = "loss", score: str = "score") -> Figure:
    """Loss and score over the epochs: of training, and of the validation set where there is one.

    Parameters
    ----------
    history : History
    loss, score : str
        What the figures are called; ``"accuracy"`` is shown in per cent.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is no epoch yet.

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> net = mlp.MLP([64, 32, 10])
    >>> figure = curves(net.fit(digits.X, digits.y, epochs=3, validation_fraction=0.1), score="accuracy")
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['mean loss', 'accuracy, %']
    """
    if not len(history):
        raise DataError("this training has no epoch yet, so there are no curves.")
    validated = np.isfinite(history.val_score).any()
    figure = new_figure(4.8 if validated else 3.0)
    panels = figure.subplots(2 if validated else 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(panels[0], history, loss)
    if validated:
        _draw_score(panels[1], history, score)
    for axes in panels:
        bare(axes)
        _mark_best(axes, history.best_epoch)
    whole_epochs(panels[-1])
    return figure


def _draw_loss(axes: Any, history: History, name: str) -> None:
    _line(axes, history.loss, BLUE, "-", "training")
    seen = history.loss
    if np.isfinite(history.val_loss).any():
        _line(axes, history.val_loss, VERMILION, "--", "validation")
        seen = [*seen, *history.val_loss]
        axes.legend(frameon=False)
    seen = [value for value in seen if math.isfinite(value)]
    if min(seen) > 0 and max(seen) > 30 * min(seen):
        axes.set_yscale("log")
    first, last = history.loss[0], history.loss[-1]
    epochs = f"{len(history)} epochs" if len(history) > 1 else "1 epoch"
    verb = "falls" if last < first else "goes"
    axes.set_title(f"Training loss {verb} from {first:.3g} to {last:.3g} in {epochs}", fontsize="medium")
    axes.set_ylabel("mean loss" if name == "loss" else f"mean loss\n({name})")


def _draw_score(axes: Any, history: History, name: str) -> None:
    percent = name == "accuracy"
    values = [100 * value if percent else value for value in history.val_score]
    _line(axes, values, VERMILION, "--", "validation")
    last = [value for value in values if math.isfinite(value)][-1]
    figure = f"{last:.4g} %" if percent else f"{last:.3g}"
    axes.set_title(f"Validation {name} ends at {figure}", fontsize="medium")
    axes.set_ylabel(f"{name}, %" if percent else name)


def _line(axes: Any, values: list[float], colour: str, style: str, label: str) -> None:
    few = len(values) <= 30
    epochs = np.arange(1, len(values) + 1)
    axes.plot(epochs, values, style, color=colour, marker="o" if few else None, markersize=3.5, label=label)


def _mark_best(axes: Any, epoch: int | None) -> None:
    if epoch is None:
        return
    axes.axvline(epoch + 1, color=DARK_GREY, linestyle=":", linewidth=1.2)
    axes.annotate(
        f"best: epoch {epoch + 1}", (epoch + 1, 0.5), (-4, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", rotation=90, ha="right", va="center", fontsize="small", color=DARK_GREY,
    )  # fmt: skip
