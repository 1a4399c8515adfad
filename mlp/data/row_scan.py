"""Count the rows and fields of a CSV or TSV file at the speed of memory: is it plain enough to need no closer look?"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 2**18
_MOST_OF_A_LINE = 2**20  # lines that are longer are for the closer look, which has a limit for each field
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_QUOTE, _RETURN, _NEWLINE = b'"\r\n'

_ODD = b" \t+Iy"
"""Characters of numbers such as ``" 2"``, ``+2``, ``Inf`` and ``infinity``, which polars accepts at times."""


@dataclass(frozen=True)
class Scan:
    """The result of `scan_rows`.

    Attributes
    ----------
    n_rows : int
        Number of records below the header.
    odd : ndarray of shape (n_columns,), bool
        Columns with characters that occur in numbers of an unusual spelling, such as ``" 2"`` or ``+2``.
    """

    n_rows: int
    odd: NDArray[np.bool_]


def scan_rows(handle: io.BufferedReader, separator: str, n_columns: int) -> Scan | None:
    """Scan a file of two columns or more; None if its rows need a closer look.

    The result is not None only if each quote begins or ends a field or is one of a double quote, each carriage return
    is followed by a newline, and there are as many separators outside of quotes as `n_columns` needs.  If in addition no
    row has too many fields, which polars checks as it does that the text is UTF-8, then every row has `n_columns` fields
    and none is blank.

    Parameters
    ----------
    handle : BufferedReader
        The open file; it is read from its beginning.
    separator : str
        One ASCII character.
    n_columns : int
        Number of fields of the header.

    Examples
    --------
    >>> import io
    >>> scan_rows(io.BufferedReader(io.BytesIO(b'a,b\\n1,"x, y"\\n2,z\\n')), ",", 2)
    Scan(n_rows=2, odd=array([False,  True]))
    >>> scan_rows(io.BufferedReader(io.BytesIO(b"a,b\\n1\\n")), ",", 2) is None
    True
    """
    if n_columns < 2:
        return None  # a blank line has as many separators as any other line
    handle.seek(0)
    if handle.read(3) != _BYTE_ORDER_MARK:
        handle.seek(0)
    field_end = ord(separator)
    n_separators = n_lines = 0
    open_quote = 0
    odd = np.zeros(n_columns, dtype=np.bool_)
    last = b""
    # blocks end at a newline, so a quote and the characters beside it are always in one block
    while block := handle.read(_BLOCK_BYTES):
        block += handle.readline(_MOST_OF_A_LINE)
        if len(block) > _BLOCK_BYTES and not block.endswith(b"\n") and handle.peek(1):
            return None
        last = block[-1:]
        a = np.frombuffer(block, dtype=np.uint8)
        separators, newlines = a == field_end, a == _NEWLINE
        inside: Any = None
        if open_quote or b'"' in block:
            marks = a == _QUOTE
            if not _quotes_are_plain(a, np.flatnonzero(marks), open_quote, field_end):
                return None
            inside = (np.cumsum(marks, dtype=np.uint8) + np.uint8(open_quote)) & 1 == 1
            open_quote = int(inside[-1])
            separators &= ~inside
            newlines &= ~inside
        if b"\r" in block and not _returns_are_plain(a, inside):
            return None
        places = _odd_places(block, a, field_end)
        if len(places):
            if n_lines == 0:  # the header may have any characters
                places = places[places > newlines.argmax()] if newlines.any() else places[:0]
            before = np.cumsum(separators | newlines, dtype=np.int64)[places]
            odd |= np.bincount((n_separators + n_lines + before) % n_columns, minlength=n_columns) > 0
        n_separators += int(np.count_nonzero(separators))
        n_lines += int(np.count_nonzero(newlines))
    if open_quote or last == separator.encode():  # polars ignores one separator too many at the end of the file
        return None
    n_lines += last != b"\n"
    if n_lines < 2 or n_separators != n_lines * (n_columns - 1):
        return None
    return Scan(n_lines - 1, odd)


def _quotes_are_plain(a: NDArray[np.uint8], quotes: NDArray[np.intp], open_quote: int, field_end: int) -> bool:
    """Whether each opening quote follows, and each closing quote precedes, the end of a field or another quote."""
    opening, closing = quotes[open_quote::2], quotes[1 - open_quote :: 2]
    before = a[opening[opening > 0] - 1]
    after = a[closing[closing + 1 < len(a)] + 1]
    ends = np.array([field_end, _NEWLINE, _QUOTE], dtype=np.uint8)
    return bool(np.isin(before, ends).all() and np.isin(after, [*ends, _RETURN]).all())


def _returns_are_plain(a: NDArray[np.uint8], inside: Any) -> bool:
    returns = np.flatnonzero(a == _RETURN)
    if inside is not None:
        returns = returns[~inside[returns]]
    if not len(returns):
        return True
    return bool(returns[-1] + 1 < len(a) and (a[returns + 1] == _NEWLINE).all())


def _odd_places(block: bytes, a: NDArray[np.uint8], field_end: int) -> NDArray[np.intp]:
    """The places of characters as in an unusually spelt number, in a block and in the same block as an array."""
    kinds = [character for character in _ODD if character != field_end and character in block]
    if kinds:
        table = np.zeros(256, dtype=np.bool_)
        table[kinds] = True
        odd = np.flatnonzero(table[a])
    else:
        odd = np.empty(0, dtype=np.intp)
    if b"e" in block or b"E" in block:  # as in "1.e5"; a search for both characters would stop at each point
        exponents = np.flatnonzero((a | 32) == ord("e"))
        odd = np.union1d(odd, exponents[a[exponents - 1] == ord(".")])
    return odd
