"""Colours, figure layout and file formats that all plots share."""

from __future__ import annotations

import io
import logging
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp._backends import ConfigurationError
from mlp.io.atomic_write import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("mlp")

# palette of Okabe & Ito (Color Universal Design, 2008), safe for colour-blind readers
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, DARK_GREY = "#888888", "#444444"

ON_LIGHT, ON_DARK = "#1A1A1A", "#FFFFFF"
"""Colours for text on a fixed light or dark area. On the page itself, which may be dark in a report, use `BLACK`."""

VIOLET, MAUVE, BROWN, LAVENDER = "#9900EE", "#AA88AA", "#885533", "#9977FF"

COLOURS = (BLUE, VERMILION, GREEN, VIOLET, BLACK, MAUVE, BROWN, LAVENDER)
"""The colour cycle.

The contrast of each with a white and with a dark page is 3:1 or more (WCAG 2.2, 1.4.11; black is white on a dark
page), and each two differ for readers with protanopia, deuteranopia and tritanopia too.
"""

LINES = ("-", "--", "-.", ":")
"""The cycle of line styles, for lines without markers."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""The marker cycle, used together with `COLOURS`, so that colour is never the only difference."""

DIVERGING = "RdBu_r"
"""Colour map: blue for negative numbers, white for zero, red for positive numbers."""

WIDTH = 4.1
"""Inches; at this width ten-point text is 12 pixels high on a phone, where a picture is 358 pixels wide."""

FORMATS = (".png", ".svg", ".pdf")


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """An empty figure; sizes are in inches. It is not registered with pyplot.

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
    n: int, across: int, row_height: float, *, extra: float = 0.0, width: float = WIDTH, shared: bool = False
) -> tuple[Figure, list[Any]]:
    """A figure of n panels, `across` in each row, with `extra` inches of height for titles and legends."""
    n_rows = -(-n // across)
    figure = new_figure(row_height * n_rows + extra, width=width)
    grid = figure.add_gridspec(n_rows, 2 * across)
    panels: list[Any] = []
    for number in range(n):
        row, column = divmod(number, across)
        left = 2 * column + (n_rows * across - n if row == n_rows - 1 else 0)  # a shorter last row is in the middle
        first = panels[0] if panels and shared else None
        panels.append(figure.add_subplot(grid[row, left : left + 2], sharex=first, sharey=first))
        if shared and column:
            panels[-1].tick_params(labelleft=False)
        if shared and n % across == 0 and number + across < n:
            panels[-1].tick_params(labelbottom=False)
    return figure, panels


def label_outer(panels: list[Any], across: int, x: str, y: str) -> None:
    """Label shared axes: y in the first column, x below the last row."""
    first_of_last_row = (len(panels) - 1) // across * across
    for number, axes in enumerate(panels):
        if number % across == 0:
            axes.set_ylabel(y)
        if number >= first_of_last_row:
            axes.set_xlabel(x)


def check_path(path: str | PathLike[str]) -> None:
    """Raise `ConfigurationError` if the file name does not end in one of `FORMATS`."""
    if Path(path).suffix.lower() not in FORMATS:
        raise ConfigurationError(f"{str(path)!r} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")


def save(figure: Figure, path: str | PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure atomically; the ending of the file name (.png, .svg, .pdf) selects the format.

    Raises
    ------
    ConfigurationError
        If the name has another ending.
    StorageError
        If the file cannot be written.
    """
    check_path(path)
    write_atomically(path, render(figure, Path(path).suffix[1:].lower(), dpi=dpi))


def render(figure: Figure, kind: str, **settings: Any) -> bytes:
    """The figure as the bytes of a file ("png", "svg", "pdf"); `settings` are passed to matplotlib's ``savefig``.

    Characters that the font lacks cause one logged warning instead of several of matplotlib's for each.
    """
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(file, format=kind, **settings)
    missing = {text for text in (str(warning.message) for warning in caught) if text.startswith("Glyph")}
    if missing:
        logger.warning("the font of the plots lacks %d characters of the names; they are drawn as boxes", len(missing))
    for warning in caught:
        if str(warning.message) not in missing:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return file.getvalue()


def plain_text(text: object, width: int = 24) -> str:
    """User text cut to `width` characters, with dollar signs escaped, which matplotlib would read as TeX.

    Examples
    --------
    >>> plain_text("5 $ or 10 $")
    '5 \\\\$ or 10 \\\\$'
    >>> plain_text("a name that goes on and on and on")
    'a name that goes on and…'
    """
    text = " ".join(str(text).split())
    return (text if len(text) <= width else text[: width - 1].rstrip() + "…").replace("$", r"\$")


def remove_clutter(axes: Any) -> None:
    """Hide the top and right spines, and draw a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)


def hide_axes(axes: Any) -> None:
    """Remove ticks and frame, for images and drawings."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def plain_log_axis(axis: Any) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5, so that at least two ticks have labels."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    decades = high / low if low > 0 else 1e9
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 1e3 else (1.0,), numticks=8))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def set_epoch_axis(axes: Any) -> None:
    """Label the x axis with epochs, at integers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epoch")
