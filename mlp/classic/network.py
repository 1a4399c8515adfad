"""`Network`: the interface of Nielsen's book, trained with the framework's fast epoch implementations."""

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
from mlp.array_checks import as_array
from mlp.checks import require_count, require_nonnegative
from mlp.model import MLP

Array = NDArray[Any]


class Network:
    """A network of sigmoid neurons with the quadratic cost, as in chapter 1 of Nielsen's book.

    Programs for the book's ``network.py`` work with this class after a change of the import. It uses `numpy.random`
    and `random` as the book does, so the same seeds give the same run. Examples are pairs of column vectors, and the
    printed lines are those of the book. If a subclass overrides a method, training calls that method, for each example
    if necessary.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, of each hidden layer, and of the output: ``[784, 30, 10]``.
    backend, device, dtype : str
        As for `mlp.MLP`.

    Attributes
    ----------
    num_layers : int
        Including the input layer.
    sizes : list of int
    weights : list of ndarray, shape (y, x)
        From x neurons to y neurons. `weights` and `biases` may be changed or replaced at any time.
    biases : list of ndarray, shape (y, 1)

    Notes
    -----
    Mini-batches are multiplied as matrices, so the order of summation differs from the book, and rounding differs by
    about 1e-16 per step. At first the weights agree with the book's to 1e-10. But training with a learning rate as high
    as 3 is chaotic: after an epoch or more of MNIST, such a difference has grown visibly. The same happens in the
    book's program if a single weight starts with a difference of one rounding error.

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
        dtype = self._mlp.dtype
        self.biases = [np.random.randn(y, 1).astype(dtype) for y in self.sizes[1:]]  # noqa: NPY002
        self.weights = [np.random.randn(y, x).astype(dtype) for x, y in pairwise(self.sizes)]  # noqa: NPY002

    def __repr__(self) -> str:
        return f"Network({self.sizes})"

    def feedforward(self, a: Any) -> Array:
        """Output of the network for the input `a`.

        Parameters
        ----------
        a : array_like, shape (sizes[0], 1)
            Or several inputs as columns.

        Returns
        -------
        ndarray, shape (sizes[-1], 1)
        """
        a = as_array("a", a, self._mlp.xp)
        if a.ndim != 2 or len(a) != self.sizes[0]:
            raise ShapeError(f"the input has shape {a.shape}, and {_expected(1, (self.sizes[0], 1), a)}.")
        return self._outputs(self._mlp.xp.asarray(a.T, dtype=self._mlp.dtype)).T

    def SGD(
        self,
        training_data: Iterable[tuple[Any, Any]],
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Iterable[tuple[Any, Any]] | None = None,
    ) -> None:
        """Train by mini-batch stochastic gradient descent, and print the result of each epoch.

        Parameters
        ----------
        training_data : list, or another iterable, of pairs (x, y)
            Columns of shape (sizes[0], 1) and (sizes[-1], 1). A list is shuffled in place in each epoch.
        epochs : int
        mini_batch_size : int
            The last mini-batch of an epoch may be smaller.
        eta : float
            Learning rate.
        test_data : iterable of pairs (x, int), optional
            Test data for `evaluate` after each epoch.

        Raises
        ------
        ShapeError, DataError, DtypeError
            For invalid examples; the message names the example, and no parameter is changed.
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
        """Train by full-batch gradient descent, with one update per epoch. Arguments as in `SGD`.

        Examples
        --------
        >>> net = Network([1, 1])
        >>> net.weights, net.biases = [np.zeros((1, 1))], [np.zeros((1, 1))]
        >>> net.GD([([[0.0]], [[0.5]]), ([[1.0]], [[1.0]])], epochs=1, eta=8.0)
        Epoch 0 complete
        >>> net.weights[0], net.biases[0]  # the gradients are -1/2 * 1/4 for one example, and 0 for the other
        (array([[0.5]]), array([[0.5]]))
        """
        pairs = list(training_data)
        self._descend(pairs, epochs, max(len(pairs), 1), eta, test_data, shuffle=False)

    def update_mini_batch(self, mini_batch: Sequence[tuple[Any, Any]], eta: float) -> None:
        """Take one step of gradient descent on a list of pairs (x, y), as in `SGD`."""
        pairs = list(mini_batch)
        if self._not_overridden("backprop", "cost_derivative"):
            self._train("mini_batch", pairs, len(pairs), eta)
            return
        gradients = [self.backprop(x, y) for x, y in pairs]
        rate = eta / len(pairs)
        self.biases = [
            b - rate * sum(nabla) for b, *nabla in zip(self.biases, *(nb for nb, _ in gradients), strict=True)
        ]
        self.weights = [
            w - rate * sum(nabla) for w, *nabla in zip(self.weights, *(nw for _, nw in gradients), strict=True)
        ]

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """The gradient of one example's cost by back-propagation (equations BP1-BP4 of the book).

        Parameters
        ----------
        x : array_like, shape (sizes[0], 1)
        y : array_like, shape (sizes[-1], 1)

        Returns
        -------
        nabla_b, nabla_w : list of ndarray
            With the shapes of `biases` and `weights`.
        """
        xp, layers = self._mlp.xp, self._layers()
        self._check("backprop", [(x, y)], (self.sizes[-1], 1))
        a, target = self._stack([(x, y)])
        activations = [a]
        for W, b in layers:
            activations.append(xp.dense(activations[-1], W, b, "sigmoid"))
        output, target = xp.to_numpy(activations[-1]).T, xp.to_numpy(target).T
        gradient = xp.asarray(self.cost_derivative(output, target).T, dtype=self._mlp.dtype)
        nabla_b: list[Array] = []
        nabla_w: list[Array] = []
        for l in reversed(range(len(layers))):
            gradient, dW, db = xp.dense_backward(
                gradient, activations[l], activations[l + 1], layers[l][0], "sigmoid", need_dx=l > 0
            )
            nabla_b.insert(0, xp.to_numpy(db)[:, None])
            nabla_w.insert(0, xp.to_numpy(dW).T)
        return nabla_b, nabla_w

    def evaluate(self, test_data: Iterable[tuple[Any, Any]]) -> int:
        """Number of inputs for which the output neuron with the largest activation is the right one.

        Parameters
        ----------
        test_data : iterable of pairs (x, int)
            Columns of shape (sizes[0], 1), and the index of the right output neuron.
        """
        pairs = list(test_data)
        if not self._not_overridden("feedforward"):
            return sum(int(np.argmax(self.feedforward(x)) == number) for x, number in pairs)
        try:
            return sum(self._count_correct(part) for part in _chunks(pairs, _CHUNK_ROWS))
        except (TypeError, ValueError):
            self._check("test_data", pairs, ())
            raise

    def cost_derivative(self, output_activations: Any, y: Any) -> Any:
        """Gradient of the cost of one example, ``1/2 |a - y|^2``, with respect to the output activations a: a - y."""
        return formulas.losses.quadratic(output_activations, y)[1]

    def to_mlp(self) -> MLP:
        """A copy of this network as an `mlp.MLP`, which can be saved, traced and plotted; its inputs are rows.

        Examples
        --------
        >>> net = Network([2, 3, 1])
        >>> bool(np.allclose(net.to_mlp().feedforward([[0.5, 1.0]]).T, net.feedforward([[0.5], [1.0]])))
        True
        """
        return copy.deepcopy(self._synced_mlp())

    # -- training by complete epochs ----------------------------------------------------------------

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
        fast = self._not_overridden("update_mini_batch", "backprop", "cost_derivative")
        tests = _test_list(test_data)
        if tests and self._not_overridden("evaluate", "feedforward"):
            self._check("test_data", tests, ())
        self._mlp.choose_backend(len(pairs), epochs, size)
        for epoch in range(epochs):
            if shuffle:
                random.shuffle(pairs)
            if fast:
                self._train("training_data", pairs, size, eta)
            else:
                for mini_batch in _chunks(pairs, size):
                    self.update_mini_batch(mini_batch, eta)
            print(f"Epoch {epoch}: {self.evaluate(tests)} / {len(tests)}" if tests else f"Epoch {epoch} complete")

    def _train(self, name: str, pairs: list[tuple[Any, Any]], size: int, eta: float) -> None:
        """Train one epoch with mini-batches of this size; if it fails, the parameters do not change."""
        require_nonnegative("eta", eta)
        _require_pairs(name, pairs)
        net = self._synced_mlp()
        n_rows = max(_CHUNK_ROWS // size, 1) * size
        stacked = map(self._stack, _chunks(pairs, n_rows))
        try:
            finite = all(
                self._train_rows(x, y, size, eta) for x, y in (_prefetch(stacked) if len(pairs) > n_rows else stacked)
            )
        except (TypeError, ValueError):
            self._check(name, pairs, (self.sizes[-1], 1))  # names the invalid pair
            raise
        weights, biases = [W.T.copy() for W in net.weights], [b[:, None].copy() for b in net.biases]
        if not finite or not all(np.isfinite(array).all() for array in (*weights, *biases)):
            raise _nonfinite_error(pairs, eta)
        self.weights, self.biases = weights, biases

    def _train_rows(self, x: Any, y: Any, size: int, eta: float) -> bool:
        """Train the parameters on the device with the rows in this order; return False if a loss is not finite."""
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
        no_state = net.xp.empty((0, net.plan.layout.n_parameters), net.dtype)
        return net.xp.train_epoch(plan, x, y, None, net.parameters, no_state).failed is None

    def _count_correct(self, pairs: list[tuple[Any, Any]]) -> int:
        predicted = self._outputs(self._rows([x for x, _ in pairs], self.sizes[0])).argmax(axis=1)
        numbers = np.array([number for _, number in pairs])
        if numbers.ndim != 1:
            raise ShapeError(
                f"each target has the shape {numbers.shape[1:]}, but evaluate needs the index of an output neuron."
            )
        return int(np.count_nonzero(predicted == numbers))

    def _not_overridden(self, *methods: str) -> bool:
        """Whether no subclass overrides these methods, so that a faster equivalent may replace them."""
        return all(getattr(getattr(self, name), "__func__", None) is getattr(Network, name) for name in methods)

    # -- conversion of columns and rows ----------------------------------------------------------------

    def _layers(self) -> list[tuple[Any, Any]]:
        """W (n_in, n_out) and b (n_out,) of each layer on the device, from the current lists."""
        xp, dtype = self._mlp.xp, self._mlp.dtype
        shapes = [(y, x) for x, y in pairwise(self.sizes)]
        _check_shapes("weights", self.weights, shapes)
        _check_shapes("biases", self.biases, [(y, 1) for y, _ in shapes])
        return [
            (xp.asarray(np.transpose(w), dtype=dtype), xp.asarray(np.ravel(b), dtype=dtype))
            for w, b in zip(self.weights, self.biases, strict=True)
        ]

    def _synced_mlp(self) -> MLP:
        """The framework's network, with the parameters of the current lists."""
        layers = self._layers()
        self._mlp.weights, self._mlp.biases = [W for W, _ in layers], [b for _, b in layers]
        return self._mlp

    def _outputs(self, x: Any) -> Array:
        """Outputs for rows of inputs on the device, as rows on the host."""
        xp = self._mlp.xp
        for W, b in self._layers():
            x = xp.dense(x, W, b, "sigmoid")
        return xp.to_numpy(x)

    def _stack(self, pairs: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Pairs of columns as two matrices on the device, with a row for each pair."""
        return self._rows([x for x, _ in pairs], self.sizes[0]), self._rows([y for _, y in pairs], self.sizes[-1])

    def _rows(self, columns: list[Any], n: int) -> Any:
        """Columns of n numbers as the rows of a matrix on the device."""
        xp = self._mlp.xp
        rows = np.empty((len(columns), n, 1), self._mlp.dtype)
        for first in range(0, len(columns), _CACHE_ROWS):
            part = as_array("a column", columns[first : first + _CACHE_ROWS], xp)
            if part.shape[1:] != (n, 1):
                raise ShapeError(f"the columns have shape {part.shape[1:]}, not {(n, 1)}.")
            rows[first : first + _CACHE_ROWS] = part
        return xp.asarray(rows[:, :, 0])

    def _check(self, name: str, pairs: list[tuple[Any, Any]], y_shape: tuple[int, ...]) -> None:
        """Raise an error for the first pair that is not a column x and a y of the shape `y_shape`."""
        _require_pairs(name, pairs)
        parts = ("x", (self.sizes[0], 1), 1), ("y", y_shape, self.num_layers - 1)
        for i, pair in enumerate(pairs):
            place = name if name == "backprop" else f"{name}[{i}]"
            if not hasattr(pair, "__len__") or len(pair) != 2:
                raise ShapeError(f"{place} is not a pair: examples must be tuples (x, y).")
            for value, (part, shape, layer) in zip(pair, parts, strict=True):
                if np.shape(value) != shape:
                    raise ShapeError(
                        f"{place}: {part} has shape {np.shape(value)}, and {_expected(layer, shape, value)}."
                    )


_CHUNK_ROWS = 2500
"""Number of examples that are converted at a time, so that memory use does not grow with the list."""

_CACHE_ROWS = 500
"""Number of columns that are copied at a time, so that they stay in the CPU cache."""


def sigmoid(z: Any) -> Any:
    """The sigmoid function 1 / (1 + e^-z), elementwise.

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """
    return formulas.activations.sigmoid(z)


def sigmoid_prime(z: Any) -> Any:
    """Derivative of the sigmoid function, elementwise.

    Examples
    --------
    >>> float(sigmoid_prime(0.0))
    0.25
    """
    return formulas.activations.sigmoid_backward(1.0, sigmoid(z))


def _test_list(test_data: Iterable[tuple[Any, Any]] | None) -> list[tuple[Any, Any]]:
    if test_data is None or isinstance(test_data, list):
        return test_data or []
    tests = list(test_data)
    _require_pairs("test_data", tests)
    return tests


def _require_pairs(name: str, pairs: list[tuple[Any, Any]]) -> None:
    if not pairs:
        raise DataError(
            f"{name} is empty. A zip can be iterated only once: to use it again, make it a list, list(zip(...))."
        )


def _expected(layer: int, shape: tuple[int, ...], value: Any) -> str:
    if not shape:
        return "evaluate needs the index of an output neuron: pass int(np.argmax(y))"
    fits = np.size(value) == shape[0]
    return f"layer {layer} needs columns of shape {shape}" + (f": use reshape{shape}" if fits else "")


def _nonfinite_error(pairs: list[tuple[Any, Any]], eta: float) -> MLPError:
    """The error for weights that are not finite after training on these examples."""
    for i, example in enumerate(pairs):
        if not all(np.isfinite(part).all() for part in example):
            return DataError(
                f"example {i}, in the order of this epoch, is not finite: remove it. The parameters were not changed."
            )
    return ConfigurationError(
        f"with eta={eta:g} the weights are not finite: use a lower eta. The parameters were not changed."
    )


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _prefetch(items: Iterator[Any]) -> Iterator[Any]:
    """The items; a thread computes the next item while the caller uses the current one."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def _check_shapes(name: str, arrays: Sequence[Any], shapes: Sequence[tuple[int, int]]) -> None:
    if len(arrays) != len(shapes):
        raise ShapeError(
            f"{name} contains {len(arrays)} arrays, but the network needs {len(shapes)}, one for each layer."
        )
    for number, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if np.shape(array) != shape:
            raise ShapeError(f"{name}[{number}] of layer {number + 1} has shape {np.shape(array)}, not {shape}.")
