"""Gradients with the names of the course notes: one hidden layer for all rows, and the 2-2-1 network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.classic.named_arrays import NamedArrays
from mlp.model import MLP

Array = NDArray[Any]


def one_hidden_layer(n_inputs: int, n_hidden: int, *, seed: int | None = 0, backend: str = "auto") -> MLP:
    """A network with one tanh hidden layer, a sigmoid output and binary cross-entropy.

    For all m rows, with a0 = X and y as a column; the numbers are those of the layers::

        z1 = a0 W1 + b1    a1 = tanh z1    z2 = a1 W2 + b2    a2 = σ(z2)
        J = -(1/m) Σ [y log a2 + (1 - y) log(1 - a2)]

        ∂z2 = (a2 - y)/m    ∂W2 = a1ᵀ ∂z2    ∂b2 = Σ ∂z2    ∂a1 = ∂z2 W2ᵀ
        ∂z1 = ∂a1 ⊙ (1 - a1 ⊙ a1)    ∂W1 = Xᵀ ∂z1    ∂b1 = Σ ∂z1

    Each ∂q is the gradient of J with respect to q. The factor 1/m of the mean is in ∂z2, and the later gradients
    contain it through ∂z2. `slopes` computes these quantities.

    Returns
    -------
    MLP

    Examples
    --------
    >>> net = one_hidden_layer(2, 3)
    >>> quantities = slopes(net, [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    >>> {name: quantity.shape for name, quantity in quantities.items() if name.startswith("d")}
    {'dz2': (4, 1), 'dW2': (3, 1), 'db2': (1,), 'da1': (4, 3), 'dz1': (4, 3), 'dW1': (2, 3), 'db1': (3,)}
    """
    return MLP(
        [n_inputs, n_hidden, 1], "tanh", loss="binary_cross_entropy", seed=seed, dtype="float64", backend=backend
    )


def slopes(net: MLP, X: Any, y: Any) -> dict[str, Array]:
    """Every z and a of the forward pass, the cost J, and every gradient of the backward pass.

    Parameters
    ----------
    net : MLP
    X, y : array_like
        As for `MLP.loss_and_gradients`.

    Returns
    -------
    dict of str to ndarray
        ``z1``, ``a1``, ..., ``J``, and ``dz2``, ``dW2``, ``db2``, ``da1``, ...; their rows are those of X. `print`
        writes one block for each, with four decimals.

    Examples
    --------
    One neuron with z = 2·3 - 5 = 1; with half the squared error and the target 0, ∂z = a σ'(z).

    >>> net = MLP([1, 1], output_activation="sigmoid", loss="quadratic", dtype="float64")
    >>> net.weights, net.biases = [[[2.0]]], [[-5.0]]
    >>> {name: round(float(value.squeeze()), 4) for name, value in slopes(net, [[3.0]], [0.0]).items()}
    {'z1': 1.0, 'a1': 0.7311, 'J': 0.2672, 'dz1': 0.1437, 'dW1': 0.4312, 'db1': 0.1437}
    """
    step = net.trace(X, y, optimizer="sgd").steps[0]
    layers = range(1, len(net.sizes))
    forward = [f"{letter}{layer}" for layer in layers for letter in "za"]
    backward = [f"d{letter}{layer}" for layer in reversed(layers) for letter in "azWb"][1:]  # no da of the output
    quantities = {name: step[name] for name in forward} | {"J": np.array(step.loss)}
    return NamedArrays(quantities | {name: step[name] for name in backward})


def two_two_one(*, seed: int | None = 0, backend: str = "auto") -> MLP:
    """A sigmoid network with two inputs, two hidden neurons and one output, and binary cross-entropy.

    Its cost is ``C = -y log z3 - (1 - y) log(1 - z3)`` for the output z3 and the target y.  `nine_gradients` computes
    the slopes of C with respect to its nine parameters.

    Returns
    -------
    MLP

    Examples
    --------
    >>> two_two_one()
    <MLP 2-2-1, sigmoid, sigmoid+binary_cross_entropy, 9 parameters of float64, numpy on cpu>
    """
    loss = "binary_cross_entropy"
    return MLP([2, 2, 1], "sigmoid", "sigmoid", loss, seed=seed, dtype="float64", backend=backend)


def nine_gradients(net: MLP, x: Any, y: float) -> dict[str, float]:
    """The nine slopes of a 2-2-1 network for one example.

    The outputs of the three neurons are z1 = σ(w11 x1 + w21 x2 + b1), z2 = σ(w12 x1 + w22 x2 + b2) and
    z3 = σ(v1 z1 + v2 z2 + c).  The slopes of C = -y log z3 - (1 - y) log(1 - z3) are, with δ = z3 - y::

        v1:  δ z1                         v2:  δ z2                         c:  δ
        w11: δ v1 z1 (1 - z1) x1          w12: δ v2 z2 (1 - z2) x1
        w21: δ v1 z1 (1 - z1) x2          w22: δ v2 z2 (1 - z2) x2
        b1:  δ v1 z1 (1 - z1)             b2:  δ v2 z2 (1 - z2)

    The slope of the sigmoid of the third neuron, z3 (1 - z3), is not in δ: it cancels with the denominators of
    dC/dz3 = (z3 - y) / (z3 (1 - z3)).

    Parameters
    ----------
    net : MLP
        With sizes [2, 2, 1].  The formulas above are those of `two_two_one`; for another loss or activation, the
        slopes of that network are returned.
    x : array_like, shape (2,)
    y : float
        The target, from 0 to 1.

    Returns
    -------
    dict of str to float
        `print` writes one line for each, with four decimals.

    Examples
    --------
    If all parameters are zero, the outputs of all neurons are 1/2, and δ = -1/2 for the target 1:

    >>> net = two_two_one()
    >>> net.weights, net.biases = [np.zeros((2, 2)), np.zeros((2, 1))], [np.zeros(2), np.zeros(1)]
    >>> {name: value for name, value in nine_gradients(net, [1.0, 2.0], 1.0).items() if value}
    {'v1': -0.25, 'v2': -0.25, 'c': -0.5}
    """
    if net.sizes != (2, 2, 1):
        raise ConfigurationError(
            f"the nine gradients need a network with sizes (2, 2, 1), and this one has {net.sizes}."
        )
    _, [(dW, db), (dV, dc)] = net.loss_and_gradients(np.reshape(x, (1, -1)), [y])
    names = ("w11", "w12", "w21", "w22", "b1", "b2", "v1", "v2", "c")
    return NamedArrays(zip(names, map(float, np.concatenate([dW.ravel(), db, dV.ravel(), dc])), strict=True))
