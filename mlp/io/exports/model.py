"""`Model`: what an exported program computes, as plain data.

The steps are: encode the columns of a table, if there is a preprocessing; for each layer ``activation(x @ W + b)``;
scale the outputs back, if the targets were scaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Activation, ConfigurationError
from mlp.data.preprocessing import CategoricalColumn, NumericColumn
from mlp.network import FeedForward


@dataclass(frozen=True)
class Layer:
    """``activation(x @ W + b)``."""

    W: NDArray[Any]
    b: NDArray[Any]
    activation: Activation


@dataclass(frozen=True)
class Model:
    """A trained network with everything around it.

    Attributes
    ----------
    columns : tuple of NumericColumn or CategoricalColumn, or None
        How a table becomes the inputs of the network; None if the program takes these inputs themselves.
    by_position : bool
        Whether `columns` have no names of their own, because the preprocessing was fitted on a matrix.
    input_scale : float or None
        Factor of inputs of type uint8.
    layers : tuple of Layer
    target_scaling : tuple (shifts, scales) or None
        Each output y of the last layer becomes ``y * scale + shift``.
    task : {"classes", "labels", "numbers"}
        Whether the outputs belong to classes that exclude each other, to labels that do not, or are numbers.
    are_probabilities : bool
        Whether the outputs for `task` classes or labels are probabilities; otherwise they are scores.
    classes : tuple
        Names of the classes or labels; their numbers if they have no names; empty for numbers.
    dtype : dtype
        That of the network.
    """

    columns: tuple[NumericColumn | CategoricalColumn, ...] | None
    by_position: bool
    input_scale: float | None
    layers: tuple[Layer, ...]
    target_scaling: tuple[tuple[float, ...], tuple[float, ...]] | None
    task: str
    are_probabilities: bool
    classes: tuple[Any, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, net: FeedForward) -> Model:
        """Describe a network.

        Raises
        ------
        ConfigurationError
            If it has a part that cannot be exported; the message names it.
        """
        for number, activation in enumerate(net.plan.activations, start=1):
            if activation.custom:
                raise ConfigurationError(
                    f"the activation of layer {number}, {activation.name!r}, is a custom function, which cannot be "
                    "exported: an export has only the activations of the library. Train with one of those."
                )
        net = net.without_scaling_layer()
        for name in net.classes or ():
            if not isinstance(name, str | int | float) or name in (math.inf, -math.inf) or name != name:
                raise ConfigurationError(
                    f"the class {name!r:.80} cannot be exported: class names must be strings, finite numbers or "
                    "booleans. Assign others to net.classes."
                )
        columns = None if net.preprocessing is None else net.preprocessing.columns
        for column in columns or ():
            if not isinstance(column, NumericColumn | CategoricalColumn):
                raise ConfigurationError(
                    f"column {column.name!r} is prepared by {type(column).__name__}, which cannot be exported. "
                    "Prepare it before, and train on the result."
                )
        one_output = net.sizes[-1] == 1
        task = "classes" if net.task == "labels" and one_output else net.task
        n_classes = 2 if one_output else net.sizes[-1]
        return cls(
            columns=columns,
            by_position=columns is not None
            and all(isinstance(c, NumericColumn) and c.name == f"x{i}" for i, c in enumerate(columns)),
            input_scale=None if columns is not None else net.input_scale,
            layers=tuple(map(Layer, net.weights, net.biases, net.plan.activations)),
            target_scaling=net.target_scaling,
            task=task,
            are_probabilities=net.kind.output.name in ("softmax", "sigmoid"),
            classes=() if task == "numbers" else net.classes or tuple(range(n_classes)),
            dtype=net.dtype,
        )

    @property
    def network_inputs(self) -> int:
        """Number of inputs of the first layer."""
        return len(self.layers[0].W)

    @property
    def inputs(self) -> int:
        """Number of values that the program takes."""
        return self.network_inputs if self.columns is None else len(self.columns)

    @property
    def takes_rows(self) -> bool:
        """Whether the program takes columns by name; otherwise it takes an array."""
        return self.columns is not None and not self.by_position

    @property
    def has_one_output_for_two_classes(self) -> bool:
        """Whether the only output y is that of the second class; that of the first is 1 - y."""
        return self.task == "classes" and len(self.layers[-1].b) == 1

    @property
    def outputs(self) -> int:
        """Number of values that the program returns."""
        return 2 if self.has_one_output_for_two_classes else len(self.layers[-1].b)

    @property
    def activations(self) -> dict[str, Activation]:
        """The activations by name, each once, in the order of the layers."""
        return {layer.activation.name: layer.activation for layer in self.layers}

    @property
    def summary(self) -> str:
        """The network in a few words: ``64-32-10, relu, softmax``."""
        sizes = [self.network_inputs, *(len(layer.b) for layer in self.layers)]
        names = [layer.activation.name for layer in self.layers]
        hidden = names[:1] if len(set(names[:-1])) == 1 else names[:-1]
        return ", ".join(("-".join(map(str, sizes)), *hidden, names[-1]))

    @property
    def meaning_of_outputs(self) -> str:
        """What the outputs are, in words."""
        if self.task == "numbers":
            return "the predicted number" if self.outputs == 1 else "the predicted numbers"
        noun = "class" if self.task == "classes" else "label"
        return f"the {'probability' if self.are_probabilities else 'score'} of each {noun}"
