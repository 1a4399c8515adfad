"""Tables of many columns, of which only those are printed that fit into the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from mlp.cli.printing import print_line

GAP = 2


def print_rich_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = (), keep: int = 1
) -> list[str]:
    """Print a table, and return the names of the columns that do not fit into the width of the terminal.

    Parameters
    ----------
    header : sequence of str
        Names of the columns, the most important first.
    rows : sequence of sequence of str
    left : sequence of str
        Names of columns that are aligned to the left, as the first one is.
    keep : int
        Columns at the beginning that are always printed; long texts in them are folded.

    Notes
    -----
    The output is complete if it does not go to a terminal, and ``COLUMNS`` is not set.
    """
    import os

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_limited = sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    width = shutil.get_terminal_size().columns if is_limited else sum(widths) + GAP * len(widths)
    shown, used = 0, 0
    while shown < len(header) and (shown < keep or used + widths[shown] <= width):
        used += widths[shown] + GAP
        shown += 1
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for number, name in enumerate(header[:shown]):
        table.add_column(
            Text(name), justify="left" if number == 0 or name in left else "right", overflow="fold", min_width=1
        )
    for row in rows:
        table.add_row(*map(Text, row[:shown]))
    console = Console(width=width, file=sys.stdout, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print_line(line.rstrip())
    return list(header[shown:])
