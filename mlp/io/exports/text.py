"""Numbers and lines of exported programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 110


def shortest(value: float, dtype: Any) -> str:
    """The shortest decimal number that gives `value` in `dtype`, also if it is read in double precision and rounded.

    It does not depend on the locale.

    Examples
    --------
    >>> shortest(0.1, "float32"), shortest(0.1, "float64"), shortest(np.float32(0.1), "float64")
    ('0.1', '0.1', '0.10000000149011612')
    """
    number = np.dtype(dtype).type(value)
    text = str(number)
    return text if number.dtype.type(float(text)) == number else repr(float(number))


def numbers(values: NDArray[Any], suffix: str = "") -> list[str]:
    """All values of an array, each as by `shortest`, in the array's dtype."""
    return [shortest(value, values.dtype) + suffix for value in values.ravel()]


def filled(items: Iterable[str], separator: str = ", ", indent: str = "    ") -> str:
    """Items in lines of at most `WIDTH` characters."""
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + len(separator) > WIDTH and line != indent:
            lines.append(line.rstrip())
            line = indent
        line += item + separator
    return "\n".join([*lines, line.rstrip().removesuffix(separator.rstrip())])


def wrapped(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most `WIDTH` characters; spaces in it are kept apart from line ends."""
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def printable(text: object, length: int = 60) -> str:
    """A value for a comment: one line of at most `length` characters, all visible, that does not end the comment.

    Examples
    --------
    >>> printable("a*/b"), printable("two\\nlines"), printable("Åsgård")
    ('a* /b', 'two lines', 'Åsgård')
    """
    line = " ".join(str(text).split())[:length]
    visible = "".join(c if c.isprintable() and c not in "\\?" else "_" for c in line)
    return visible.replace("*/", "* /").replace("/*", "/ *")


def aligned(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Lines with comments below each other; a comment after a long line is farther to the right.

    Examples
    --------
    >>> aligned([("int a;", "/* one */"), ("double b;", "")])
    ['int a;    /* one */', 'double b;']
    """
    lines = list(lines)
    width = min(40, max(len(line) for line, _ in lines))
    return [f"{line:<{width}} {comment}".rstrip() for line, comment in lines]


def block(items: Iterable[str], brackets: str, indent: str = "    ", outer: str = "") -> str:
    """A list in brackets: in one line if it is short, else in lines that begin with `indent`.

    Examples
    --------
    >>> block(["1", "2"], "[]"), block([], "{}")
    ('[1, 2]', '{}')
    """
    items = list(items)
    line = ", ".join(items)
    if len(line) < WIDTH - 30:
        return f"{brackets[0]}{line}{brackets[1]}"
    return f"{brackets[0]}\n{filled(items, indent=indent)}\n{outer}{brackets[1]}"


def enclosed(items: Iterable[str], indent: str = "    ", outer: str = "") -> str:
    """The same for C: braces, with spaces inside."""
    text = block(items, "{}", indent, outer)
    return f"{{ {text[1:-1]} }}" if "\n" not in text else text
