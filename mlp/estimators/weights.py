"""The weights of an estimator as scikit-learn has them: `coefs_` and `intercepts_`, which users may assign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Activation, Layout, ShapeError
from mlp.network import FeedForward

Layers = tuple[list[NDArray[Any]], list[NDArray[Any]]]
"""The weights and the biases of all layers."""


def draw_layers(
    rng: np.random.RandomState, sizes: Sequence[int], activations: Sequence[str | Activation], dtype: Any
) -> Layers:
    """Draw initial weights as scikit-learn does (Glorot & Bengio 2010, equation 16).

    Parameters
    ----------
    rng : RandomState
    sizes : sequence of int
        Width of the input, of each hidden layer, and of the output.
    activations : sequence of str or Activation
        For each layer the one that scales its weights; scikit-learn takes that of the last hidden layer for the output.
    dtype : dtype
    """
    coefs, intercepts = [], []
    for activation, (n_in, n_out) in zip(activations, pairwise(sizes), strict=True):
        bound = math.sqrt((2.0 if activation == "sigmoid" else 6.0) / (n_in + n_out))
        coefs.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype, copy=False))
        intercepts.append(rng.uniform(-bound, bound, n_out).astype(dtype, copy=False))
    return coefs, intercepts


def packed(layout: Layout, estimator: Any) -> NDArray[Any]:
    """The weights of an estimator in one vector, in scikit-learn's order.

    Raises
    ------
    ShapeError
        If their shapes do not match the network; users can assign them.
    """
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    flat = np.empty(layout.n_parameters)
    layers = layout.layers(flat)
    if len(coefs) != len(layers) or len(intercepts) != len(layers):
        raise ShapeError(
            f"coefs_ and intercepts_ have {len(coefs)} and {len(intercepts)} arrays, but the network "
            f"has {len(layers)} layers. If hidden_layer_sizes was changed, fit with warm_start=False."
        )
    for i, ((W, b), coef, intercept) in enumerate(zip(layers, coefs, intercepts, strict=True)):
        if np.shape(coef) != W.shape or np.shape(intercept) != b.shape:
            raise ShapeError(
                f"coefs_[{i}] {np.shape(coef)} and intercepts_[{i}] {np.shape(intercept)} must have shapes "
                f"{W.shape} and {b.shape} for hidden_layer_sizes={estimator.hidden_layer_sizes!r} and these data."
            )
        W[...], b[...] = coef, intercept
    return flat


def host_layers(net: FeedForward) -> Layers:
    """Copy a network's weights and biases to host arrays."""
    flat = np.array(net.xp.to_numpy(net.parameters))
    layers = net.plan.layout.layers(flat)
    return [W for W, _ in layers], [b for _, b in layers]
