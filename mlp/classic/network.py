"""`Network`: the interface of Nielsen's book, trained by the framework's whole-epoch kernels."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, EpochPlan, MLPError, ShapeError, formulas
from mlp.model import MLP
from mlp.validation import as_array, require_count, require_nonnegative

Array = NDArray[Any]


class Network:
    """A network of sigmoid neurons with the quadratic cost, as in chapter 1 of Nielsen's book.

    Programs written for the book's ``network.py`` run with this class by changing the import.  It draws from
    `numpy.random` and `random` as the book does, so the same seeds give the book's own run; it takes examples as the
    book does, pairs of column vectors; and it prints what the book prints.  A subclass may override any method:
    then training goes through that method, example by example where it must.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, of each hidden layer, and of the output: ``[784, 30, 10]``.
    backend, device, dtype : str
        As for `mlp.MLP`.

    Attributes
    ----------
    num_layers : int
        The input counts as a layer.
    sizes : list of int
    weights : list of ndarray, shape (y, x)
        From x neurons to y; these, and `biases`, may be written to and replaced at any time.
    biases : list of ndarray, shape (y, 1)

    Notes
    -----
    Mini-batches are multiplied as matrices, so sums are taken in another order than in the book and rounding differs
    by some 1e-16 a step.  Weights agree with the book's to 1e-10 for a while: training at a rate as high as 3 is
    chaotic, and after an epoch or more of MNIST such a difference has grown to be seen, as it does in the book's own
    program where a single weight begins one rounding error away.

    References
    ----------
    M. Nielsen, "Neural Networks and Deep Learning", Determination Press 2015, chapters 1 and 2.

    Examples
    --------
    >>> import random
    >>> np.random.seed(0), random.seed(0)
    (None, None)
    >>> net = Network([2, 3, 2])
    >>> [w.shape for w in net.weights], [b.shape for b in net.biases]
    ([(3, 2), (2, 3)], [(3, 1), (2, 1)])
    >>> corners = [np.array([[p], [q]]) for p in (0, 1) for q in (0, 1)]
    >>> even, odd = np.array([[1], [0]]), np.array([[0], [1]])
    >>> training_data = list(zip(corners, [even, odd, odd, even]))
    >>> test_data = list(zip(corners, [0, 1, 1, 0]))
    >>> net.SGD(training_data * 150, epochs=3, mini_batch_size=10, eta=5.0, test_data=test_data)
    Epoch 0: 2 / 4
    Epoch 1: 3 / 4
    Epoch 2: 4 / 4
    """

    def __init__(
        self, sizes: Sequence[int], *, backend: str = "auto", device: str = "auto", dtype: Any = "float64"
    ) -> None:
        self._mlp = MLP(
            sizes, "sigmoid", "sigmoid", "quadratic", init="zeros", dtype=dtype, backend=backend, device=device
        )
        self.sizes = list(self._mlp.sizes)
        self.num_layers = len(self.sizes)
        kind = self._mlp.dtype
        self.biases = [np.random.randn(y, 1).astype(kind) for y in self.sizes[1:]]  # noqa: NPY002
        self.weights = [np.random.randn(y, x).astype(kind) for x, y in pairwise(self.sizes)]  # noqa: NPY002

    def __repr__(self) -> str:
        return f"Network({self.sizes})"

    def feedforward(self, a: Any) -> Array:
        """The network's output for the input `a`.

        Parameters
        ----------
        a : array_like, shape (sizes[0], 1)
            Or with several inputs side by side as columns.

        Returns
        -------
        ndarray, shape (sizes[-1], 1)
        """
        a = as_array("a", a, self._mlp.xp)
        if a.ndim != 2 or len(a) != self.sizes[0]:
            raise ShapeError(f"the input has shape {a.shape}, and {_takes(1, (self.sizes[0], 1), a)}.")
        return self._outputs(self._mlp.xp.asarray(a.T, dtype=self._mlp.dtype)).T

    def SGD(
        self,
        training_data: Iterable[tuple[Any, Any]],
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Iterable[tuple[Any, Any]] | None = None,
    ) -> None:
        """Train by mini-batch stochastic gradient descent, and print how each epoch went.

        Parameters
        ----------
        training_data : list, or another iterable, of pairs (x, y)
            Columns of shape (sizes[0], 1) and (sizes[-1], 1).  A list is shuffled in place, epoch by epoch.
        epochs : int
        mini_batch_size : int
            The last mini-batch of an epoch takes what is left.
        eta : float
            Learning rate.
        test_data : iterable of pairs (x, int), optional
            What `evaluate` takes, after each epoch.

        Raises
        ------
        ShapeError, DataError, DtypeError
            Naming the example that does not fit, and before anything is learnt.
        """
        pairs = training_data if isinstance(training_data, list) else list(training_data)
        self._descend(pairs, epochs, require_count("mini_batch_size", mini_batch_size), eta, test_data, shuffle=True)

    def GD(
        self,
        training_data: Iterable[tuple[Any, Any]],
        epochs: int,
        eta: float,
        test_data: Iterable[tuple[Any, Any]] | None = None,
    ) -> None:
        """Train by gradient descent over the full batch: one update an epoch.  Arguments as in `SGD`.

        Examples
        --------
        >>> net = Network([1, 1])
        >>> net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
        >>> net.GD([([[0.0]], [[0.5]]), ([[1.0]], [[1.0]])], epochs=1, eta=8.0)
        Epoch 0 complete
        >>> net.weights[0], net.biases[0]  # the slopes are -1/2 * 1/4 for one of the two examples, and 0 for the other
        (array([[0.5]]), array([[0.5]]))
        """
        pairs = list(training_data)
        self._descend(pairs, epochs, max(len(pairs), 1), eta, test_data, shuffle=False)

    def update_mini_batch(self, mini_batch: Sequence[tuple[Any, Any]], eta: float) -> None:
        """Take one step of gradient descent on a list of pairs (x, y), as `SGD` takes them."""
        pairs = list(mini_batch)
        if self._keeps("backprop", "cost_derivative"):
            self._train("mini_batch", pairs, len(pairs), eta)
            return
        slopes = [self.backprop(x, y) for x, y in pairs]
        rate = eta / len(pairs)
        self.biases = [b - rate * sum(nabla) for b, *nabla in zip(self.biases, *(nb for nb, _ in slopes), strict=True)]
        self.weights = [
            w - rate * sum(nabla) for w, *nabla in zip(self.weights, *(nw for _, nw in slopes), strict=True)
        ]

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """The slopes of one example's cost, by back-propagation (the book's equations BP1-BP4).

        Parameters
        ----------
        x : array_like, shape (sizes[0], 1)
        y : array_like, shape (sizes[-1], 1)

        Returns
        -------
        nabla_b, nabla_w : list of ndarray
            Of the shapes of `biases` and `weights`.
        """
        xp, layers = self._mlp.xp, self._layers()
        self._check("backprop", [(x, y)], (self.sizes[-1], 1))
        a, target = self._stack([(x, y)])
        activations = [a]
        for W, b in layers:
            activations.append(xp.dense(activations[-1], W, b, "sigmoid"))
        output, wanted = xp.to_numpy(activations[-1]).T, xp.to_numpy(target).T
        slope = xp.asarray(self.cost_derivative(output, wanted).T, dtype=self._mlp.dtype)
        nabla_b: list[Array] = []
        nabla_w: list[Array] = []
        for l in reversed(range(len(layers))):
            slope, dW, db = xp.dense_backward(
                slope, activations[l], activations[l + 1], layers[l][0], "sigmoid", need_dx=l > 0
            )
            nabla_b.insert(0, xp.to_numpy(db)[:, None])
            nabla_w.insert(0, xp.to_numpy(dW).T)
        return nabla_b, nabla_w

    def evaluate(self, test_data: Iterable[tuple[Any, Any]]) -> int:
        """How many inputs get the right answer: the number of the output neuron that is most active.

        Parameters
        ----------
        test_data : iterable of pairs (x, int)
            Columns of shape (sizes[0], 1), and the number of the neuron that should be it.
        """
        pairs = list(test_data)
        if not self._keeps("feedforward"):
            return sum(int(np.argmax(self.feedforward(x)) == number) for x, number in pairs)
        try:
            return sum(self._count_right(part) for part in _parts(pairs, _SLAB))
        except (TypeError, ValueError):
            self._check("test_data", pairs, ())
            raise

    def cost_derivative(self, output_activations: Any, y: Any) -> Any:
        """Slope of the cost of one example, ``1/2 |a - y|^2``, in the output activations a: a - y."""
        return formulas.losses.quadratic(output_activations, y)[1]

    def to_mlp(self) -> MLP:
        """A copy of this network as `mlp.MLP`, which can be saved, traced and drawn; its inputs are rows.

        Examples
        --------
        >>> net = Network([2, 3, 1])
        >>> bool(np.allclose(net.to_mlp().feedforward([[0.5, 1.0]]).T, net.feedforward([[0.5], [1.0]])))
        True
        """
        return copy.deepcopy(self._loaded())

    # -- training in whole epochs -------------------------------------------------------------------

    def _descend(
        self,
        pairs: list[tuple[Any, Any]],
        epochs: int,
        size: int,
        eta: float,
        test_data: Iterable[tuple[Any, Any]] | None,
        *,
        shuffle: bool,
    ) -> None:
        epochs = require_count("epochs", epochs) if epochs else 0
        at_once = self._keeps("update_mini_batch", "backprop", "cost_derivative")
        tests = _as_tests(test_data)
        if tests and self._keeps("evaluate", "feedforward"):
            self._check("test_data", tests, ())
        self._mlp.choose_backend(len(pairs), epochs, size)
        for epoch in range(epochs):
            if shuffle:
                random.shuffle(pairs)
            if at_once:
                self._train("training_data", pairs, size, eta)
            else:
                for mini_batch in _parts(pairs, size):
                    self.update_mini_batch(mini_batch, eta)
            print(f"Epoch {epoch}: {self.evaluate(tests)} / {len(tests)}" if tests else f"Epoch {epoch} complete")

    def _train(self, name: str, pairs: list[tuple[Any, Any]], size: int, eta: float) -> None:
        """Go once over the examples, in mini-batches of this size; what is not learnt whole is not learnt at all."""
        require_nonnegative("eta", eta)
        _require_some(name, pairs)
        net = self._loaded()
        slab = max(_SLAB // size, 1) * size
        stacked = map(self._stack, _parts(pairs, slab))
        try:
            finite = all(
                self._train_rows(x, y, size, eta) for x, y in (_ahead(stacked) if len(pairs) > slab else stacked)
            )
        except (TypeError, ValueError):
            self._check(name, pairs, (self.sizes[-1], 1))  # knows which one it is
            raise
        weights, biases = [W.T.copy() for W in net.weights], [b[:, None].copy() for b in net.biases]
        if not finite or not all(np.isfinite(array).all() for array in (*weights, *biases)):
            raise _not_finite(pairs, eta)
        self.weights, self.biases = weights, biases

    def _train_rows(self, x: Any, y: Any, size: int, eta: float) -> bool:
        """Train the parameters on the device with these rows in this order; False where a loss is not finite."""
        net = self._mlp
        n_batches = -(-len(x) // size)
        plan = EpochPlan(
            network=net.plan,
            rule=formulas.Rule("sgd", {}),
            batch_size=size,
            order=np.arange(len(x)),
            learning_rates=np.full(n_batches, float(eta)),
            l2=np.zeros(n_batches),
        )
        no_memory = net.xp.empty((0, net.plan.layout.n_parameters), net.dtype)
        return net.xp.train_epoch(plan, x, y, None, net.parameters, no_memory).failed is None

    def _count_right(self, pairs: list[tuple[Any, Any]]) -> int:
        answers = self._outputs(self._rows([x for x, _ in pairs], self.sizes[0])).argmax(axis=1)
        numbers = np.array([number for _, number in pairs])
        if numbers.ndim != 1:
            raise ShapeError(f"the answers have shape {numbers.shape[1:]}, and evaluate compares with single numbers.")
        return int(np.count_nonzero(answers == numbers))

    def _keeps(self, *methods: str) -> bool:
        """Whether these methods are the ones above, so that what they do together may be done at once."""
        return all(getattr(getattr(self, name), "__func__", None) is getattr(Network, name) for name in methods)

    # -- between columns and rows -------------------------------------------------------------------

    def _layers(self) -> list[tuple[Any, Any]]:
        """W (n_in, n_out) and b (n_out,) of each layer on the device, as the lists hold them now."""
        xp, dtype = self._mlp.xp, self._mlp.dtype
        shapes = [(y, x) for x, y in pairwise(self.sizes)]
        _check_shapes("weights", self.weights, shapes)
        _check_shapes("biases", self.biases, [(y, 1) for y, _ in shapes])
        return [
            (xp.asarray(np.transpose(w), dtype=dtype), xp.asarray(np.ravel(b), dtype=dtype))
            for w, b in zip(self.weights, self.biases, strict=True)
        ]

    def _loaded(self) -> MLP:
        """The framework's network, given the parameters that the lists hold now."""
        layers = self._layers()
        self._mlp.weights, self._mlp.biases = [W for W, _ in layers], [b for _, b in layers]
        return self._mlp

    def _outputs(self, x: Any) -> Array:
        """What the network gives for rows of inputs on the device, as rows on the host."""
        xp = self._mlp.xp
        for W, b in self._layers():
            x = xp.dense(x, W, b, "sigmoid")
        return xp.to_numpy(x)

    def _stack(self, pairs: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Pairs of columns as two matrices with a row for each pair, on the device."""
        return self._rows([x for x, _ in pairs], self.sizes[0]), self._rows([y for _, y in pairs], self.sizes[-1])

    def _rows(self, columns: list[Any], n: int) -> Any:
        """Columns of n numbers as the rows of a matrix on the device."""
        xp = self._mlp.xp
        rows = np.empty((len(columns), n, 1), self._mlp.dtype)
        for first in range(0, len(columns), _CACHED):
            part = as_array("a column", columns[first : first + _CACHED], xp)
            if part.shape[1:] != (n, 1):
                raise ShapeError(f"the columns have shape {part.shape[1:]} and not {(n, 1)}.")
            rows[first : first + _CACHED] = part
        return xp.asarray(rows[:, :, 0])

    def _check(self, name: str, pairs: list[tuple[Any, Any]], wanted: tuple[int, ...]) -> None:
        """Raise for the first pair that is not a column x and a y of the `wanted` shape."""
        _require_some(name, pairs)
        parts = ("x", (self.sizes[0], 1), 1), ("y", wanted, self.num_layers - 1)
        for i, pair in enumerate(pairs):
            place = name if name == "backprop" else f"{name}[{i}]"
            if not hasattr(pair, "__len__") or len(pair) != 2:
                raise ShapeError(f"{place} is no pair: examples are tuples (x, y).")
            for value, (part, shape, layer) in zip(pair, parts, strict=True):
                if np.shape(value) != shape:
                    raise ShapeError(f"{place}: {part} has shape {np.shape(value)}, and {_takes(layer, shape, value)}.")


_SLAB = 2500
"""Examples that are gathered from the list at a time, so that memory does not grow with the list."""

_CACHED = 500
"""Columns that are gathered at a time: they stay in a cache on their way."""


def sigmoid(z: Any) -> Any:
    """The sigmoid function, 1 / (1 + e^-z), entry by entry.

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """
    return formulas.activations.sigmoid(z)


def sigmoid_prime(z: Any) -> Any:
    """Slope of the sigmoid function, entry by entry.

    Examples
    --------
    >>> float(sigmoid_prime(0.0))
    0.25
    """
    return formulas.activations.sigmoid_backward(1.0, sigmoid(z))


def _as_tests(test_data: Iterable[tuple[Any, Any]] | None) -> list[tuple[Any, Any]]:
    if test_data is None or isinstance(test_data, list):
        return test_data or []
    tests = list(test_data)
    _require_some("test_data", tests)
    return tests


def _require_some(name: str, pairs: list[tuple[Any, Any]]) -> None:
    if not pairs:
        raise DataError(
            f"{name} is empty. A zip can be gone through only once: make it a list to use it again, list(zip(...))."
        )


def _takes(layer: int, shape: tuple[int, ...], value: Any) -> str:
    if not shape:
        return "evaluate compares with the number of an output neuron: give int(np.argmax(y))"
    fits = np.size(value) == shape[0]
    return f"layer {layer} goes with columns of shape {shape}" + (f": reshape{shape} makes it one" if fits else "")


def _not_finite(pairs: list[tuple[Any, Any]], eta: float) -> MLPError:
    """Why a weight is not finite after going over these examples."""
    for i, example in enumerate(pairs):
        if not all(np.isfinite(part).all() for part in example):
            return DataError(
                f"example {i}, in the order of this epoch, is not finite: leave it out. Nothing was learnt."
            )
    return ConfigurationError(f"with eta={eta:g} the weights are not finite any more: lower it. Nothing was learnt.")


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The items, the next one being made by a thread while the present one is at work."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def _check_shapes(name: str, arrays: Sequence[Any], shapes: Sequence[tuple[int, int]]) -> None:
    if len(arrays) != len(shapes):
        raise ShapeError(f"{name} holds {len(arrays)} arrays, and the network has {len(shapes)} layers.")
    for number, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if np.shape(array) != shape:
            raise ShapeError(f"{name}[{number}], of layer {number + 1}, has shape {np.shape(array)} and not {shape}.")
