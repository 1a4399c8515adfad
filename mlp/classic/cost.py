"""Number of parameters of a network, and the quadratic cost of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, Layout, ShapeError, formulas, get_backend
from mlp.array_checks import as_array
from mlp.classic.text_table import text_table

Array = NDArray[Any]


def layer_shapes(sizes: Sequence[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Shapes of the weights and biases of each layer, as in the course notes and in `Network`.

    Examples
    --------
    >>> for weights, biases in layer_shapes([784, 16, 16, 10]):
    ...     print(weights, biases)
    (16, 784) (16, 1)
    (16, 16) (16, 1)
    (10, 16) (10, 1)
    """
    return [((n_out, n_in), (n_out, 1)) for n_in, n_out in pairwise(sizes)]


def parameter_count(sizes: Sequence[int]) -> int:
    """Total number of weights and biases.

    Examples
    --------
    >>> parameter_count([784, 16, 16, 10])
    13002
    """
    return Layout(tuple(sizes)).n_parameters


def squared_differences(output: Any, wanted: Any) -> float:
    """The cost of one example: the sum of the squared differences between output and target.

    Parameters
    ----------
    output, wanted : array_like
        Of the same shape.

    Examples
    --------
    The output of an untrained network for an image of a 3:

    >>> output = [0.43, 0.28, 0.19, 0.88, 0.72, 0.01, 0.64, 0.86, 0.99, 0.63]
    >>> round(squared_differences(output, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), 4)
    3.3585
    """
    return cost_terms(output, wanted).cost


@dataclass(frozen=True, eq=False)
class CostTerms:
    """The cost of one example, term by term; `print` writes a table.

    Attributes
    ----------
    output, wanted, terms : ndarray, shape (n,)
        ``terms`` are the squared differences, one for each output neuron.
    cost : float
        Their sum.
    """

    output: Array
    wanted: Array
    terms: Array
    cost: float

    def __repr__(self) -> str:
        return f"<CostTerms: {len(self.terms)} terms, cost {self.cost:.4f}>"

    def __str__(self) -> str:
        rows = [
            (str(k), *(f"{value:.4g}" for value in values), f"{term:.4f}")
            for k, (*values, term) in enumerate(zip(self.output, self.wanted, self.terms, strict=True))
        ]
        return text_table(
            ("neuron", "output", "wanted", "(output - wanted)^2"), [*rows, ("sum", "", "", f"{self.cost:.4f}")]
        )


def cost_terms(output: Any, wanted: Any) -> CostTerms:
    """The terms of the cost of one example, whose sum is `squared_differences`.

    Parameters
    ----------
    output, wanted : array_like
        Of the same shape.

    Returns
    -------
    CostTerms

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> print(cost_terms([0.5, 0.25], [1, 0]))
    neuron  output  wanted  (output - wanted)^2
    0          0.5       1               0.2500
    1         0.25       0               0.0625
    sum                                  0.3125
    """
    host = get_backend("numpy")
    a, y = (as_array(name, x, host).astype(np.float64) for name, x in (("output", output), ("wanted", wanted)))
    if a.shape != y.shape:
        raise ShapeError(f"output {a.shape} and wanted {y.shape} must have the same shape.")
    terms = 2 * formulas.losses.quadratic(a, y)[0].ravel()
    return CostTerms(a.ravel(), y.ravel(), terms, float(terms.sum()))


def average_cost(feedforward: Callable[[Any], Any], examples: Iterable[tuple[Any, Any]]) -> float:
    """The mean of `squared_differences` over all examples, which training minimises.

    Parameters
    ----------
    feedforward : callable
        Computes the output for x, like ``Network.feedforward``.
    examples : iterable of pairs (x, y)

    Examples
    --------
    >>> from mlp.classic import Network
    >>> net = Network([2, 2])
    >>> net.weights, net.biases = [np.zeros((2, 2))], [np.zeros((2, 1))]
    >>> average_cost(net.feedforward, [([[0.0], [1.0]], [[1.0], [0.0]]), ([[1.0], [1.0]], [[0.5], [0.5]])])
    0.25
    """
    costs = [squared_differences(feedforward(x), y) for x, y in examples]
    if not costs:
        raise DataError("examples is empty; the average needs at least one pair (x, y).")
    return float(np.mean(costs))
