"""What a page is made of: sections of tables, pictures, notes and text to copy."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlp.inspection.plots.style import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = """<style>:root { color: #1f2328; fill: currentColor }
@media (prefers-color-scheme: dark) { :root { color: #e6edf3 } }</style>"""
_BLACK = re.compile("(stroke|fill): (?:#000000|#444444)")


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first cell of a row is its head.

    Without a header, rows are a name and what there is to say of it.
    """

    caption: str
    rows: list[list[str]]
    header: list[str] = field(default_factory=list)
    kind = "table"


@dataclass(frozen=True)
class Picture:
    """An image, with what is to be seen on it in words."""

    source: str
    alt: str
    kind = "picture"


@dataclass(frozen=True)
class Note:
    """A paragraph; a warning says that something is missing."""

    text: str
    warning: bool = False
    kind = "note"


@dataclass(frozen=True)
class Command:
    """Lines to be copied; what has to stay together is one of the `pieces`."""

    pieces: list[str]
    caption: str
    joint: str = " \\"
    kind = "command"

    @property
    def text(self) -> str:
        """The pieces in lines of some sixty letters, each but the last ended by the `joint`."""
        lines = [""]
        for piece in self.pieces:
            if self.joint and len(lines[-1]) + len(piece) < 60:
                lines[-1] += f" {piece}" if lines[-1].strip() else piece
            else:
                lines.append(("    " if self.joint else "") + piece)
        return f"{self.joint}\n".join(filter(None, lines))


Part = Table | Picture | Note | Command


@dataclass(frozen=True)
class Section:
    """Parts under a heading, and sections within."""

    title: str
    parts: list[Part] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What links lead to."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def picture(figure: Figure, alt: str) -> Picture:
    """The figure as an SVG within the page, whose black is white where the reader's screen is dark."""
    text = render(figure, "svg", transparent=True, metadata={"Date": None}).decode()
    text = _BLACK.sub(r"\1: currentColor", text)
    text = text.replace("<defs>", _INK + "<defs>", 1)
    return Picture("data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode(), " ".join(alt.split()))


def facts(caption: str, entries: dict[str, Any]) -> Table:
    """A table of names and values; what is None is left out."""
    return Table(caption, [[name, str(value)] for name, value in entries.items() if value is not None])
