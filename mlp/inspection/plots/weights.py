"""Plots of weights: the first layer, and a drawing of the complete network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.inspection.plots.images import image_shape
from mlp.inspection.plots.style import (
    BLUE,
    DARK_GREY,
    DIVERGING,
    VERMILION,
    WIDTH,
    hide_axes,
    new_figure,
    new_panels,
    plain_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.network import FeedForward

MAX_UNITS = 30
"""Maximum number of units of a layer that are shown: those with the largest weights."""

MAX_INPUTS = 40
"""The same for inputs that are not pixels."""

MAX_DRAWN = 8
"""Maximum number of units of a layer in the drawing of a network."""

MAX_NUMBERED = 9
"""In a layer with more weights than this, the lines are not labelled with their weights."""


def weights(net: FeedForward, *, shape: tuple[int, int] | None = None, names: Sequence[str] | None = None) -> Figure:
    """The weights of the first layer.

    For image inputs, the weights of each neuron are drawn as an image: red for positive and blue for negative weights.
    For other inputs, all weights are one matrix, with a row for each input and a column for each neuron.

    Parameters
    ----------
    net : MLP
    shape : tuple (height, width), optional
        Of the images; by default `image_shape` detects square images.
    names : sequence of str, optional
        Of the inputs; by default those of the table that the network was trained on, with its categories.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import mlp
    >>> figure = weights(mlp.MLP([64, 10, 10], input_scale=1 / 16))
    >>> len([axes for axes in figure.axes if axes.images])
    10
    """
    W = net.weights[0]
    shape = image_shape(net, shape)
    rows, units = shown_weights(net)
    kind = "neurons" if len(net.sizes) > 2 else "outputs"
    selection = (
        f"the {len(units)} strongest of {W.shape[1]} {kind}" if len(units) < W.shape[1] else f"all {len(units)} {kind}"
    )
    if shape is None:
        return _matrix(feature_names(net) if names is None else names, W, rows, units, selection)
    return _images(W[:, units], units, shape, selection)


def shown_weights(net: FeedForward) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The inputs and the neurons of the first layer with the largest weights; the inputs count for tables only."""
    strength = np.abs(net.weights[0])
    return _strongest(strength.max(axis=1), MAX_INPUTS), _strongest(strength.max(axis=0), MAX_UNITS)


