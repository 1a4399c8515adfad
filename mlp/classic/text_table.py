"""Tables as plain text, for results that are printed."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns: the first one left-aligned, the others right-aligned.

    Examples
    --------
    >>> print(text_table(("name", "cost"), [("full batch", "0.505"), ("one row", "0.027")]))
    name         cost
    full batch  0.505
    one row     0.027
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in (header, *rows)
    ]
    return "\n".join(lines)
