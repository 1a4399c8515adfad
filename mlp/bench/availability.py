"""Which backends and peers can be measured on this machine, and why others cannot."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mlp._backends import UnknownNameError, available, status

Peer = TypeVar("Peer")


def choose_backends(names: Sequence[str] | None) -> tuple[Sequence[str], dict[str, str]]:
    """The names of our backends to measure, by default all usable ones, and the reason for each that is missing."""
    if names is not None:
        return names, {}
    return available(), {f"mlp {name}": backend.reason for name, backend in status().items() if not backend.usable}


def choose_peers(
    names: Sequence[str] | None, peers: Mapping[str, Peer], why_missing: Callable[[str], str]
) -> tuple[list[Peer], dict[str, str]]:
    """The peers with these names, by default all, and the reason for each that is missing.

    Raises
    ------
    UnknownNameError
        If there is no peer of that name.
    """
    found, missing = [], {}
    for name in peers if names is None else names:
        if name not in peers:
            raise UnknownNameError.among("peer", name, peers)
        reason = why_missing(name)
        if reason:
            missing[name] = reason
        else:
            found.append(peers[name])
    return found, missing


def why_not_importable(package: str) -> str:
    """Import a package, before the measurement; return why that is not possible, or ""."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        distribution = "scikit-learn" if package.startswith("sklearn") else package
        return f"{package} is not installed: pip install {distribution}"
    except Exception as error:
        return f"{package} cannot be imported: {type(error).__name__}: {error}"
    return ""