def _strongest(strength: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Indices of the n largest, in ascending order."""
    return np.sort(np.argsort(-strength, kind="stable")[:n])


def _images(W: NDArray[Any], units: NDArray[np.int64], shape: tuple[int, int], selection: str) -> Figure:
    across = 6 if len(units) > 12 else 4
    cell = WIDTH / across - 0.08
    limit = float(np.quantile(np.abs(W), 0.995)) or 1.0
    figure, panels = new_panels(len(units), across, cell * shape[0] / shape[1] + 0.2, extra=1.2)
    for axes, unit, column in zip(panels, units, W.T, strict=True):
        image = axes.imshow(column.reshape(shape), cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        hide_axes(axes)
        axes.set_title(f"{unit}", fontsize="medium", pad=2)
    figure.suptitle(f"Weights of {selection} of layer 1", fontsize="medium")
    figure.colorbar(
        image, ax=panels, location="bottom", shrink=0.7, aspect=40, pad=0.02, extend="both",
        label="weight of a pixel: blue negative, red positive",
    )  # fmt: skip
    return figure


def _matrix(
    names: Sequence[str], W: NDArray[Any], rows: NDArray[np.int64], units: NDArray[np.int64], selection: str
) -> Figure:
    shown = W[np.ix_(rows, units)]
    limit = float(np.abs(shown).max()) or 1.0
    figure = new_figure(max(2.2, 0.2 * len(rows) + 1.4))
    axes = figure.subplots()
    image = axes.imshow(shown, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(rows)), [plain_text(names[row], 18) for row in rows])
    every = -(-len(units) // 8)
    axes.set_xticks(range(0, len(units), every), units[::every])
    axes.tick_params(length=0, labelsize="medium")
    axes.set_xlabel("neuron of layer 1")
    inputs = f"\nand the {len(rows)} strongest of {len(W)} inputs" if len(rows) < len(W) else ""
    axes.set_title(f"Weights of {selection} of layer 1{inputs}", fontsize="medium")
    figure.colorbar(image, ax=axes, label="weight")
    return figure


def feature_names(net: FeedForward) -> list[str]:
    """Names of the inputs: the columns of the table that the network was trained on, else x0, x1, ..."""
    if net.preprocessing is not None:
        return list(net.preprocessing.feature_names)
    return [f"x{i}" for i in range(net.sizes[0])]


def network(net: FeedForward) -> Figure:
    """A drawing of the network, with units as circles and weights as lines.

    The thickness of a line is the size of its weight within the layer. Positive weights are orange and solid, negative
    weights are blue and dashed; circles are coloured by their bias in the same way. Of a wide layer, only the units
    with the largest weights are drawn. In small layers, the weights are also written as numbers.

    Parameters
    ----------
    net : MLP

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import mlp
    >>> figure = network(mlp.MLP([2, 2, 1], "tanh", loss="binary_cross_entropy"))
    >>> figure.axes[0].get_title()
    'A network of 9 parameters: 2-2-1'
    """
    shown = _shown_units(net)
    tallest = max(map(len, shown))
    width, height = max(WIDTH, 1.4 * len(shown)), max(1.8, 0.62 * tallest) + 1.3
    figure = new_figure(height, width=width)
    axes = figure.subplots()
    positions = [_column(x, len(units), tallest) for x, units in enumerate(shown)]
    for l, W in enumerate(net.weights):
        _draw_lines(axes, W[np.ix_(shown[l], shown[l + 1])], positions[l], positions[l + 1])
    _draw_units(axes, net, shown, positions)
    _name_layers(axes, net, shown, tallest)
    hide_axes(axes)
    axes.set(xlim=(-0.55, len(shown) - 0.45), ylim=(-tallest / 2, tallest / 2), aspect="auto")
    sizes = "-".join(map(str, net.sizes))
    axes.set_title(f"A network of {net.plan.layout.n_parameters:,} parameters: {sizes}", fontsize="medium")
    _add_legend(figure)
    return figure


def _shown_units(net: FeedForward) -> list[NDArray[np.int64]]:
    """The units to draw in each layer, including the inputs."""
    W = net.weights
    strength = [np.abs(W[0]).max(axis=1), *(np.abs(w).max(axis=0) for w in W)]
    for l, w in enumerate(W[1:], start=1):  # for hidden units, incoming weights times outgoing weights
        strength[l] = strength[l] * np.abs(w).max(axis=1)
    last = len(strength) - 1
    return [_strongest(part, 12 if l == last and len(part) <= 12 else MAX_DRAWN) for l, part in enumerate(strength)]


def _column(x: int, n: int, tallest: int) -> NDArray[np.float64]:
    """Positions of n units from top to bottom, shape (n, 2)."""
    step = 1.0 if n < 2 else min((tallest - 1) / (n - 1), 1.6) if tallest > 1 else 1.0
    return np.column_stack([np.full(n, float(x)), step * ((n - 1) / 2 - np.arange(n))])


def _draw_lines(axes: Any, W: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba_array

    limit = float(np.abs(W).max()) or 1.0
    for positive, colour, style in ((True, VERMILION, "-"), (False, BLUE, (0, (4, 1.5)))):
        i, j = np.nonzero((W > 0) == positive)
        size = np.abs(W[i, j]) / limit
        lines = np.stack([left[i], right[j]], axis=1)
        colours = to_rgba_array(colour, 0.12 + 0.88 * size) if len(size) else None
        axes.add_collection(
            LineCollection(list(lines), linewidths=0.3 + 3.2 * size, colors=colours, linestyles=[style], zorder=1)
        )
    if W.size <= MAX_NUMBERED:
        for (i, j), weight in np.ndenumerate(W):
            # near the side with more units, where the lines are apart; and each line of a unit at another distance
            fraction = (0.74, 0.5, 0.28)[i % 3] if W.shape[1] >= W.shape[0] else (0.26, 0.5, 0.72)[j % 3]
            x, y = left[i] + fraction * (right[j] - left[i])
            axes.text(
                x, y, _two_decimals(weight), ha="center", va="center", fontsize="medium", zorder=2,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )  # fmt: skip


def _draw_units(axes: Any, net: FeedForward, shown: list[NDArray[np.int64]], positions: list[NDArray[Any]]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    size = 420 if max(map(len, shown)) <= 4 else 170
    axes.scatter(*positions[0].T, s=size, color="white", edgecolor=DARK_GREY, zorder=3)
    colours = LinearSegmentedColormap.from_list("signs", [BLUE, "white", VERMILION])
    for units, centres, bias in zip(shown[1:], positions[1:], net.biases, strict=True):
        limit = float(np.abs(bias).max()) or 1.0
        axes.scatter(*centres.T, s=size, color=colours(0.5 + 0.5 * bias[units] / limit), edgecolor=DARK_GREY, zorder=3)
        if len(bias) <= 4:
            for (x, y), b in zip(centres, bias[units], strict=True):
                axes.annotate(
                    _two_decimals(b), (x, y), (0, -17), textcoords="offset points", ha="center", va="center",
                    fontsize="medium", zorder=4, color=DARK_GREY,
                )  # fmt: skip
    names = feature_names(net)
    for unit, (x, y) in zip(shown[0], positions[0], strict=True):
        axes.annotate(
            plain_text(names[unit], 12), (x, y), (-14, 0), textcoords="offset points", ha="right", va="center",
            fontsize="medium",
        )  # fmt: skip
    classes = net.classes if net.classes is not None and len(net.classes) == net.sizes[-1] else None
    for unit, (x, y) in zip(shown[-1], positions[-1], strict=True):
        name = plain_text(classes[unit], 12) if classes is not None else f"y{unit}" if net.sizes[-1] > 1 else "y"
        axes.annotate(name, (x, y), (14, 0), textcoords="offset points", ha="left", va="center", fontsize="medium")


def _two_decimals(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _name_layers(axes: Any, net: FeedForward, shown: list[NDArray[np.int64]], tallest: int) -> None:
    names = ["input", *(row.name for row in net.plan.activations)]
    for x, (name, units, n) in enumerate(zip(names, shown, net.sizes, strict=True)):
        count = f"{n} units" if len(units) == n and n > 1 else "1 unit" if n == 1 else f"{len(units)} of {n} units"
        axes.annotate(
            f"{name}\n{count}", (x, -tallest / 2), (0, -6), textcoords="offset points", ha="center", va="top",
            fontsize="medium",
        )  # fmt: skip


def _add_legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[
            Line2D([], [], color=VERMILION, linewidth=2.5, label="positive"),
            Line2D([], [], color=BLUE, linewidth=2.5, linestyle=(0, (4, 1.5)), label="negative"),
        ],
        loc="outside lower center", ncols=2, frameon=False, fontsize="medium",
    )  # fmt: skip
