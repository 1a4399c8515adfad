"""Allowed rounding errors of a backend: one table for all functions.

The error of ``f(z)`` may be `ulp` units in the last place of the result, plus the change of the exact result
when the argument moves by `argument` units in *its* last place.  The second part is zero for functions that can
be computed accurately for every argument.  It is needed where a formula rounds the argument of an exponential
(the far tail of a GELU), or where the derivative crosses zero.

Errors below the smallest normal number are ignored: denormals may be flushed to zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Bound(NamedTuple):
    ulp: float
    argument: float = 0.0


ELEMENTARY = {
    "exp": Bound(2),
    "expm1": Bound(3),
    "log": Bound(2),
    "log1p": Bound(2),
    "sqrt": Bound(0.5),
    "tanh": Bound(4),
    "erfc": Bound(4, argument=1),
}

FORWARD = {
    "identity": Bound(0),
    "relu": Bound(0),
    "step": Bound(0),
    "leaky_relu": Bound(1),
    "exp": Bound(2),
    "tanh": Bound(4),
    "sigmoid": Bound(4),
    "elu": Bound(3),
    "selu": Bound(4),
    "softplus": Bound(4),
    "silu": Bound(5),
    "mish": Bound(5),
    "gelu": Bound(4, argument=2),
    "gelu_tanh": Bound(4, argument=2),
}

BACKWARD = {
    "identity": Bound(0),
    "relu": Bound(0),
    "leaky_relu": Bound(1),
    "exp": Bound(1),
    "tanh": Bound(2, argument=1),
    "sigmoid": Bound(2),
    "elu": Bound(2),
    "selu": Bound(2, argument=2),
    "softplus": Bound(4),
    "silu": Bound(4, argument=4),
    "mish": Bound(4, argument=4),
    "gelu": Bound(4, argument=4),
    "gelu_tanh": Bound(4, argument=8),
}


def units(value, dtype):
    """Unit in the last place of `value` in `dtype`, as float64; at least that of the smallest normal number."""
    info = np.finfo(dtype)
    size = np.clip(np.abs(value), float(info.tiny), float(info.max)).astype(dtype)
    return np.spacing(size).astype(np.float64)


def allowed_error(bound, exact, shifted, dtype):
    """The error that `bound` allows; `shifted` is the exact result with the argument one unit larger."""
    sensitivity = np.abs((shifted.high - exact.high) + (shifted.low - exact.low))
    return np.maximum(bound.ulp * units(exact.high, dtype) + bound.argument * sensitivity, float(np.finfo(dtype).tiny))


def product_bound(a, b, dtype):
    """Allowed error of each entry of a matrix product: 2 K u |A| |B|, where u is half of epsilon."""
    u = float(np.finfo(dtype).eps) / 2
    magnitude = np.abs(a).astype(np.longdouble) @ np.abs(b).astype(np.longdouble)
    return 2 * a.shape[1] * u * magnitude.astype(np.float64) + float(np.finfo(dtype).tiny)
