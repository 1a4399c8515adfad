"""`Cublas`: matrix products by cuBLAS, called with ctypes.

CuPy's own calls of cuBLAS are refused while a stream captures a graph, and may use TF32 if an environment variable says
so.  This module has a handle of its own, whose precision is an argument.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from backends.plan import Array

WORKSPACE = 32 << 20
"""Bytes of scratch memory that cuBLAS needs to choose freely among its algorithms on recent devices (its manual)."""

# names and values of library_types.h and cublas_api.h
_R_32F, _R_64F, _R_16BF = 0, 1, 14
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_32F_FAST_TF32 = 68, 70, 77
_OP_N, _OP_T, _GEMM_DEFAULT = 0, 1, -1
_TYPE = {"float32": _R_32F, "float64": _R_64F, "uint16": _R_16BF}
_STATUS = {
    1: "not initialized", 3: "no memory", 7: "invalid value", 8: "not supported by this device", 11: "a mapping failed",
    13: "a kernel failed", 14: "internal error", 15: "not supported", 16: "license",
}  # fmt: skip


class CublasError(RuntimeError):
    """A call of cuBLAS failed."""


class Product(NamedTuple):
    """A matrix product that can be run again and again, on the arrays that were given."""

    function: Callable[..., int]
    arguments: tuple[Any, ...]

    def run(self) -> None:
        """Start the product on the stream of the handle."""
        _check(self.function(*self.arguments), "cublasGemmEx")


class Cublas:
    """A handle of cuBLAS for the current device.

    Parameters
    ----------
    stream : int
        Pointer of the CUDA stream that the products run on.
    workspace : array, optional
        Scratch memory; needed if the products are captured in a graph, because cuBLAS would allocate its own.
    """

    def __init__(self, stream: int, workspace: Array | None = None) -> None:
        self._library = open_library()
        self._handle = ctypes.c_void_p()
        self._stream, self._workspace = stream, workspace
        _check(self._library.cublasCreate_v2(ctypes.byref(self._handle)), "cublasCreate")
        self._one = {name: kind(1) for name, kind in (("float32", ctypes.c_float), ("float64", ctypes.c_double))}
        self._zero = {name: kind(0) for name, kind in (("float32", ctypes.c_float), ("float64", ctypes.c_double))}
        self._set_stream(stream)

    def _set_stream(self, stream: int) -> None:
        _check(self._library.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream)), "cublasSetStream")
        if self._workspace is not None:  # setting the stream resets the workspace
            pointer, size = ctypes.c_void_p(self._workspace.data.ptr), ctypes.c_size_t(self._workspace.nbytes)
            _check(self._library.cublasSetWorkspace_v2(self._handle, pointer, size), "cublasSetWorkspace")
        self._stream = stream

    def use_stream(self, stream: int) -> None:
        """Run the following products on another stream."""
        if stream != self._stream:
            self._set_stream(stream)

    def product(
        self, a: Array, b: Array, out: Array, *, trans_a: bool = False, trans_b: bool = False, tf32: bool = False
    ) -> Product:
        """``out = a @ b``, with a or b transposed if asked for.

        Parameters
        ----------
        a, b : array, 2-d
            float32, float64, or bfloat16 as uint16; the entries of a row must be adjacent (`has_adjacent_rows`).
        out : array, 2-d
            Of the same dtype; float32 for bfloat16.
        tf32 : bool
            Whether float32 operands may be rounded to 10 bits.
        """
        (m, n), k = out.shape, a.shape[0 if trans_a else 1]
        kind, out_kind = a.dtype.name, out.dtype.name
        compute = _COMPUTE_64F if out_kind == "float64" else _COMPUTE_32F_FAST_TF32 if tf32 else _COMPUTE_32F
        # cuBLAS stores columns one after the other, so it sees each array transposed: out.T = b.T @ a.T
        arguments = (
            self._handle, ctypes.c_int(_OP_T if trans_b else _OP_N), ctypes.c_int(_OP_T if trans_a else _OP_N),
            ctypes.c_int(n), ctypes.c_int(m), ctypes.c_int(k), ctypes.byref(self._one[out_kind]),
            ctypes.c_void_p(b.data.ptr), ctypes.c_int(_TYPE[kind]), ctypes.c_int(_leading_dimension(b)),
            ctypes.c_void_p(a.data.ptr), ctypes.c_int(_TYPE[kind]), ctypes.c_int(_leading_dimension(a)),
            ctypes.byref(self._zero[out_kind]), ctypes.c_void_p(out.data.ptr), ctypes.c_int(_TYPE[out_kind]),
            ctypes.c_int(_leading_dimension(out)), ctypes.c_int(compute), ctypes.c_int(_GEMM_DEFAULT),
        )  # fmt: skip
        return Product(self._library.cublasGemmEx, arguments)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if getattr(self, "_handle", None) and not is_finalizing():
            self._library.cublasDestroy_v2(self._handle)


def has_adjacent_rows(x: Array) -> bool:
    """Whether the entries of each row are adjacent in memory, and the rows in ascending order, as cuBLAS needs it."""
    row, entry = x.strides
    return bool(entry == x.itemsize and row % x.itemsize == 0 and row >= x.shape[1] * x.itemsize)


def _leading_dimension(x: Array) -> int:
    return max(int(x.strides[0]) // int(x.itemsize), int(x.shape[1]), 1)


def _check(status: int, call: str) -> None:
    if status:
        raise CublasError(f"{call} failed: {_STATUS.get(status, 'unknown')} (status {status})")


@cache
def open_library() -> Any:
    """The shared library of cuBLAS that CuPy uses.

    Raises
    ------
    OSError
        If there is none.
    """
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError:  # CuPy before version 14
        return _open_by_name()
    try:
        path = load_nvidia_dynamic_lib("cublas").abs_path
    except Exception:  # its errors have no common class; the loader's own message follows
        path = None
    return ctypes.CDLL(path) if path else _open_by_name()


def _open_by_name() -> Any:
    for name in ("libcublas.so.13", "libcublas.so.12", "libcublas.so.11"):
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            last = error
    raise last
