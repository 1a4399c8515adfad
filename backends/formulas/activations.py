"""Activations: each is a pair of functions and one row of `ACTIVATIONS`.

``name(z)`` is the function.  ``name_backward(dy, s)`` is ``dy * f'(z)``, where s is the output y if the derivative
can be computed from it, and otherwise the input z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy import abs, exp, expm1, log1p, maximum, minimum, sign, tanh, where

from backends.errors import NotDifferentiableError, UnknownNameError
from backends.formulas.elementary import erfc, row_max, row_sum

LEAKY_SLOPE = 0.01
SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017, section 2
SELU_FLOOR = 1.7580993408473766  # SELU_SCALE times the paper's alpha, 1.6732632423543772
SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
GELU_SCALE = 2 * math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715


def identity(z: Any) -> Any:
    return z


def identity_backward(dy: Any, y: Any) -> Any:
    return dy


def sigmoid(z: Any) -> Any:
    e = exp(-abs(z))  # never overflows, and keeps full accuracy in both tails
    return where(z >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_backward(dy: Any, y: Any) -> Any:
    return dy * (y * (1 - y))


def hyperbolic_tangent(z: Any) -> Any:
    return tanh(z)


def hyperbolic_tangent_backward(dy: Any, y: Any) -> Any:
    return dy * (1 - y * y)


def relu(z: Any) -> Any:
    return maximum(z, 0)


def relu_backward(dy: Any, y: Any) -> Any:
    return where(y <= 0, 0, dy)  # with this condition, dy passes if y is NaN


def leaky_relu(z: Any) -> Any:
    return where(z > 0, z, LEAKY_SLOPE * z)


def leaky_relu_backward(dy: Any, y: Any) -> Any:
    return where(y > 0, dy, LEAKY_SLOPE * dy)


def elu(z: Any) -> Any:
    """Clevert et al. 2016 with alpha = 1."""
    return where(z > 0, z, expm1(minimum(z, 0)))


def elu_backward(dy: Any, y: Any) -> Any:
    return where(y > 0, dy, dy * (y + 1))


def selu(z: Any) -> Any:
    return where(z > 0, SELU_SCALE * z, SELU_FLOOR * expm1(minimum(z, 0)))


def selu_backward(dy: Any, y: Any) -> Any:
    return where(y > 0, SELU_SCALE * dy, dy * (y + SELU_FLOOR))


def gelu(z: Any) -> Any:
    """Hendrycks & Gimpel 2016: z times the normal distribution function (erfc is accurate in the left tail)."""
    return z * (0.5 * erfc(-SQRT_HALF * z))


def gelu_backward(dy: Any, z: Any) -> Any:
    return dy * (0.5 * erfc(-SQRT_HALF * z) + z * (INV_SQRT_2PI * exp(-0.5 * (z * z))))


def gelu_tanh(z: Any) -> Any:
    """The paper's approximation; (1 + tanh u) / 2 is written as sigmoid(2u), which does not cancel."""
    return z * sigmoid(GELU_SCALE * (z + GELU_CUBIC * (z * z * z)))


def gelu_tanh_backward(dy: Any, z: Any) -> Any:
    u = GELU_SCALE * (z + GELU_CUBIC * (z * z * z))
    e = exp(-abs(u))
    q = 1 / (1 + e)
    s, ds = where(u >= 0, q, e * q), e * q * q  # sigmoid(u) and s (1 - s), without the cancellation in 1 - s
    # if e underflows to zero, z * z may have overflowed
    return dy * (s + where(e > 0, z * ds * (GELU_SCALE * (1 + 3 * GELU_CUBIC * (z * z))), 0))


def silu(z: Any) -> Any:
    return z * sigmoid(z)


def silu_backward(dy: Any, z: Any) -> Any:
    e = exp(-abs(z))
    q = 1 / (1 + e)
    s, rest = where(z >= 0, q, e * q), where(z >= 0, e * q, q)  # sigmoid(z), and 1 - s without cancellation
    return dy * (s * (1 + z * rest))


