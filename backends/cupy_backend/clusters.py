"""Clusters of sixteen blocks: more than every GPU with clusters has, so a kernel must ask for them.

CuPy cannot set the attribute by which it does, so the driver's library is called with ctypes.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from functools import cache
from typing import Any

LARGE_CLUSTER = 16
"""Blocks of a cluster, at most, on GPUs that have larger clusters than eight: those of capability 9.0 and 10.0."""

# names and values of cuda.h
_NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14

_PROBE = (
    f'extern "C" __global__ void __cluster_dims__({LARGE_CLUSTER}, 1, 1) __launch_bounds__(128, 1) '
    "probe(int* x) {\n    *x = 1;\n}\n"
)

logger = logging.getLogger("mlp")


class ClusterError(RuntimeError):
    """A call of the driver failed."""


class _LaunchConfig(ctypes.Structure):
    """``CUlaunchConfig``."""

    _fields_ = [
        *((f"{of}Dim{axis}", ctypes.c_uint) for of in ("grid", "block") for axis in "XYZ"),
        ("sharedMemBytes", ctypes.c_uint),
        ("hStream", ctypes.c_void_p),
        ("attrs", ctypes.c_void_p),
        ("numAttrs", ctypes.c_uint),
    ]


def allow_large_clusters(kernel: Any) -> None:
    """Let a kernel be launched in clusters of more than eight blocks.

    Parameters
    ----------
    kernel : cupy.RawKernel

    Raises
    ------
    ClusterError
        If the driver refuses it.
    """
    function, value = ctypes.c_void_p(kernel.kernel.ptr), ctypes.c_int(1)
    attribute = ctypes.c_int(_NON_PORTABLE_CLUSTER_SIZE_ALLOWED)
    _check(open_driver().cuFuncSetAttribute(function, attribute, value), "cuFuncSetAttribute")


def most_blocks(device: Any) -> int:
    """Blocks that a cluster can have, each with a multiprocessor to itself: 16, or 8 with the reason in the log.

    Parameters
    ----------
    device : Device
        Of compute capability 9.0 or higher.
    """
    try:
        count = _active_clusters(device.module(_PROBE).get_function("probe"), device.shared_bytes)
        reason = "" if count else "the GPU has no group of 16 multiprocessors"
    except (OSError, ClusterError) as error:
        reason = str(error)
    if reason:
        logger.info("the persistent kernel runs in clusters of 8 blocks, not of %d: %s", LARGE_CLUSTER, reason)
    return 8 if reason else LARGE_CLUSTER


def _active_clusters(kernel: Any, shared_bytes: int) -> int:
    """Clusters of 16 blocks that can run at the same time, if each block needs all of a multiprocessor."""
    kernel.max_dynamic_shared_size_bytes = shared_bytes
    allow_large_clusters(kernel)
    config = _LaunchConfig(LARGE_CLUSTER, 1, 1, 128, 1, 1, shared_bytes, None, None, 0)
    count = ctypes.c_int(0)
    function = ctypes.c_void_p(kernel.kernel.ptr)
    status = open_driver().cuOccupancyMaxActiveClusters(ctypes.byref(count), function, ctypes.byref(config))
    _check(status, "cuOccupancyMaxActiveClusters")
    return count.value


def _check(status: int, call: str) -> None:
    if status:
        raise ClusterError(
            f"{call} failed (CUresult {status}): this driver or GPU has no clusters of {LARGE_CLUSTER} blocks"
        )


@cache
def open_driver() -> Any:
    """The shared library of the driver.

    Raises
    ------
    OSError
        If there is none.
    """
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
