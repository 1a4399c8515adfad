"""`CupyBackend`: arrays of `cupy` on one NVIDIA GPU, products by cuBLAS, training by CUDA graphs."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.base import Backend
from backends.cupy_backend.cublas import Cublas, has_adjacent_rows
from backends.cupy_backend.device_memory import explained
from backends.cupy_backend.trainer import GraphTrainer
from backends.errors import WrongDeviceError
from backends.formulas import Rule
from backends.plan import Array, NetworkPlan

_ON_DEVICE = (
    "dense", "activate", "activate_backward", "dense_backward", "loss_and_delta", "smooth_labels", "add_penalty",
    "clip", "multiply", "update", "dropout", "scale_columns", "scale_columns_backward", "take_rows", "sum",
)  # fmt: skip
"""Operations of the portable implementation that start work, and therefore need the device of this backend."""


class CupyBackend(Backend):
    """Operations by `cupy` on one GPU.

    Attributes
    ----------
    execution : {"graphs", "launches", "loop"}
        How trainers run an epoch: as CUDA graphs of several steps, by launching the same kernels one by one, or by the
        operations of the portable loop.  The first two have the same bits.
    is_hip : bool
        Whether this is an AMD GPU, for which there are only the operations of `cupy`.
    multiprocessors : int
        Of the device.
    """

    name = "cupy"
    precisions = ("float32", "tf32", "bf16")
    execution = "graphs"

    def __init__(self, device: str) -> None:
        cupy: Any = importlib.import_module("cupy")
        special: Any = importlib.import_module("cupyx.scipy.special")
        super().__init__(cupy, erfc=special.erfc)
        self.device = device
        self._cuda = cupy.cuda.Device(int(device.partition(":")[2] or 0))
        self.is_hip = bool(cupy.cuda.runtime.is_hip)
        self.multiprocessors = int(self._cuda.attributes["MultiProcessorCount"])
        self._cublas: Cublas | None = None
        self._modules: dict[str, Any] = {}

    def current_device(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which this backend's device is the current one of CuPy."""
        device: contextlib.AbstractContextManager[Any] = self._cuda
        return device

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        with self._cuda:
            if isinstance(x, self.namespace.ndarray) and x.device != self._cuda:
                raise WrongDeviceError(
                    f"asarray of the backend on {self.device} got an array on cuda:{x.device.id}. "
                    "Copy it to the host first, with to_numpy of the other backend."
                )
            size = int(getattr(x, "size", 0)) * np.dtype(dtype or getattr(x, "dtype", np.float64)).itemsize
            advice = "Use fewer rows, images as uint8, or float32 instead of float64."
            with explained(self.namespace, self.device, "an array", size, advice):
                return self.namespace.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        self._check_device("to_numpy", x)
        with self._cuda:
            return np.asarray(self.namespace.asnumpy(x))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._cuda, self._explained(shape, dtype):
            return super().empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._cuda, self._explained(shape, dtype):
            return super().zeros(shape, dtype)

    def _explained(self, shape: tuple[int, ...], dtype: Any) -> contextlib.AbstractContextManager[None]:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        advice = "Use a smaller batch_size, or float32 instead of float64."
        return explained(self.namespace, self.device, f"an array of shape {shape}", size, advice)

    def synchronize(self) -> None:
        self._cuda.synchronize()

    def matmul(
        self, a: Array, b: Array, trans_a: bool = False, trans_b: bool = False, out: Array | None = None
    ) -> Array:
        self._check_floats("matmul", a=a, b=b)
        self._check_product(a, b, trans_a, trans_b, out)
        if self.is_hip:
            with self._cuda:
                return super().matmul(a, b, trans_a, trans_b, out)
        with self._cuda:
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
        self._blas().product(x, y, out, trans_a=trans_a, trans_b=trans_b).run()
        return out

    def _blas(self) -> Cublas:
        stream = self.namespace.cuda.get_current_stream().ptr
        if self._cublas is None:
            self._cublas = Cublas(stream)
        self._cublas.use_stream(stream)
        return self._cublas

    def module(self, source: str) -> Any:
        """The compiled kernels of a CUDA C++ text; CuPy keeps them on disk."""
        if source not in self._modules:
            self._modules[source] = self.namespace.RawModule(code=source, options=("-std=c++17",))
        return self._modules[source]

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
        with self._cuda:
            return GraphTrainer(self, network, rule, X, target, weight, params, state, batch_size)


def _on_device(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(self: CupyBackend, *arguments: Any, **keywords: Any) -> Any:
        with self._cuda:
            return method(self, *arguments, **keywords)

    return run


for _name in _ON_DEVICE:
    setattr(CupyBackend, _name, _on_device(getattr(Backend, _name)))
