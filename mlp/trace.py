"""Trace training steps: every quantity of a step with its formula, as recorded by `MLP.trace`; and small networks with
round numbers for calculations by hand.

Examples
--------
The published example of Mazur ("A Step by Step Backpropagation Example"):

>>> import mlp
>>> net, X, y = mlp.trace.mazur()
>>> step = net.trace(X, y, optimizer=mlp.SGD(0.5)).steps[0]
>>> step["a1"].round(9).tolist(), round(step.loss, 9)
([[0.593269992, 0.596884378]], 0.298371109)
>>> step["new_W2"].round(8).tolist()
[[0.35891648, 0.51130127], [0.40866619, 0.56137012]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.checks import require_count
from mlp.inspection.trace import Quantity, Step, Trace
from mlp.model import MLP

__all__ = ["Quantity", "Step", "Trace", "exercise", "mazur"]

Exercise = tuple[MLP, NDArray[Any], NDArray[Any]]


def exercise(
    sizes: Sequence[int],
    activation: Any = "sigmoid",
    output_activation: str | None = None,
    loss: str = "quadratic",
    *,
    rows: int = 1,
    seed: int = 0,
    **settings: Any,
) -> Exercise:
    """A random network with inputs and targets, rounded to two decimals.

    Parameters
    ----------
    sizes, activation, loss
        As in `MLP`.
    output_activation : str, optional
        Default: sigmoid for the quadratic loss, else the default of the loss.
    rows : int
        Number of samples.
    seed : int
    settings
        Further arguments of `MLP`.

    Returns
    -------
    net : MLP
        Network of dtype float64, with weights and biases between -1 and 1.
    X : ndarray, shape (rows, n_in)
        Values between 0 and 1.
    y : ndarray, shape (rows,) or (rows, n_out)
        Class numbers for cross-entropy, zeros and ones for binary cross-entropy, counts for Poisson, else values
        between 0 and 1.

    Examples
    --------
    >>> net, X, y = exercise([2, 2, 1], seed=7)
    >>> X, y, net.biases[1]
    (array([[0.76, 0.8 ]]), array([[0.53]]), array([-0.8]))
    """
    rows = require_count("rows", rows)
    if output_activation is None:
        output_activation = "sigmoid" if loss == "quadratic" else "auto"
    net = MLP(sizes, activation, output_activation, loss, seed=seed, dtype="float64", **settings)
    rng = np.random.Generator(np.random.Philox(net.seed))
    net.weights = [rng.uniform(-1, 1, W.shape).round(2) for W in net.weights]
    net.biases = [rng.uniform(-1, 1, b.shape).round(2) for b in net.biases]
    X = rng.uniform(0, 1, (rows, net.sizes[0])).round(2)
    shape = rows, net.sizes[-1]
    y: NDArray[Any]
    match net.kind.loss.name:
        case "cross_entropy":
            y = rng.integers(net.sizes[-1], size=rows)
        case "binary_cross_entropy":
            y = rng.integers(2, size=shape)
        case "poisson":
            y = rng.integers(5, size=shape)
        case _:
            y = rng.uniform(0, 1, shape).round(2)
    return net, X, y


def mazur() -> Exercise:
    """The network and the sample of Mazur's "A Step by Step Backpropagation Example" (2015); its learning rate is 0.5.

    Mazur does not train the biases; here they are trained too.  The weights after the first step are the same.

    Returns
    -------
    net : MLP
    X, y : ndarray, shape (1, 2)
    """
    net = MLP([2, 2, 2], "sigmoid", "sigmoid", "quadratic", dtype="float64")
    net.weights = [[[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]]
    net.biases = [[0.35, 0.35], [0.60, 0.60]]
    return net, np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
