"""A stand-in for CuPy and cuBLAS, so that the tests of the GPU's code run where no GPU is.

`install` puts the modules `cupy` and `cupyx` into `sys.modules`.  Arrays are in the host's memory; CUDA C++ is compiled
by g++ and run by a scheduler of fibers.  It is strict: what a GPU would let pass by luck should be an error here.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np

from stand_in_gpu import arrays, kernels
from stand_in_gpu import machine as devices
from stand_in_gpu.cublas import Cublas
from stand_in_gpu.driver import Driver
from stand_in_gpu.machine import machine

CUBLAS = ("backends.cupy_backend.cublas", "open_library")
"""Module and function by which the product opens the library."""

DRIVER = ("backends.cupy_backend.clusters", "open_driver")
"""The same for the library of the driver."""


class StandIn:
    """What a test can see and change."""

    machine = machine
    counters = machine.counters

    def __init__(self):
        self.cublas = Cublas()

    def set_memory(self, size, device=0):
        """Give a device this many bytes of memory."""
        machine.total[device] = size

    def allow_clusters_of(self, blocks):
        """Let the devices have clusters of so many blocks: 8, which is the default, or 16."""
        machine.most_blocks = blocks

    def seed(self, number):
        """Forget all device memory, and run work in another order from now on."""
        machine.reset(number)
        forget_backends()  # their handles belong to the old queues

    def compile_with(self, *options):
        """Add options of the compiler to those of every module that is loaded from now on."""
        machine.compile_options = options

    def forget_backends(self):
        """Clear what the product remembers about the devices of this machine."""
        forget_backends()

    def check(self):
        """Run all pending work; fail if anything has written outside its memory."""
        machine.check()


def _module(name, **contents):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__dict__.update(contents)
    return module


def modules():
    """The modules by name."""
    runtime = _module(
        "cupy.cuda.runtime",
        is_hip=False,
        CUDARuntimeError=devices.CUDARuntimeError,
        getDeviceCount=lambda: 2,
        getDevice=lambda: machine.device,
        setDevice=lambda device: devices.Device(device).use(),
        deviceSynchronize=lambda: devices.Device().synchronize(),
        memGetInfo=lambda: devices.Device().mem_info,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        streamCaptureModeGlobal=0,
        streamCaptureModeThreadLocal=1,
        streamCaptureModeRelaxed=2,
        getDeviceProperties=lambda device: {
            "name": b"Stand-in",
            "major": 9,
            "minor": 0,
            "multiProcessorCount": machine.attributes["MultiProcessorCount"],
            "sharedMemPerBlockOptin": machine.attributes["MaxSharedMemoryPerBlockOptin"],
            "totalGlobalMem": machine.total[device],
        },
    )
    memory = _module("cupy.cuda.memory", OutOfMemoryError=devices.OutOfMemoryError)
    compiler = _module("cupy.cuda.compiler", CompileException=kernels.CompileException)
    cuda = _module(
        "cupy.cuda",
        runtime=runtime,
        memory=memory,
        compiler=compiler,
        Device=devices.Device,
        Stream=devices.Stream,
        Event=devices.Event,
        Graph=devices.Graph,
        get_current_stream=devices.get_current_stream,
        is_available=lambda: True,
    )

    pool = SimpleNamespace(
        used_bytes=lambda: machine.used[machine.device],
        total_bytes=lambda: machine.used[machine.device],
        free_bytes=lambda: 0,
        get_limit=lambda: 0,
        free_all_blocks=lambda stream=None: None,
    )
    cupy = _module(
        "cupy",
        **arrays.functions,
        ndarray=arrays.ndarray,
        RawModule=kernels.RawModule,
        RawKernel=kernels.RawKernel,
        cuda=cuda,
        is_available=lambda: True,
        get_default_memory_pool=lambda: pool,
        __version__="14.2.0",
    )
    dtypes = "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 dtype newaxis nan inf pi"
    cupy.__dict__.update({name: getattr(np, name) for name in dtypes.split()})
    special = _module("cupyx.scipy.special", erfc=arrays.erfc)
    scipy = _module("cupyx.scipy", special=special)
    cupyx = _module("cupyx", scipy=scipy, empty_pinned=arrays.empty_pinned)
    every = (cupy, cuda, runtime, memory, compiler, cupyx, scipy, special)
    return {module.__name__: module for module in every}


def install():
    """Replace CuPy and cuBLAS; return the `StandIn` and a function that undoes it."""
    stand_in, replaced = StandIn(), modules()
    before = {name: sys.modules.get(name) for name in replaced}
    sys.modules.update(replaced)
    machine.set_defaults()
    machine.reset()
    openers = []
    for (name, function), library in ((CUBLAS, stand_in.cublas), (DRIVER, Driver())):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        openers.append((module, function, getattr(module, function)))
        setattr(module, function, lambda library=library: library)
    forget_backends()

    def undo():
        for module, function, opener in openers:
            setattr(module, function, opener)
        for name, found in before.items():
            sys.modules.pop(name)
            if found is not None:
                sys.modules[name] = found
        forget_backends()

    return stand_in, undo


def forget_backends():
    """Clear what the product remembers about the devices of this machine."""
    for name, module in list(sys.modules.items()):
        if name == "backends" or name.startswith("backends.cupy_backend"):
            for value in list(vars(module).values()):
                getattr(value, "cache_clear", lambda: None)()
