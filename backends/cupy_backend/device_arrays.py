"""The arrays on the device that belong to a trainer: scratch buffers, and tables with one entry for each batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.cupy_backend.kernel_source import WORDS, KernelOptions, n_scalars
from backends.plan import Array, EpochPlan

GROUP = 8
"""Entries of a row that one thread has; rows of matrices begin at multiples of it."""


def padded(width: int) -> int:
    """Entries from the beginning of one row of a matrix to that of the next."""
    return -(-width // GROUP) * GROUP


def matrix(cupy: Any, rows: int, width: int, dtype: Any) -> Array:
    """Zeros, shape (rows, width), a view of an array whose rows begin at multiples of `GROUP`."""
    return cupy.zeros((rows, padded(width)), dtype=dtype)[:, :width]


def padded_rows(cupy: Any, X: Array) -> Array:
    """X, or a copy of it whose rows begin at multiples of `GROUP`, and which a thread can read in words of 16 bytes."""
    width, item = X.shape[1], X.itemsize
    row, entry = X.strides
    start = (X.data.ptr - (X if X.base is None else X.base).data.ptr) % row if row > 0 else 0
    aligned = row % (GROUP * item) == 0 and X.data.ptr % min(GROUP * item, 16) == 0
    # a thread also reads the entries of its group that are not in X: they must be in the same row of memory
    if entry == item and aligned and start + padded(width) * item <= row:
        return X
    copy = matrix(cupy, X.shape[0], width, X.dtype)
    copy[...] = X
    return copy


class Buffers:
    """Scratch arrays of a step, for batches of up to `rows` rows.

    Attributes
    ----------
    products : list of array
        For each layer x @ W; then what the backward pass needs, and for the last layer the logits without the bias.
    inputs : list of array
        For each layer its input; in bfloat16 (as uint16) if the products need it.
    deltas : list of array
        For each layer the gradient with respect to its z.
    delta_operands : list of array
        The same in the precision of the products.
    weights : array, shape (n_weights,)
        The weights in the precision of the products.
    gradient : array, shape (n_parameters,)
    unscaled, input_delta : array or None
        For a scaling layer: its input, and the gradient with respect to its output.
    """

    def __init__(self, cupy: Any, options: KernelOptions, params: Array, rows: int) -> None:
        network, dtype = options.network, options.dtype
        layout = network.layout
        sizes, operand = layout.sizes, np.dtype(np.uint16) if options.rounded else dtype
        self.products = [matrix(cupy, rows, n, dtype) for n in sizes[1:]]
        self.inputs = [matrix(cupy, rows, sizes[0], operand)]
        for layer in range(1, layout.n_layers):
            separate = options.separate_input(layer)
            self.inputs.append(matrix(cupy, rows, sizes[layer], operand) if separate else self.products[layer - 1])
        self.deltas = [matrix(cupy, rows, n, dtype) for n in sizes[1:]]
        rounded = options.rounded
        self.delta_operands = [matrix(cupy, rows, n, operand) for n in sizes[1:]] if rounded else self.deltas
        self.weights = cupy.zeros(layout.n_weights, dtype=operand) if rounded else params[: layout.n_weights]
        self.gradient = cupy.zeros(layout.n_parameters, dtype=dtype)
        scaled = layout.scaling_layer
        self.unscaled = matrix(cupy, rows, sizes[0], dtype) if scaled else None
        self.input_delta = matrix(cupy, rows, sizes[0], dtype) if scaled else None

    @staticmethod
    def n_bytes(options: KernelOptions, rows: int) -> int:
        """Bytes of all buffers, to within a few percent."""
        sizes, item = options.network.layout.sizes, options.dtype.itemsize
        entries = sum(map(padded, sizes[1:])) * 3 + padded(sizes[0])
        return rows * entries * item + options.network.layout.n_parameters * item


class EpochTables:
    """What changes from batch to batch or from epoch to epoch; the kernels look it up by the number of the batch.

    Attributes
    ----------
    words : array of int64, shape (len(WORDS),)
        Numbers of the epoch, and the position in it.
    losses, weights : array of float64, shape (n_batches,)
        Results: the loss of each batch, and its number of rows or the sum of their weights.
    results : array of float64
        `words`, `losses` and `weights` in one array, which the host reads after an epoch.
    normalizers, l2 : array of float64, shape (n_batches,)
    scalars : array, shape (n_batches, n_segments, 1 + number of the rule's scalars)
        The factor of the weight decay, then the scalars of the update rule.
    segment_stops : array of int32, shape (n_segments,)
    order : array of int64, shape (n_rows,)
    keys : array of uint64, shape (n_rows,)
        Scratch for the order.
    """

    def __init__(self, cupy: Any, options: KernelOptions, n_batches: int, n_rows: int, n_segments: int) -> None:
        self.results = cupy.zeros(len(WORDS) + 2 * n_batches, dtype=np.float64)
        self.words = self.results[: len(WORDS)].view(np.int64)
        self.losses = self.results[len(WORDS) : len(WORDS) + n_batches]
        self.weights = self.results[len(WORDS) + n_batches :]
        self.normalizers = cupy.zeros(n_batches, dtype=np.float64)
        self.l2 = cupy.zeros(n_batches, dtype=np.float64)
        self.scalars = cupy.zeros((n_batches, n_segments, 1 + n_scalars(options.rule)), dtype=options.dtype)
        self.segment_stops = cupy.zeros(n_segments, dtype=np.int32)
        self.order = cupy.zeros(n_rows, dtype=np.int64)
        self.keys = cupy.zeros(n_rows, dtype=np.uint64)
        self._sent: list[NDArray[Any]] = []

    def send(self, array: Array, host: Any, stream: Any) -> None:
        """Copy a host array to one of the tables.

        The host array stays in memory until the next epoch: where the device can read the memory of the host by
        itself, the copy runs after this method has returned.
        """
        self._sent.append(np.ascontiguousarray(host, array.dtype))
        array.set(self._sent[-1], stream)

    def fill(self, plan: EpochPlan, stream: Any) -> None:
        """Copy to the device what the host knows of an epoch, except the order of the rows."""
        self._sent.clear()
        batches, rule = slice(plan.batches.start, plan.batches.stop), plan.rule
        signed_seed = plan.seed - (plan.seed >> 63 << 64)  # the same 64 bits
        words = {
            "next_batch": plan.batches.start, "end_batch": plan.batches.stop, "failed": -1, "finite": 1,
            "halt": plan.halt, "seed": signed_seed, "epoch": plan.epoch, "batches_before": plan.batches_before,
            "row_offset": plan.row_offset,
        }  # fmt: skip
        self.send(self.words, [words.get(name, 0) for name in WORDS], stream)
        segments = plan.segments()
        rates = plan.learning_rates[:, None] * [factor for _, _, factor in segments]
        steps = plan.first_step + 1 + np.arange(len(rates))[:, None]
        scalars = np.empty(self.scalars.shape, self.scalars.dtype)
        scalars[:, :, 0] = 1 - rates * plan.weight_decay
        for column, value in enumerate(rule.row.scalars(steps, rates, **rule.hyper), start=1):
            scalars[:, :, column] = value
        self.send(self.scalars[batches], scalars[batches], stream)
        self.send(self.l2[batches], plan.l2[batches], stream)
        self.send(self.segment_stops, [stop for _, stop, _ in segments], stream)

    def serve(self, plan: EpochPlan) -> bool:
        """Whether the tables have the lengths that a plan needs."""
        lengths = len(self.l2), len(self.order), len(self.segment_stops)
        return lengths == (len(plan.l2), len(plan.order), len(plan.segments()))


class HostResults:
    """`EpochTables.results` on the host, after an epoch.

    Attributes
    ----------
    words : dict of int
        By name.
    losses, weights : ndarray of float64, shape (n_batches,)
    """

    def __init__(self, results: NDArray[np.float64]) -> None:
        self.words = dict(zip(WORDS, map(int, results[: len(WORDS)].view(np.int64)), strict=True))
        self.losses, self.weights = np.split(results[len(WORDS) :], 2)
