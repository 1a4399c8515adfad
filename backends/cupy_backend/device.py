"""`Device`: one GPU as CuPy presents it, and what the rest of this package asks of it."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from backends.cupy_backend.clusters import most_blocks
from backends.cupy_backend.cublas import WORKSPACE, Cublas
from backends.errors import ConfigurationError, DeviceMemoryError

EXECUTIONS = ("graphs", "launches", "loop", "persistent")
"""Values of `Device.execution`; the first is the default."""

IN_FLIGHT = 8
"""Graphs that the host starts ahead of the device: enough that the device never waits, few enough to stop soon."""


class TrainingStream:
    """A stream for one trainer at a time, with the handle of cuBLAS that works on it."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._cublas: Cublas | None = None
        self.stream = cupy.cuda.Stream(non_blocking=True)

    @property
    def cublas(self) -> Cublas:
        """The handle, made at its first use."""
        if self._cublas is None:
            self._cublas = Cublas(self.stream.ptr, self._cupy.empty(WORKSPACE, dtype=np.uint8))
        return self._cublas


class Device:
    """One GPU.

    Parameters
    ----------
    cupy : module
    name : str
        ``"cuda:i"``.

    Attributes
    ----------
    cuda : cupy.cuda.Device
    is_hip : bool
        Whether it is an AMD GPU.
    multiprocessors : int
    compute_capability : int
        Ten times the number that NVIDIA writes.
    shared_bytes : int
        Shared memory that a block can have.
    captures : Lock
        Held while a stream captures a graph: meanwhile, no other thread may wait for the whole device.
    """

    def __init__(self, cupy: Any, name: str) -> None:
        self.cupy, self.name = cupy, name
        self.cuda = cupy.cuda.Device(int(name.partition(":")[2] or 0))
        self.is_hip = bool(cupy.cuda.runtime.is_hip)
        self.multiprocessors = int(self.cuda.attributes["MultiProcessorCount"])
        self.compute_capability = 0 if self.is_hip else int(self.cuda.compute_capability)
        self.shared_bytes = int(self.cuda.attributes.get("MaxSharedMemoryPerBlockOptin", 0))
        self._most_blocks = 0
        self._execution = EXECUTIONS[0]
        self._modules: dict[str, Any] = {}
        self.captures = threading.Lock()
        self._idle_streams: list[TrainingStream] = []

    def stream_for(self, user: Any) -> TrainingStream:
        """A stream that nothing else uses as long as the object `user` exists.

        Streams are used again.  CuPy keeps free memory for each stream by itself, so memory that a trainer has had
        would be of no use to the next one if that had another stream.
        """
        found = self._idle_streams.pop() if self._idle_streams else TrainingStream(self.cupy)
        weakref.finalize(user, self._idle_streams.append, found).atexit = False
        return found

    def synchronize(self) -> None:
        """Wait until the device has finished all pending work."""
        with self.captures:
            self.cuda.synchronize()

    @property
    def most_blocks(self) -> int:
        """Blocks that a cluster can have, on a GPU with clusters."""
        if not self._most_blocks:
            self._most_blocks = most_blocks(self)
        return self._most_blocks

    @property
    def execution(self) -> str:
        """How trainers run an epoch: one of `EXECUTIONS`."""
        return self._execution

    @execution.setter
    def execution(self, value: str) -> None:
        if value not in EXECUTIONS:
            raise ConfigurationError(f"execution must be one of {', '.join(EXECUTIONS)}, not {value!r}.")
        self._execution = value

    def module(self, source: str) -> Any:
        """The compiled kernels of a CUDA C++ text; CuPy keeps them on disk."""
        if source not in self._modules:
            self._modules[source] = self.cupy.RawModule(code=source, options=("-std=c++17",))
        return self._modules[source]

    def free_bytes(self) -> int:
        """Memory that an allocation can get."""
        with self.cuda:
            free, _ = self.cupy.cuda.runtime.memGetInfo()
            pool = self.cupy.get_default_memory_pool()
            limit = pool.get_limit()  # 0 if there is none
            available = int(free) + int(pool.free_bytes())
            return min(available, int(limit) - int(pool.used_bytes())) if limit else available

    @contextlib.contextmanager
    def allocating(self, what: str, n_bytes: int, advice: str) -> Iterator[None]:
        """Use this device, and raise `DeviceMemoryError` if its memory does not suffice.

        Parameters
        ----------
        what : str
            What the memory is for.
        n_bytes : int
            How much of it is needed.
        advice : str
            What to change if that is too much.
        """
        with self.cuda:
            try:
                yield
            except self.cupy.cuda.memory.OutOfMemoryError as error:
                _, total = self.cupy.cuda.runtime.memGetInfo()
                raise DeviceMemoryError(
                    f"{self.name} has no memory for {what}: {in_words(n_bytes)} needed, {in_words(self.free_bytes())} "
                    f"of {in_words(total)} free. {advice}"
                ) from error


def in_words(n_bytes: float) -> str:
    """A number of bytes as people write it.

    Examples
    --------
    >>> in_words(300), in_words(5 * 2**20), in_words(150 * 2**30)
    ('300 bytes', '5.0 MiB', '150.0 GiB')
    """
    if n_bytes < 2**10:
        return f"{n_bytes:.0f} bytes"
    power, unit = next((each for each in ((10, "KiB"), (20, "MiB")) if n_bytes < 2 ** (each[0] + 10)), (30, "GiB"))
    return f"{n_bytes / 2**power:.1f} {unit}"
