"""The number of processors and of threads, and the environment variables for it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Iterator
from typing import Any

from backends.errors import ConfigurationError

THREAD_VARIABLES = ("MLP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
"""Each sets the number of threads of the compiled kernels; the first that is set counts.  Programs that start several
processes on a machine, such as dask, set the last; it may be a list with a number for each level of nesting."""


_limit: int | None = None


@contextlib.contextmanager
def limit_threads(number: int) -> Iterator[None]:
    """Use at most `number` threads of the processor in this process, within a ``with`` block.

    This is for the compiled kernels, and for the BLAS libraries that are loaded when the block begins.

    Parameters
    ----------
    number : int

    Raises
    ------
    ConfigurationError
        If it is not positive.

    Examples
    --------
    >>> with limit_threads(1):
    ...     threads_of_environment()
    1
    """
    global _limit
    if number < 1:
        raise ConfigurationError(f"the number of threads must be a positive integer, not {number!r}")
    threadpoolctl: Any = importlib.import_module("threadpoolctl")  # not at import: it takes milliseconds
    before, _limit = _limit, min(number, usable_processors() if _limit is None else _limit)
    try:
        with threadpoolctl.threadpool_limits(_limit, user_api="blas"):
            yield
    finally:
        _limit = before


def threads_of_environment() -> int | None:
    """The number of threads that `limit_threads` or the environment sets, or None.

    Raises
    ------
    ConfigurationError
        If it is not a positive integer.
    """
    for name in THREAD_VARIABLES:
        text = os.environ.get(name, "").strip()
        if name == "OMP_NUM_THREADS":
            text = text.partition(",")[0].strip()
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise ConfigurationError(
                    f"environment variable {name}={text!r}: the number of threads must be a positive integer"
                )
            return int(text) if _limit is None else min(int(text), _limit)
    return _limit


@functools.cache
def usable_processors() -> int:
    """Number of processors that this process may use; a container or batch system may allow only some of them."""
    joblib: Any = importlib.import_module("joblib")  # not at import: it takes a tenth of a second
    return int(joblib.cpu_count())
