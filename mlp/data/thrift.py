"""Read Thrift's compact protocol, in which the metadata of Parquet files are written."""

from __future__ import annotations

from collections.abc import Iterator

TRUE, FALSE, BYTE, INT16, INT32, INT64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""The types."""

_MAX_VARINT_BYTES = 10


class ThriftReader:
    """A position in bytes that hold Thrift's compact protocol.

    Every method may raise an IndexError, if the bytes end too early, and a ValueError, if they are not of the protocol.

    Parameters
    ----------
    data : bytes
        The bytes.

    Attributes
    ----------
    position : int
        The number of bytes that were read.

    Examples
    --------
    The struct with the field 1, an integer of 32 bits, -3:

    >>> reader = ThriftReader(bytes([0x15, 5, 0]))
    >>> [(number, reader.integer()) for number, kind in reader.fields()]
    [(1, -3)]
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the type of each field of a struct; the caller reads or skips its value."""
        number, seen = 0, set()
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            if number in seen:  # readers differ in which of the two counts
                raise ValueError(f"field {number} of a Thrift struct occurs twice")
            seen.add(number)
            yield number, head & 15

    def elements(self) -> tuple[int, int]:
        """Read the beginning of a list or set; return the number of its elements and their type."""
        head = self._byte()
        return (self._varint() if head >> 4 == 15 else head >> 4), head & 15

    def integer(self) -> int:
        """Read an integer of 16, 32 or 64 bits."""
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def text(self) -> str:
        """Read binary data that are UTF-8."""
        size = self._varint()
        self._skip_bytes(size)
        return self._data[self.position - size : self.position].decode()

    def skip(self, kind: int, *, in_list: bool = False) -> None:
        """Skip a value of a type."""
        if kind in (TRUE, FALSE):
            self._skip_bytes(1 if in_list else 0)  # in a struct, the type is the value
        elif kind in (INT16, INT32, INT64):
            self._varint()
        elif kind in (BYTE, DOUBLE, BINARY):
            self._skip_bytes({BYTE: 1, DOUBLE: 8}.get(kind) or self._varint())
        elif kind in (LIST, SET):
            count, element = self.elements()
            for _ in range(count):
                self.skip(element, in_list=True)
        elif kind == STRUCT:
            for _, field in self.fields():
                self.skip(field)
        else:  # a map, which no metadata of Parquet has
            raise ValueError(f"type {kind} of Thrift is unknown")

    def _byte(self) -> int:
        self.position += 1
        return self._data[self.position - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("an integer of Thrift does not end")

    def _skip_bytes(self, size: int) -> None:
        self.position += size
        if self.position > len(self._data):
            raise IndexError("the Thrift data end within a value")
