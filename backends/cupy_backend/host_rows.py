"""Data sets that do not fit in the memory of the GPU: `HostRows`, and `RowWindows`, which copies them in parts."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.cupy_backend.device_arrays import padded
from backends.plan import Array, EpochPlan

WINDOW_BYTES = 128 << 20
"""Size of a window: large enough to copy at full speed, small beside the memory of any GPU."""

GATHERED_ROWS = 256
"""Rows that a thread gathers at once: NumPy needs a second copy of them where `out` has gaps."""

MOST_THREADS = 8
"""Threads that gather rows: one alone is slower than the copy to the device."""


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


def gather(host: NDArray[Any], rows: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Copy the rows with these numbers to `out`."""
    for first in range(0, len(rows), GATHERED_ROWS):
        part = slice(first, first + GATHERED_ROWS)
        np.take(host, rows[part], axis=0, out=out[part], mode="clip")  # without Python's lock


class RowWindows:
    """The rows of an epoch, copied to the device in windows of several batches, each while the one before is used.

    There is memory for two windows on the device, and for two in host memory that the device can read by itself.
    Threads gather the rows of a window there; the caller's thread starts the copies.

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
        self._n_threads = min(MOST_THREADS, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(self._n_threads, "mlp-rows")
        self._gathered: dict[int, list[Future[None]]] = {}
        self._copied: dict[int, Any] = {}
        self._used: dict[int, Any] = {}

    def begin(self, plan: EpochPlan, order: NDArray[np.int64], stream: Any) -> None:
        """Prepare for an epoch in this order of the rows of the data set."""
        self._plan, self._order = plan, order
        self._gathered, self._copied, self._used = {}, {}, {}
        self._last = (min(plan.batches.stop * self._batch_size, len(order)) - 1) // self.window
        self._stream.wait_event(stream.record())  # the previous epoch
        self._gather(self._first_window)

    @property
    def _first_window(self) -> int:
        return self._plan.batches.start * self._batch_size // self.window

    def batches_left(self, batch: int) -> int:
        """Number of batches from this one on that are in its window."""
        return (self.window - batch * self._batch_size % self.window) // self._batch_size

    def before(self, batch: int, stream: Any) -> None:
        """Let `stream` wait until the rows of this batch are on the device; begin to copy the next window."""
        window = batch * self._batch_size // self.window
        if window > self._first_window and window - 1 not in self._used:
            self._used[window - 1] = stream.record()
        if window not in self._copied:
            self._copy(window)
        stream.wait_event(self._copied[window])
        if window < self._last and window + 1 not in self._copied:
            if window + 1 not in self._gathered:
                self._gather(window + 1)
            elif all(part.done() for part in self._gathered[window + 1]):
                self._copy(window + 1)

    def end(self, stream: Any) -> None:
        """Let `stream` wait for all copies, also those of rows that no batch has used because the training stopped."""
        wait(part for parts in self._gathered.values() for part in parts)
        stream.wait_event(self._stream.record())

    def _numbers(self, window: int) -> NDArray[np.int64]:
        return self._order[window * self.window : (window + 1) * self.window]

    def _gather(self, window: int) -> None:
        """Begin to bring the rows of a window together in host memory."""
        if window - 2 in self._copied:
            self._copied[window - 2].synchronize()  # the staged rows of that window may be overwritten
        rows, width = self._numbers(window), self._rows.shape[1]
        step = -(-len(rows) // self._n_threads)
        self._gathered[window] = [
            self._threads.submit(
                gather,
                self._rows.host,
                rows[first : first + step],
                self._staged[window % 2][first : first + step, :width],
            )
            for first in range(0, len(rows), step)
        ]

    def _copy(self, window: int) -> None:
        """Begin to copy the rows of a window to the device, once they are together."""
        for part in self._gathered[window]:
            part.result()
        if window - 2 in self._used:
            self._stream.wait_event(self._used[window - 2])
        half, n = window % 2, len(self._numbers(window))
        self._both[half * self.window : half * self.window + n].set(self._staged[half][:n], self._stream)
        self._copied[window] = self._stream.record()
