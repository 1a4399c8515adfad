"""Arrays with names, which print as one block for each."""

from __future__ import annotations

from typing import Any

import numpy as np

SHOWN = 64
"""Of an array with more numbers than this, only the shape and the range are printed."""


class NamedArrays(dict[str, Any]):
    """A dict of numbers and arrays; `print` writes their shapes and their numbers, rounded to four decimals.

    Examples
    --------
    >>> print(NamedArrays(a1=np.array([[0.5, -1.25], [10.0, 0.0]]), J=0.25, X=np.zeros((28, 28))))
    a1 (2, 2)
         0.5000  -1.2500
        10.0000   0.0000
    J = 0.2500
    X (28, 28): 784 numbers from 0.0000 to 0.0000
    """

    def __str__(self) -> str:
        return "\n".join(_text(name, np.asarray(value)) for name, value in self.items())


def _text(name: str, values: Any) -> str:
    if values.size == 1 and values.ndim < 2:
        return f"{name} = {values.item():.4f}"
    head = f"{name} {values.shape}"
    if values.size > SHOWN:
        return f"{head}: {values.size:,} numbers from {values.min():.4f} to {values.max():.4f}"
    rows = [[f"{value:.4f}" for value in row] for row in np.atleast_2d(values)]
    widths = [max(7, *map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join([head, *("    " + "  ".join(map(str.rjust, row, widths)) for row in rows)])
