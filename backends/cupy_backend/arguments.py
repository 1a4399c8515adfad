"""`arguments_dtype`: what the persistent kernel must know of a network, as a structure of C++ and of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.cupy_backend.kernel_source import KernelOptions


def arguments_dtype(options: KernelOptions) -> np.dtype[Any]:
    """The structure ``persistent::Arguments`` of the kernel; pointers are integers."""
    real = options.dtype
    pointers = (
        "words", "X_order", "order", "X", "X_stride", "target", "weight", "normalizers", "l2", "scalars", "losses",
        "params", "state",
    )  # fmt: skip
    loss = np.dtype([(name, real) for name in ("keep", "add", "delta_factor", "ceiling")], align=True)
    dropout = np.dtype([("layer", np.int32), ("threshold", np.uint32), ("scale", real)], align=True)
    return np.dtype(
        [
            *((name, np.int64) for name in pointers),
            ("n_rows", np.int32),
            ("x_factor", real),
            ("loss", loss),
            *((name, np.float64) for name in ("loss_factor", "l1", "clip_norm")),
            ("clip_value", real),
            ("input_dropout", dropout),
            ("hidden_dropout", dropout),
        ],
        align=True,
    )
