"""The elementary functions that formulas may use, and implementations of those that NumPy does not have."""

from __future__ import annotations

from typing import Any

NAMES = ("abs", "exp", "expm1", "log", "log1p", "maximum", "minimum", "sign", "sqrt", "tanh", "where")
"""Elementary functions of NumPy that formulas may use; `ROW_NAMES` lists the others."""

ROW_NAMES = ("erfc", "row_max", "row_sum")
"""``erfc`` is not in NumPy; ``row_max`` and ``row_sum`` reduce the last axis and keep it with length 1."""


def erfc(z: Any) -> Any:
    """Complementary error function, from SciPy (imported on first use, because that takes a tenth of a second)."""
    from scipy.special import erfc as scipy_erfc

    return scipy_erfc(z)


def row_max(z: Any) -> Any:
    """Largest entry of each row, as a column."""
    # CuPy raises an error for an array without entries, also if it has no rows and the maximum none to be computed
    return z.max(axis=-1, keepdims=True) if z.size else z[..., :1]


def row_sum(z: Any) -> Any:
    """Sum of each row, as a column."""
    return z.sum(axis=-1, keepdims=True)
