"""The memory layout of a network during a fused epoch: one buffer, and a table of the positions in it.

A layer's weights are stored in panels of one or two vectors of columns, ``[panel][row][column]``, with zeros in
the columns that pad the last vector.  So every product reads them in memory order, in whole vectors, and an
update of a few rows of a panel works on contiguous memory.  The bias is stored as the last row of the weights,
and the layer's input has a matching column of ones.

Inputs, outputs and gradients are stored by rows of the batch, each padded to whole vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends import random
from backends.numba_backend.nonzero_lists import list_length
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.vectors import VECTOR_BYTES
from backends.plan import NetworkPlan

FIELDS = (
    "number", "n_in", "n_out", "padded", "width", "panels", "weights", "chunks", "first_chunk", "input", "second",
    "input_row", "saved", "delta", "row", "activation", "derivative", "saves_z",
    "threshold", "scale", "dropout", "penalties", "sums",
    "weight_rate", "bias_rate", "weight_decay",
    "unscaled", "factors", "factor_sums", "factor_rate",
    "scale_inputs", "scale_gradient", "factor_squares", "update_factors",
)  # fmt: skip
"""Columns of the table of layers; positions and strides count elements of the buffer.

number                  number of the layer, from 0
n_in, n_out             as in its ``W (n_in, n_out)``
padded                  n_out rounded up to whole vectors
width, panels           columns of a panel (the last may be one vector narrower), and number of panels
weights                 position of its first panel
chunks, first_chunk     number of `CHUNK`-row pieces that a panel is updated in, and the number of the first
input, second           position of its input, and the offset of the input of odd batches
saved, delta            position of its output (z where the activation saves it), and of the gradient in z
input_row, row          stride of the rows of the input, and of those of the output and the gradient
activation, derivative  addresses of the loops of its activation (see `formula_loops`)
saves_z                 whether the backward pass of its activation needs z
threshold, scale        dropout on its input: units with an integer below threshold are dropped; position of the scale
dropout, penalties,     addresses of the parts of a step (see `step_parts`)
sums
weight_rate, bias_rate  positions of the update rule's scalars in those of a batch
weight_decay            position of the factors of the weights in those of a batch (see `batch_tables`)
unscaled                position of its input before the scaling layer; `input` if none precedes it
factors, factor_sums    the scaling layer: position of its factors, and of sums for their gradient, ``[panel][factor]``
factor_rate             position of the update rule's scalars for the factors
scale_inputs, ...       addresses of the parts of a scaling layer (see `scaling_parts`)
The trainer sets the addresses, and the positions of rates; they are 0 where its plan does not need them.
"""

(
    NUMBER, N_IN, N_OUT, PADDED, WIDTH, PANELS, WEIGHTS, CHUNKS, FIRST_CHUNK, INPUT, SECOND,
    INPUT_ROW, SAVED, DELTA, ROW, ACTIVATION, DERIVATIVE, SAVES_Z, THRESHOLD, SCALE, DROPOUT, PENALTIES, SUMS,
    WEIGHT_RATE, BIAS_RATE, WEIGHT_DECAY,
    UNSCALED, FACTORS, FACTOR_SUMS, FACTOR_RATE, SCALE_INPUTS, SCALE_GRADIENT, FACTOR_SQUARES, UPDATE_FACTORS,
) = range(len(FIELDS))  # fmt: skip

CHUNK = 48
"""Rows of a panel that are updated together: their gradient stays in the L1 cache.  A multiple of `ROWS`."""
BLOCK = 96
"""Rows of a batch in one product, for the same reason."""
SHARED_WEIGHTS = 4096
"""Smallest number of weights of a layer for which division by panels saves more time than its extra phase costs."""
THREAD_WORK = 1.5e6
"""Smallest number of operations of a step for which a second thread saves more time than synchronization costs."""


def is_shared(network: NetworkPlan, batch_size: int) -> bool:
    """Whether a step has enough work for more than one thread."""
    return 6.0 * batch_size * network.layout.n_weights >= THREAD_WORK


class Panels:
    """The buffer of a network, and the positions of the arrays in it.

    Attributes
    ----------
    table : ndarray of int64, shape (n_layers, len(FIELDS))
    space : ndarray, shape (elements,)
        The buffer.  It starts with segments of equal size: the panels of the parameters, those of each row of the
        rule's state, and those of as many gradients as are stored whole.  All other arrays follow.
    packed : int
        Size of a segment.
    chunks : int
        Number of chunks in all layers.
    shared : int
        Number of layers, counted from the first, that threads divide by panels.  The others are divided by rows of
        the batch.
    scratch : ndarray of int64, shape (threads, 3)
        Start of each thread's scratch buffers: transposed gradients; a chunk; losses and outputs of a row.
    lists : ndarray of int32
        Buffer for lists of the entries of the input that are not zero, see `nonzero_lists`; empty without them.
    list_places : ndarray of int64, shape (2 + threads,)
        Length of a list of columns (0 without lists), the offset of those of odd batches, and the start of each
        thread's lists of rows.
    """

    def __init__(
        self,
        network: NetworkPlan,
        dtype: np.dtype[Any],
        rows: int,
        threads: int,
        slots: int,
        gradients: int,
        batch_size: int | None = None,
        lists_zeros: bool = False,
    ) -> None:
        # the order of the sums follows from the batch size, also in an epoch of fewer rows than one batch
        batch_size = rows if batch_size is None else batch_size
        self.layout, self.slots, self.lanes = network.layout, slots, VECTOR_BYTES // dtype.itemsize
        self._size = self.chunks = 0
        layers = [self._layer_panels(l, network, batch_size) for l in range(self.layout.n_layers)]
        if self.layout.scaling_layer:
            layers[0]["factors"] = self._reserve(self.layout.sizes[0])
        self.packed = self._size
        self._size *= 1 + slots + gradients
        # division by panels transfers inputs between cores, division by rows transfers weights
        wide = [l["n_in"] * l["padded"] >= SHARED_WEIGHTS and l["padded"] >= batch_size for l in layers]
        self.shared = max((l + 1 for l, is_wide in enumerate(wide) if is_wide), default=0)
        self._place_rows(layers, network, rows)
        strip, longest = 2 * self.lanes, max(self.layout.sizes)
        together = rows if self.shared else min(rows, BLOCK)
        self.scratch = np.array(
            [
                [
                    self._reserve(longest * _round_up(together, strip)),
                    self._reserve(CHUNK * strip),
                    self._reserve(2 * longest),
                ]
                for _ in range(threads)
            ]
        )

        self.lists, self.list_places = self._place_lists(rows, threads) if lists_zeros else (
            np.empty(0, np.int32), np.zeros(2 + threads, np.int64)
        )  # fmt: skip
        self.table = np.array([[layer[name] for name in FIELDS] for layer in layers], np.int64)
        self.space = _aligned_zeros(self._size, dtype)
        for layer, rate in zip(layers, network.dropout, strict=True):
            self.space[layer["scale"]] = 1 / (1 - rate)
        for layer in layers:  # the column of ones for the bias
            for start in {layer["input"], layer["input"] + layer["second"], layer["unscaled"]}:
                self.space[start : start + rows * layer["input_row"]][layer["n_in"] :: layer["input_row"]] = 1

    def views(self, params: NDArray[Any], state: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Pairs of views: a part of `params` or `state`, and where the panels have it.

        ``panel[...] = flat`` for all pairs copies parameters and state into the panels, and ``flat[...] = panel`` back.
        """
        segments = self.space[: (1 + self.slots) * self.packed].reshape(1 + self.slots, self.packed)
        pairs = []
        for segment, flat in zip(segments, [params, *state], strict=True):
            for layer, (W, b) in zip(self.table, self.layout.layers(flat), strict=True):
                width, height, (n_in, n_out) = int(layer[WIDTH]), int(layer[N_IN]) + 1, W.shape
                count = n_out // width  # panels without padding; they have one shape
                full, start = count * width, int(layer[WEIGHTS])
                panels = segment[start : start + full * height].reshape(count, height, width)
                pairs.append((W[:, :full].reshape(n_in, count, width).transpose(1, 0, 2), panels[:, :-1]))
                pairs.append((b[:full].reshape(count, width), panels[:, -1]))
                rest = min(width, int(layer[PADDED]) - full)
                last = segment[start + full * height :][: height * rest].reshape(height, rest)[:, : n_out - full]
                pairs += [(W[:, full:], last[:-1]), (b[full:], last[-1])]
            if (factors := self.layout.scaling(flat)) is not None:
                pairs.append((factors, segment[int(self.table[0, FACTORS]) :][: len(factors)]))
        return [(flat, panel) for flat, panel in pairs if flat.size]

    def _layer_panels(self, l: int, network: NetworkPlan, batch_size: int) -> dict[str, int]:
        n_in, n_out = network.layout.sizes[l : l + 2]
        padded = _round_up(n_out, self.lanes)
        # with panels of one vector, a narrow layer has two panels to divide
        divided = padded <= 2 * self.lanes and is_shared(network, batch_size)
        width = self.lanes * (1 if divided else 2)
        panels, chunks = -(-padded // width), -(-(n_in + 1) // CHUNK)
        activation, rate = network.activations[l], network.dropout[l]
        layer = dict.fromkeys(FIELDS, 0) | {
            "number": l, "n_in": n_in, "n_out": n_out, "padded": padded, "width": width, "panels": panels,
            "weights": self._reserve((n_in + 1) * padded), "chunks": chunks, "first_chunk": self.chunks,
            "saves_z": activation.saves == "z", "threshold": random.dropout_threshold(rate) if rate else 0,
        }  # fmt: skip
        self.chunks += panels * chunks
        return layer

    def _place_rows(self, layers: list[dict[str, int]], network: NetworkPlan, count: int) -> None:
        strides = [self._row(n) for n in self.layout.sizes]
        for l, layer in enumerate(layers):
            layer["input_row"], layer["row"] = strides[l : l + 2]
            layer["scale"] = self._reserve(1)
            # two buffers: the first input is gathered while the input of the previous batch is still in use
            scaled = l == 0 and self.layout.scaling_layer  # it waits for the update of the factors
            doubled = l == 0 and self.shared > 0 and not scaled
            layer["input"] = layer["unscaled"] = self._reserve(count * strides[l] * (1 + doubled))
            layer["second"] = count * strides[l] if doubled else 0
            layer["delta"] = self._reserve(count * strides[l + 1])
            if scaled:
                layer["unscaled"] = self._reserve(count * strides[l])
                layer["factor_sums"] = self._reserve(layer["panels"] * layer["n_in"])
        for layer, next_layer in zip(layers, [*layers[1:], None], strict=True):
            # y is stored directly as the next layer's input, unless the backward pass needs z or dropout follows
            if next_layer and not next_layer["threshold"] and not layer["saves_z"]:
                layer["saved"] = next_layer["input"]
            else:
                layer["saved"] = self._reserve(count * layer["row"])

    def _place_lists(self, rows: int, threads: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The buffer for lists, and the places in it."""
        columns = list_length(self.layout.sizes[0] + 1)
        of_batch = -(-rows // ROWS) * columns
        of_thread = -(-rows // BLOCK) * (CHUNK // ROWS) * list_length(BLOCK)
        starts = 2 * of_batch + of_thread * np.arange(threads)
        return np.zeros(2 * of_batch + of_thread * threads, np.int32), np.array(
            [columns, of_batch if self.shared else 0, *starts], np.int64
        )

    def _row(self, units: int) -> int:
        """Stride of rows of `units` + 1 elements: an odd number of vectors if long, so columns use all cache sets."""
        vectors = -(-(units + 1) // self.lanes)
        return (vectors | 1 if vectors >= 8 else vectors) * self.lanes

    def _reserve(self, count: int) -> int:
        """Reserve `count` elements, aligned to a vector; return their position."""
        start = self._size
        self._size += _round_up(count, self.lanes)
        return start


def _round_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _aligned_zeros(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    padding = VECTOR_BYTES // dtype.itemsize
    buffer = np.zeros(count + padding, dtype)
    start = -buffer.ctypes.data % VECTOR_BYTES // dtype.itemsize
    return buffer[start : start + count]
