"""Decision boundary of a network with two inputs, at one or at several epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.inspection.class_predictions import ClassPredictions, class_names
from mlp.inspection.plots.style import COLOURS, MARKERS, ON_DARK, ON_LIGHT, WIDTH, label_outer, new_panels, plain_text
from mlp.inspection.plots.weights import feature_names
from mlp.training import evaluate_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlp.network import FeedForward

GRID = 160
"""Number of grid points along each axis."""

MAX_POINTS = 600
"""Maximum number of rows that are drawn."""


def boundary(nets: FeedForward | Mapping[int, FeedForward], X: Any, y: Any, *, points: bool = True) -> Figure:
    """Predictions of a network over the plane of its two inputs, with the data as points.

    Each class has a colour, which is stronger where the network is more certain. Black lines are the decision
    boundaries. For regression the colour is the output.

    Parameters
    ----------
    nets : MLP, or mapping of epoch to MLP
        One panel for each network; `Snapshots` collects them during training.
    X : array_like, shape (n, 2)
    y : array_like, shape (n,) or (n, n_out)
    points : bool
        Whether to draw the rows.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If there is no network, or it does not have two inputs, or it has more classes than there are colours.

    Examples
    --------
    >>> import mlp
    >>> moons, net = mlp.data.toy("moons"), mlp.MLP([2, 8, 2])
    >>> snapshots = mlp.plots.Snapshots([0, 5])
    >>> _ = net.fit(moons.X, moons.y, epochs=5, callbacks=[snapshots])
    >>> figure = boundary(snapshots.nets, moons.X, moons.y)
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes]
    ['before training', 'epoch 5']
    """
    by_epoch = dict(nets) if isinstance(nets, Mapping) else {None: nets}
    net = _first(list(by_epoch.values()))
    X = np.asarray(X, np.float64)
    regression, across = net.task == "numbers", min(len(by_epoch), 3)
    width = 2.9 * across if across > 1 else WIDTH
    classes = [] if regression else [plain_text(name, 16) for name in class_names(net)]
    columns = _columns(classes, width)
    uneven = len(by_epoch) % across > 0  # then there are axis labels between the rows of panels too
    extra = 0.8 + 0.22 * -(-len(classes) // columns) + 0.6 * uneven
    height = width / across + 0.15 * (across > 1)  # the epoch is a second line of the title
    figure, panels = new_panels(len(by_epoch), across, height, extra=extra, width=width, shared=True)
    for axes, (epoch, network) in zip(panels, by_epoch.items(), strict=True):
        (_draw_regression if regression else _draw_classes)(axes, network, X, y, points)
        axes.set_title(_title(epoch, network, evaluate_rows(network, X, y)[1]), fontsize="medium")
        axes.set_box_aspect(1)
    scaled = " (scaled)" if net.preprocessing is not None else ""
    x_name, y_name = (plain_text(name, 18) + scaled for name in feature_names(net))
    label_outer(panels, across, x_name, y_name)
    if regression:
        figure.colorbar(
            panels[0].images[0],
            ax=panels,
            label="output (area) and target (points)" if points else "output",
            shrink=0.8,
        )
    else:
        markers = panels[0].get_legend_handles_labels()[0]
        figure.legend(markers, classes, title="class", loc="outside lower center", ncols=columns, frameon=False)
    return figure


def drawn_rows(net: FeedForward, n: int) -> NDArray[np.intp]:
    """Which of n rows are drawn as points."""
    n_drawn = n if net.task == "numbers" else min(n, MAX_POINTS)
    return np.linspace(0, n - 1, n_drawn).round().astype(np.intp)


def _first(nets: list[FeedForward]) -> FeedForward:
    """The first of the networks; raise an error if it cannot be drawn."""
    if not nets:
        raise ConfigurationError(
            "there is no network to draw: the mapping is empty. Check the epochs given to Snapshots."
        )
    net = nets[0]
    if net.sizes[0] != 2:
        raise ConfigurationError(f"a decision boundary is drawn over two inputs, and this network has {net.sizes[0]}.")
    if net.task != "numbers" and net.sizes[-1] > len(COLOURS):
        raise ConfigurationError(f"{net.sizes[-1]} classes are more than the {len(COLOURS)} available colours.")
    return net


def _title(epoch: int | None, net: FeedForward, score: float) -> str:
    prefix = "" if epoch is None else f"epoch {epoch}\n" if epoch else "before training\n"
    name = net.score_name.replace("^2", "²")
    return prefix + (f"{name} {100 * score:.1f} %" if name == "accuracy" else f"{name} {score:.3f}")


def _columns(names: list[str], width: float) -> int:
    """Number of legend columns for these names, at ten characters per inch."""
    n_fitting = int(10 * width / (max(map(len, names), default=0) + 5))
    return max(1, min(len(names), n_fitting, 4))


def plane_of(X: NDArray[Any], n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The part of the plane that is drawn: n numbers along each axis, with a margin around the data."""
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    (x0, y0), (x1, y1) = low - margin, high + margin
    return np.linspace(x0, x1, n), np.linspace(y0, y1, n)


