"""Initializers: the distributions of the initial weights.

All numbers come from `backends.random` (Philox), in double precision on the host. So a seed gives the same
network on every backend and in every dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Activation, UnknownNameError, random

Draw = Callable[[int, int, int, int], NDArray[np.float64]]
"""``draw(seed, layer, n_in, n_out)`` returns W flattened by rows, followed by b unless b is to be zero."""


def _zeros(seed: int, layer: int, n_in: int, n_out: int) -> NDArray[np.float64]:
    return np.zeros(n_in * n_out)


def _normal(seed: int, layer: int, n_in: int, n_out: int) -> NDArray[np.float64]:
    return random.normal(seed, layer, n_in * n_out + n_out)


def _neural_tangent(seed: int, layer: int, n_in: int, n_out: int) -> NDArray[np.float64]:
    values = _normal(seed, layer, n_in, n_out)
    values[: n_in * n_out] /= math.sqrt(n_in)
    return values


def _uniform(seed: int, layer: int, n_in: int, n_out: int) -> NDArray[np.float64]:
    return np.asarray(0.2 * random.uniform(seed, layer, n_in * n_out + n_out) - 0.1)


def _scaled_normal(variance: Callable[[int, int], float]) -> Draw:
    def draw(seed: int, layer: int, n_in: int, n_out: int) -> NDArray[np.float64]:
        return np.asarray(math.sqrt(variance(n_in, n_out)) * random.normal(seed, layer, n_in * n_out))

    return draw


def _scaled_uniform(variance: Callable[[int, int], float]) -> Draw:
    def draw(seed: int, layer: int, n_in: int, n_out: int) -> NDArray[np.float64]:
        bound = math.sqrt(3 * variance(n_in, n_out))
        return np.asarray(bound * (2 * random.uniform(seed, layer, n_in * n_out) - 1))

    return draw


def _glorot(n_in: int, n_out: int) -> float:
    return 2 / (n_in + n_out)


def _he(n_in: int, n_out: int) -> float:
    return 2 / n_in


def _lecun(n_in: int, n_out: int) -> float:
    return 1 / n_in


INITIALIZERS: Mapping[str, Draw] = MappingProxyType(
    {
        "zeros": _zeros,
        "normal": _normal,
        "uniform": _uniform,
        "glorot_normal": _scaled_normal(_glorot),
        "glorot_uniform": _scaled_uniform(_glorot),
        "he_normal": _scaled_normal(_he),
        "he_uniform": _scaled_uniform(_he),
        "lecun_normal": _scaled_normal(_lecun),
        "lecun_uniform": _scaled_uniform(_lecun),
        "neural_tangent": _neural_tangent,
    }
)
"""Initializers by name.  ``normal`` is N(0, 1) and ``uniform`` is U(-0.1, 0.1), for weights and biases.
``neural_tangent`` is N(0, 1 / n_in) for the weights and N(0, 1) for the biases (Jacot et al. 2018).  The others set the
biases to zero and scale the variance of the weights to the layer: 2 / (n_in + n_out) (Glorot & Bengio 2010),
2 / n_in (He et al. 2015) or 1 / n_in (LeCun et al. 1998)."""

TABLE_INIT = "glorot_uniform"
"""The default of ``mlp train`` and `mlp.tune` for tables.  With ReLU the weights are smaller than those of He, and fit
small noisy data better."""

_AUTO = {
    "selu": "lecun_normal",
    **dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "softplus"), "he_normal"),
}


def initializer_for(init: str, activation: Activation) -> str:
    """Resolve ``"auto"``: He for ReLU and its variants, LeCun for SELU, Glorot (uniform) for all others.

    Examples
    --------
    >>> from mlp._backends import formulas
    >>> initializer_for("auto", formulas.activation("relu"))
    'he_normal'
    """
    if init == "auto":
        return _AUTO.get(activation.name, "glorot_uniform")
    if init not in INITIALIZERS:
        raise UnknownNameError.among("initializer", init, ("auto", *INITIALIZERS))
    return init


def draw_layer(
    init: str, seed: int, layer: int, n_in: int, n_out: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Initial W, shape (n_in, n_out), and b, shape (n_out,), of layer number `layer`."""
    values = INITIALIZERS[init](seed, layer, n_in, n_out)
    W, b = values[: n_in * n_out].reshape(n_in, n_out), values[n_in * n_out :]
    return W, b if b.size else np.zeros(n_out)
