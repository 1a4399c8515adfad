"""The Numba backend: kernels compiled for this processor.

- `backend` implements the operations, and `operation_kernels` their loops.
- `gemm` and `tiles` multiply matrices.  `vector_math` computes exp and similar functions.  `formula_compiler` and
  `specialize` compile the formulas, and `formula_loops` applies them to arrays.
- `trainer`, `epoch_kernel`, `batch_tables`, `step_kernels`, `step_parts`, `scaling_parts`, `panels` and `nonzero_lists`
  run whole epochs as one kernel, in which `subnormals` sets the mode of the processor.
- `predictor` and `prediction_kernel` compute the outputs of a network in one call.
- `threads` is the thread pool, `kernel_cache` stores compiled kernels, and `subroutine` compiles the functions that
  kernels call.
- `peak` measures what the processor could do at most.

Importing this package imports neither these modules nor Numba.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from backends._status import Status

if TYPE_CHECKING:
    from backends.base import Backend


def probe() -> Status:
    """Import Numba and return its version."""
    if importlib.util.find_spec("numba") is None:
        return Status(usable=False, reason="Numba is not installed: pip install numba")
    try:
        version = importlib.import_module("numba").__version__
    except Exception as error:  # Numba raises on import if it does not support the installed NumPy
        return Status(usable=False, reason=f"Numba is installed but cannot be imported: {error}")
    return Status(usable=True, devices=("cpu",), version=version)


def create(device: str) -> Backend:
    """Return the backend; `device` is always ``"cpu"``."""
    from backends.numba_backend.backend import NumbaBackend

    return NumbaBackend()
