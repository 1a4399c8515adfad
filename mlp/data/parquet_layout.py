"""What a Parquet file says about its own size, in its footer and page headers: read before anything is decompressed.

pyarrow does not show page headers, does not compare them with the footer, and ends the process if Python asks it for
some damaged footers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from mlp._backends import FileFormatError
from mlp.data.thrift import BINARY, INT32, INT64, LIST, STRUCT, ThriftReader

_HEADER_SIZES = (2**9, 2**14, 2**20)
"""Bytes to read for a page header; nearly all are shorter than the first, but statistics of long texts are in it."""

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_2 = 0, 2, 3
_DESCRIPTIONS = {5: _DATA_PAGE, 7: _DICTIONARY_PAGE, 8: _DATA_PAGE_2}  # kind of page, by field of the header
_BYTE_ARRAY = 6


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """The values of a column in a row group.

    Attributes
    ----------
    name : str
        The column.
    is_text : bool
        Whether its values are of variable length.
    start, stop : int
        Its place in the file.
    n_rows : int
        Number of rows of the row group.
    group : int
        The number of the row group.
    """

    name: str
    is_text: bool
    start: int
    stop: int
    n_rows: int
    group: int = 0


@dataclass(frozen=True, slots=True)
class PageHeader:
    """What the header of a page declares.

    Attributes
    ----------
    is_dictionary : bool
        Whether the page holds the distinct values, instead of those of rows.
    n_values : int
        Number of values; those of rows include missing ones.
    encoding : int
        The number of the encoding in the format's specification.
    size : int
        Bytes after decompression; no library decompresses more.
    """

    is_dictionary: bool
    n_values: int
    encoding: int
    size: int


def read_footer(footer: bytes, where: str) -> tuple[int, list[ColumnChunk]]:
    """Return the number of rows, and all column chunks.

    Raises
    ------
    FileFormatError
        If the footer is not valid.
    """
    reader = ThriftReader(footer)
    n_rows, counted, chunks = -1, 0, []
    try:
        for number, kind in reader.fields():
            if (number, kind) == (3, INT64):
                n_rows = reader.integer()
            elif (number, kind) == (4, LIST):
                count, element = reader.elements()
                for group in range(count):
                    if element != STRUCT:
                        raise ValueError("row groups are structs")
                    rows, found = _row_group(reader, group)
                    counted += rows
                    chunks += found
            else:
                reader.skip(kind)
    except (IndexError, ValueError) as error:
        raise _damaged(where, f"its metadata are not readable ({error})") from error
    if n_rows < 0 or n_rows != counted:
        raise _damaged(where, f"its metadata declare {n_rows} rows, and {counted} in all row groups")
    return n_rows, chunks


def _row_group(reader: ThriftReader, group: int) -> tuple[int, list[ColumnChunk]]:
    n_rows, found = -1, []
    for number, kind in reader.fields():
        if (number, kind) == (1, LIST):
            count, element = reader.elements()
            for _ in range(count):
                if element != STRUCT:
                    raise ValueError("columns are structs")
                found.append(_chunk(reader))
        elif (number, kind) == (3, INT64):
            n_rows = reader.integer()
        else:
            reader.skip(kind)
    if n_rows < 0:
        raise ValueError("a row group has no number of rows")
    return n_rows, [ColumnChunk(*parts, n_rows, group) for parts in found]


def _chunk(reader: ThriftReader) -> tuple[str, bool, int, int]:
    """Read a column chunk; return its name, whether it holds texts, its start and its stop."""
    name, numbers = "", dict[int, int]()
    for number, kind in reader.fields():
        if (number, kind) != (3, STRUCT):
            reader.skip(kind)
            continue
        for part, part_kind in reader.fields():
            if (part, part_kind) == (3, LIST):
                name = _name(reader)
            elif (part, part_kind) in ((1, INT32), (7, INT64), (9, INT64), (11, INT64)):
                numbers[part] = reader.integer()
            else:
                reader.skip(part_kind)
    if not {1, 7, 9} <= set(numbers):
        raise ValueError("a column has no place")
    start = numbers[9]
    if 0 < numbers.get(11, 0) < start:  # the dictionary stands before the other pages
        start = numbers[11]
    return name, numbers[1] == _BYTE_ARRAY, start, start + numbers[7]


def _name(reader: ThriftReader) -> str:
    count, element = reader.elements()
    if element != BINARY:
        raise ValueError("a name is text")
    return ".".join([reader.text() for _ in range(count)])


def page_headers(handle: IO[bytes], chunk: ColumnChunk, where: str) -> Iterator[PageHeader]:
    """Yield the header of each page of a column chunk.

    Raises
    ------
    FileFormatError
        If a header is not valid, or the pages do not end where the chunk ends.

    Examples
    --------
    >>> import io
    >>> header = bytes.fromhex("15 00 15 30 15 30 2c 15 06 15 00 15 06 15 06 00 00")  # 3 values, plain, 24 bytes
    >>> chunk = ColumnChunk("x", is_text=False, start=0, stop=len(header) + 24, n_rows=3)
    >>> list(page_headers(io.BytesIO(header + bytes(24)), chunk, "column 'x'"))
    [PageHeader(is_dictionary=False, n_values=3, encoding=0, size=24)]
    """
    position = chunk.start
    while position < chunk.stop:
        header, length = _page_header(handle, position, chunk.stop, where)
        position += length
        yield header
    if position != chunk.stop:
        raise _damaged(where, "its pages do not end where the metadata say")


def _page_header(handle: IO[bytes], position: int, stop: int, where: str) -> tuple[PageHeader, int]:
    """Return the header, and the number of bytes of the header and the page."""
    for size in _HEADER_SIZES:
        handle.seek(position)
        reader = ThriftReader(handle.read(min(size, stop - position)))
        try:
            header, compressed = _parse_page_header(reader)
        except IndexError:  # longer than that
            continue
        except ValueError as error:
            raise _damaged(where, f"the header of a page is not readable ({error})") from error
        return header, reader.position + compressed
    raise _damaged(where, "the header of a page does not end")


def _parse_page_header(reader: ThriftReader) -> tuple[PageHeader, int]:
    """Return the header and the number of bytes of the page in the file."""
    numbers, descriptions = dict[int, int](), dict[int, dict[int, int]]()
    for number, kind in reader.fields():
        if number in (1, 2, 3) and kind == INT32:
            numbers[number] = reader.integer()
        elif number in _DESCRIPTIONS and kind == STRUCT:
            parts = descriptions[_DESCRIPTIONS[number]] = {}
            for part, part_kind in reader.fields():
                if part in (1, 2, 4) and part_kind == INT32:
                    parts[part] = reader.integer()
                else:
                    reader.skip(part_kind)
        else:
            reader.skip(kind)
    page = numbers.get(1)
    parts = descriptions.get(-1 if page is None else page, {})
    size, compressed, n_values = numbers.get(2), numbers.get(3), parts.get(1)
    encoding = parts.get(4 if page == _DATA_PAGE_2 else 2)
    if size is None or compressed is None or n_values is None or encoding is None:
        raise ValueError("a number is missing")
    if not all(0 <= number < 2**31 for number in (size, compressed, n_values)):
        raise ValueError("a size is impossible")
    return PageHeader(page == _DICTIONARY_PAGE, n_values, encoding, size), compressed


def _damaged(where: str, problem: str) -> FileFormatError:
    return FileFormatError(f"{where}: {problem}; the file is damaged, write or copy it again")
