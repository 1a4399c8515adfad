"""The rows of a stream in their own order, some megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.data.streams.first_pass import READERS
from mlp.data.streams.in_order import in_order
from mlp.data.streams.row_stream import PartOfStream, RowStream

CHUNK_BYTES = 2**23
"""About how many bytes of rows are returned at a time."""


def rows_per_chunk(row_bytes: int, multiple: int) -> int:
    """A multiple of `multiple` rows of about `CHUNK_BYTES`.

    Examples
    --------
    >>> rows_per_chunk(784, 4096), rows_per_chunk(10**6, 4096)
    (8192, 4096)
    """
    return max(CHUNK_BYTES // (row_bytes * multiple), 1) * multiple


def chunks(stream: RowStream, multiple: int = 1) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield X and y of the next rows; each time but the last a multiple of so many rows.

    The division does not depend on the blocks.  So what is computed for each chunk by itself is the same for a stream
    and for an array that is divided in this way.
    """
    rows = rows_per_chunk(stream.n_inputs * (1 if stream.is_bytes else 4), multiple)
    waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
    count = 0
    blocks = np.flatnonzero(stream.block_rows).tolist()
    for X, y in in_order(stream.read, blocks, READERS, READERS):
        waiting.append((X, y))
        count += len(X)
        while count >= rows:
            X, y = _joined(waiting)
            yield X[:rows], y[:rows]
            waiting, count = [(X[rows:], y[rows:])], count - rows
    if count:
        yield _joined(waiting)


def _joined(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(parts) == 1:
        return parts[0]
    X, y = zip(*parts, strict=True)
    return np.concatenate(X), np.concatenate(y)


def first_rows(stream: RowStream, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """X and y of at most so many rows, the first ones, without reading more blocks than these are in."""
    parts: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for X, y in stream:
        parts.append((X[:count], y[:count]))
        count -= len(X)
        if count <= 0:
            break
    return _joined(parts)


def row_numbers(stream: RowStream, whole: RowStream) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of the rows of each block of a part, counted over the whole stream.

    Parameters
    ----------
    stream : RowStream
        `whole`, or a part of it that `RowStream.split` has returned.
    whole : RowStream
    """
    first = 0
    for block, n in enumerate(whole.block_rows.tolist()):
        yield first + (np.flatnonzero(stream.mask(block)) if isinstance(stream, PartOfStream) else np.arange(n))
        first += n
