"""Environment variables that several modules read."""

from __future__ import annotations

import os

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
