"""`FusedPredictor`: predicts with the kernel of `prediction_kernel`, where that can compute the network."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from backends.float_warnings import no_float_warnings
from backends.formulas import Activation
from backends.numba_backend import threads
from backends.numba_backend.formula_loops import activation_loop
from backends.numba_backend.gemm import DEPTH, FAR_BYTES, FAR_ROWS
from backends.numba_backend.prediction_kernel import FAILED, IDENTITY, PADDED, ROW, SOFTMAX, prediction_kernel
from backends.numba_backend.register_tiles import ROWS
from backends.numba_backend.trainer import SPARSE_INPUTS
from backends.numba_backend.vectors import VECTOR_BYTES
from backends.operations import Operations
from backends.plan import Array
from backends.predictor import BYTES, Predictor

PACKED_ROWS = 512
"""Rows from which on packed weights and the search for zeros save more time than they cost."""

SMALL_WEIGHTS, SMALL_BLOCK, BLOCK = 1 << 19, 32, 96
"""Up to so many bytes, all weights stay in a core's cache.  Then small blocks of rows are best; else larger ones, which
read the weights less often."""

_NO_BYTES = np.empty((0, 0), np.uint8)
_NO_NUMBERS = {np.dtype(real): np.empty((0, 0), real) for real in (np.float32, np.float64)}
_NO_PANELS = {np.dtype(real): np.empty(0, real) for real in (np.float32, np.float64)}
_loading = threading.Lock()


class FusedPredictor(Predictor):
    """Takes rows through all layers in one compiled call for each thread, with the bits of `dense` layer by layer."""

    def __init__(
        self,
        xp: Operations,
        layers: Sequence[tuple[Array, Array, str | Activation]],
        factors: Array | None = None,
        input_scale: float = 1.0,
    ) -> None:
        super().__init__(xp, layers, factors, input_scale)
        self._kernel: Any = None
        self._can_fuse = all(
            _fits_kernel(W, b) and not activation.custom and (not activation.rowwise or l == len(self.layers) - 1)
            for l, (W, b, activation) in enumerate(self.layers)
        )
        self.in_blocks = self._can_fuse and factors is None  # a scaling layer makes a copy of all rows
        if self._can_fuse:
            self._scale = self.dtype.type(input_scale)
            self._n_weights = sum(W.size for W, _, _ in self.layers)
            self._direct, self._packed, self._size = _tables(self.layers)
            small = self._size * self.dtype.itemsize <= SMALL_WEIGHTS
            self._block = SMALL_BLOCK if small else BLOCK
            far = max(W.strides[0] for W, _, _ in self.layers) >= FAR_BYTES
            self._packed_rows = FAR_ROWS if far else PACKED_ROWS

    def __call__(self, x: Array, *, logits: bool = False) -> Array:
        return self._run(x, logits)[0] if self._can_fuse else super().__call__(x, logits=logits)

    def checked(self, x: Array) -> tuple[Array, bool]:
        return self._run(x, False) if self._can_fuse else super().checked(x)

    def _run(self, x: Array, logits: bool) -> tuple[Array, bool]:
        self._check_rows(x)
        if self.factors is not None:
            with no_float_warnings():
                x = self.xp.scale_columns(self._as_floats(x), self.factors)
        if not x.flags.aligned:
            x = np.ascontiguousarray(x)
        n, dtype = x.shape[0], self.dtype
        y, state = np.empty((n, self.n_out), dtype), np.zeros(2, np.int64)
        if not n:
            return y, True
        kernel = self._kernel
        if kernel is None:
            with _loading:  # threads that begin together would compile it once each
                kernel = self._kernel = prediction_kernel(dtype)
        numbers, bytes_ = (_NO_NUMBERS[dtype], x) if x.dtype == BYTES else (x, _NO_BYTES)
        table, panels, leave_out = self._direct, _NO_PANELS[dtype], False
        if n >= self._packed_rows:
            table, panels, leave_out = self._packed, self._panels(), self._may_leave_out_zeros()
        parts = threads.get_num_threads() if n * self._n_weights >= threads.SHARED_WORK else 1
        # blocks change no bits, so they may depend on the number of threads
        block = min(self._block, -(-n // (parts * ROWS)) * ROWS)
        arguments = numbers, bytes_, self._scale, table, panels, leave_out, y, block, logits, state
        parts = min(parts, -(-n // block))
        if parts > 1:
            threads.run(lambda part: kernel(*arguments), parts)
        else:
            kernel(*arguments)
        return y, not state[FAILED]

    def _panels(self) -> Array:
        """The weights of all layers, copied to panels of one or two vectors of columns in each `DEPTH` rows."""
        lanes = VECTOR_BYTES // self.dtype.itemsize
        buffer = np.empty(self._size + lanes, self.dtype)
        panels = buffer[-buffer.ctypes.data % VECTOR_BYTES // self.dtype.itemsize :]
        start, width = 0, 2 * lanes
        for W, _, _ in self.layers:
            n_in, n_out = W.shape
            padded = _round_up(n_out, lanes)
            full = n_out // width * width
            for k in range(0, n_in, DEPTH):
                rows = W[k : k + DEPTH]
                steps = len(rows)
                whole, rest = panels[start : start + full * steps], panels[start + full * steps :]
                whole.reshape(-1, steps, width)[...] = rows[:, :full].reshape(steps, -1, width).transpose(1, 0, 2)
                last = rest[: (padded - full) * steps].reshape(steps, padded - full)
                last[:, : n_out - full] = rows[:, full:]
                last[:, n_out - full :] = 0
                start += padded * steps
        return panels[: self._size]

    def _may_leave_out_zeros(self) -> bool:
        """Whether the weights of the first layer are finite, so that their products with zero are zero."""
        if self.n_in < SPARSE_INPUTS:
            return False
        with no_float_warnings():
            return math.isfinite(np.add.reduce(self.layers[0][0], axis=None))


def _fits_kernel(W: Array, b: Array) -> bool:
    """Whether the kernel can read these arrays: not empty, aligned, and with adjacent columns."""
    adjacent = W.strides[1] == W.itemsize and b.strides[0] == b.itemsize
    return bool(W.size) and adjacent and W.flags.aligned and b.flags.aligned


def _tables(layers: Sequence[tuple[Array, Array, Activation]]) -> tuple[Array, Array, int]:
    """The kernel's tables of the layers, without and with packed weights, and the number of elements of the latter."""
    lanes, position = VECTOR_BYTES // layers[0][0].itemsize, 0
    table = []
    for W, b, activation in layers:
        n_in, n_out = W.shape
        padded = _round_up(n_out, lanes)
        loop = SOFTMAX if activation.rowwise else IDENTITY
        if not activation.rowwise and activation.name != "identity":
            loop = activation_loop(activation, W.dtype)
        row = W.strides[0] // W.itemsize
        table.append((n_in, n_out, W.ctypes.data, row, b.ctypes.data, loop, padded, n_out, position))
        position += n_in * padded
    direct = np.array(table, np.int64)
    packed = direct.copy()
    packed[:, ROW] = direct[:, PADDED]
    return direct, packed, position


def _round_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
