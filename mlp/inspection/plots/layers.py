"""Activations and gradients of every layer over training: dead units and vanishing gradients come to light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.inspection.plots.style import COLOURS, MARKS, bare, literal, new_figure, whole_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.inspection.plots.recorders import LayerRecorder


def layers(recorder: LayerRecorder) -> Figure:
    """Three panels over the epochs, a line for each layer.

    The spread of the layer's outputs; the share of units that give the same for every row, as dead ReLUs and
    saturated sigmoids do; and the size of the gradients, which where they shrink by orders of magnitude from the last
    layer to the first are said to vanish.

    Parameters
    ----------
    recorder : LayerRecorder
        That was a callback of the training.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If it has recorded nothing yet.

    Examples
    --------
    >>> import mlp
    >>> moons, net = mlp.data.toy("moons"), mlp.MLP([2, 8, 8, 2], "sigmoid")
    >>> recorder = mlp.plots.LayerRecorder(moons.X, moons.y)
    >>> _ = net.fit(moons.X, moons.y, epochs=3, callbacks=[recorder])
    >>> len(layers(recorder).axes)
    3
    """
    record = recorder.record
    if not record.epochs:
        raise DataError("nothing is recorded yet: give the recorder to net.fit(..., callbacks=[recorder]).")
    spread, constant, gradient = (np.array(part) for part in (record.spread, record.constant, record.gradient))
    figure = new_figure(7.2)
    panels = figure.subplots(3, sharex=True)
    n_layers = gradient.shape[1]
    for axes, values in zip(panels, (spread, 100 * constant, gradient), strict=True):
        for l in range(n_layers):
            # of a deep network the lines still differ: colours repeat with another mark
            look = {"color": COLOURS[l % len(COLOURS)], "marker": MARKS[(l + l // len(COLOURS)) % len(MARKS)]}
            every = max(len(values) // 8, 1)
            marks = (l * every // n_layers, every)  # one after the other, so that equal lines are seen to be several
            name = literal(recorder.names[l])
            axes.plot(record.epochs, values[:, l], markersize=4, markevery=marks, label=name, **look)
        bare(axes)
    panels[0].set_ylabel("standard deviation")
    panels[0].set_title("Activations: how much a layer's outputs differ", fontsize="medium")
    panels[1].set(ylabel="% of the units", ylim=(-4, 104))
    panels[1].set_title(_say_constant(constant[-1]), fontsize="medium")
    panels[2].set_ylabel("root mean square")
    if (gradient > 0).any():
        panels[2].set_yscale("log")
    panels[2].set_title(_say_gradients(gradient), fontsize="medium")
    whole_epochs(panels[2])
    figure.legend(
        *panels[0].get_legend_handles_labels(), title="layer", loc="outside lower center", ncols=min(n_layers, 4),
        frameon=False, fontsize="small",
    )  # fmt: skip
    return figure


def _say_constant(last: NDArray[Any]) -> str:
    worst = int(last.argmax())
    if not last[worst]:
        return "No unit gives the same output for every row"
    return f"{100 * last[worst]:.0f} % of layer {worst + 1} gives the same for every row"


def _say_gradients(gradient: NDArray[Any]) -> str:
    if not gradient[-1, 0]:
        return "Gradients of the weights: none reaches layer 1 at last"
    ratio = gradient[0, -1] / gradient[0, 0] if gradient[0, 0] else np.inf
    if ratio < 10:
        return "Gradients of the weights"
    return f"Gradients: at first {ratio:,.0f} times smaller in layer 1"
