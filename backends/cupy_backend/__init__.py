"""The CuPy backend: the portable implementation on an NVIDIA GPU.

The class is in `backend`.  Importing this package does not import CuPy; `probe` does, and never raises.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import TYPE_CHECKING, Any

from backends._status import Status
from backends.step_time import Gpu

if TYPE_CHECKING:
    from backends.base import Backend

INSTALL = "pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]' for a CUDA 12 driver)"

_SMOKE_KERNEL = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'


@cache
def probe() -> Status:
    """Import CuPy, count the devices, compile a kernel and multiply two matrices."""
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
        # a missing NVRTC, header or cuBLAS causes an error only at its first use
        reason = f"there is a GPU, but CuPy cannot use it ({_one_line(error)}): {INSTALL}"
        return Status(usable=False, reason=reason, version=version)
    gpus = tuple(_speed(cupy, i) for i in range(count))
    return Status(usable=True, devices=tuple(f"cuda:{i}" for i in range(count)), version=version, gpus=gpus)


def _speed(cupy: Any, number: int) -> Gpu | None:
    """What the driver says about the speed of a device; None if it does not say it, and for GPUs of AMD."""
    attributes = cupy.cuda.Device(number).attributes
    names = "MultiProcessorCount", "ClockRate", "MemoryClockRate", "GlobalMemoryBusWidth"
    multiprocessors, kilohertz, memory_kilohertz, bits = (int(attributes.get(name, 0)) for name in names)
    if cupy.cuda.runtime.is_hip or not multiprocessors * kilohertz * memory_kilohertz * bits:
        return None
    memory_bytes = 2 * 1e3 * memory_kilohertz * bits / 8  # two transfers in a cycle of the memory's clock
    return Gpu(int(cupy.cuda.Device(number).compute_capability), multiprocessors, 1e3 * kilohertz, memory_bytes)


def _smoke_test(cupy: Any) -> None:
    x = cupy.ones(2, dtype=cupy.float32)
    cupy.RawKernel(_SMOKE_KERNEL, "twice")((1,), (2,), (x,))
    product = x.reshape(2, 1) @ x.reshape(1, 2)
    if float(product.sum()) != 16.0:
        raise ArithmeticError(f"the product of two vectors of twos gave {product.tolist()}, not a 2 x 2 matrix of 4")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def create(device: str) -> Backend:
    """Return the backend on `device`, ``"cuda:i"``; only called if the status of `probe` is usable."""
    from backends.cupy_backend.backend import CupyBackend

    return CupyBackend(device)
