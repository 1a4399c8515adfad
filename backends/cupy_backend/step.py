"""`build_step`: a training step as a sequence of kernel launches and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from backends.cupy_backend.cublas import Cublas, Product
from backends.cupy_backend.device_arrays import GROUP, Buffers, EpochTables, padded
from backends.cupy_backend.kernel_source import (
    THREADS,
    KernelOptions,
    activate_backward_name,
    activate_name,
)
from backends.plan import Array, EpochPlan
from backends.random import dropout_threshold

LOSS_BLOCKS = 128
"""Largest number of blocks of the loss kernel: the update kernel adds up their sums."""

DIRECT_ROWS = 64
"""Up to this many rows the update kernel itself adds up the gradients of the biases; above, another kernel does."""

COLUMN_ROWS = 256
"""Rows that a block of that kernel adds up."""


class Launch(NamedTuple):
    """A kernel, its grid and its arguments."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]

    def run(self) -> None:
        """Start the kernel on the current stream."""
        self.kernel(self.grid, (THREADS,), self.arguments)


@dataclass(frozen=True)
class EpochArrays:
    """The arrays of a trainer that every way of running an epoch needs, and its kernels.

    Attributes
    ----------
    kernel : callable
        ``kernel(name)`` is a kernel of the compiled module.
    source : str
        The text of the module.
    X, X_order : array
        The rows, and the row of `X` for each row of the epoch.
    update_blocks : int
        Blocks of the kernels that go through all parameters.
    """

    cupy: Any
    options: KernelOptions
    kernel: Callable[[str], Any]
    source: str
    X: Array
    X_order: Array
    target: Array
    weight: Array | None
    params: Array
    state: Array
    tables: EpochTables
    update_blocks: int


@dataclass(frozen=True)
class StepArrays(EpochArrays):
    """The arrays of a trainer, and what else the launches of a step need."""

    cublas: Cublas
    buffers: Buffers
    block_losses: Array
    block_squares: Array
    block_sums: Array


