"""The machine of a measurement: what it is, and whether it is idle."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import time
from typing import Any

from mlp.bench.cases import images
from mlp.io import machine_info

IDLE_CHECK, MAX_WAIT = 0.01, 1.0
"""Seconds for which the process must be idle before a measurement, and the longest wait for that."""


def wait_until_idle() -> None:
    """Wait for threads of the previous measurement; those of BLAS libraries are busy for 0.1 s after the last call."""
    deadline = time.perf_counter() + MAX_WAIT
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(IDLE_CHECK)
        if time.process_time() - used < IDLE_CHECK / 10:
            return


def about_machine() -> dict[str, Any]:
    """The date, the data, the machine, its threads, and the versions of the libraries, for a report."""
    versions = machine_info.versions()
    for name in ("torch", "jax", "jaxlib", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "recorded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "images": images(),
        "machine": machine_info.describe() | {"gpus": _gpus()},
        "threads": machine_info.threads(),
        "versions": versions,
    }


def _gpus() -> list[str]:
    """Return the names of the GPUs, or an empty list."""
    with contextlib.suppress(Exception):
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        return [cupy.cuda.runtime.getDeviceProperties(number)["name"].decode() for number in range(count)]
    return []
