"""The building blocks of the page: sections of tables, pictures, notes and commands."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlp.inspection.plots.style import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEXT_COLOUR = """<style>:root { color: #1f2328; fill: currentColor }
@media (prefers-color-scheme: dark) { :root { color: #e6edf3 } }</style>"""
_BLACK = re.compile("(stroke|fill): (?:#000000|#444444)")


@dataclass(frozen=True)
class Table:
    """Lines of cells; the first cell of each row is its heading.

    With a `header` it is a table of numbers; without one, each line is a name and a value. A `folded` table repeats a
    picture in numbers, and is opened by the reader.
    """

    caption: str
    cells: list[list[str]]
    header: list[str] = field(default_factory=list)
    rows: frozenset[int] = frozenset()
    folded: bool = False
    kind = "table"


@dataclass(frozen=True)
class Picture:
    """An image and its alternative text."""

    source: str
    alt: str
    rows: frozenset[int] = frozenset()
    kind = "picture"


@dataclass(frozen=True)
class Note:
    """A paragraph; with `warning`, a highlighted one."""

    text: str
    warning: bool = False
    rows = frozenset[int]()
    kind = "note"


@dataclass(frozen=True)
class Command:
    """Lines to copy; a line break never splits one of the `pieces`."""

    pieces: list[str]
    caption: str
    continuation: str = " \\"
    rows = frozenset[int]()
    kind = "command"

    @property
    def text(self) -> str:
        """The pieces in lines of about sixty characters; each line but the last ends in the `continuation`."""
        lines = [""]
        for piece in self.pieces:
            if self.continuation and len(lines[-1]) + len(piece) < 60:
                lines[-1] += f" {piece}" if lines[-1].strip() else piece
            else:
                lines.append(("    " if self.continuation else "") + piece)
        return f"{self.continuation}\n".join(filter(None, lines))


# the attribute `rows` of each has the rows of the data that it shows, by their numbers in the source
Part = Table | Picture | Note | Command


@dataclass(frozen=True)
class Section:
    """A heading with parts and subsections."""

    title: str
    parts: list[Part] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The id that links refer to."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def picture(figure: Figure, alt: str, rows: Iterable[int] = ()) -> Picture:
    """Embed a figure as SVG; its black becomes white in a dark colour scheme.  It shows some `rows` of the data."""
    text = render(figure, "svg", transparent=True, metadata={"Date": None}).decode()
    text = _BLACK.sub(r"\1: currentColor", text)
    text = text.replace("<defs>", _TEXT_COLOUR + "<defs>", 1)
    return Picture(
        "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode(),
        " ".join(alt.split()),
        frozenset(map(int, rows)),
    )


def name_value_table(caption: str, entries: dict[str, Any]) -> Table:
    """A table of names and values; entries that are None are left out."""
    return Table(caption, [[name, str(value)] for name, value in entries.items() if value is not None])
