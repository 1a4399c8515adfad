"""`CupyBackend`: arrays of `cupy` on one NVIDIA GPU, products by cuBLAS, training by CUDA graphs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.base import Backend
from backends.cupy_backend.cublas import Cublas, has_adjacent_rows
from backends.cupy_backend.device import Device, in_words
from backends.cupy_backend.device_arrays import GROUP, padded
from backends.cupy_backend.host_rows import HostRows
from backends.cupy_backend.trainer import GraphTrainer
from backends.errors import WrongDeviceError
from backends.formulas import Rule
from backends.plan import Array, NetworkPlan

logger = logging.getLogger("mlp")

MOST_OF_MEMORY = 0.8
"""Share of the free memory that a data set may take; the rest is for buffers and copies."""

COPIED_BYTES = 64 << 20
"""Part of a data set that is copied to the device at once."""

_ON_DEVICE = (
    "dense", "activate", "activate_backward", "dense_backward", "loss_and_delta", "smooth_labels", "add_penalty",
    "clip", "multiply", "update", "dropout", "scale_columns", "scale_columns_backward", "sum",
)  # fmt: skip
"""Operations of the portable implementation that start work, and therefore need the device of this backend."""


class CupyBackend(Backend):
    """Operations by `cupy` on one GPU."""

    name = "cupy"
    precisions = ("float32", "tf32", "bf16")

    def __init__(self, device: str) -> None:
        cupy: Any = importlib.import_module("cupy")
        special: Any = importlib.import_module("cupyx.scipy.special")
        super().__init__(cupy, erfc=special.erfc)
        self.device = device
        self._device = Device(cupy, device)
        self._cublas: Cublas | None = None
        self._product_lock = threading.Lock()

    @property
    def execution(self) -> str:
        """How trainers run an epoch.

        ``"graphs"``: as CUDA graphs of several steps; ``"launches"``: by launching the same kernels one by one, with
        the same bits; ``"persistent"``: by a kernel that trains many batches, for networks with hidden layers, and as
        graphs where it cannot run; ``"loop"``: by the operations of the portable loop.
        """
        return self._device.execution

    @execution.setter
    def execution(self, value: str) -> None:
        self._device.execution = value

    def current_device(self) -> contextlib.AbstractContextManager[Any]:
        device: contextlib.AbstractContextManager[Any] = self._device.cuda
        return device

    # -- transfer and allocation --------------------------------------------------------------------

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        if isinstance(x, self.namespace.ndarray) and x.device != self._device.cuda:
            raise WrongDeviceError(
                f"asarray of the backend on {self.device} got an array on cuda:{x.device.id}. "
                "Copy it to the host first, with to_numpy of the other backend."
            )
        size = int(getattr(x, "size", 0)) * np.dtype(dtype or getattr(x, "dtype", np.float64)).itemsize
        with self._device.allocating("an array", size, "Use fewer rows, or float32 instead of float64."):
            return self.namespace.asarray(x, dtype=dtype)

    def as_rows(self, x: Any, dtype: Any = None) -> Array:
        """Like `asarray`; a data set that does not fit in the free memory stays on the host, as `HostRows`."""
        if isinstance(x, self.namespace.ndarray):
            return self.asarray(x, dtype)
        host = np.asarray(x.host if isinstance(x, HostRows) else x)
        kind, width = np.dtype(dtype or host.dtype), host.shape[1]
        row_bytes = padded(width) * kind.itemsize
        needed, free = len(host) * row_bytes, self._device.free_bytes()
        if needed > MOST_OF_MEMORY * free:
            logger.info(
                "X needs %s and %s has %s free: its rows stay on the host and are copied during training",
                in_words(needed), self.device, in_words(free),
            )  # fmt: skip
            return HostRows(self.namespace, np.asarray(host, kind))
        with self._device.allocating("X", needed, "Use fewer rows."):
            rows = self.namespace.empty((len(host), padded(width)), dtype=kind)  # as the kernels read them
            # not by `asarray`, which would copy all rows to memory that CuPy keeps, and that the host cannot page out
            step = max(1, COPIED_BYTES // row_bytes)
            for first in range(0, len(host), step):
                part = host[first : first + step]
                if width % GROUP:
                    copy = np.zeros((len(part), padded(width)), kind)
                    copy[:, :width] = part
                else:
                    copy = np.ascontiguousarray(part, kind)
                rows[first : first + step].set(copy)
                self.namespace.cuda.get_current_stream().synchronize()  # the copy may read `copy` until then
            return rows[:, :width]

    def to_numpy(self, x: Array) -> NDArray[Any]:
        self._check_device("to_numpy", x)
        with self._device.cuda:
            return np.asarray(self.namespace.asnumpy(x))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._allocating(shape, dtype):
            return super().empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._allocating(shape, dtype):
            return super().zeros(shape, dtype)

    def _allocating(self, shape: tuple[int, ...], dtype: Any) -> Any:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        advice = "Use a smaller batch_size, or float32 instead of float64."
        return self._device.allocating(f"an array of shape {shape}", size, advice)

    def synchronize(self) -> None:
        self._device.synchronize()

    # -- batched dot products -----------------------------------------------------------------------

    def matmul(
        self, a: Array, b: Array, trans_a: bool = False, trans_b: bool = False, out: Array | None = None
    ) -> Array:
        self._check_floats("matmul", a=a, b=b)
        if out is not None:
            self._check_device("out", out)
        self._check_product(a, b, trans_a, trans_b, out)
        with self._device.cuda:
            if self._device.is_hip:
                return super().matmul(a, b, trans_a, trans_b, out)
            # in float32 at full precision, whatever CuPy's own products are set to
            if out is not None and out.dtype == a.dtype and has_adjacent_rows(out):
                return self._product(a, b, trans_a, trans_b, out)
            shape = a.shape[1 if trans_a else 0], b.shape[0 if trans_b else 1]
            result = self._product(a, b, trans_a, trans_b, self.namespace.empty(shape, dtype=a.dtype))
            if out is None:
                return result
            out[...] = result
            return out

    def _product(self, a: Array, b: Array, trans_a: bool, trans_b: bool, out: Array) -> Array:
        if not a.size or not b.size:
            out[...] = 0
            return out
        x, y = (each if has_adjacent_rows(each) else self.namespace.ascontiguousarray(each) for each in (a, b))
        stream = self.namespace.cuda.get_current_stream().ptr
        with self._product_lock:  # another thread may have another current stream
            if self._cublas is None:
                self._cublas = Cublas(stream)
            self._cublas.use_stream(stream)
            self._cublas.product(x, y, out, trans_a=trans_a, trans_b=trans_b).run()
        return out

    # -- rows ---------------------------------------------------------------------------------------

    def take_rows(self, x: Array, rows: Array, out: Array | None = None, scale: float = 1.0) -> Array:
        with self._device.cuda:
            if isinstance(x, HostRows):
                self._check_device("take_rows", rows)
                x, rows = x.take(rows), self.namespace.arange(rows.shape[0])
            return super().take_rows(x, rows, out, scale)

    # -- training -----------------------------------------------------------------------------------

    def trainer(
        self,
        network: NetworkPlan,
        rule: Rule,
        X: Array,
        target: Array,
        weight: Array | None,
        params: Array,
        state: Array,
        batch_size: int,
    ) -> GraphTrainer:
        with self._device.cuda:
            return GraphTrainer(self._device, self, network, rule, X, target, weight, params, state, batch_size)


def _on_device(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(self: CupyBackend, *arguments: Any, **keywords: Any) -> Any:
        with self._device.cuda:
            return method(self, *arguments, **keywords)

    return run


for _name in _ON_DEVICE:
    setattr(CupyBackend, _name, _on_device(getattr(Backend, _name)))
