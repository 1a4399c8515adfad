"""Who is measured: every usable backend of ours, and the libraries a user would compare them with.

A contestant is a function ``prepare(sizes, batch_size, X, y) -> epoch``; calling ``epoch()`` trains for one
epoch with plain SGD (rate 0.1) on a network with ReLU and softmax, in float32.  What happens before, such as
compiling, moving data to a device or building objects, is not measured.  `final_loss` of the epoch function
lets a test check that all contestants do the same work.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import backends
import mlp

LEARNING_RATE = 0.1


class Epoch(Protocol):
    """One epoch of training; returns the mean loss of its batches."""

    def __call__(self) -> float: ...


Prepare = Callable[[list[int], int, NDArray[Any], NDArray[Any]], Epoch]


def ours(backend: str) -> Prepare:
    """`mlp.MLP` on one of its backends."""

    def prepare(sizes: list[int], batch_size: int, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
        net = mlp.MLP(sizes, backend=backend)
        optimizer = mlp.SGD(LEARNING_RATE)

        def epoch() -> float:
            return net.fit(X, y, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False).loss[-1]

        return epoch

    return prepare


def torch_eager(sizes: list[int], batch_size: int, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """PyTorch as its tutorials write it, without a data loader: slices of two tensors."""
    import torch

    start = mlp.MLP(sizes, backend="numpy")
    layers: list[torch.nn.Module] = []
    for W, b in zip(start.weights, start.biases, strict=True):
        linear = torch.nn.Linear(*W.shape)
        linear.weight.data = torch.tensor(W.T.copy())
        linear.bias.data = torch.tensor(b.copy())
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    criterion = torch.nn.CrossEntropyLoss()
    data, target = torch.from_numpy(X), torch.from_numpy(y)

    def epoch() -> float:
        losses = torch.zeros(())
        for first in range(0, len(data), batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(data[first : first + batch_size]), target[first : first + batch_size])
            loss.backward()
            optimizer.step()
            losses += loss.detach()
        return float(losses) / -(-len(data) // batch_size)

    return epoch


def numpy_by_hand(sizes: list[int], batch_size: int, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """Back-propagation in a dozen lines of NumPy, as one writes it without a framework."""
    start = mlp.MLP(sizes, backend="numpy")
    weights, biases = [W.copy() for W in start.weights], [b.copy() for b in start.biases]
    rate = np.float32(LEARNING_RATE)

    def epoch() -> float:
        total = 0.0
        for first in range(0, len(X), batch_size):
            activations, target = [X[first : first + batch_size]], y[first : first + batch_size]
            for W, b in zip(weights, biases, strict=True):
                z = activations[-1] @ W + b
                activations.append(np.maximum(z, 0))
            e = np.exp(z - z.max(axis=1, keepdims=True))
            p = e / e.sum(axis=1, keepdims=True)
            rows = np.arange(len(target))
            total -= float(np.log(p[rows, target]).mean())
            p[rows, target] -= 1
            delta = p / np.float32(len(target))
            for l in reversed(range(len(weights))):
                dW, db = activations[l].T @ delta, delta.sum(axis=0)
                if l:
                    delta = (delta @ weights[l].T) * (activations[l] > 0)
                weights[l] -= rate * dW
                biases[l] -= rate * db
        return total / -(-len(X) // batch_size)

    return epoch


def scikit_learn(sizes: list[int], batch_size: int, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """scikit-learn's MLPClassifier, one `partial_fit` an epoch."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        sizes[1:-1],
        solver="sgd",
        learning_rate_init=LEARNING_RATE,
        momentum=0.0,
        alpha=0.0,
        batch_size=batch_size,
        shuffle=False,
        random_state=0,
    )
    model.partial_fit(X[:batch_size], y[:batch_size], classes=np.arange(sizes[-1]))
    start = mlp.MLP(sizes, backend="numpy")
    model.coefs_, model.intercepts_ = [W.copy() for W in start.weights], [b.copy() for b in start.biases]
    model._optimizer.velocities = [np.zeros_like(p) for p in model.coefs_ + model.intercepts_]

    def epoch() -> float:
        model.partial_fit(X, y)
        return float(model.loss_)

    return epoch


CONTESTANTS: dict[str, Prepare] = {name: ours(name) for name in backends.available()}
CONTESTANTS["NumPy by hand"] = numpy_by_hand
CONTESTANTS["scikit-learn"] = scikit_learn
MISSING: list[str] = []
"""Peers that are not installed; the suite names them instead of leaving them out silently."""
if importlib.util.find_spec("torch"):
    CONTESTANTS["PyTorch eager"] = torch_eager
else:
    MISSING.append("PyTorch eager")


def random_images(n: int, sizes: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Numbers of MNIST's shape and range; speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    X = rng.random((n, sizes[0]), dtype=np.float32)
    X[X < 0.8] = 0  # four fifths of an MNIST image are black
    return X, rng.integers(0, sizes[-1], n)


def work(sizes: list[int]) -> float:
    """Floating-point operations for one row of one training step: 2 products of the first layer, 3 of the others."""
    return 2.0 * sum((3 if l else 2) * n_in * n_out for l, (n_in, n_out) in enumerate(pairwise(sizes)))
