"""`Cublas`: the functions of cuBLAS's library that the product calls through ctypes."""

from __future__ import annotations

import ctypes
import inspect

import numpy as np

from stand_in_gpu.machine import CUDARuntimeError, machine

SUCCESS, NOT_INITIALIZED, ALLOC_FAILED, INVALID_VALUE, NOT_SUPPORTED = 0, 1, 3, 7, 15
FLOAT, DOUBLE, BFLOAT16 = 0, 1, 14
COMPUTE_32F, COMPUTE_64F, FAST_16BF, FAST_TF32 = 68, 70, 75, 77
TF32_MATH = 3
DTYPES = {FLOAT: np.float32, DOUBLE: np.float64, BFLOAT16: np.uint16}
# compute type: the types of A, B and C that it allows
SUPPORTED = {
    COMPUTE_32F: {(FLOAT, FLOAT, FLOAT), (BFLOAT16, BFLOAT16, BFLOAT16), (BFLOAT16, BFLOAT16, FLOAT)},
    COMPUTE_64F: {(DOUBLE, DOUBLE, DOUBLE)},
    FAST_16BF: {(FLOAT, FLOAT, FLOAT)},
    FAST_TF32: {(FLOAT, FLOAT, FLOAT)},
}


def rounded(x, bits):
    """float32 with `bits` explicit bits of the significand, to nearest, ties to even."""
    whole = np.ascontiguousarray(x, np.float32).view(np.uint32)
    drop = np.uint32(23 - bits)
    half = (np.uint32(1) << (drop - np.uint32(1))) - np.uint32(1) + (whole >> drop & np.uint32(1))
    result = ((whole + half) >> drop << drop).view(np.float32)
    return np.where(np.isfinite(x), result, x).astype(np.float32)


def to_bfloat16(x):
    return (rounded(x, 7).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(x):
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)


class Handle:
    def __init__(self):
        self.device, self.queue, self.workspace, self.mode = (
            machine.device,
            machine.null_queues[machine.device],
            None,
            0,
        )


class Function:
    """A function that accepts ctypes objects or integers, and whose argtypes and restype may be set."""

    def __init__(self, function):
        self._function = function
        self._count = len(inspect.signature(function).parameters)
        self.argtypes, self.restype = None, ctypes.c_int

    def __call__(self, *arguments):
        if len(arguments) != self._count:
            raise TypeError(f"{self._function.__name__} has {self._count} arguments, got {len(arguments)}")
        if self.argtypes is not None and len(self.argtypes) != self._count:
            raise TypeError(f"argtypes of {self._function.__name__} must have {self._count} entries")
        return self._function(*(getattr(x, "value", x) for x in arguments))


