"""The first pass over a stream: every block once, by a few threads, with the fingerprint and the progress."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlp.data.streams.in_order import in_order

T = TypeVar("T")

READERS = 2
"""Threads; the disk or the hash, not their number, limits the speed."""

_SECONDS = 0.5


class FirstPass:
    """Reads every block once, in order, and computes the fingerprint.

    The fingerprint is the SHA-256 of the hashes of all blocks, each of them the SHA-256 of the bytes of the block in
    the file.  So blocks can be hashed in any order, by several readers.

    Parameters
    ----------
    block_rows : ndarray of int64, shape (n_blocks,)
    progress : bool
        Print the share that is read to the standard error.
    readers : int

    Attributes
    ----------
    fingerprint : str
        In hexadecimal digits; complete when all blocks are read.
    """

    def __init__(self, block_rows: NDArray[np.int64], *, progress: bool = False, readers: int = READERS) -> None:
        self._block_rows, self._progress, self._readers = block_rows, progress, readers
        self.fingerprint = ""

    def blocks(self, read: Callable[[int, Any], T]) -> Iterator[tuple[int, range, T]]:
        """Yield the number of each block, its rows, and what ``read(block, digest)`` returns."""

        def read_and_hash(block: int) -> tuple[T, bytes]:
            digest = hashlib.sha256()
            result = read(block, digest)
            return result, digest.digest()

        whole, first, shown = hashlib.sha256(), 0, time.monotonic()
        total = int(self._block_rows.sum())
        results = in_order(read_and_hash, range(len(self._block_rows)), self._readers, self._readers)
        for block, (result, digest) in enumerate(results):
            rows = range(first, first + int(self._block_rows[block]))
            whole.update(digest)
            yield block, rows, result
            first = rows.stop
            if self._progress and time.monotonic() - shown > _SECONDS:
                shown = time.monotonic()
                print(f"\rfirst pass {100 * first // total:3} %", end="", file=sys.stderr, flush=True)
        if self._progress:
            print("\rfirst pass 100 %", file=sys.stderr, flush=True)
        self.fingerprint = whole.hexdigest()
