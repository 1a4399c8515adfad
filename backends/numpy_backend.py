"""The NumPy backend: the portable implementation, and the reference for the results of all backends."""

from __future__ import annotations

import numpy as np

from backends import formulas
from backends._status import Status
from backends.base import Backend


class NumpyBackend(Backend):
    """The portable implementation with `numpy` as its namespace."""

    name = "numpy"

    def __init__(self) -> None:
        super().__init__(np, erfc=formulas.erfc)


def probe() -> Status:
    """NumPy is always usable."""
    return Status(usable=True, devices=("cpu",), version=np.__version__)


def create(device: str) -> Backend:
    """Return the backend; `device` is always ``"cpu"``."""
    return NumpyBackend()


__all__ = ["NumpyBackend", "create", "probe"]
