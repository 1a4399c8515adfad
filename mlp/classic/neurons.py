"""A neuron, the McCulloch-Pitts neuron, and a layer of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, ShapeError, get_backend
from mlp.array_checks import as_array
from mlp.checks import require_count

Array = NDArray[Any]


def layer(inputs: Any, weights: Any, biases: Any, activation: str = "identity", *, backend: str = "numpy") -> Array:
    """Output of a layer of neurons: f(inputs · weightsᵀ + biases).

    Parameters
    ----------
    inputs : array_like, shape (n_inputs,) or (n, n_inputs)
        One example, or a batch of n.
    weights : array_like, shape (n_neurons, n_inputs)
        One row for each neuron, as in the course notes; `mlp.MLP` uses the transpose.
    biases : array_like, shape (n_neurons,)
    activation : str
    backend : str

    Returns
    -------
    ndarray, shape (n_neurons,) or (n, n_neurons)

    Raises
    ------
    ShapeError
        If the number of weights of a neuron differs from the number of inputs. The message says if a transpose
        would fit.

    Examples
    --------
    Four inputs and three neurons, for one example and for a batch of three:

    >>> weights = [[0.2, 0.8, -0.5, 1.0], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]
    >>> biases = [2.0, 3.0, 0.5]
    >>> layer([1, 2, 3, 2.5], weights, biases).round(3)
    array([4.8  , 1.21 , 2.385])
    >>> batch = [[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]]
    >>> layer(batch, weights, biases).round(3)
    array([[ 4.8  ,  1.21 ,  2.385],
           [ 8.9  , -1.81 ,  0.2  ],
           [ 1.41 ,  1.051,  0.026]])

    Weights with a column for each neuron are transposed:

    >>> layer(batch, np.transpose(weights), biases)
    Traceback (most recent call last):
        ...
    backends.errors.ShapeError: weights (4, 3) and biases (3,) must have the shapes (neurons, inputs) and (neurons,): \
one row of weights and one bias for each neuron. The transpose of the weights, (3, 4), fits: np.transpose(weights).

    The batch and the weights have the shape (3, 4), so their product needs a transpose, which `layer` uses. Without it:

    >>> import backends
    >>> xp = backends.get_backend("numpy")
    >>> xp.matmul(xp.asarray(batch), xp.asarray(weights))
    Traceback (most recent call last):
        ...
    backends.errors.ShapeError: matmul: a (3, 4) and b (3, 4) do not fit: dim 1 of a = 4 must equal dim 0 of b = 3. \
