"""`RowStream`: rows that are read in blocks, in any order and as often as needed."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, random
from mlp.checks import require_fraction, require_positive

WINDOW_BYTES = 2**25
"""Memory of the rows that are shuffled among each other; a reader has the next ones in memory too."""


class RowStream(abc.ABC):
    """Rows and their targets, in blocks that can be read in any order, from several threads.

    A network is trained on it as on arrays: ``net.fit(stream)``.  A subclass has the abstract attributes and methods.

    Attributes
    ----------
    name : str
        For error messages, such as the path of a file.
    block_rows : ndarray of int64, shape (n_blocks,)
        Number of rows of each block, known without reading them.  A block may have none.
    n_inputs : int
        Columns of X.
    is_bytes : bool
        Whether X is uint8; otherwise it is of floating-point numbers.
    fingerprint : str
        Identifies the data, to recognise them when a training is resumed; such as a SHA-256 of the contents.
    """

    name: str
    block_rows: NDArray[np.int64]
    n_inputs: int
    is_bytes: bool

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """See the class."""

    @abc.abstractmethod
    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows of a block.

        Parameters
        ----------
        block : int
            Its number.

        Returns
        -------
        X : ndarray of shape (rows, n_inputs)
            uint8, or floating-point numbers.
        y : ndarray of shape (rows,) or (rows, n_out)
            Class numbers from 0, or numbers.
        """

    @property
    def n_rows(self) -> int:
        """Number of rows of all blocks."""
        return int(self.block_rows.sum())

    @property
    def window_rows(self) -> int:
        """About how many rows are shuffled among each other: 32 MiB of them, and at least one block."""
        row_bytes = self.n_inputs * (1 if self.is_bytes else 4)
        return max(WINDOW_BYTES // row_bytes, 1)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """X and y of the blocks that have rows, one after the other."""
        return (self.read(int(block)) for block in np.flatnonzero(self.block_rows))

    def split(self, fraction: float, seed: int) -> tuple[RowStream, RowStream]:
        """Two streams of these rows: those that remain, and those that are chosen with probability `fraction`.

        A row is chosen by its number and the seed alone.  So the parts are the same for any blocks.

        Raises
        ------
        ConfigurationError
            If the fraction is not between 0 and 1.
        DataError
            If a part has no rows.
        """
        require_positive("fraction", fraction)
        require_fraction("fraction", fraction)
        parts = PartOfStream(self, fraction, seed, chosen=False), PartOfStream(self, fraction, seed, chosen=True)
        for part, role in zip(parts, ("remain", "are chosen"), strict=True):
            if part.n_rows == 0:
                raise DataError(
                    f"{self.name}: no rows {role} if {fraction} of {self.n_rows} rows are chosen at random; give "
                    "another fraction"
                )
        return parts


class PartOfStream(RowStream):
    """The rows of another stream that `RowStream.split` chooses, or those that it leaves.

    Parameters
    ----------
    stream : RowStream
    fraction : float
    seed : int
    chosen : bool
    """

    def __init__(self, stream: RowStream, fraction: float, seed: int, *, chosen: bool) -> None:
        self._stream, self._fraction, self._seed, self._chosen = stream, fraction, seed, chosen
        self._depth: int = stream._depth + 1 if isinstance(stream, PartOfStream) else 0
        self.name, self.n_inputs, self.is_bytes = stream.name, stream.n_inputs, stream.is_bytes
        self._first_rows = stream.block_rows.cumsum() - stream.block_rows

    @cached_property
    def block_rows(self) -> NDArray[np.int64]:  # type: ignore[override]
        counts = [np.count_nonzero(self.mask(block)) for block in range(len(self._stream.block_rows))]
        return np.array(counts, np.int64)

    @property
    def fingerprint(self) -> str:
        part = "chosen" if self._chosen else "rest"
        return f"{self._stream.fingerprint} {part} of {self._fraction!r} by {self._seed}"

    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = self._stream.read(block)
        mask = self.mask(block)
        return X[mask], y[mask]

    def mask(self, block: int) -> NDArray[np.bool_]:
        """Which rows of a block of the whole stream belong to this part; known without reading them."""
        first, n = int(self._first_rows[block]), int(self._stream.block_rows[block])
        chosen = random.chosen_rows(self._seed, self._fraction, range(first, first + n), part=self._depth)
        return chosen if self._chosen else ~chosen
