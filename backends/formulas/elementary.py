"""The elementary functions that formulas may use, and those of them that NumPy lacks."""

from __future__ import annotations

from typing import Any

NAMES = ("abs", "exp", "expm1", "log", "log1p", "maximum", "minimum", "sign", "sqrt", "tanh", "where")
"""The elementary functions that formulas use, under NumPy's names; `ROW_NAMES` adds what needs a library."""

ROW_NAMES = ("erfc", "row_max", "row_sum")
"""``erfc`` is not in NumPy; ``row_max`` and ``row_sum`` reduce the last axis and keep it with length 1."""


def erfc(z: Any) -> Any:
    """Complementary error function, from SciPy (imported on first use: it costs a tenth of a second)."""
    from scipy.special import erfc as scipy_erfc

    return scipy_erfc(z)


def row_max(z: Any) -> Any:
    """Largest entry of each row, as a column."""
    return z.max(axis=-1, keepdims=True)


def row_sum(z: Any) -> Any:
    """Sum of each row, as a column."""
    return z.sum(axis=-1, keepdims=True)
