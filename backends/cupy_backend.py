"""CuPy: the portable implementation on an NVIDIA or AMD GPU.

Importing this module imports nothing of CuPy; `probe` does, and never raises.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends._status import Status
from backends.base import Backend
from backends.errors import WrongDeviceError
from backends.plan import Array

INSTALL = "pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]' for a CUDA 12 driver)"

_SMOKE_KERNEL = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'


class CupyBackend(Backend):
    """The portable implementation, bound to `cupy` on one GPU."""

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
                    f"asarray of {self.device} got an array of cuda:{x.device.id}. Bring it to the host first, "
                    "with the to_numpy of the backend it belongs to."
                )
            return self.namespace.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        self._own("to_numpy", x)
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
        # cupy.matmul writes through a temporary unless out is C-contiguous, so only such an out is handed down
        if out is None or out.flags.c_contiguous:
            return super().matmul(a, b, trans_a, trans_b, out)
        self._check_product(a, b, trans_a, trans_b, out)
        out[...] = super().matmul(a, b, trans_a, trans_b)
        return out


@cache
def probe() -> Status:
    """Try CuPy for real: import it, count the devices, compile a kernel and multiply two matrices."""
    if importlib.util.find_spec("cupy") is None:
        return Status(usable=False, reason=f"CuPy is not installed: {INSTALL}")
    try:
        cupy: Any = importlib.import_module("cupy")
        version = str(cupy.__version__)
    except Exception as error:
        return Status(usable=False, reason=f"CuPy is installed but cannot be imported ({_one_line(error)}): {INSTALL}")
    try:
        count = int(cupy.cuda.runtime.getDeviceCount()) if cupy.is_available() else 0
    except Exception as error:
        return Status(usable=False, reason=f"no CUDA driver: {_one_line(error)}", version=version)
    if not count:
        reason = "CuPy finds no CUDA device; check the driver with nvidia-smi"
        return Status(usable=False, reason=reason, version=version)
    try:
        _smoke_test(cupy)
    except Exception as error:
        # a missing NVRTC, header or cuBLAS shows only at first use
        reason = f"a GPU is there, but CuPy cannot run on it ({_one_line(error)}): {INSTALL}"
        return Status(usable=False, reason=reason, version=version)
    return Status(usable=True, devices=tuple(f"cuda:{i}" for i in range(count)), version=version)


def _smoke_test(cupy: Any) -> None:
    x = cupy.ones(2, dtype=cupy.float32)
    cupy.RawKernel(_SMOKE_KERNEL, "twice")((1,), (2,), (x,))
    product = x.reshape(2, 1) @ x.reshape(1, 2)
    if float(product.sum()) != 16.0:
        raise ArithmeticError(f"2 x 2 ones times four gave {product.tolist()}")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def create(device: str) -> Backend:
    """The backend on `device`, ``"cuda:i"``; only called where `probe` says it is usable."""
    return CupyBackend(device)