def mish(z: Any) -> Any:
    """Misra 2020: z tanh(softplus(z)).

    With E = exp(z), tanh(log(1 + E)) is E (E + 2) / (E (E + 2) + 2).  Where z >= 0 both are divided by E^2.
    """
    e = exp(-abs(z))
    n = where(z >= 0, 1 + 2 * e, e * (e + 2))
    return z * (n / (n + where(z >= 0, 2 * (e * e), 2)))


def mish_backward(dy: Any, z: Any) -> Any:
    e = exp(-abs(z))
    n, rest = where(z >= 0, 1 + 2 * e, e * (e + 2)), where(z >= 0, 2 * (e * e), 2)
    d = n + rest
    t, slope = n / d, rest * (n + d) / (d * d)  # tanh(softplus(z)), and 1 - t^2 without cancellation
    return dy * (t + z * (slope * (where(z >= 0, 1, e) / (1 + e))))


def softplus(z: Any) -> Any:
    return maximum(z, 0) + log1p(exp(-abs(z)))


def softplus_backward(dy: Any, y: Any) -> Any:
    return dy * -expm1(-y)


def exponential(z: Any) -> Any:
    return exp(z)


def exponential_backward(dy: Any, y: Any) -> Any:
    return dy * y


def step(z: Any) -> Any:
    """1 where z >= 0, else 0; NaN stays NaN."""
    return maximum(sign(sign(z) + 0.5), 0)


def softmax(z: Any) -> Any:
    e = exp(z - row_max(z))
    return e / row_sum(e)


def softmax_backward(dy: Any, y: Any) -> Any:
    return y * (dy - row_sum(dy * y))


@dataclass(frozen=True)
class Activation:
    """One row of the table of activations.

    Attributes
    ----------
    name : str
    forward : callable
        ``forward(z) -> y``.
    backward : callable or None
        ``backward(dy, s) -> dz``, where s is y or z (see `saves`); None if there is no useful derivative.
    saves : {"y", "z"}
        Argument s of the backward pass: the output y, or the input z if the derivative cannot be computed from y.
    role : {"any", "output"}
        Layers that may use it: any layer, or only the output layer.
    rowwise : bool
        Whether each entry of the result depends on the whole row (as in softmax); otherwise it is elementwise.
    custom : bool
        Whether it is user-defined; its functions then take the backend as their first argument.
    """

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    saves: str = "y"
    role: str = "any"
    rowwise: bool = False
    custom: bool = False


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        row.name: row
        for row in (
            Activation("identity", identity, identity_backward),
            Activation("sigmoid", sigmoid, sigmoid_backward),
            Activation("tanh", hyperbolic_tangent, hyperbolic_tangent_backward),
            Activation("relu", relu, relu_backward),
            Activation("leaky_relu", leaky_relu, leaky_relu_backward),
            Activation("elu", elu, elu_backward),
            Activation("selu", selu, selu_backward),
            Activation("gelu", gelu, gelu_backward, saves="z"),
            Activation("gelu_tanh", gelu_tanh, gelu_tanh_backward, saves="z"),
            Activation("silu", silu, silu_backward, saves="z"),
            Activation("mish", mish, mish_backward, saves="z"),
            Activation("softplus", softplus, softplus_backward),
            Activation("step", step, None),
            Activation("exp", exponential, exponential_backward, role="output"),
            Activation("softmax", softmax, softmax_backward, role="output", rowwise=True),
        )
    }
)


def activation(name: str | Activation) -> Activation:
    """Look up an activation by name; an `Activation` is returned unchanged.

    Raises
    ------
    UnknownNameError
        If there is none of this name; the message suggests the most similar name.
    """
    if isinstance(name, Activation):
        return name
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise UnknownNameError.among("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def require_derivative(row: Activation) -> None:
    """Raise `NotDifferentiableError` if `row` has no backward function."""
    if row.backward is None:
        raise NotDifferentiableError(
            f"activation {row.name!r} cannot be used for training: its derivative is zero everywhere except at the "
            "step. Use it for forward passes only, and train with 'sigmoid' or 'relu' instead."
        )
