"""NumPy's floating-point warnings: none from our computations, and those of the user's own functions as usual.

An overflow in a network is reported where its result is used, by an error that says more than the warning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import Any

import numpy as np

_callers: ContextVar[Any] = ContextVar("settings of the caller", default=None)


class no_float_warnings:  # a class, because a generator takes longer, and a prediction of one row is short
    """Compute without floating-point warnings.

    Examples
    --------
    >>> with no_float_warnings():
    ...     np.float64(1e300) * np.float64(1e300)
    np.float64(inf)
    """

    __slots__ = ("_errstate", "_token")
    _token: Token[Any] | None

    def __enter__(self) -> None:
        self._token = None
        if _callers.get() is None:  # else they are off already
            self._token = _callers.set(np.geterr())
            self._errstate = np.errstate(all="ignore")
            self._errstate.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._token is not None:
            self._errstate.__exit__(*error)
            _callers.reset(self._token)


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
