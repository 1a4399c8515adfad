"""The order of the rows in an epoch, as a function of a seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends import random


@dataclass(frozen=True)
class Shuffle:
    """The order of an epoch's rows, given by three integers, so that a backend can compute it on its device.

    Attributes
    ----------
    seed, epoch, n_rows : int
        Arguments of `backends.random.permutation`, which defines the order.

    Examples
    --------
    >>> Shuffle(seed=0, epoch=1, n_rows=5).row_numbers()
    array([2, 4, 3, 0, 1])
    """

    seed: int
    epoch: int
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def row_numbers(self) -> NDArray[np.int64]:
        """The row numbers in this order, as a host array."""
        return random.permutation(self.seed, self.epoch, self.n_rows)


class Window(NamedTuple):
    """Rows that are in memory at the same time.

    Attributes
    ----------
    blocks : ndarray of int64, shape (k,)
        Numbers of the blocks, in the order in which they are read.
    order : ndarray of int64, shape (n,)
        The order of the rows, by their position in the blocks one after the other.
    """

    blocks: NDArray[np.int64]
    order: NDArray[np.int64]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class BlockShuffle:
    """The order of the rows of data that are larger than the memory, and are read in blocks.

    The blocks are shuffled and divided into windows, and the rows of each window are shuffled.  So the blocks are read
    as a whole, and only those of a window need to be in memory.  The order depends on the attributes alone: not on
    the batch size, the number of readers, or the number of ranks.

    Attributes
    ----------
    seed, epoch : int
        Those of the permutations.
    block_rows : ndarray of int64, shape (n_blocks,)
        Number of rows of each block.
    window_rows : int
        A window has the blocks whose first rows are among so many; its last block may be longer.
    shuffled : bool
        Whether blocks and rows are shuffled; otherwise they are in their own order.

    Examples
    --------
    >>> order = BlockShuffle(0, 0, np.array([3, 3, 2]), window_rows=4)
    >>> for window in order.windows():
    ...     print(window.blocks, window.order)
    [1 2] [1 3 2 0 4]
    [0] [0 1 2]
    >>> order.row_numbers()
    array([4, 6, 5, 3, 7, 0, 1, 2])
    """

    seed: int
    epoch: int
    block_rows: NDArray[np.int64]
    window_rows: int
    shuffled: bool = True

    def __len__(self) -> int:
        return int(self.block_rows.sum())

    def window_blocks(self) -> list[NDArray[np.int64]]:
        """The numbers of the blocks of each window."""
        count = len(self.block_rows)
        blocks = np.arange(count)
        if self.shuffled:
            blocks = random.permutation(self.seed, self.epoch, count, stream=random.BLOCKS)
        ends = self.block_rows[blocks].cumsum()
        windows = (ends - self.block_rows[blocks]) // self.window_rows
        return np.split(blocks, np.flatnonzero(np.diff(windows)) + 1) if count else []

    def window(self, number: int, blocks: NDArray[np.int64]) -> Window:
        """The window of this number, which has these blocks."""
        n = int(self.block_rows[blocks].sum())
        if not self.shuffled:
            return Window(blocks, np.arange(n))
        return Window(blocks, random.permutation(self.seed, self.epoch, n, stream=random.BLOCKS, part=1 + number))

    def windows(self) -> Iterator[Window]:
        """The windows one after the other."""
        for number, blocks in enumerate(self.window_blocks()):
            yield self.window(number, blocks)

    def row_numbers(self) -> NDArray[np.int64]:
        """The row numbers in this order, counted over all blocks; they need eight bytes for each row."""
        starts = self.block_rows.cumsum() - self.block_rows
        windows = [
            np.concatenate([np.arange(starts[b], starts[b] + self.block_rows[b]) for b in window.blocks])[window.order]
            for window in self.windows()
        ]
        return np.concatenate(windows) if windows else np.empty(0, np.int64)


RowOrder = Shuffle | BlockShuffle
