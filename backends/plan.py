"""What is to be computed, as frozen plain data: a network's structure and one epoch of its training.

A plan names formulas and holds numbers and host arrays; it holds no arrays of a device and no code
(save a user's own functions), so any backend can read it and nothing in it changes under way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.formulas import Activation, OutputLoss, Rule

Array = Any
"""An array of the backend at hand: `numpy.ndarray` or `cupy.ndarray`, which share no base class."""


@dataclass(frozen=True)
class Layout:
    """Where each layer's weights and biases lie in the one flat buffer that holds a network's parameters.

    All weights come first and all biases after them, so that "the weights", which penalties and decay
    act on, are one slice.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input, of each hidden layer, and of the output.

    Examples
    --------
    >>> layout = Layout((784, 30, 10))
    >>> layout.n_weights, layout.n_parameters
    (23820, 23860)
    >>> [(W.shape, b.shape) for W, b in layout.layers(np.zeros(layout.n_parameters))]
    [((784, 30), (30,)), ((30, 10), (10,))]
    """

    sizes: tuple[int, ...]

    @property
    def n_layers(self) -> int:
        return len(self.sizes) - 1

    @cached_property
    def n_weights(self) -> int:
        return sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))

    @cached_property
    def n_parameters(self) -> int:
        return self.n_weights + sum(self.sizes[1:])

    def layers(self, flat: Array) -> list[tuple[Array, Array]]:
        """Views (W, b) into `flat`, shape (n_parameters,): W (n_in, n_out) and b (n_out,) of each layer."""
        views, weight, bias = [], 0, self.n_weights
        for n_in, n_out in pairwise(self.sizes):
            W = flat[weight : weight + n_in * n_out].reshape(n_in, n_out)
            views.append((W, flat[bias : bias + n_out]))
            weight, bias = weight + n_in * n_out, bias + n_out
        return views


@dataclass(frozen=True)
class NetworkPlan:
    """A network's structure.

    Attributes
    ----------
    layout : Layout
    activations : tuple of Activation
        One for each layer; the last is the output's.
    kind : OutputLoss
        The output's activation with the loss.
    dropout : tuple of float
        Rate on the input of each layer: ``dropout[0]`` acts on the network's input.
    input_scale : float
        What integer inputs are multiplied by as they enter.
    """

    layout: Layout
    activations: tuple[Activation, ...]
    kind: OutputLoss
    dropout: tuple[float, ...]
    input_scale: float = 1.0


@dataclass(frozen=True)
class EpochPlan:
    """One epoch of training.

    Attributes
    ----------
    network : NetworkPlan
    rule : Rule
    batch_size : int
        Rows of a batch; the last one takes what is left.
    order : ndarray of int64, shape (n,)
        The rows in the order they are visited.
    learning_rates : ndarray of float64, shape (n_batches,)
    l2 : ndarray of float64, shape (n_batches,)
        Factor of half the sum of squared weights in each batch's loss.
    l1 : float
        Factor of the sum of absolute weights.
    weight_decay : float
        Decoupled: before each update the weights shrink by 1 - learning_rate * weight_decay
        (Loshchilov & Hutter 2019).
    clip_value, clip_norm : float or None
        Bounds on each entry of the gradient, and then on its Euclidean norm.
    seed, epoch : int
        With the batch's number and the layer's, the counter of the dropout masks.
    first_step : int
        Updates made before this epoch; Adam's t is this plus the batches so far.
    halt : bool
        End the epoch at the first loss that is not finite; False goes on regardless, as scikit-learn does.
    """

    network: NetworkPlan
    rule: Rule
    batch_size: int
    order: NDArray[np.int64]
    learning_rates: NDArray[np.float64]
    l2: NDArray[np.float64]
    l1: float = 0.0
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    seed: int = 0
    epoch: int = 0
    first_step: int = 0
    halt: bool = True

    @property
    def n_batches(self) -> int:
        return -(-len(self.order) // self.batch_size)


@dataclass
class Control:
    """Two integers that a running epoch shares with the world: a request to stop, and the batches done.

    Attributes
    ----------
    words : ndarray of int64, shape (2,)
        Kernels without Python read and write this array directly.
    """

    words: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    @property
    def stop_requested(self) -> bool:
        return bool(self.words[0])

    def request_stop(self) -> None:
        """Ask the running epoch to end after the batch at hand."""
        self.words[0] = 1

    @property
    def batches_done(self) -> int:
        return int(self.words[1])

    @batches_done.setter
    def batches_done(self, count: int) -> None:
        self.words[1] = count


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to.

    Attributes
    ----------
    losses : ndarray of float64, shape (batches done,)
        Loss of each batch before its update, penalties included.
    failed : int or None
        The first batch whose loss was not finite; unless the plan says ``halt=False``, nothing was updated from it on.
    """

    losses: NDArray[np.float64]
    failed: int | None = None


BatchHook = Callable[[int, float], None]
"""Called after each batch with its number and loss."""