class Step:
    """The launches of one training step of `rows` rows; `run` starts them all, in order, without waiting.

    The number of the batch is on the device, so every step is the same sequence.  The launches contain addresses, so
    the step keeps the arrays.

    Parameters
    ----------
    arrays : StepArrays
    plan : EpochPlan
        Its numbers that hold for all batches become arguments.
    rows : int
    """

    def __init__(self, arrays: StepArrays, plan: EpochPlan, rows: int) -> None:
        self._arrays, self._plan, self._rows = arrays, plan, rows
        self._network = arrays.options.network
        self._real = arrays.options.dtype.type
        self._tf32 = self._network.precision == "tf32"
        self._kept: list[Array] = []
        self.launches: list[Launch | Product] = []
        self._forward()
        self._loss()
        self._backward()
        self._update()

    def run(self) -> None:
        for launch in self.launches:
            launch.run()

    # -- the parts of the step ----------------------------------------------------------------------

    def _forward(self) -> None:
        arrays, network, buffers = self._arrays, self._network, self._arrays.buffers
        layout, X = network.layout, arrays.X
        factors, unscaled = layout.scaling(arrays.params), buffers.unscaled
        self._rowwise(
            "gather", 0,
            (
                arrays.tables.words, arrays.X_order, X, np.int64(X.strides[0] // X.itemsize),
                self._real(network.input_scale), arrays.params if factors is None else factors,
                np.int32(self._plan.batch_size),
            ),
            (buffers.inputs[0], buffers.products[0] if unscaled is None else unscaled),
        )  # fmt: skip
        for layer, ((_, bias), W) in enumerate(zip(layout.layers(arrays.params), self._weights(), strict=True)):
            self._product(buffers.inputs[layer][: self._rows], W, buffers.products[layer][: self._rows])
            if layer + 1 < layout.n_layers:
                before = arrays.tables.words, buffers.products[layer], bias
                self._rowwise(activate_name(arrays.options, layer + 1), layer + 1, before, (buffers.inputs[layer + 1],))

    def _loss(self) -> None:
        arrays, plan, kind = self._arrays, self._plan, self._network.kind
        buffers, tables, real = arrays.buffers, arrays.tables, self._real
        n_outputs = self._network.layout.sizes[-1]
        _, delta_factor = kind.shares(n_outputs)
        smoothing = plan.label_smoothing
        values = n_outputs if kind.loss.name == "cross_entropy" else 2  # as in `Operations.smooth_labels`
        bias = self._network.layout.layers(arrays.params)[-1][1]
        delta = buffers.deltas[-1]
        self._launch(
            "loss", (self.loss_blocks,),
            tables.words, tables.order, arrays.target, arrays.params if arrays.weight is None else arrays.weight,
            tables.normalizers, np.int32(plan.batch_size), np.int32(self._rows), np.int32(n_outputs),
            np.int32(padded(n_outputs)), buffers.products[-1], bias, real(1 - smoothing), real(smoothing / values),
            real(delta_factor), real(kind.ceiling(arrays.options.dtype)), delta, buffers.delta_operands[-1],
            arrays.block_losses,
        )  # fmt: skip

    @property
    def loss_blocks(self) -> int:
        """Blocks of the loss kernel."""
        return min(LOSS_BLOCKS, -(-self._rows * self._arrays.options.lanes // THREADS))

    def _backward(self) -> None:
        arrays, network, buffers, rows = self._arrays, self._network, self._arrays.buffers, self._rows
        layout = network.layout
        gradients, weights = layout.layers(buffers.gradient), self._weights()
        for layer in reversed(range(layout.n_layers)):
            delta = buffers.delta_operands[layer][:rows]
            self._product(buffers.inputs[layer][:rows], delta, gradients[layer][0], trans_a=True)
            below = buffers.deltas[layer - 1] if layer else buffers.input_delta
            if below is None:
                continue
            self._product(delta, weights[layer], below[:rows], trans_b=True)
            if layer:
                before = arrays.tables.words, below, buffers.products[layer - 1]
                name = activate_backward_name(arrays.options, layer)
                self._rowwise(name, layer, before, (buffers.delta_operands[layer - 1],))
            elif network.dropout[0]:
                self._rowwise("drop_rows", 0, (arrays.tables.words, below), ())

    def _update(self) -> None:
        arrays, plan, tables = self._arrays, self._plan, self._arrays.tables
        options, buffers, layout = arrays.options, arrays.buffers, self._network.layout
        clip_value = math.inf if plan.clip_value is None else plan.clip_value
        gradient = (
            buffers.gradient, self._column_sums(), np.int32(layout.n_weights), np.int32(layout.n_parameters),
            np.float64(plan.l1), self._real(clip_value),
        )  # fmt: skip
        blocks = (arrays.update_blocks,)
        if options.by_norm:
            self._launch(
                "finish_gradient", blocks, tables.words, *gradient, arrays.params, tables.l2, arrays.block_squares
            )
        loss_factor, _ = self._network.kind.shares(layout.sizes[-1])
        self._launch(
            "update", blocks, tables.words, *gradient, tables.normalizers, tables.l2, arrays.block_losses,
            arrays.block_squares, arrays.block_sums, tables.losses, np.int32(self.loss_blocks), np.float64(loss_factor),
            np.float64(math.inf if plan.clip_norm is None else plan.clip_norm), tables.scalars, tables.segment_stops,
            np.int32(len(tables.segment_stops)), arrays.params, arrays.state, buffers.weights,
        )  # fmt: skip

    def _column_sums(self) -> Array:
        """The sources of the gradients that are sums over rows: biases, and factors of a scaling layer."""
        layout, buffers = self._network.layout, self._arrays.buffers
        sources: list[tuple[int, ...]] = []
        columns = 0
        for n, delta in zip(layout.sizes[1:], buffers.deltas, strict=True):
            sources.append((delta.data.ptr, 0, columns, self._rows, padded(n)))
            columns += n
        if buffers.unscaled is not None and buffers.input_delta is not None:
            pointers = buffers.input_delta.data.ptr, buffers.unscaled.data.ptr
            sources.append((*pointers, columns, self._rows, padded(layout.sizes[0])))
            columns += layout.sizes[0]
        table = self._table(sources, columns)
        if self._rows <= DIRECT_ROWS:
            return table
        blocks = -(-self._rows // COLUMN_ROWS)
        sums = self._arrays.cupy.zeros((blocks, columns), dtype=self._arrays.options.dtype)
        self._kept.append(sums)
        grid = -(-columns // 32), blocks
        self._launch("sum_columns", grid, table, np.int32(columns), np.int32(COLUMN_ROWS), sums)
        return self._table([(sums.data.ptr, 0, 0, blocks, columns)], columns)

    def _table(self, sources: list[tuple[int, ...]], columns: int) -> Array:
        end = 0, 0, columns, 0, 0
        table = self._arrays.cupy.asarray(np.array([*sources, end], np.int64))
        self._kept.append(table)
        return table

    # -- helpers -------------------------------------------------------------------------------------

    def _weights(self) -> list[Array]:
        """The weights of each layer as operands of the products."""
        return self._network.layout.weights(self._arrays.buffers.weights)

    def _rowwise(self, name: str, layer: int, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        """Launch an elementwise kernel on the input of a layer, a thread for each group of entries of each row."""
        width, rate = self._network.layout.sizes[layer], self._network.dropout[layer]
        stride = padded(width)
        blocks = -(-self._rows * (stride // GROUP) // THREADS)
        dropout = np.int32(layer), np.int64(dropout_threshold(rate)), self._real(1 / (1 - rate))
        shape = np.int32(self._rows), np.int32(width), np.int32(stride)
        self._launch(name, (blocks,), *before, *shape, *dropout, *after)

    def _launch(self, name: str, grid: tuple[int, ...], *arguments: Any) -> None:
        self.launches.append(Launch(self._arrays.kernel(name), grid, arguments))

    def _product(self, a: Array, b: Array, out: Array, *, trans_a: bool = False, trans_b: bool = False) -> None:
        product = self._arrays.cublas.product(a, b, out, trans_a=trans_a, trans_b=trans_b, tf32=self._tf32)
        self.launches.append(product)


def settings_of(plan: EpochPlan) -> tuple[Any, ...]:
    """The numbers of a plan that are arguments of the launches; with others, a new step is needed."""
    return plan.batch_size, plan.l1, plan.clip_value, plan.clip_norm, plan.label_smoothing, len(plan.segments())