The transpose of b fits: trans_b=True.
    """
    xp = get_backend(backend)
    x, W, b = (_floats(name, value) for name, value in (("inputs", inputs), ("weights", weights), ("biases", biases)))
    if W.ndim != 2 or b.shape != W.shape[:1]:
        raise ShapeError(
            f"weights {W.shape} and biases {b.shape} must have the shapes (neurons, inputs) and (neurons,): one row of "
            f"weights and one bias for each neuron.{_transpose_advice(x, W.T, b, 'weights')}"
        )
    if x.ndim not in (1, 2) or x.shape[-1] != W.shape[1]:
        # for as many inputs as neurons both transposes fit; that of the weights is the more frequent mistake
        advice = _transpose_advice(x, W.T, b, "weights") or _transpose_advice(x.T, W, b, "inputs")
        raise ShapeError(
            f"inputs {x.shape} do not fit weights {W.shape}: the last dimension of the inputs must equal the "
            f"{W.shape[1]} weights of each neuron.{advice}"
        )
    y = xp.to_numpy(xp.dense(xp.asarray(np.atleast_2d(x)), xp.asarray(W.T), xp.asarray(b), activation))
    return y if x.ndim == 2 else y[0]


class Neuron:
    """A neuron: the weighted sum of its inputs and a bias, compared with a threshold.

    Parameters
    ----------
    weights : array_like, shape (n,)
    bias : float
    threshold : float
        The neuron fires if the weighted sum reaches it.

    Examples
    --------
    >>> neuron = Neuron([0.5, 1.5, 0.7], threshold=2.0)
    >>> neuron.weighted_sum([0, 1, 1]), neuron([0, 1, 1])
    (2.2, 1)

    A threshold is equivalent to a bias of the opposite sign:

    >>> neuron = Neuron([0.5, 1.5, 0.7], bias=-2.0)
    >>> round(neuron.weighted_sum([0, 1, 1]), 12), neuron([0, 1, 1]), neuron([1, 0, 1])
    (0.2, 1, 0)
    """

    def __init__(self, weights: Any, bias: float = 0.0, threshold: float = 0.0) -> None:
        self.weights = _floats("weights", weights)
        if self.weights.ndim != 1:
            raise ShapeError(f"the weights of one neuron must have one dimension, not the shape {self.weights.shape}.")
        self.bias, self.threshold = float(bias), float(threshold)

    def __repr__(self) -> str:
        return f"Neuron({self.weights.tolist()}, bias={self.bias:g}, threshold={self.threshold:g})"

    def weighted_sum(self, x: Any) -> Any:
        """z = Σ w x + bias: a float for inputs of shape (n,), an array of shape (rows,) for (rows, n)."""
        z = layer(x, self.weights[None, :], [self.bias])[..., 0]
        return z if z.ndim else float(z)

    def __call__(self, x: Any) -> Any:
        """1 if the weighted sum reaches the threshold, else 0."""
        return _fires(self.weighted_sum(x), self.threshold)


class MPNeuron:
    """The McCulloch-Pitts neuron: inputs and output are 0 or 1, and it fires if enough inputs are 1.

    The sum z = Σ x over the excitatory inputs is compared with the threshold. If an inhibitory input is 1, the neuron
    does not fire.

    Parameters
    ----------
    threshold : int
        The neuron fires if z >= threshold.
    inhibiting : sequence of int
        Indices of the inhibitory inputs.

    References
    ----------
    W. McCulloch and W. Pitts, "A logical calculus of the ideas immanent in nervous activity", 1943.

    Examples
    --------
    >>> inputs = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> MPNeuron.AND(2)(inputs), MPNeuron.OR()(inputs)
    (array([0, 0, 0, 1]), array([0, 1, 1, 1]))
    >>> MPNeuron.NOT()([[0], [1]])
    array([1, 0])
    >>> MPNeuron.majority(3)([1, 0, 1])
    1
    """

    def __init__(self, threshold: float, inhibiting: Sequence[int] = ()) -> None:
        self.threshold = threshold
        self.inhibiting = list(inhibiting)

    def __repr__(self) -> str:
        return f"MPNeuron(threshold={self.threshold}" + (f", inhibiting={self.inhibiting})" if self.inhibiting else ")")

    @classmethod
    def AND(cls, n: int = 2) -> MPNeuron:
        """Fires if all n inputs are 1."""
        return cls(require_count("n", n))

    @classmethod
    def OR(cls) -> MPNeuron:
        """Fires if at least one input is 1, for any number of inputs."""
        return cls(1)

    @classmethod
    def NOT(cls) -> MPNeuron:
        """Fires if its single, inhibitory input is 0."""
        return cls(0, inhibiting=(0,))

    @classmethod
    def majority(cls, n: int = 3) -> MPNeuron:
        """Fires if more than half of the n inputs are 1."""
        return cls(require_count("n", n) // 2 + 1)

    def __call__(self, x: Any) -> Any:
        """The neuron's output.

        Parameters
        ----------
        x : array_like of 0 and 1, shape (n,) or (rows, n)

        Returns
        -------
        int, or ndarray of int, shape (rows,)

        Raises
        ------
        DataError
            If an input is neither 0 nor 1.
        """
        x = _floats("x", x)
        if x.ndim not in (1, 2) or x.shape[-1] <= max(self.inhibiting, default=0):
            raise ShapeError(
                f"x {x.shape} must have the shape (n,) or (rows, n) for n inputs, and the indices "
                f"inhibiting={self.inhibiting} must be less than n."
            )
        if not np.isin(x, (0, 1)).all():
            raise DataError("the inputs of a McCulloch-Pitts neuron must be 0 or 1; for other numbers use Neuron.")
        z = np.delete(x, self.inhibiting, axis=-1).sum(axis=-1)
        inhibited = x[..., self.inhibiting].any(axis=-1)
        return _fires(np.where(inhibited, -np.inf, z), self.threshold)


def _transpose_advice(x: Array, W: Array, b: Array, transposed: str) -> str:
    """A sentence that advises to transpose one argument, if these shapes, after that, fit; else nothing."""
    if x.ndim not in (1, 2) or W.ndim != 2 or x.shape[-1] != W.shape[1] or b.shape != W.shape[:1]:
        return ""
    shape = W.shape if transposed == "weights" else x.shape
    return f" The transpose of the {transposed}, {shape}, fits: np.transpose({transposed})."


def _fires(z: Any, threshold: float) -> Any:
    if np.isnan(z).any():
        raise DataError("the weighted sum is NaN, which cannot be compared with the threshold; check the inputs.")
    xp = get_backend("numpy")
    y = xp.activate(np.atleast_1d(z) - threshold, "step").astype(np.int64)
    return y if np.ndim(z) else int(y[0])


def _floats(name: str, value: Any) -> Array:
    array: Array = as_array(name, value, get_backend("numpy")).astype(np.float64)
    return array
