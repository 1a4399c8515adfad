"""Activations and gradients of each layer during training, to find dead units and vanishing gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.inspection.plots.style import (
    COLOURS,
    MARKERS,
    new_figure,
    plain_log_axis,
    plain_text,
    remove_clutter,
    set_epoch_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.inspection.plots.callbacks import LayerRecorder


def layers(recorder: LayerRecorder) -> Figure:
    """Three panels over the epochs, with a line for each layer.

    They show the standard deviation of the layer's outputs; the share of dead units, which have the same output for
    every row, such as ReLUs that are always zero and saturated sigmoids; and the size of the gradients. Gradients
    vanish if they are orders of magnitude smaller in the first layer than in the last.

    Parameters
    ----------
    recorder : LayerRecorder
        It must have been a callback of the training.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If nothing has been recorded yet.

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
        raise DataError("the recorder is empty: pass it to net.fit(..., callbacks=[recorder]) first.")
    spread, constant, gradient = (np.array(part) for part in (record.spread, record.constant, record.gradient))
    figure = new_figure(7.2)
    panels = figure.subplots(3, sharex=True)
    n_layers = gradient.shape[1]
    for axes, values in zip(panels, (spread, 100 * constant, gradient), strict=True):
        for l in range(n_layers):
            # in a deep network colours repeat, but with another marker
            style = {"color": COLOURS[l % len(COLOURS)], "marker": MARKERS[(l + l // len(COLOURS)) % len(MARKERS)]}
            every = max(len(values) // 8, 1)
            positions = (l * every // n_layers, every)  # shifted for each layer, so that equal lines can be seen
            name = plain_text(recorder.names[l])
            axes.plot(record.epochs, values[:, l], markersize=4, markevery=positions, label=name, **style)
        remove_clutter(axes)
    panels[0].set_ylabel("standard deviation")
    panels[0].set_title("Activations: spread of each layer's outputs", fontsize="medium")
    panels[1].set(ylabel="% of the layer's units", ylim=(-4, 104))
    panels[1].set_title(_constant_title(constant[-1]), fontsize="medium")
    panels[2].set_ylabel("root mean square")
    if (gradient > 0).any():
        panels[2].set_yscale("log")
        plain_log_axis(panels[2].yaxis)
    panels[2].set_title(_gradient_title(gradient), fontsize="medium")
    set_epoch_axis(panels[2])
    figure.legend(
        *panels[0].get_legend_handles_labels(), title="layer", loc="outside lower center", ncols=min(n_layers, 3),
        frameon=False, fontsize="medium",
    )  # fmt: skip
    return figure


def _constant_title(last: NDArray[Any]) -> str:
    worst = int(last.argmax())
    if not last[worst]:
        return "Dead units: none"
    return f"Dead units: {100 * last[worst]:.0f} % of layer {worst + 1} never change"


def _gradient_title(gradient: NDArray[Any]) -> str:
    if not gradient[-1, 0]:
        return "Gradients of the weights: zero in layer 1 at the end"
    ratio = gradient[0, -1] / gradient[0, 0] if gradient[0, 0] else np.inf
    if ratio < 10:
        return "Gradients of the weights"
    return f"Gradients: initially {ratio:,.0f} times smaller\nin layer 1"
