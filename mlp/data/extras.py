"""Optional libraries: the error if one is not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlp._backends import MLPError


class MissingExtraError(MLPError, ImportError):
    """An optional library is not installed; the message says how to install it."""


def require_extra(name: str, where: str) -> Any:
    """Return an optional library, which reading `where` needs.

    Raises
    ------
    MissingExtraError
        If it is not installed.

    Examples
    --------
    >>> require_extra("no_such_library", "'a.csv'")
    Traceback (most recent call last):
        ...
    mlp.data.extras.MissingExtraError: reading 'a.csv' needs no_such_library, which is not installed; run: pip install \
no_such_library
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"reading {where} needs {name}, which is not installed; run: pip install {name}"
        ) from error
