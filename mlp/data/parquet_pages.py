"""The page headers of a Parquet file: they say what the pages expand to, and no library shows them before it decodes.

The footer says it too, but readers do not compare the two, so that a page can hold far more than its footer tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from mlp._backends import FileFormatError

_HEADER_SIZES = (2**9, 2**14, 2**20)
"""Bytes to read for a header; nearly all are shorter than the first, but statistics of long texts are in it."""

_MAX_VARINT_BYTES = 10
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, 12  # Thrift's types
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_2 = 0, 2, 3
_DESCRIPTIONS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_2: 8}  # field of the header, by kind of page
_ENCODINGS = {_DATA_PAGE: 2, _DICTIONARY_PAGE: 2, _DATA_PAGE_2: 4}  # field of the description


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


def page_headers(handle: IO[bytes], start: int, stop: int, where: str) -> Iterator[PageHeader]:
    """Yield the header of each page of a column chunk, which is the bytes from `start` to `stop` of the file.

    Raises
    ------
    FileFormatError
        If a header is not valid, or the pages do not end where the chunk ends.

    Examples
    --------
    >>> import io
    >>> header = bytes.fromhex("15 00 15 30 15 30 2c 15 06 15 00 15 06 15 06 00 00")  # 3 values, plain, 24 bytes
    >>> list(page_headers(io.BytesIO(header + bytes(24)), 0, len(header) + 24, "column 'x'"))
    [PageHeader(is_dictionary=False, n_values=3, encoding=0, size=24)]
    """
    position = start
    while position < stop:
        header, length, compressed = _page_header(handle, position, stop, where)
        position += length + compressed
        yield header
    if position != stop:
        raise _damaged(where, "its pages do not end where the footer says")


def _page_header(handle: IO[bytes], position: int, stop: int, where: str) -> tuple[PageHeader, int, int]:
    """Return the header, its length, and the size of the page that follows."""
    for size in _HEADER_SIZES:
        handle.seek(position)
        head = handle.read(min(size, stop - position))
        try:
            fields, length = _struct(head, 0)
        except IndexError:  # longer than that
            continue
        kind = fields.get(1)
        description = fields.get(_DESCRIPTIONS.get(kind))  # type: ignore[arg-type]
        if not isinstance(description, dict):
            raise _damaged(where, "a page is of an unknown kind")
        encoding = description.get(_ENCODINGS[kind])  # type: ignore[index]
        numbers = [fields.get(2), fields.get(3), description.get(1), encoding]
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise _damaged(where, "the header of a page lacks a size")
        size, compressed, n_values, encoding = numbers
        return PageHeader(kind == _DICTIONARY_PAGE, n_values, encoding, size), length, compressed
    raise _damaged(where, "the header of a page does not end")


def _struct(data: bytes, position: int) -> tuple[dict[int, Any], int]:
    """Read a struct in Thrift's compact protocol; return its fields by number, and the position of its end.

    Only the types that page headers have are read.  An IndexError says that `data` is too short.
    """
    fields: dict[int, Any] = {}
    number = 0
    value: Any
    while kind := data[position] & 15:
        step = data[position] >> 4
        position += 1
        if step:
            number += step
        else:
            number, position = _integer(data, position)
        if number in fields:  # readers differ in which of the two counts
            raise ValueError(f"field {number} of a page header occurs twice")
        if kind in _BOOLEANS:
            value = kind == 1
        elif kind in _INTEGERS:
            value, position = _integer(data, position)
        elif kind == _STRUCT:
            value, position = _struct(data, position)
        elif kind in (_BYTE, _DOUBLE, _BINARY):
            length, position = (1, position) if kind == _BYTE else (8, position)
            if kind == _BINARY:
                length, position = _varint(data, position)
            value, position = None, position + length
        else:
            raise ValueError(f"a page header has a field of type {kind}")
        fields[number] = value
    return fields, position + 1


def _integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return value >> 1 ^ -(value & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number in a page header does not end")


def _damaged(where: str, problem: str) -> FileFormatError:
    return FileFormatError(f"{where}: {problem}; the file is damaged, write or copy it again")
