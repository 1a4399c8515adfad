"""Plots of two experiments: gradient descent on a cost surface, and networks fitted to a sine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlp.classic.descent import Descents, Path
from mlp.classic.experiments import SineFits
from mlp.inspection.plots.style import BLUE, GREY, ON_DARK, ON_LIGHT, VERMILION, label_outer, new_panels, remove_clutter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def descent(descents: Descents) -> Figure:
    """The cost surface of a neuron ``y = w x + b`` with the path of each gradient descent, one panel for each.

    Parameters
    ----------
    descents : mlp.classic.Descents
        From `mlp.classic.compare_descents`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from mlp.classic import compare_descents
    >>> figure = descent(compare_descents(n=64, epochs=5, batch_sizes=(1, 16)))
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes[:3]]
    ['full batch', 'one row', '16 rows']
    """
    surface, paths = descents.surface, descents.paths
    figure, panels = new_panels(len(paths), 2, 2.6, extra=0.9, width=5.6, shared=True)
    levels = np.geomspace(max(0.999 * surface.cost.min(), 1e-12), 1.001 * surface.cost.max(), 14)
    for axes, path in zip(panels, paths, strict=True):
        filled = axes.contourf(surface.w, surface.b, surface.cost, levels, cmap="cividis", norm="log")
        axes.contour(surface.w, surface.b, surface.cost, levels, colors=ON_DARK, linewidths=0.4, alpha=0.5)
        _draw_path(axes, path)
        axes.set(xlim=(surface.w[0], surface.w[-1]), ylim=(surface.b[0], surface.b[-1]))
    label_outer(panels, 2, "weight w", "bias b")
    ticks = [float(f"{tick:.1g}") for tick in np.geomspace(levels[1], levels[-1], 5)]
    bar = figure.colorbar(filled, ax=panels, label="cost: mean over all rows", shrink=0.8)
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_path(axes: Any, path: Path) -> None:
    from matplotlib.patheffects import withStroke

    w, b = path.parameters.T
    outline = [withStroke(linewidth=3.0, foreground=ON_LIGHT)]  # the ground is dark near the minimum and pale elsewhere
    axes.plot(
        w, b, color=ON_DARK, linewidth=1.2, marker="o" if len(w) < 50 else None, markersize=3, path_effects=outline
    )
    axes.plot(w[0], b[0], "s", color=ON_DARK, markeredgecolor=ON_LIGHT, markersize=7, label="start")
    axes.plot(w[-1], b[-1], "*", color=VERMILION, markeredgecolor=ON_DARK, markersize=13, label="end")
    axes.set_title(f"{path.name}\n{len(w) - 1:,} updates, cost {path.cost[-1]:.3g}", fontsize="medium")


def sine(fits: SineFits) -> Figure:
    """A sine wave, and the fits of networks with more and more neurons; one panel for each.

    Parameters
    ----------
    fits : mlp.classic.SineFits
        From `mlp.classic.sine_fits`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from mlp.classic import sine_fits
    >>> figure = sine(sine_fits(neurons=(1, 8), epochs=20))
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes]
    ['linear', '1 neuron', '8 neurons']
    """
    figure, panels = new_panels(len(fits.fits), 2, 2.2, extra=0.5, width=4.6, shared=True)
    for axes, (name, fit) in zip(panels, fits.fits.items(), strict=True):
        axes.plot(fits.x, fits.y, color=GREY, linewidth=4, alpha=0.6)
        axes.plot(fits.x, fit, color=VERMILION if name == "linear" else BLUE, linewidth=1.8)
        axes.set_title(f"{name}\nsquared error {fits.losses[name]:.2g}", fontsize="medium")
        axes.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
        remove_clutter(axes)
    label_outer(panels, 2, "x", "sin x (grey), fit")
    return figure
