"""`RawModule` and `RawKernel`: CUDA C++ compiled by g++ for the CPU, and launched with strictly checked arguments."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from stand_in_gpu.arrays import ndarray
from stand_in_gpu.machine import CUDARuntimeError, machine

HERE = Path(__file__).parent
# no -O: a test compiles many kernels and runs each a few times, so time to compile matters more than the time to run
FLAGS = ("-std=gnu++17", "-fPIC", "-w", "-ffp-contract=off", "-fno-strict-aliasing", "-fvisibility=hidden")
# a GPU refuses an access to an address that is not a multiple of the type's alignment; this processor would allow it
KERNEL_FLAGS = (*FLAGS, "-fsanitize=alignment", "-fsanitize-undefined-trap-on-error")

_KERNEL = re.compile(
    r"__global__\s+void\s+(?:__cluster_dims__\s*\(\s*(\d+)[^)]*\)\s*)?(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\("
)
_DYNAMIC = re.compile(r"extern\s+__shared__\s+([\w\s:]*?[\w>])\s+(\w+)\s*\[\s*\]\s*;")
_SHARED = re.compile(
    r"__shared__\s+(?:__align__\s*\(\w+\)\s*|alignas\s*\(\w+\)\s*)?([\w\s:<>,]*?[\w>])\s+(\w+)\s*((?:\[[^\]]*\]\s*)*);"
)


class CompileException(Exception):
    """As `cupy.cuda.compiler.CompileException`."""


class Index(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class Launch(ctypes.Structure):
    _fields_ = [
        ("grid", Index),
        ("block", Index),
        ("dynamic_shared", ctypes.c_size_t),
        ("cluster", ctypes.c_uint),
        ("seed", ctypes.c_uint64),
        ("message", ctypes.c_char_p),
        ("capacity", ctypes.c_int),
    ]


def without_comments(code):
    """Comments as spaces; the lines keep their numbers."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found[0]), code, flags=re.DOTALL)


def for_the_cpu(code):
    """The code with its shared variables in the memory of the shim, and its kernels visible to the host."""
    code = without_comments(code)
    code = _DYNAMIC.sub(r"\1* const \2 = (\1*)shim::shared(&shim::dynamic_key, shim::dynamic_bytes);", code)
    code = _SHARED.sub(r"auto& \2 = shim::shared_variable<\1\3>([] {});", code)
    if "__shared__" in code:
        raise CompileException("the stand-in cannot read this declaration: " + code[code.index("__shared__") :][:80])
    names = [name for _, name in _KERNEL.findall(code)]
    return '#line 1 "kernels"\n' + code + "\n" + "".join(f"SHIM_KERNEL({name})\n" for name in names)