class Cublas:
    """One object is one library."""

    def __init__(self):
        self._handles = {}
        for name in dir(self):
            if name.startswith("cublas"):
                setattr(self, name, Function(getattr(self, name)))

    def cublasCreate_v2(self, handle):
        made = Handle()
        self._handles[id(made)] = made
        handle._obj.value = id(made)
        return SUCCESS

    def cublasDestroy_v2(self, handle):
        return SUCCESS if self._handles.pop(handle, None) else NOT_INITIALIZED

    def cublasGetVersion_v2(self, handle, version):
        version._obj.value = 130100
        return SUCCESS

    def cublasSetStream_v2(self, handle, stream):
        found = self._handles.get(handle)
        if found is None:
            return NOT_INITIALIZED
        queues = {0: machine.null_queues[found.device], None: machine.null_queues[found.device]}
        queues |= {id(queue): queue for queue in machine.queues}
        if stream not in queues or queues[stream].device != found.device:
            return INVALID_VALUE
        found.queue, found.workspace = queues[stream], None
        return SUCCESS

    def cublasSetWorkspace_v2(self, handle, workspace, size):
        found = self._handles.get(handle)
        if found is None:
            return NOT_INITIALIZED
        if workspace % 256 or size < 0:
            return INVALID_VALUE
        found.workspace = workspace, size, machine.find(workspace, max(size, 1))
        return SUCCESS

    def cublasSetMathMode(self, handle, mode):
        found = self._handles.get(handle)
        if found is None:
            return NOT_INITIALIZED
        if mode not in (0, 1, 2, TF32_MATH):
            return INVALID_VALUE
        found.mode = mode
        return SUCCESS

    def cublasGemmEx(
        self, handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, compute, algo
    ):
        found = self._handles.get(handle)
        if found is None:
            return NOT_INITIALIZED
        if (Atype, Btype, Ctype) not in SUPPORTED.get(compute, ()):
            return NOT_SUPPORTED
        rows_a, columns_a = (k, m) if transa else (m, k)
        rows_b, columns_b = (n, k) if transb else (k, n)
        if min(m, n, k) < 0 or transa not in (0, 1, 2) or transb not in (0, 1, 2):
            return INVALID_VALUE
        if lda < max(1, rows_a) or ldb < max(1, rows_b) or ldc < max(1, m):
            return INVALID_VALUE
        if m == 0 or n == 0:
            return SUCCESS
        if machine.capturing is found.queue and found.workspace is None:
            return ALLOC_FAILED  # it would allocate one, which a stream that captures cannot
        if found.device != machine.device:
            raise CUDARuntimeError(f"a handle of device {found.device} while {machine.device} is the current device")
        scalar = ctypes.c_double if compute == COMPUTE_64F else ctypes.c_float
        alpha, beta = _scalar(alpha, scalar), _scalar(beta, scalar)
        a, memory_a = _matrix(A, rows_a, columns_a, lda, DTYPES[Atype])
        b, memory_b = _matrix(B, rows_b, columns_b, ldb, DTYPES[Btype])
        c, memory_c = _matrix(C, m, n, ldc, DTYPES[Ctype])
        memories = [memory_a, memory_b, memory_c]
        scratch = None
        if found.workspace is not None:
            address, size, memory = found.workspace
            memories.append(memory)
            scratch = memory.bytes[address - memory.ptr :][: min(size, 4096)]
        bits = {FAST_16BF: 7, FAST_TF32: 10}.get(compute)
        if found.mode == TF32_MATH and Atype == FLOAT:
            bits = bits or 10

        def operand(matrix, transposed, kind):
            matrix = from_bfloat16(matrix) if kind == BFLOAT16 else matrix
            matrix = rounded(matrix, bits) if bits else matrix
            return matrix.T if transposed else matrix

        def run():
            machine.require(memories)
            if scratch is not None:
                scratch[:] = 0xFF
            result = scalar_type(alpha) * (operand(a, transa, Atype) @ operand(b, transb, Btype))
            if beta:  # otherwise C is not read
                result += scalar_type(beta) * (from_bfloat16(c) if Ctype == BFLOAT16 else c)
            c[...] = to_bfloat16(result) if Ctype == BFLOAT16 else result

        scalar_type = np.float64 if compute == COMPUTE_64F else np.float32
        machine.counters.products += 1
        found.queue.launch(run, memories)
        return SUCCESS


def _scalar(pointer, kind):
    """What a pointer to the host's memory points to now."""
    target = getattr(pointer, "_obj", None)
    if target is None and hasattr(pointer, "contents"):
        target = pointer.contents
    if target is None:
        return kind.from_address(pointer).value
    if not isinstance(target, kind):
        raise TypeError(f"alpha and beta must be {kind.__name__} for this compute type, not {type(target).__name__}")
    return target.value


def _matrix(address, rows, columns, leading, dtype):
    """The matrix at an address, in column-major order, and the allocation that contains it."""
    size = np.dtype(dtype).itemsize
    if address % size:
        raise CUDARuntimeError(f"cudaErrorMisalignedAddress: {address:#x} for numbers of {size} bytes")
    length = ((columns - 1) * leading + rows) * size if rows and columns else 1
    memory = machine.find(address, length)
    offset = address - memory.ptr
    return np.ndarray((rows, columns), dtype, memory.bytes, offset, (size, leading * size)), memory
