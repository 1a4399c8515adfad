"""What all pictures share: the colours, the figure itself, and the file it goes to."""

from __future__ import annotations

import io
import logging
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp._backends import ConfigurationError
from mlp.io.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("mlp")

# Okabe & Ito's palette (Color Universal Design, 2008), told apart by colour-blind eyes
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, DARK_GREY = "#888888", "#444444"

ON_LIGHT, ON_DARK = "#1A1A1A", "#FFFFFF"
"""Ink on what is light or dark by itself; `BLACK` and `DARK_GREY` lie on the paper, which may be dark in a report."""

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)
"""One after the other for things of equal rank."""

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Go with `COLOURS`, so that nothing is told by colour alone."""

SIGNED = "RdBu_r"
"""Colour map of numbers of either sign: blue below zero, white at it, red above."""

WIDTH = 4.6
"""Inches; narrow enough that ten-point letters can be read when the picture fills a phone."""

FORMATS = (".png", ".svg", ".pdf")


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """An empty figure of so many inches, which belongs to nobody but the caller.

    Raises
    ------
    ConfigurationError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError("pictures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")


def new_panels(
    n: int, across: int, row_height: float, *, more: float = 0.0, width: float = WIDTH, shared: bool = False
) -> tuple[Figure, list[Any]]:
    """A figure of n panels, so many across and each so many inches high, with `more` inches for what stands around."""
    down = -(-n // across)
    figure = new_figure(row_height * down + more, width=width)
    grid = list(figure.subplots(down, across, squeeze=False, sharex=shared, sharey=shared).flat)
    for axes in grid[n:]:
        axes.remove()
    return figure, grid[:n]


def label_outer(panels: list[Any], across: int, x: str, y: str) -> None:
    """Label the axes of panels that share them, at the left and wherever no panel is below."""
    for number, axes in enumerate(panels):
        if number % across == 0:
            axes.set_ylabel(y)
        if number + across >= len(panels):
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)


def check_path(path: str | PathLike[str]) -> None:
    """Raise `ConfigurationError` if no picture can be written under that name."""
    if Path(path).suffix.lower() not in FORMATS:
        raise ConfigurationError(f"{str(path)!r} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")


def save(figure: Figure, path: str | PathLike[str], *, dpi: int = 150) -> None:
    """Write a picture, complete or not at all, in the format that the name ends in (.png, .svg, .pdf).

    Raises
    ------
    ConfigurationError
        If it ends in something else.
    StorageError
        If the file cannot be written.
    """
    check_path(path)
    write_atomically(path, render(figure, Path(path).suffix[1:].lower(), dpi=dpi))


def render(figure: Figure, kind: str, **settings: Any) -> bytes:
    """The picture as a file of that kind ("png", "svg", "pdf"); `settings` go to matplotlib's ``savefig``.

    Letters that the font does not have are told in one line, where matplotlib has several for each.
    """
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        figure.savefig(file, format=kind, **settings)
    missing = {text for text in (str(warning.message) for warning in told) if text.startswith("Glyph")}
    if missing:
        logger.warning("the pictures' font lacks %d letters of the names in them, and shows boxes there", len(missing))
    for warning in told:
        if str(warning.message) not in missing:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return file.getvalue()


def literal(text: object, width: int = 24) -> str:
    """Text of the user's as it stands, cut to `width` letters; matplotlib would take what is between dollars for TeX.

    Examples
    --------
    >>> literal("5 $ or 10 $")
    '5 \\\\$ or 10 \\\\$'
    >>> literal("a name that goes on and on and on")
    'a name that goes on and…'
    """
    text = " ".join(str(text).split())
    return (text if len(text) <= width else text[: width - 1].rstrip() + "…").replace("$", r"\$")


def bare(axes: Any) -> None:
    """Two spines and a faint grid: what is left is the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)


def hide_axes(axes: Any) -> None:
    """No ticks and no frame, for images and drawings."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def whole_epochs(axes: Any) -> None:
    """Epochs along the x axis, at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")
