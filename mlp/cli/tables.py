"""Tables of many columns, of which only those are printed that fit into the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from mlp.cli.printing import print_line

GAP = 2


def print_rich_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Sequence[str] = (),
    importance: Sequence[str] = (),
) -> list[str]:
    """Print a table, and return the names of the columns that do not fit into the width of the terminal.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
    left : sequence of str
        Names of columns that are aligned to the left, as the first one is.
    importance : sequence of str
        Names of columns, from the most important one, which is always printed, to the one that is left out first.
        Default: as in `header`.

    Notes
    -----
    The output is complete if it does not go to a terminal, and ``COLUMNS`` is not set.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_limited = sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    width = shutil.get_terminal_size().columns if is_limited else sum(widths) + GAP * len(widths)
    shown: set[int] = set()
    used = 0
    for name in dict.fromkeys([*importance, *header]):
        number = header.index(name)
        if shown and used + widths[number] > width:
            break
        shown.add(number)
        used += widths[number] + GAP
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for number in sorted(shown):
        name = header[number]
        table.add_column(
            Text(name), justify="left" if number == 0 or name in left else "right", overflow="fold", min_width=1
        )
    for row in rows:
        table.add_row(*(Text(row[number]) for number in sorted(shown)))
    console = Console(width=width, file=sys.stdout, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print_line(line.rstrip())
    return [name for number, name in enumerate(header) if number not in shown]
