"""The machine at hand: its processor, its libraries and its threads, as plain data for reports and records."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from mlp._version import __version__

LIBRARIES = ("numpy", "numba", "scipy", "scikit-learn", "safetensors", "polars", "click", "rich")
_CUPY_WHEELS = ("cupy-cuda12x", "cupy-cuda13x", "cupy")

VARIABLES = {
    "MLP_DATA": "folder of the MNIST files",
    "MLP_NUM_THREADS": "threads of the compiled kernels (else NUMBA_NUM_THREADS, else every processor)",
    "MLP_CACHE_DIR": "folder of the compiled kernels",
    "MLP_DEBUG": "1 shows the traceback of an error",
}
"""The environment variables that are read, and what they set."""


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
    """Processors that this process may use; containers and batch systems lend fewer than there are."""
    import joblib

    return int(joblib.cpu_count())


def versions() -> dict[str, str]:
    """Version of Python and of each library that is installed; imports none of them.

    Examples
    --------
    >>> "numpy" in versions()
    True
    """
    found = {"mlp": __version__, "python": platform.python_version()}
    for name in (*LIBRARIES, *_CUPY_WHEELS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def threads() -> dict[str, Any]:
    """Threads that the kernels and each BLAS library that is loaded may use."""
    import threadpoolctl

    asked = next((name for name in ("MLP_NUM_THREADS", "NUMBA_NUM_THREADS") if os.environ.get(name)), None)
    text = os.environ[asked] if asked else str(usable_processors())
    return {
        "kernels": int(text) if text.isdecimal() and int(text) else f"{text!r} is no number of threads",
        "kernels_set_by": asked or "the processors there are",
        "blas": [
            {"library": library["internal_api"], "version": library["version"], "threads": library["num_threads"]}
            for library in threadpoolctl.threadpool_info()
            if library["user_api"] == "blas"
        ],
    }


def cache_folder() -> str:
    """Where compiled kernels are kept, unless nothing can be written there."""
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
    """The vector extensions that NumPy found, such as AVX2."""
    import numpy as np

    found: Any = np.show_config(mode="dicts")
    extensions = found.get("SIMD Extensions", {})
    return [*extensions.get("baseline", []), *extensions.get("found", [])]


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
