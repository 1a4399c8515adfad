"""How a network lies in memory while `epoch` trains it: one buffer, and a table that says what is where.

A layer's weights stand in panels of one or two vectors of columns, ``[panel][row][column]``, with zeros for
the columns that fill up the last vector.  So every product reads them in order, whole vectors at a time, and
a few rows of a panel are one piece of memory that an update can run through.  The bias is one more row of
weights, below the others, and the layer's input has a column of ones to go with it.

Inputs, outputs and slopes are stored by rows of the batch, each filled up to whole vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends import random
from backends.numba_backend.kernels import ACTIVATION_CODE
from backends.numba_backend.tiles import VECTOR_BYTES
from backends.plan import NetworkPlan

FIELDS = (
    "number", "n_in", "n_out", "padded", "width", "panels", "weights", "chunks", "first_chunk", "input", "second",
    "input_row", "saved", "delta", "row", "activation", "saves_z", "threshold", "scale",
)  # fmt: skip
"""Columns of the table of layers; positions and distances count elements of the buffer.

number                  of the layer, from 0
n_in, n_out             as in its ``W (n_in, n_out)``
padded                  n_out filled up to whole vectors
width, panels           columns of a panel (the last may be one vector narrower), and how many there are
weights                 where its first panel is
chunks, first_chunk     pieces of `CHUNK` rows that a panel is updated in, and the number of its first one
input, second           where its input is, and how much further on the input of every other batch is
saved, delta            where its output (z for activations that ask for it) is, and the slope in z
input_row, row          distance of the rows of the input, and of those of the output and the slope
activation, saves_z     code of its activation, and whether the way back needs z
threshold, scale        of the dropout on its input: nothing is dropped below 0; where the scale is
"""

(
    NUMBER, N_IN, N_OUT, PADDED, WIDTH, PANELS, WEIGHTS, CHUNKS, FIRST_CHUNK, INPUT, SECOND,
    INPUT_ROW, SAVED, DELTA, ROW, ACTIVATION, SAVES_Z, THRESHOLD, SCALE,
) = range(len(FIELDS))  # fmt: skip

CHUNK = 32
"""Rows of a panel that are updated at once: their gradient stays in the L1 cache."""
BLOCK = 64
"""Rows of a batch that a product runs through at once, for the same reason."""
SHARED_WEIGHTS = 4096
"""Weights of a layer from which on a phase of its own pays."""
THREAD_WORK = 1.5e6
"""Floating-point operations of a step from which a second thread gives more than meeting it takes."""


def is_shared(network: NetworkPlan, batch_size: int) -> bool:
    """Whether a step is worth more than one thread."""
    return 6.0 * batch_size * network.layout.n_weights >= THREAD_WORK


class Panels:
    """A network's place in memory.

    Attributes
    ----------
    table : ndarray of int64, shape (n_layers, len(FIELDS))
    space : ndarray, shape (elements,)
        Panels, one more such part for each row of the rule's state and for the gradient if it is kept, then
        the rest.
    packed : int
        Size of such a part.
    chunks : int
        How many there are in all layers.
    shared : int
        The first so many layers are divided among threads by panels; in the others each thread does its own
        rows of the batch.
    scratch : ndarray of int64, shape (threads, 3)
        Start of each thread's scratch buffers: transposed gradients; a chunk; losses and outputs of a row.
    """

    def __init__(
        self, network: NetworkPlan, dtype: np.dtype[Any], batch_size: int, threads: int, slots: int, keep_gradient: bool
    ) -> None:
        self.layout, self.slots, self.lanes = network.layout, slots, VECTOR_BYTES // dtype.itemsize
        self._size = self.chunks = 0
        layers = [self._panels_of(l, network, batch_size) for l in range(self.layout.n_layers)]
        self.packed = self._size
        self._size *= 1 + slots + keep_gradient
        # dividing by panels moves inputs between processors, dividing by rows moves weights
        wide = [l["n_in"] * l["padded"] >= SHARED_WEIGHTS and l["padded"] >= batch_size for l in layers]
        self.shared = max((l + 1 for l, is_wide in enumerate(wide) if is_wide), default=0)
        self._place_rows(layers, network, batch_size)
        strip, longest = 2 * self.lanes, max(self.layout.sizes)
        together = batch_size if self.shared else min(batch_size, BLOCK)
        self.scratch = np.array(
            [
                [self._take(longest * _round_up(together, strip)), self._take(CHUNK * strip), self._take(2 * longest)]
                for _ in range(threads)
            ]
        )

        self.table = np.array([[layer[name] for name in FIELDS] for layer in layers], np.int64)
        self.space = _aligned_zeros(self._size, dtype)
        for layer, rate in zip(layers, network.dropout, strict=True):
            self.space[layer["scale"]] = 1 / (1 - rate)
        for layer in layers:  # the ones that the bias is multiplied by
            for start in {layer["input"], layer["input"] + layer["second"]}:
                self.space[start : start + batch_size * layer["input_row"]][layer["n_in"] :: layer["input_row"]] = 1

    def pack(self, params: NDArray[Any], state: NDArray[Any]) -> None:
        """Copy parameters and state into their panels."""
        for part, flat in enumerate([params, *state]):
            for weights, bias, panel in self._panels(part, flat):
                panel[:-1, : weights.shape[1]] = weights
                panel[-1, : bias.size] = bias

    def unpack(self, params: NDArray[Any], state: NDArray[Any]) -> None:
        """Copy them back."""
        for part, flat in enumerate([params, *state]):
            for weights, bias, panel in self._panels(part, flat):
                weights[...] = panel[:-1, : weights.shape[1]]
                bias[...] = panel[-1, : bias.size]

    def _panels(self, part: int, flat: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """Of each panel: its columns of W and of b, as they lie in `flat`, and the panel itself."""
        for layer, (W, b) in zip(self.table, self.layout.layers(flat), strict=True):
            start, height = part * self.packed + layer[WEIGHTS], layer[N_IN] + 1
            for first in range(0, layer[PADDED], layer[WIDTH]):
                width = min(layer[WIDTH], layer[PADDED] - first)
                panel = self.space[start : start + height * width].reshape(height, width)
                yield W[:, first : first + width], b[first : first + width], panel
                start += height * width

    def _panels_of(self, l: int, network: NetworkPlan, batch_size: int) -> dict[str, int]:
        n_in, n_out = network.layout.sizes[l : l + 2]
        padded = _round_up(n_out, self.lanes)
        # panels of one vector give a narrow layer two panels to divide
        divided = padded <= 2 * self.lanes and is_shared(network, batch_size)
        width = self.lanes * (1 if divided else 2)
        panels, chunks = -(-padded // width), -(-(n_in + 1) // CHUNK)
        activation, rate = network.activations[l], network.dropout[l]
        layer = {
            "number": l, "n_in": n_in, "n_out": n_out, "padded": padded, "width": width, "panels": panels,
            "weights": self._take((n_in + 1) * padded), "chunks": chunks, "first_chunk": self.chunks,
            "activation": ACTIVATION_CODE.get(activation.name, -1), "saves_z": activation.saves == "z",
            "threshold": random.dropout_threshold(rate) if rate else 0,
        }  # fmt: skip
        self.chunks += panels * chunks
        return layer

    def _place_rows(self, layers: list[dict[str, int]], network: NetworkPlan, batch_size: int) -> None:
        rows = [self._row(n) for n in self.layout.sizes]
        for l, layer in enumerate(layers):
            layer["input_row"], layer["row"] = rows[l : l + 2]
            layer["scale"] = self._take(1)
            # the first input is gathered while the batch before is still being used
            twice = l == 0 and self.shared > 0
            layer["input"] = self._take(batch_size * rows[l] * (1 + twice))
            layer["second"] = batch_size * rows[l] if twice else 0
            layer["delta"] = self._take(batch_size * rows[l + 1])
        for layer, above in zip(layers, [*layers[1:], None], strict=True):
            # y becomes the next layer's input where it stands, if nobody needs what it is made from
            if above and not above["threshold"] and not layer["saves_z"]:
                layer["saved"] = above["input"]
            else:
                layer["saved"] = self._take(batch_size * layer["row"])

    def _row(self, units: int) -> int:
        """Distance of rows with room for `units` and a one, such that long ones do not share a few cache lines."""
        vectors = -(-(units + 1) // self.lanes)
        return (vectors | 1 if vectors >= 8 else vectors) * self.lanes

    def _take(self, count: int) -> int:
        """A place for so many elements, at a whole vector."""
        start = self._size
        self._size += _round_up(count, self.lanes)
        return start


def _round_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _aligned_zeros(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    spare = VECTOR_BYTES // dtype.itemsize
    room = np.zeros(count + spare, dtype)
    start = -room.ctypes.data % VECTOR_BYTES // dtype.itemsize
    return room[start : start + count]
