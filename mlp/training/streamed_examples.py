"""`StreamedExamples`: the rows of a stream as a network is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import BlockShuffle, DataError, get_backend
from mlp.data.streams import RowStream
from mlp.network import Examples, FeedForward
from mlp.training.class_weights import class_numbers_of, weights_of_classes


class StreamedExamples:
    """Checked inputs, targets and weights of the rows of a stream, read when they are needed.

    It stands for `Examples`.

    Parameters
    ----------
    net : FeedForward
    stream : RowStream
    class_weight : mapping, "balanced" or None
        The argument of `MLP.fit`.

    Attributes
    ----------
    stream : RowStream
    rows : int
        Number of rows.
    class_numbers : bool
        Whether the targets are class numbers.
    class_weights : ndarray, shape (number of classes,), or None

    Raises
    ------
    DataError, ShapeError, DtypeError
        If the first rows are invalid, or there are none.
    ConfigurationError
        If `class_weight` is invalid.
    """

    def __init__(self, net: FeedForward, stream: RowStream, class_weight: Any = None) -> None:
        self._net, self.stream, self.rows = net, stream, stream.n_rows
        if not self.rows:
            raise DataError(f"{stream.name} has no rows.")
        self.class_weights: NDArray[np.float64] | None = None
        first = self.first_rows()
        self._like = Examples(*(None if array is None else array[:0] for array in first))
        if class_weight is not None:
            self.class_weights = self._weights(class_weight, first)
            self._like = self._like._replace(weight=np.empty(0, net.dtype))

    @property
    def fingerprint(self) -> str:
        """That of the stream, and the weights of the classes."""
        weights = "" if self.class_weights is None else f" classes {self.class_weights.tolist()}"
        return self.stream.fingerprint + weights

    def read(self, block: int) -> Examples:
        """The rows of a block, as arrays of the host."""
        X, y = self.stream.read(block)
        if len(X) != self.stream.block_rows[block]:
            raise DataError(
                f"{self.stream.name}: block {block} has {len(X)} rows, and not {self.stream.block_rows[block]} as "
                "before; do not change the data during a training."
            )
        try:
            examples, self.class_numbers = self._net.check_examples(X, y, xp=get_backend("numpy"))
        except DataError as error:
            raise DataError(f"{self.stream.name}, block {block}: {error}") from error
        if self.class_weights is None:
            return examples
        weight = self.class_weights[class_numbers_of(self._net, examples.target)]
        return examples._replace(weight=weight.astype(self._net.dtype))

    def first_rows(self) -> Examples:
        """The rows of the first block that has any."""
        return self.read(int(np.flatnonzero(self.stream.block_rows)[0]))

    def buffer(self, rows: int) -> Examples:
        """Arrays of zeros for so many rows, on the device of the network."""
        xp = self._net.xp
        arrays = (None if a is None else xp.zeros((rows, *a.shape[1:]), a.dtype) for a in self._like)
        return Examples(*arrays)

    def order(self, seed: int, epoch: int, shuffle: bool) -> BlockShuffle:
        """The order of an epoch."""
        return BlockShuffle(seed, epoch, self.stream.block_rows, self.stream.window_rows, shuffle)

    def windows(self) -> Iterator[Examples]:
        """The rows in their own order, some megabytes at a time."""
        order = self.order(0, 0, shuffle=False)
        reader = WindowReader(self, order)
        for _ in order.window_blocks():
            examples, _ = reader.next()
            reader.read_ahead()
            yield examples

    def _weights(self, class_weight: Any, first: Examples) -> NDArray[np.float64]:
        counts = np.zeros(max(self._net.sizes[-1], 2), np.int64)
        if class_weight == "balanced":
            for examples in self.windows():
                counts += np.bincount(class_numbers_of(self._net, examples.target), minlength=len(counts))
        else:
            class_numbers_of(self._net, first.target)  # an error if there is not one class for each row
        return weights_of_classes(self._net, counts, class_weight)


class WindowReader:
    """Reads the windows of an epoch one after the other, each while the one before is in use.

    Parameters
    ----------
    examples : StreamedExamples
    order : BlockShuffle
    first : int
        The number of the first window to read.
    """

    def __init__(self, examples: StreamedExamples, order: BlockShuffle, first: int = 0) -> None:
        self._examples, self._order = examples, order
        self._blocks, self._next = order.window_blocks(), first
        self._thread = ThreadPoolExecutor(1, "mlp-reader")
        self._ahead: Future[tuple[Examples, NDArray[np.int64]]] | None = None
        self.read_ahead()

    def next(self) -> tuple[Examples, NDArray[np.int64]]:
        """The rows of the next window, and their order; call `read_ahead` when they are not needed any more."""
        if self._ahead is None:
            self.read_ahead()
        assert self._ahead is not None, "all windows have been read"
        examples, self._ahead = self._ahead, None
        return examples.result()

    def read_ahead(self) -> None:
        """Begin to read the next window, if there is one."""
        if self._ahead is None and self._next < len(self._blocks):
            self._ahead = self._thread.submit(self._read, self._next)
            self._next += 1

    @property
    def at_end(self) -> bool:
        """Whether there is no other window."""
        return self._ahead is None and self._next == len(self._blocks)

    def _read(self, number: int) -> tuple[Examples, NDArray[np.int64]]:
        window = self._order.window(number, self._blocks[number])
        arrays: list[NDArray[Any] | None] = [None, None, None]
        done = 0
        for block in window.blocks:
            n = int(self._order.block_rows[block])
            if not n:
                continue
            for place, part in enumerate(self._examples.read(int(block))):
                if part is not None:
                    if arrays[place] is None:
                        arrays[place] = np.empty((len(window.order), *part.shape[1:]), part.dtype)
                    arrays[place][done : done + n] = part  # type: ignore[index]
            done += n
        return Examples(*arrays), window.order


AnyExamples = Examples | StreamedExamples
