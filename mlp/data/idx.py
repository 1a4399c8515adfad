"""The IDX format of MNIST and similar data sets: a big-endian header, then the bytes of one array."""

from __future__ import annotations

import gzip
import io
import os
import struct
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError
from mlp.data.files import check_expansion, declared_bytes, expansion_limit, open_checked

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 2**20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> NDArray[Any]:
    """Read an IDX file, uncompressed or gzip-compressed (detected from its first bytes, not from its name).

    Parameters
    ----------
    path : str or path-like
        The file.
    max_bytes : int, optional
        Limit on the expanded size of a compressed file, in bytes.  By default the value of the environment
        variable ``MLP_MAX_EXPANDED_BYTES``; without it 1000 times the size of the file, but at least 32 MiB and at most
        8 GiB.

    Returns
    -------
    ndarray
        With the declared shape and dtype (uint8, int8, int16, int32, float32 or float64), in native byte order.

    Raises
    ------
    FileFormatError
        If the header is not an IDX header, or declares another number of bytes than the file has.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1,  0, 0, 0, 3,  5, 0, 4]))
    >>> read_idx(path)
    array([5, 0, 4], dtype=uint8)
    >>> folder.cleanup()
    """
    where = repr(os.fspath(path))
    with open_checked(path, "IDX") as (handle, size):
        if handle.peek(2)[:2] == _GZIP_MAGIC:
            return _read_compressed(handle, size, expansion_limit(size, max_bytes), where)
        dtype, shape, offset = _read_header(handle, where)
        declared = declared_bytes(shape, dtype.itemsize, where)
        if offset + declared != size:
            raise FileFormatError(
                f"{where} declares shape {shape} of {dtype.name}, {offset + declared} bytes with its header, "
                f"but has {size}; copy or download it again"
            )
        return _to_native_order(np.fromfile(handle, dtype, count=declared // dtype.itemsize), shape)


def _read_compressed(handle: io.BufferedReader, size: int, limit: int, where: str) -> NDArray[Any]:
    with gzip.GzipFile(fileobj=handle) as stream:
        dtype, shape, _ = _read_header(stream, where)
        declared = declared_bytes(shape, dtype.itemsize, where)
        check_expansion(declared, size, limit, where)
        # the buffer grows with the data that is read, so a wrong header costs no memory
        body = bytearray()
        while len(body) < declared and (chunk := stream.read(min(_CHUNK, declared - len(body)))):
            body += chunk
        # reading one more byte makes gzip verify its checksum
        if len(body) < declared or stream.read(1):
            raise FileFormatError(
                f"{where} declares shape {shape} of {dtype.name}, {declared} bytes, but holds "
                f"{'fewer' if len(body) < declared else 'more'}; copy or download it again"
            )
    return _to_native_order(np.frombuffer(body, dtype), shape)


def _read_header(stream: _Readable, where: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise FileFormatError(
            f"{where} begins with the bytes {magic.hex(' ')!r}; an IDX file begins with 00 00, one of "
            f"{', '.join(f'{code:02x}' for code in _DTYPES)} for its type, and the number of dimensions (1 or more). "
            "Check that this is an IDX file"
        )
    dimensions = magic[3]
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise FileFormatError(f"{where} ends within its header of {dimensions} dimensions; copy or download it again")
    return np.dtype(_DTYPES[magic[2]]), struct.unpack(f">{dimensions}I", sizes), 4 + 4 * dimensions


def _to_native_order(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(shape)
