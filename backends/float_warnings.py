"""NumPy's floating-point warnings: none from our computations, and those of the user's own functions as usual.

An overflow in a network is reported where its result is used, by an error that says more than the warning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

_callers: ContextVar[dict[str, Any] | None] = ContextVar("settings of the caller", default=None)


@contextlib.contextmanager
def no_float_warnings() -> Iterator[None]:
    """Compute without floating-point warnings.

    Examples
    --------
    >>> with no_float_warnings():
    ...     np.float64(1e300) * np.float64(1e300)
    np.float64(inf)
    """
    token = _callers.set(dict(np.geterr())) if _callers.get() is None else None
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        if token is not None:
            _callers.reset(token)


@contextlib.contextmanager
def callers_float_warnings() -> Iterator[None]:
    """Within `no_float_warnings`: compute as its caller does, with warnings unless that caller disabled them.

    Examples
    --------
    >>> settings = np.geterr()
    >>> with no_float_warnings(), callers_float_warnings():
    ...     np.geterr() == settings
    True
    """
    settings = _callers.get()
    if settings is None:
        yield
        return
    token = _callers.set(None)
    try:
        with np.errstate(**settings):
            yield
    finally:
        _callers.reset(token)
