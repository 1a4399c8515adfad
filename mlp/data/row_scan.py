"""Count the rows and fields of a CSV or TSV file at the speed of memory: is it plain enough to need no closer look?"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 2**18
MAX_LINE = 2**20  # lines that are longer are for the closer look, which has a limit for each field
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_QUOTE, _RETURN, _NEWLINE = b'"\r\n'
_NOWHERE = np.empty(0, dtype=np.intp)

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
    has_words : bool
        Whether `may_have_words` is true of the rows below the header; otherwise only empty fields are missing values.
    """

    n_rows: int
    odd: NDArray[np.bool_]
    has_words: bool


def may_have_words(rows: bytes) -> bool:
    """Whether there are quotes or the letters n or N, as in ``NA``.

    Examples
    --------
    >>> may_have_words(b"1,2\\n3,NA\\n"), may_have_words(b"1,2\\n3,\\n")
    (True, False)
    """
    return b'"' in rows or b"n" in rows or b"N" in rows


def scan_rows(handle: io.BufferedReader, separator: str, n_columns: int) -> Scan | None:
    """Scan a file of two columns or more; None if its rows need a closer look.

    The result is not None only if each quote begins or ends a field or is one of a double quote, each carriage return
    is followed by a newline, and there are as many separators outside of quotes as `n_columns` needs.  If in addition
    no row has too many fields, which polars checks as it does that the text is UTF-8, then every row has `n_columns`
    fields and none is blank.

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
    Scan(n_rows=2, odd=array([False,  True]), has_words=True)
    >>> scan_rows(io.BufferedReader(io.BytesIO(b"a,b\\n1\\n")), ",", 2) is None
    True
    """
    if n_columns < 2:
        return None  # a blank line has as many separators as any other line
    handle.seek(0)
    if handle.read(3) != _BYTE_ORDER_MARK:
        handle.seek(0)
    field_end = ord(separator)
    n_fields = n_lines = 0
    in_quotes = has_words = False
    odd = np.zeros(n_columns, dtype=np.bool_)
    last = b""
    # blocks end at a newline, so a quote and the characters beside it are always in one block
    while block := handle.read(_BLOCK_BYTES):
        block += handle.readline(MAX_LINE)
        if len(block) > _BLOCK_BYTES and not block.endswith(b"\n") and handle.peek(1):
            return None
        last = block[-1:]
        a = np.frombuffer(block, dtype=np.uint8)
        quotes = np.flatnonzero(a == _QUOTE) if b'"' in block else _NOWHERE
        returns = np.flatnonzero(a == _RETURN) if b"\r" in block else _NOWHERE
        unusual = _odd_characters(block, a, field_end)
        if not has_words:
            rows = block if n_lines else block[block.find(b"\n") + 1 :]
            has_words = may_have_words(rows)
        if not len(quotes) and not in_quotes and unusual is None:  # most blocks, so without the places of the ends
            if not _all_before_newlines(a, returns):
                return None
            n_newlines = int(np.count_nonzero(a == _NEWLINE))
            n_fields += int(np.count_nonzero(a == field_end)) + n_newlines
            n_lines += n_newlines
            continue
        if not _quotes_are_plain(a, quotes, in_quotes, field_end):
            return None
        if not _all_before_newlines(a, returns[~_are_quoted(returns, quotes, in_quotes)]):
            return None
        places = np.flatnonzero((a == field_end) | (a == _NEWLINE))
        places = places[~_are_quoted(places, quotes, in_quotes)]
        in_quotes ^= len(quotes) % 2 == 1
        newlines = a[places] == _NEWLINE
        if unusual is not None:
            in_field = np.bitwise_or.reduceat(unusual, np.concatenate([[0], places]))
            if n_lines == 0:  # the header may have any characters
                in_field[: newlines.argmax() + 1 if newlines.any() else None] = False
            odd[(n_fields + np.flatnonzero(in_field)) % n_columns] = True
        n_fields += len(places)
        n_lines += int(np.count_nonzero(newlines))
    if in_quotes or last == separator.encode():  # polars ignores one separator too many at the end of the file
        return None
    if last != b"\n":
        n_lines, n_fields = n_lines + 1, n_fields + 1
    if n_lines < 2 or n_fields != n_lines * n_columns:
        return None
    return Scan(n_lines - 1, odd, has_words)


def _are_quoted(places: NDArray[np.intp], quotes: NDArray[np.intp], in_quotes: bool) -> NDArray[np.bool_]:
    """Whether each of the places, in increasing order, is in quotes; `in_quotes` tells it for the first byte."""
    before = np.diff(np.searchsorted(places, quotes), prepend=0, append=len(places))  # between two quotes each
    return np.repeat(np.arange(len(quotes) + 1) % 2 == (0 if in_quotes else 1), before)


def _quotes_are_plain(a: NDArray[np.uint8], quotes: NDArray[np.intp], in_quotes: bool, field_end: int) -> bool:
    """Whether each opening quote follows, and each closing quote precedes, the end of a field or another quote."""
    opening, closing = quotes[int(in_quotes) :: 2], quotes[1 - int(in_quotes) :: 2]
    before = a[opening[opening > 0] - 1]
    after = a[closing[closing + 1 < len(a)] + 1]
    may_precede = (before == field_end) | (before == _NEWLINE) | (before == _QUOTE)
    may_follow = (after == field_end) | (after == _NEWLINE) | (after == _QUOTE) | (after == _RETURN)
    return bool(may_precede.all() and may_follow.all())


def _all_before_newlines(a: NDArray[np.uint8], returns: NDArray[np.intp]) -> bool:
    return not len(returns) or bool(returns[-1] + 1 < len(a) and (a[returns + 1] == _NEWLINE).all())


def _odd_characters(block: bytes, a: NDArray[np.uint8], field_end: int) -> NDArray[np.bool_] | None:
    """Where the block, which is also given as an array, has a character as in an unusually spelt number."""
    found: NDArray[np.bool_] | None = None
    for character in _ODD:
        if character != field_end and character in block:
            found = (a == character) if found is None else found | (a == character)
    if b"e" in block or b"E" in block:  # as in "1.e5"; a search for both characters would stop at each point
        exponents = np.flatnonzero((a == ord("e")) | (a == ord("E")) if b"E" in block else a == ord("e"))
        exponents = exponents[a[exponents - 1] == ord(".")]
        if len(exponents):
            found = np.zeros(len(a), dtype=np.bool_) if found is None else found
            found[exponents] = True
    return found
