"""Numba: the contract as kernels compiled for this processor.

Read in this order: `backend` (the class, in the contract's words), `kernels` (the loops), `tiles` (matrix
products), `vector_math` (exp and its kin), `threads`, `cache` and `parts`; then `epoch`, `epoch_kernel` and
`panels`, which run a whole epoch at once.  Importing this package imports none of them, nor Numba.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from backends._status import Status

if TYPE_CHECKING:
    from backends.base import Backend


def probe() -> Status:
    """Import Numba and say its version."""
    if importlib.util.find_spec("numba") is None:
        return Status(usable=False, reason="Numba is not installed: pip install numba")
    try:
        version = importlib.import_module("numba").__version__
    except Exception as error:  # a Numba that does not know the NumPy beside it raises on import
        return Status(usable=False, reason=f"Numba is installed but cannot be imported: {error}")
    return Status(usable=True, devices=("cpu",), version=version)


def create(device: str) -> Backend:
    """The backend; `device` is always ``"cpu"``."""
    from backends.numba_backend.backend import NumbaBackend

    return NumbaBackend()
