"""Environment variables that several modules read, and the number of processors."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from backends.errors import ConfigurationError

THREAD_VARIABLES = ("MLP_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Each sets the number of threads of the compiled kernels; the first that is set counts."""


def threads_of_environment() -> int | None:
    """The number of threads that the environment sets, or None.

    Raises
    ------
    ConfigurationError
        If it is not a positive integer.
    """
    for name in THREAD_VARIABLES:
        text = os.environ.get(name, "").strip()
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise ConfigurationError(
                    f"environment variable {name}={text!r}: the number of threads must be a positive integer"
                )
            return int(text)
    return None


@functools.cache
def usable_processors() -> int:
    """Number of processors that this process may use; a container or batch system may allow only some of them."""
    joblib: Any = importlib.import_module("joblib")  # not at import: it takes a tenth of a second
    return int(joblib.cpu_count())
