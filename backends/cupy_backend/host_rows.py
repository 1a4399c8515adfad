"""Data sets that do not fit in the memory of the GPU: `HostRows`, and `RowWindows`, which copies them in parts."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.cupy_backend.device_arrays import padded
from backends.plan import Array, EpochPlan

WINDOW_BYTES = 128 << 20
"""Size of a window: large enough to copy at full speed, small beside the memory of any GPU."""


class HostRows:
    """The rows of a data set on the host, in place of a device array.

    A slice of it is a device array; rows chosen by their numbers stay on the host.  Trainers and `take_rows` accept
    it as X.

    Parameters
    ----------
    cupy : module
    host : ndarray, shape (n, n_in)
    """

    def __init__(self, cupy: Any, host: NDArray[Any]) -> None:
        self._cupy, self.host = cupy, host
        self.shape, self.dtype, self.ndim = host.shape, host.dtype, host.ndim

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return self._cupy.asarray(self.host[rows])
        return HostRows(self._cupy, self.host[self._cupy.asnumpy(rows)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.host, dtype=dtype, copy=copy)

    def sum(self) -> Any:
        """Sum of all entries."""
        return self.host.sum()

    def get(self) -> NDArray[Any]:
        """The rows as a host array."""
        return self.host

    def take(self, rows: Array) -> Array:
        """The rows with these numbers, as a device array."""
        return self._cupy.asarray(self.host[self._cupy.asnumpy(rows)])


class RowWindows:
    """The rows of an epoch, copied to the device in windows of several batches, each while the one before is used.

    There is memory for two windows on the device, and for two in host memory that the device can read by itself.

    Parameters
    ----------
    cupy : module
    rows : HostRows
    batch_size : int
    n : int
        Number of rows of an epoch.

    Attributes
    ----------
    X : array
        Both windows, one after the other.
    order : array of int64, shape (n,)
        Row of `X` for each row of the epoch.
    """

    def __init__(self, cupy: Any, rows: HostRows, batch_size: int, n: int) -> None:
        empty_pinned = importlib.import_module("cupyx").empty_pinned
        width, dtype = rows.shape[1], rows.dtype
        row_bytes = padded(width) * dtype.itemsize
        batches = max(1, WINDOW_BYTES // (row_bytes * batch_size))
        self._rows, self._batch_size = rows, batch_size
        self.window = batches * batch_size  # in rows
        self._both = cupy.zeros((2 * self.window, padded(width)), dtype=dtype)
        self.X = self._both[:, :width]
        self.order = cupy.asarray(np.arange(n) % (2 * self.window))
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._staged = [empty_pinned((self.window, padded(width)), dtype) for _ in range(2)]
        for staged in self._staged:
            staged[...] = 0
        self._copied: dict[int, Any] = {}
        self._used: dict[int, Any] = {}

    def begin(self, plan: EpochPlan, order: NDArray[np.int64], stream: Any) -> None:
        """Prepare for an epoch in this order of the rows of the data set."""
        self._plan, self._order = plan, order
        self._copied, self._used = {}, {}
        self._last = (min(plan.batches.stop * self._batch_size, len(order)) - 1) // self.window
        self._stream.wait_event(stream.record())  # the previous epoch
        self._copy(self._first_window)

    @property
    def _first_window(self) -> int:
        return self._plan.batches.start * self._batch_size // self.window

    def batches_left(self, batch: int) -> int:
        """Number of batches from this one on that are in its window."""
        return (self.window - batch * self._batch_size % self.window) // self._batch_size

    def before(self, batch: int, stream: Any) -> None:
        """Let `stream` wait until the rows of this batch are on the device; begin to copy the next window."""
        window = batch * self._batch_size // self.window
        if window not in self._used and window > self._first_window:
            self._used[window - 1] = stream.record()
        stream.wait_event(self._copied[window])
        if window < self._last and window + 1 not in self._copied:
            self._copy(window + 1)

    def end(self, stream: Any) -> None:
        """Let `stream` wait for all copies, also those of rows that no batch has used because the training stopped."""
        stream.wait_event(self._stream.record())

    def _copy(self, window: int) -> None:
        half = window % 2
        if window - 2 in self._copied:
            self._copied[window - 2].synchronize()  # the staged rows of that window may be overwritten
            self._stream.wait_event(self._used[window - 2])
        rows = self._order[window * self.window : (window + 1) * self.window]
        staged = self._staged[half][: len(rows)]
        np.take(self._rows.host, rows, axis=0, out=staged[:, : self._rows.shape[1]], mode="clip")
        self._both[half * self.window : half * self.window + len(rows)].set(staged, self._stream)
        self._copied[window] = self._stream.record()
