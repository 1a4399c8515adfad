"""Shared fixtures: every backend, both dtypes, the MNIST files; and reproducible Hypothesis settings."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import backends

collect_ignore = ["rank_failures.py"]  # a program with arguments, which doctest would import

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=12,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("thorough", parent=settings.get_profile("repeatable"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("MLP_HYPOTHESIS", "repeatable"))


def pytest_configure():
    # background jobs of a shell ignore Ctrl-C, and child processes inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header():
    missing = {name: status.reason for name, status in backends.status().items() if not status.usable}
    return [
        f"backends: {', '.join(backends.available())}",
        *(f"unavailable: {name}: {reason}" for name, reason in missing.items()),
    ]


@pytest.fixture(autouse=True)
def _messages_reach_caplog():
    """The command line keeps the logger's messages to itself; a fixture or an earlier test may have called it."""
    logger = logging.getLogger("mlp")
    logger.handlers, logger.propagate = [], True


@pytest.fixture(scope="session", params=backends.available())
def backend(request):
    """Name of each usable backend; `test_signatures` reports the others."""
    return request.param


@pytest.fixture(scope="session")
def xp(backend):
    return backends.get_backend(backend)


@pytest.fixture(scope="session", params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def stand_in_gpu():
    """A stand-in for CuPy, cuBLAS and two GPUs; see the package of that name."""
    if shutil.which("g++") is None:
        pytest.skip("the stand-in for a GPU needs g++")
    import stand_in_gpu

    stand_in, undo = stand_in_gpu.install()
    try:
        yield stand_in
        stand_in.check()
    finally:
        undo()


@pytest.fixture(scope="session")
def mnist_folder():
    """Folder with the four MNIST files: $MLP_DATA, or data/mnist in the folder `shared` next to the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("MLP_DATA", default))
    if not any(folder.glob("*-ubyte*")):
        pytest.skip(f"no MNIST files in {folder}; set MLP_DATA to the folder that has them")
    return folder