def _compile(arguments, target, text=None):
    # another process may compile the same at the same time; the last one to rename wins
    partial = target.with_name(f"{os.getpid()}-{target.name}")
    done = subprocess.run(
        ["g++", *arguments, "-o", str(partial)], input=text, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise CompileException(done.stderr[:8000])
    partial.rename(target)


@cache
def _scheduler():
    """The object file of the scheduler, in a folder for all that is compiled with it."""
    names = "shim.h", "scheduler.cpp", "cluster.h", "grid.h", "tensor_core.h"
    sources = [HERE / name for name in names]
    key = hashlib.sha256(repr((FLAGS, KERNEL_FLAGS, [path.read_bytes() for path in sources])).encode()).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"mlp-stand-in-gpu-{os.getuid()}" / key / "scheduler.o"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile([*FLAGS, "-O1", "-U_FORTIFY_SOURCE", "-c", str(sources[1])], target)
    return target


@cache
def _library(code, options):
    # options about speed and accuracy mean nothing to g++
    defines = [option for option in options if option.startswith("-D")]
    text, scheduler = for_the_cpu(code), _scheduler()
    target = scheduler.parent / f"{hashlib.sha256(repr((text, defines)).encode()).hexdigest()[:24]}.so"
    if not target.exists():
        arguments = [*KERNEL_FLAGS, "-DWITHOUT_BARRIER=0", *defines, "-shared", "-Wl,-Bsymbolic"]
        arguments += ["-include", str(HERE / "shim.h"), "-x", "c++", "-", "-x", "none", str(scheduler)]
        _compile(arguments, target, text)
    # PyDLL keeps Python's lock, because the shim has one state for all threads
    return ctypes.PyDLL(str(target))


class RawModule:
    """As `cupy.RawModule`."""

    def __init__(self, *, code=None, path=None, options=(), backend="nvrtc", **unsupported):
        if unsupported or path is not None or backend != "nvrtc":
            raise NotImplementedError("the stand-in has the arguments code and options only")
        if not isinstance(code, str):
            raise TypeError(f"code must be str, not {type(code).__name__}")
        if not isinstance(options, tuple):
            raise TypeError(f"options must be tuple, not {type(options).__name__}")
        self.code, self.options, self._functions = code, options, {}

    def compile(self, log_stream=None):
        return _library(self.code, self.options + machine.compile_options)

    def get_function(self, name):
        machine.refuse_while_capturing("loading a module")
        library = self.compile()
        if not hasattr(library, f"launch_{name}"):
            raise CUDARuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        clusters = {kernel: int(cluster or 1) for cluster, kernel in _KERNEL.findall(without_comments(self.code))}
        return RawFunction(library, name, clusters[name])


class Function:
    """As `cupy.cuda.function.Function`; `ptr` is what the driver knows a function by."""

    def __init__(self, kernel, ptr):
        self._kernel, self.ptr = kernel, ptr

    def __call__(self, grid, block, args, shared_mem=0, stream=None, enable_cooperative_groups=False):
        if stream is not None:
            raise NotImplementedError("the stand-in launches on the current stream only")
        self._kernel.launch(grid, block, args, shared_mem, enable_cooperative_groups)


class RawFunction:
    """A kernel; called as ``kernel(grid, block, arguments, shared_mem=0)``."""

    def __init__(self, library, name, cluster):
        self.name, self._cluster = name, cluster
        text = ctypes.create_string_buffer(10_000)
        getattr(library, f"signature_{name}")(text)
        self.types = text.value.decode().split(",")[:-1]
        self._launch = getattr(library, f"launch_{name}")
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid, block, args, *, shared_mem=0):
        self.launch(grid, block, args, shared_mem)

    def launch(self, grid, block, args, shared_mem, cooperative=False):
        """Of a cooperative launch all blocks run together."""
        if not cooperative:
            self._start(grid, block, args, shared_mem, self._cluster)
            return
        blocks = math.prod(_three("grid", grid, (2**31 - 1, 65535, 65535)))
        most = machine.attributes["MultiProcessorCount"]  # with few blocks on each, which is what kernels here need
        if blocks > most or self._cluster > 1:
            raise CUDARuntimeError(f"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: {blocks} blocks, {most} multiprocessors")
        self._start(grid, block, args, shared_mem, blocks)

    @property
    def kernel(self):
        """As in `cupy.RawKernel`."""
        return Function(self, ctypes.cast(self._launch, ctypes.c_void_p).value)

    def _start(self, grid, block, args, shared_mem, together):
        """Launch; as many blocks run `together`."""
        grid, block = _three("grid", grid, (2**31 - 1, 65535, 65535)), _three("block", block, (1024, 1024, 64))
        if math.prod(block) > 1024:
            raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: a block of {block} threads")
        most = 16 if self.kernel.ptr in machine.large_clusters else 8
        if not 1 <= self._cluster <= most or grid[0] % self._cluster:
            raise CUDARuntimeError(f"CUDA_ERROR_INVALID_CLUSTER_SIZE: {grid} blocks in clusters of {self._cluster}")
        if not 0 <= shared_mem <= min(self.max_dynamic_shared_size_bytes, 227 << 10):
            raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of dynamic shared memory")
        if not isinstance(args, tuple | list) or len(args) != len(self.types):
            raise TypeError(f"{self.name} has {len(self.types)} arguments: {', '.join(self.types)}; got {args!r:.200}")
        values, memories = [], []
        for number, (kind, value) in enumerate(zip(self.types, args, strict=True)):
            where = f"argument {number} of {self.name}"
            if not kind.endswith("*"):
                if not isinstance(value, np.generic) or value.dtype.name != kind:
                    raise TypeError(f"{where} must be a NumPy scalar {kind}, not {_describe(value)}")
                values.append(np.array(value))
                continue
            if not isinstance(value, ndarray) or value.dtype.name != kind[:-1]:
                raise TypeError(f"{where} must be a device array of {kind[:-1]}, not {_describe(value)}")
            value._check_device()
            values.append(np.array(value.data.ptr, np.uint64))
            if value._owner.memory is not None:
                memories.append(value._owner.memory)
        machine.counters.launches += 1

        def run():
            machine.require(memories)
            message = ctypes.create_string_buffer(500)
            how = Launch(
                Index(*grid), Index(*block), shared_mem, together, machine.random.getrandbits(63),
                ctypes.cast(message, ctypes.c_char_p), len(message),
            )  # fmt: skip
            pointers = (ctypes.c_void_p * (len(values) + 1))(*(value.ctypes.data for value in values))
            if self._launch(pointers, ctypes.byref(how)):
                raise CUDARuntimeError(f"{self.name}: {message.value.decode()}")

        machine.queue.launch(run, memories)


def _describe(value):
    return f"{type(value).__name__} {getattr(value, 'dtype', '')}".strip()


def _three(name, sizes, limits):
    if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
        raise TypeError(f"{name} must be a tuple of one to three integers, not {sizes!r}")
    sizes = tuple(int(size) for size in sizes) + (1,) * (3 - len(sizes))
    if not all(1 <= size <= limit for size, limit in zip(sizes, limits, strict=True)):
        raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: invalid {name} {sizes}")
    return sizes


class RawKernel(RawFunction):
    """As `cupy.RawKernel`."""

    def __init__(self, code, name, options=()):
        function = RawModule(code=code, options=options).get_function(name)
        self.__dict__.update(vars(function))
