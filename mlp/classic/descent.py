"""Gradient descent on a parabola, and on the cost surface of one neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import formulas, get_backend
from mlp.checks import check_batch_size, counted, require_count
from mlp.classic.text_table import text_table
from mlp.model import MLP
from mlp.optimizers import SGD
from mlp.training import Callback, Run

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Descent:
    """Result of a gradient descent in one dimension.

    Attributes
    ----------
    learning_rate : float
    x, cost : ndarray, shape (steps + 1,)
        Position and cost before the first step and after each step.
    """

    learning_rate: float
    x: Array
    cost: Array

    def __repr__(self) -> str:
        steps = counted(len(self.x) - 1, "step")
        return (
            f"<Descent: learning rate {self.learning_rate:g}, {steps}, x {self.x[0]:.3g} -> {self.x[-1]:.3g}, "
            f"cost {self.cost[0]:.3g} -> {self.cost[-1]:.3g}>"
        )


def descend(
    cost: Callable[[float], float], slope: Callable[[float], float], start: float, learning_rate: float, steps: int = 20
) -> Descent:
    """Gradient descent in one dimension: x <- x - α cost'(x).

    Parameters
    ----------
    cost, slope : callable
        A function of one number, and its derivative.
    start : float
    learning_rate : float
        α.
    steps : int

    Returns
    -------
    Descent

    Examples
    --------
    >>> descend(lambda x: x * x, lambda x: 2 * x, start=1.0, learning_rate=0.25, steps=3).x
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    xp, rule = get_backend("numpy"), formulas.Rule("sgd", {})
    point, no_state = np.array([float(start)]), np.empty((0, 1))
    path = [float(start)]
    for step in range(1, require_count("steps", steps) + 1):
        xp.update(rule, point, np.array([float(slope(path[-1]))]), no_state, step, learning_rate)
        path.append(float(point[0]))
    return Descent(learning_rate, np.array(path), np.array([cost(x) for x in path]))


def one_dimension(start: float = -1.0, steps: int = 20) -> dict[str, Descent]:
    """Gradient descent on the parabola x² with a learning rate that is too low, just right, and too high.

    A step multiplies x by 1 - 2α. The descent is fastest if this factor is near 0, and diverges if it is below -1.

    Examples
    --------
    >>> for name, run in one_dimension().items():
    ...     print(f"{name}: {run}")
    too low: <Descent: learning rate 0.01, 20 steps, x -1 -> -0.668, cost 1 -> 0.446>
    just right: <Descent: learning rate 0.3, 20 steps, x -1 -> -1.1e-08, cost 1 -> 1.21e-16>
    too high: <Descent: learning rate 1.05, 20 steps, x -1 -> -6.73, cost 1 -> 45.3>
    """
    rates = {"too low": 0.01, "just right": 0.3, "too high": 1.05}
    return {name: descend(lambda x: x * x, lambda x: 2 * x, start, rate, steps) for name, rate in rates.items()}


@dataclass(frozen=True, eq=False)
class CostSurface:
    """The cost of one neuron, y = w x + b, as a function of its two parameters.

    Attributes
    ----------
    w, b : ndarray, shapes (n_w,) and (n_b,)
    cost : ndarray, shape (n_b, n_w)
        ``cost[i, j]`` is the cost at ``b[i]`` and ``w[j]``.
    """

    w: Array
    b: Array
    cost: Array

    def __repr__(self) -> str:
        return (
            f"<CostSurface: {len(self.w)} x {len(self.b)} points, cost {self.cost.min():.3g} to {self.cost.max():.3g}>"
        )


@dataclass(frozen=True, eq=False)
class Path:
    """The path of a training on a cost surface.

    Attributes
    ----------
    name : str
    batch_size : int
    parameters : ndarray, shape (updates + 1, 2)
        w and b at the start and after each update.
    cost : ndarray, shape (updates + 1,)
        Over all rows.
    """

    name: str
    batch_size: int
    parameters: Array
    cost: Array

    def __repr__(self) -> str:
        updates = counted(len(self.cost) - 1, "update")
        return f"<Path: {self.name}, {updates}, cost {self.cost[0]:.3g} -> {self.cost[-1]:.3g}>"


