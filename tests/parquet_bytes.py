"""Parquet files byte by byte, also those that no library writes: `of` makes one of columns, and those of pages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INT32, INT64, DOUBLE, TEXT = map(np.int32, (1, 2, 5, 6))  # types
PLAIN, RLE, DELTA_INTEGERS, DELTA_LENGTHS, DELTA_TEXT, RLE_DICTIONARY = map(np.int32, (0, 3, 5, 6, 7, 8))  # encodings
UNCOMPRESSED, GZIP, ZSTD = map(np.int32, (0, 2, 6))  # codecs
DATA, DICTIONARY = map(np.int32, (0, 2))  # kinds of pages


@dataclass
class Page:
    """A page of a column; `content` is compressed already, and the header says what it likes about it."""

    content: bytes
    n_values: int
    size: int
    """The declared size after decompression."""
    encoding: np.int32 = PLAIN
    kind: np.int32 = DATA

    @functools.cached_property
    def written(self) -> bytes:
        """The header and the content."""
        part = {1: np.int32(self.n_values), 2: self.encoding} | ({3: RLE, 4: RLE} if self.kind == DATA else {})
        sizes = {1: self.kind, 2: np.int32(self.size), 3: np.int32(len(self.content))}
        return thrift(sizes | {5 if self.kind == DATA else 7: part})[1] + self.content


@dataclass
class Column:
    """A column without missing values, in one row group."""

    pages: Sequence[Page]
    type: np.int32 = DOUBLE
    codec: np.int32 = UNCOMPRESSED
    name: str = "x"
    changes: dict[int, Any] = field(default_factory=dict)
    """Fields of its metadata that are not what they should be, by their number."""

    def metadata(self, start: int, n_rows: int) -> dict[int, Any]:
        has_dictionary = self.pages[0].kind == DICTIONARY
        sizes = {
            6: sum(page.size - len(page.content) + len(page.written) for page in self.pages),
            7: sum(len(page.written) for page in self.pages),
            9: start + (len(self.pages[0].written) if has_dictionary else 0),
        }
        known = {1: self.type, 2: sorted({page.encoding for page in self.pages}), 3: [self.name], 4: self.codec}
        return known | {5: n_rows} | sizes | ({11: start} if has_dictionary else {}) | self.changes


def of(columns: Sequence[Column], n_rows: int) -> bytes:
    """A file of one row group."""
    body, chunks = bytearray(b"PAR1"), []
    for column in columns:
        chunks.append({2: len(body), 3: dict(sorted(column.metadata(len(body), n_rows).items()))})
        body += b"".join(page.written for page in column.pages)
    schema: list[dict[int, Any]] = [{4: "schema", 5: np.int32(len(columns))}]
    for column in columns:
        text = {6: np.int32(0)} if column.type == TEXT else {}
        schema.append({1: column.type, 3: np.int32(0), 4: column.name} | text)
    footer = thrift({1: np.int32(1), 2: schema, 3: n_rows, 4: [{1: chunks, 2: len(body), 3: n_rows}]})[1]
    return bytes(body) + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def varint(value: int) -> bytes:
    """An unsigned integer, seven bits in each byte."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    """A signed integer."""
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def thrift(value: Any) -> tuple[int, bytes]:
    """The type and the bytes of a value in Thrift's compact protocol; a dict is a struct, by the numbers of fields."""
    match value:
        case np.int32():
            return 5, zigzag(int(value))
        case int():
            return 6, zigzag(value)
        case str():
            return 8, varint(len(value.encode())) + value.encode()
        case list():
            kind = thrift(value[0])[0]
            size = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + varint(len(value))
            return 9, size + b"".join(thrift(entry)[1] for entry in value)
    out, last = [], 0
    for number, entry in value.items():
        kind, content = thrift(entry)
        out += [bytes([(number - last) << 4 | kind]), content]
        last = number
    return 12, b"".join(out) + b"\0"
