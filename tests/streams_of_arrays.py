"""Streams whose rows are in memory, so that their results can be compared with those of arrays."""

from __future__ import annotations

import threading

import numpy as np

from backends.row_orders import BlockShuffle
from mlp.data.streams import RowStream


class ArrayStream(RowStream):
    """The rows of two arrays, in blocks of the given sizes; `reads` has the blocks in the order they were read."""

    def __init__(self, X, y, sizes, window_rows):
        assert sum(sizes) == len(X)
        self.name, self.X, self.y, self.reads, self.threads = "the arrays", X, y, [], set()
        self.block_rows = np.array(sizes, np.int64)
        self.first_rows = self.block_rows.cumsum() - self.block_rows
        self.n_inputs, self.is_bytes, self.fail_at = X.shape[1], X.dtype == np.uint8, None
        self._window_rows = window_rows

    window_rows = property(lambda self: self._window_rows)
    fingerprint = property(lambda self: "arrays")

    def read(self, block):
        self.reads.append(block)
        self.threads.add(threading.current_thread().name)
        if self.fail_at is not None and len(self.reads) > self.fail_at:
            raise OSError("the disk is gone")
        rows = slice(self.first_rows[block], self.first_rows[block] + self.block_rows[block])
        return self.X[rows], self.y[rows]

    def order(self, seed, epoch):
        return BlockShuffle(seed, epoch, self.block_rows, self.window_rows).row_numbers()


def fit_in_memory(net, stream, *, epochs, begin=0, **arguments):
    """Train on the arrays of a stream in the orders of its epochs, one epoch after the other."""
    for epoch in range(begin, epochs):
        order = stream.order(net.seed, epoch)
        if epoch:
            arguments = {name: value for name, value in arguments.items() if name != "optimizer"}
        net.fit(stream.X[order], stream.y[order], shuffle=False, epochs=epoch + 1, resume=epoch > 0, **arguments)