def _grid(X: NDArray[Any]) -> tuple[NDArray[Any], list[float]]:
    """Grid points that cover the data, shape (GRID * GRID, 2), and their extent."""
    across, up = plane_of(X, GRID)
    xs, ys = np.meshgrid(across, up)
    return np.column_stack([xs.ravel(), ys.ravel()]), [across[0], across[-1], up[0], up[-1]]


def _draw_classes(axes: Any, net: FeedForward, X: NDArray[Any], y: Any, points: bool) -> None:
    target = ClassPredictions.of(net, X, y).target
    grid, extent = _grid(X)
    outputs = net.feedforward(grid).astype(np.float64)
    if outputs.shape[1] == 1:
        outputs = np.hstack([1 - outputs, outputs])
    image = _colours_of(outputs).reshape(GRID, GRID, 3)
    axes.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    k = outputs.shape[1]
    for code in range(k if k > 2 else 1):
        margin = outputs[:, code] - np.delete(outputs, code, axis=1).max(axis=1)
        if margin.min() < 0 < margin.max():
            axes.contour(margin.reshape(GRID, GRID), [0.0], extent=extent, colors=ON_LIGHT, linewidths=1)
    shown = drawn_rows(net, len(X))
    size = float(np.clip(4000 / len(shown), 20, 70))  # a few points are larger
    for code in range(k):
        rows = shown[target[shown] == code] if points else shown[:0]
        axes.scatter(
            *X[rows].T, s=size, color=COLOURS[code], marker=MARKERS[code], edgecolor=ON_DARK, linewidth=0.6,
            label=str(code),
        )  # fmt: skip
    axes.set(xlim=extent[:2], ylim=extent[2:])


def _colours_of(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """RGB of each row: white if all classes are equally likely, 60 % of the class colour if one is certain."""
    from matplotlib.colors import to_rgb

    k = outputs.shape[1]
    shares = np.clip(outputs, 1e-12, None)
    shares /= shares.sum(axis=1, keepdims=True)
    certainty = (shares.max(axis=1, keepdims=True) - 1 / k) / (1 - 1 / k)
    mixed = shares @ np.array([to_rgb(colour) for colour in COLOURS[:k]])
    return np.asarray(1 - 0.6 * certainty * (1 - mixed))


def _draw_regression(axes: Any, net: FeedForward, X: NDArray[Any], y: Any, points: bool) -> None:
    grid, extent = _grid(X)
    target = np.asarray(y, np.float64).reshape(len(X), -1)[:, 0]
    output = net.feedforward(grid)[:, 0].reshape(GRID, GRID)
    limits = {"vmin": float(target.min()), "vmax": float(target.max()), "cmap": "viridis"}
    axes.imshow(output, origin="lower", extent=extent, aspect="auto", **limits)
    axes.contour(output, 8, origin="lower", extent=extent, colors=ON_DARK, linewidths=0.6, linestyles="solid")
    if points:
        axes.scatter(*X.T, c=target, s=14, edgecolor=ON_DARK, linewidth=0.5, **limits)
    axes.set(xlim=extent[:2], ylim=extent[2:])
