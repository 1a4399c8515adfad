"""The tensors of a model file: their names, their shapes, and the parameters of the network that they hold.

They are ``layers.0.weight`` (n_in, n_out), ``layers.0.bias`` (n_out,), and so on, and ``scaling`` (n_in,) if the
network has a scaling layer.  A training state has tensors of its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import optimizers
from mlp._backends import Layout

Tensors = dict[str, NDArray[Any]]

_SCALING = "scaling"
SLOTS, OTHER, BATCHES = "training.slots", "training.other_weights", "training.batches"
"""The tensors of a training state: `TrainingState.slots`, and `other_weights` and `batches` if it has them."""


def layer_tensors(layout: Layout, flat: NDArray[Any]) -> Tensors:
    """Views of parameters, shape (n_parameters,), by the names of the tensors."""
    factors = layout.scaling(flat)
    return {
        f"layers.{l}.{part}": array
        for l, (W, b) in enumerate(layout.layers(flat))
        for part, array in (("weight", W), ("bias", b))
    } | ({} if factors is None else {_SCALING: factors})


def flat_parameters(layout: Layout, tensors: Tensors) -> NDArray[Any]:
    """The parameters, shape (n_parameters,), of the tensors of a file."""
    flat = np.empty(layout.n_parameters, tensors["layers.0.weight"].dtype)
    for l, (W, b) in enumerate(layout.layers(flat)):
        W[...], b[...] = tensors[f"layers.{l}.weight"], tensors[f"layers.{l}.bias"]
    if (factors := layout.scaling(flat)) is not None:
        factors[...] = tensors[_SCALING]
    return flat


def network_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of a network, from the arguments of `MLP` in its file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(config["sizes"])):
        shapes |= {f"layers.{l}.weight": (n_in, n_out), f"layers.{l}.bias": (n_out,)}
    return shapes | ({_SCALING: (config["sizes"][0],)} if config["scaling_layer"] else {})


def training_shapes(training: dict[str, Any], layout: Layout, names: set[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors that a file with these `names` must have for its training state."""
    rule = optimizers.from_dict(training["optimizer"]).rule
    shapes: dict[str, tuple[int, ...]] = {SLOTS: (len(rule.row.state), layout.n_parameters)}
    if OTHER in names or training["restored"]:
        shapes[OTHER] = (layout.n_parameters,)
    if training.get("batches"):
        shapes[BATCHES] = (2, training["batches"])
    return shapes
