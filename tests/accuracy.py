"""How far a backend may be from the truth: one table for all functions.

The error of ``f(z)`` may be `ulp` units in the last place of the result, and besides what moving the
argument by `argument` units in *its* last place does to the exact result.  The second part is zero for
functions that can be computed accurately wherever they are defined; it stands where a formula rounds
the argument of an exponential (the far tail of a GELU) or where the slope itself crosses zero.

Errors below the smallest normal number do not count: denormals may be flushed.
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
    "gelu": Bound(4, argument=4),
    "gelu_tanh": Bound(4, argument=8),
}


def units(value, dtype):
    """The unit in the last place of `value` in `dtype`, in double precision; never below that of a normal number."""
    info = np.finfo(dtype)
    size = np.clip(np.abs(value), float(info.tiny), float(info.max)).astype(dtype)
    return np.spacing(size).astype(np.float64)


def allowed(bound, exact, moved, dtype):
    """The error that `bound` grants: `exact` is the result, `moved` the one a unit of the argument further on."""
    sensitivity = np.abs((moved.high - exact.high) + (moved.low - exact.low))
    return np.maximum(bound.ulp * units(exact.high, dtype) + bound.argument * sensitivity, float(np.finfo(dtype).tiny))


def product_bound(a, b, dtype):
    """The error a product of matrices may have, entry by entry: 2 K u |A| |B|, with u half of epsilon."""
    u = float(np.finfo(dtype).eps) / 2
    magnitude = np.abs(a).astype(np.longdouble) @ np.abs(b).astype(np.longdouble)
    return 2 * a.shape[1] * u * magnitude.astype(np.float64) + float(np.finfo(dtype).tiny)
