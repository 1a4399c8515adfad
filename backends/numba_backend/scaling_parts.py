"""The scaling layer as parts of a training step, which only networks with such a layer compile; see `step_parts`.

With the inputs x, their factors s and the gradient dz of the first layer's outputs, let ``G = x.T @ dz``.  The
gradient of the weights is then ``s[:, None] * G``, and that of the factors ``(W * G).sum(axis=1)``.  So the factors
need no product of their own: each chunk of G gives sums over its columns, which are added when all chunks are done.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

import numpy as np

from backends.numba_backend.formula_loops import apply_rule
from backends.numba_backend.panels import FACTOR_RATE, FACTOR_SUMS, FACTORS, INPUT, INPUT_ROW, N_IN, PANELS, UNSCALED
from backends.numba_backend.pointers import offset
from backends.numba_backend.subroutine import subroutine
from backends.numba_backend.vector_math import maximum, minimum


def scale_inputs(dtype: np.dtype[Any]) -> Any:
    """Multiply rows i0 to i1 of the network's input by the factors."""

    def scale(layer, space, i0, i1):  # type: ignore[no-untyped-def]
        factors, row = offset(space, layer[FACTORS]), layer[INPUT_ROW]
        for i in range(i0, i1):
            x, scaled = offset(space, layer[UNSCALED] + i * row), offset(space, layer[INPUT] + i * row)
            for k in range(layer[N_IN]):
                scaled[k] = x[k] * factors[k]

    return scale, "int*", "real*", "int", "int"


def scale_gradient(dtype: np.dtype[Any]) -> Any:
    """For inputs k0 to k1 and the columns of a panel: from G to the gradient of the weights; keep the sums of W * G."""
    real = dtype.type

    @subroutine
    def dot(x, y, n):  # type: ignore[no-untyped-def]
        """Four sums, because each addition waits for the one before."""
        a = b = c = d = real(0)
        whole = n // 4 * 4
        for j in range(0, whole, 4):
            a += x[j] * y[j]
            b += x[j + 1] * y[j + 1]
            c += x[j + 2] * y[j + 2]
            d += x[j + 3] * y[j + 3]
        for j in range(whole, n):
            a += x[j] * y[j]
        return (a + b) + (c + d)

    def scale(layer, space, W, g, panel, k0, k1, width):  # type: ignore[no-untyped-def]
        factors, sums = offset(space, layer[FACTORS]), offset(space, layer[FACTOR_SUMS] + panel * layer[N_IN])
        for k in range(k0, k1):
            g_row = offset(g, (k - k0) * width)
            sums[k] = dot(offset(W, (k - k0) * width), g_row, width)
            for j in range(width):
                g_row[j] *= factors[k]

    return scale, "int*", "real*", "real*", "real*", *("int",) * 4


def _gradient_of_factor(dtype: np.dtype[Any]) -> Any:
    real = dtype.type

    @subroutine
    def gradient(layer, space, k, clip_value):  # type: ignore[no-untyped-def]
        """Gradient of factor k, clipped by value; the chunks of G are done."""
        sums, total = offset(space, layer[FACTOR_SUMS] + k), real(0)
        for p in range(layer[PANELS]):
            total += sums[p * layer[N_IN]]
        return minimum(maximum(total, -clip_value), clip_value)

    return gradient


def factor_squares(dtype: np.dtype[Any]) -> Any:
    """Sum of the squares of the factors' gradients, in double precision."""
    gradient = _gradient_of_factor(dtype)

    def squares(layer, space, clip_value, result):  # type: ignore[no-untyped-def]
        result[0] = 0.0
        for k in range(layer[N_IN]):
            g = gradient(layer, space, k, clip_value)
            result[0] += g * g

    return squares, "int*", "real*", "real", "double*"


def update_factors(dtype: np.dtype[Any]) -> Any:
    """Update the factors and their state; `g` has room for their gradients."""
    gradient = _gradient_of_factor(dtype)

    def update(layer, space, clip_value, norm_factor, loop, scalars, segment_size, g):  # type: ignore[no-untyped-def]
        factors, n = offset(space, layer[FACTORS]), layer[N_IN]
        for k in range(n):
            g[k] = norm_factor * gradient(layer, space, k, clip_value)
        state = offset(factors, segment_size)
        apply_rule(loop, factors, g, state, segment_size, offset(scalars, layer[FACTOR_RATE]), n)

    return update, "int*", "real*", "real", "real", "int", "real*", "int", "real*"