@dataclass(frozen=True, eq=False)
class Descents:
    """The same training with several batch sizes.

    Attributes
    ----------
    X, y : ndarray, shapes (n, 1) and (n,)
        Points near the line y = 1.5 x + 0.5.
    surface : CostSurface
    paths : tuple of Path
        The path of the full batch first.
    """

    X: Array
    y: Array
    surface: CostSurface
    paths: tuple[Path, ...]

    def __repr__(self) -> str:
        return f"<Descents: {counted(len(self.X), 'row')}, {', '.join(path.name for path in self.paths)}>"

    def __str__(self) -> str:
        rows = [
            (path.name, f"{len(path.cost) - 1:,}", *(f"{value:.3f}" for value in path.cost[[0, -1]]))
            for path in self.paths
        ]
        return text_table(("batch", "updates", "cost before", "cost after"), rows)


def compare_descents(
    *,
    n: int = 128,
    epochs: int = 20,
    learning_rate: float = 0.1,
    batch_sizes: Sequence[int] = (1, 16, 32),
    seed: int = 0,
    backend: str = "auto",
) -> Descents:
    """Fit a line to points by full-batch gradient descent, SGD and mini-batches, from the same start.

    Parameters
    ----------
    n : int
        Number of points.
    epochs : int
        The same for all, so small batches make more updates than the full batch.
    learning_rate : float
    batch_sizes : sequence of int
        In addition to the full batch.
    seed : int
        For the points and the order of the rows.
    backend : str

    Returns
    -------
    Descents

    Examples
    --------
    >>> print(compare_descents())
    batch       updates  cost before  cost after
    full batch       20        6.101       0.505
    one row       2,560        6.101       0.027
    16 rows         160        6.101       0.023
    32 rows          80        6.101       0.027
    """
    sizes = [check_batch_size(size, require_count("n", n)) for size in (n, *batch_sizes)]
    generator = np.random.default_rng(seed)
    X = generator.uniform(-1, 1, (n, 1))
    y = 1.5 * X[:, 0] + 0.5 + 0.2 * generator.standard_normal(n)
    axes = np.linspace(-2.5, 3.5, 61), np.linspace(-2.5, 2.5, 61)
    surface = CostSurface(*axes, _cost(X, y, *np.meshgrid(*axes)))

    def train(batch_size: int) -> Path:
        net = MLP([1, 1], loss="quadratic", init="zeros", seed=seed, dtype="float64", backend=backend)
        net.weights, net.biases = [[[-2.0]]], [[-2.0]]
        recorder = _ParameterRecorder(net)
        net.fit(X, y, epochs=epochs, batch_size=batch_size, optimizer=SGD(learning_rate), callbacks=[recorder])
        parameters = np.array(recorder.parameters)
        name = {n: "full batch", 1: "one row"}.get(batch_size, f"{batch_size} rows")
        return Path(name, batch_size, parameters, _cost(X, y, *parameters.T))

    return Descents(X, y, surface, tuple(train(size) for size in sizes))


class _ParameterRecorder(Callback):
    """Records the parameters after each update."""

    def __init__(self, net: MLP) -> None:
        self.parameters = [net.xp.to_numpy(net.parameters).copy()]

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        self.parameters.append(run.net.xp.to_numpy(run.net.parameters).copy())


def _cost(X: Array, y: Array, w: Array, b: Array) -> Array:
    """Half the mean squared error for each pair of w and b, in their shape."""
    mean: Array = formulas.losses.quadratic(w[..., None] * X[:, 0] + b[..., None], y)[0].mean(axis=-1)
    return mean
