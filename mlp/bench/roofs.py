"""What a device can do at most: the roof over the speeds of all implementations, measured in the same run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mlp._backends import Backend, available, get_backend, limit_threads, peak_kernels
from mlp.bench.entries import Roof
from mlp.bench.gpu_costs import compute_type
from mlp.io import machine_info

TIMES, MIN_SECONDS = 5, 0.02
"""Number of measurements, of which the fastest counts, and the approximate duration of each."""

LARGE = 1 << 28
"""Bytes of the largest array: more than a cache has."""

READ_SIZES = tuple(1 << power for power in range(14, 29, 2))
"""Bytes of the arrays that are read: from a core's first cache to the memory."""


def backend_on(device: str) -> Backend | None:
    """Return the backend to measure a device with, or None."""
    names = ["numpy"] if device == "cpu" else available()
    return next((xp for xp in map(get_backend, names) if xp.device == device), None)


def measure_roof(device: str, side: int, precision: str, threads: int | None = None) -> Roof | None:
    """Measure the peak of a device.

    If Numba can be used, that of a CPU is measured by fused multiply-adds in registers, and its bandwidths by reading
    arrays of several sizes.  Otherwise it is the speed of a large matrix product, and of a copy.

    Parameters
    ----------
    device : str
    side : int
        Rows and columns of the matrices.
    precision : {"float32", "tf32"}
        Of the product on a GPU.
    threads : int, optional
        Number of threads on a CPU; default: all usable processors.

    Returns
    -------
    Roof or None
        None if no backend can be used on the device.
    """
    xp = backend_on(device)
    if xp is None:
        return None
    kernels = peak_kernels() if device == "cpu" else None
    if kernels is None:
        with limit_threads(threads) if threads else contextlib.nullcontext():
            return _roof_of_products(xp, side, precision, threads)
    processors = threads or machine_info.usable_processors()
    with limit_threads(processors):
        operations = kernels.multiply_adds(1)  # compiles
        repeats = _repeats(kernels.multiply_adds, 1000)
        gflops = repeats * operations / _shortest(lambda: kernels.multiply_adds(repeats)) / 1e9
        bandwidths = [(size, _read_bandwidth(kernels, size)) for size in READ_SIZES]
    return Roof(gflops, bandwidths, 0, f"multiply-adds of {kernels.VECTOR_BITS}-bit vectors", processors)


def higher_roof(a: Roof, b: Roof | None) -> Roof:
    """Return the larger value of each figure of two measurements."""
    if b is None:
        return a
    bandwidths = [(size, max(x, y)) for (size, x), (_, y) in zip(a.bandwidths, b.bandwidths, strict=True)]
    return Roof(max(a.gflops, b.gflops), bandwidths, a.cache_bytes, a.method, a.threads)


def _read_bandwidth(kernels: Any, size: int) -> float:
    words = np.ones(size // 8, np.uint64)
    kernels.read(words, 1)
    repeats = _repeats(lambda number: kernels.read(words, number), 1)
    return repeats * words.nbytes / _shortest(lambda: kernels.read(words, repeats)) / 1e9


def _roof_of_products(xp: Any, side: int, precision: str, threads: int | None) -> Roof:
    a = xp.asarray(np.random.default_rng(0).random((side, side), dtype=np.float32))
    out = xp.empty((side, side), np.float32)
    with compute_type(xp, precision):
        product = 2.0 * side**3 / _shortest(lambda: xp.namespace.dot(a, a, out=out), xp)
    # each processor copies a part, because one processor cannot use the full bandwidth
    source, target = xp.empty((LARGE // 4,), np.float32), xp.empty((LARGE // 4,), np.float32)
    source[...] = 1  # the system allocates pages at the first write
    on_cpu = xp.device == "cpu"
    parts = threads or machine_info.usable_processors() if on_cpu else 1
    cuts = np.linspace(0, LARGE // 4, parts + 1).astype(int)

    def copy(part: int) -> None:
        chunk = slice(cuts[part], cuts[part + 1])
        target[chunk] = source[chunk]

    with ThreadPoolExecutor(parts) as pool:
        copied = 2.0 * source.nbytes / _shortest(lambda: list(pool.map(copy, range(parts))), xp)
    method = "product of large matrices" + (" in TF32" if precision == "tf32" and not on_cpu else "")
    return Roof(product / 1e9, [(LARGE, copied / 1e9)], _cache_bytes(xp), method, parts if on_cpu else None)


def _cache_bytes(xp: Any) -> int:
    """Return the size of a GPU's cache, within which the bandwidth is not measured; 0 for a CPU."""
    if xp.device == "cpu":
        return 0
    import cupy

    return int(cupy.cuda.Device(int(xp.device.partition(":")[2] or 0)).attributes["L2CacheSize"])


def _repeats(work: Callable[[int], object], number: int) -> int:
    """Return how often `work` must be repeated to take `MIN_SECONDS`."""
    while True:
        start = time.perf_counter()
        work(number)
        seconds = time.perf_counter() - start
        if seconds > MIN_SECONDS / 4:
            return max(1, round(number * MIN_SECONDS / seconds))
        number *= 4


def _shortest(work: Callable[[], object], xp: Any = None) -> float:
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        if xp is not None:
            xp.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
