"""`CupyBackend`: the portable implementation with `cupy` as its namespace, on one GPU."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.base import Backend
from backends.errors import WrongDeviceError
from backends.plan import Array


class CupyBackend(Backend):
    """The portable implementation with `cupy` as its namespace, on one GPU."""

    name = "cupy"

    def __init__(self, device: str) -> None:
        cupy: Any = importlib.import_module("cupy")
        special: Any = importlib.import_module("cupyx.scipy.special")
        super().__init__(cupy, erfc=special.erfc)
        self.device = device
        self._cuda = cupy.cuda.Device(int(device.partition(":")[2] or 0))
        self._cuda.use()

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        with self._cuda:
            if isinstance(x, self.namespace.ndarray) and x.device != self._cuda:
                raise WrongDeviceError(
                    f"asarray of the backend on {self.device} got an array on cuda:{x.device.id}. "
                    "Copy it to the host first, with to_numpy of the other backend."
                )
            return self.namespace.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        self._check_device("to_numpy", x)
        return np.asarray(self.namespace.asnumpy(x))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._cuda:
            return super().empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._cuda:
            return super().zeros(shape, dtype)

    def synchronize(self) -> None:
        self._cuda.synchronize()

    def matmul(
        self, a: Array, b: Array, trans_a: bool = False, trans_b: bool = False, out: Array | None = None
    ) -> Array:
        if out is not None:
            self._check_device("out", out)
        # cupy.matmul writes to a temporary array unless out is C-contiguous, so only such an out is passed to it
        if out is None or out.flags.c_contiguous:
            return super().matmul(a, b, trans_a, trans_b, out)
        self._check_product(a, b, trans_a, trans_b, out)
        out[...] = super().matmul(a, b, trans_a, trans_b)
        return out
