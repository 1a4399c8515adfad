"""The current machine: processor, libraries and threads, as plain data for reports and run folders."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from mlp._backends import THREAD_VARIABLES
from mlp._version import __version__

LIBRARIES = (
    "numpy", "numba", "llvmlite", "scipy", "scikit-learn", "safetensors", "polars", "pyarrow", "click", "rich",
)  # fmt: skip
_CUPY_WHEELS = ("cupy-cuda12x", "cupy-cuda13x", "cupy")

VARIABLES = {
    "MLP_DATA": "folder of the MNIST files",
    "MLP_NUM_THREADS": "threads of the compiled kernels (else NUMBA_NUM_THREADS, OMP_NUM_THREADS, or every processor)",
    "MLP_CACHE_DIR": "folder of the compiled kernels",
    "MLP_MAX_EXPANDED_BYTES": "bytes that a compressed data file may expand to",
    "MLP_DEBUG": "1 shows the traceback of an error",
}
"""The environment variables of this library, with their meaning."""


def describe() -> dict[str, Any]:
    """Processor, memory and operating system.

    Examples
    --------
    >>> sorted(describe())
    ['cpu', 'cpu_features', 'memory_gib', 'os', 'processors', 'usable_processors']
    """
    return {
        "cpu": _cpu_name(),
        "cpu_features": _cpu_features(),
        "processors": os.cpu_count(),
        "usable_processors": usable_processors(),
        "memory_gib": _memory_gib(),
        "os": platform.platform(),
    }


def usable_processors() -> int:
    """Number of processors that this process may use; in containers and batch systems it is less than the total."""
    import joblib

    return int(joblib.cpu_count())


def versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries, without importing them.

    Examples
    --------
    >>> "numpy" in versions()
    True
    """
    result = {"mlp": __version__, "python": platform.python_version()}
    for name in (*LIBRARIES, *_CUPY_WHEELS):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result


def threads() -> dict[str, Any]:
    """Number of threads of the compiled kernels and of each loaded BLAS library."""
    import threadpoolctl

    variable = next((name for name in THREAD_VARIABLES if os.environ.get(name)), None)
    text = os.environ[variable].partition(",")[0] if variable else str(usable_processors())
    return {
        "kernels": int(text) if text.isdecimal() and int(text) else f"{text!r} is not a number of threads",
        "kernels_set_by": variable or "the number of processors",
        "blas": [
            {"library": library["internal_api"], "version": library["version"], "threads": library["num_threads"]}
            for library in threadpoolctl.threadpool_info()
            if library["user_api"] == "blas"
        ],
    }


def cache_folder() -> str:
    """The cache folder for compiled kernels, if it is writable."""
    import platformdirs

    return os.environ.get("MLP_CACHE_DIR") or platformdirs.user_cache_dir("mlp", appauthor=False)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    """The vector extensions that NumPy reports, such as AVX2."""
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    extensions = config.get("SIMD Extensions", {})
    return [*extensions.get("baseline", []), *extensions.get("found", [])]


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
