"""The same training in other libraries: same data, same initial weights, same updates.

A peer is a function ``prepare(case, X, y) -> epoch``.  A call of ``epoch()`` trains for one epoch and returns the mean
loss of the batches.  `prepare` builds objects and moves data; its time does not count.  The peers in PyTorch and JAX
have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.bench.cases import SEED, Case
from mlp.model import MLP

Epoch = Callable[[], float]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def initial_parameters(case: Case) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Return the initial weights W (n_in, n_out) and biases of every implementation."""
    net = MLP(case.sizes, backend="numpy", seed=SEED)
    return [W.copy() for W in net.weights], [b.copy() for b in net.biases]


# -- NumPy ---------------------------------------------------------------------------------------------


def numpy_by_hand(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """Back-propagation in a few lines of NumPy, without a framework."""
    weights, biases = initial_parameters(case)
    update = _numpy_update(case, [*weights, *biases])
    size, orders = case.batch_size, case.orders()

    def epoch() -> float:
        total, order = 0.0, next(orders)
        for first in range(0, len(X), size):
            rows = order[first : first + size]
            activations, target = [X[rows]], y[rows]
            for W, b in zip(weights, biases, strict=True):
                z = activations[-1] @ W + b
                activations.append(np.maximum(z, 0))
            loss, delta = _softmax_cross_entropy(z, target)
            total += loss
            dW: list[NDArray[Any]] = []
            db: list[NDArray[Any]] = []
            for layer in reversed(range(len(weights))):
                dW.insert(0, activations[layer].T @ delta)
                db.insert(0, delta.sum(axis=0))
                if layer:
                    delta = (delta @ weights[layer].T) * (activations[layer] > 0)
            update([*dW, *db])
        return total / case.steps

    return epoch


def nielsen(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """The loops of Nielsen's network.py: one row at a time, as column vectors, gradients summed over the batch."""
    initial_weights, initial_biases = initial_parameters(case)
    weights, biases = [W.T.copy() for W in initial_weights], [b[:, None] for b in initial_biases]
    update = _numpy_update(case, [*weights, *biases])
    rows = [(x[:, None], label) for x, label in zip(X, y, strict=True)]
    size, orders = np.float32(case.batch_size), case.orders()

    def backprop(x: NDArray[Any], label: int) -> tuple[float, list[NDArray[Any]], list[NDArray[Any]]]:
        activations = [x]
        for W, b in zip(weights, biases, strict=True):
            z = W @ activations[-1] + b
            activations.append(np.maximum(z, 0))
        e = np.exp(z - z.max())
        delta = e / e.sum()
        loss = -float(np.log(delta[label, 0]))
        delta[label] -= 1
        dW, db = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
        for layer in reversed(range(len(weights))):
            dW[layer], db[layer] = delta @ activations[layer].T, delta
            if layer:
                delta = (weights[layer].T @ delta) * (activations[layer] > 0)
        return loss, dW, db

    def epoch() -> float:
        total, order = 0.0, next(orders)
        for first in range(0, len(rows), case.batch_size):
            dW, db = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
            for x, label in (rows[i] for i in order[first : first + case.batch_size]):
                loss, row_dW, row_db = backprop(x, label)
                total += loss
                dW = [a + b for a, b in zip(dW, row_dW, strict=True)]
                db = [a + b for a, b in zip(db, row_db, strict=True)]
            update([gradient / size for gradient in (*dW, *db)])
        return total / len(rows)

    return epoch


def _softmax_cross_entropy(z: NDArray[Any], target: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """Return the mean loss of the rows and its gradient with respect to z."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(target))
    loss = -float(np.log(p[rows, target]).mean())
    p[rows, target] -= 1
    p /= np.float32(len(target))
    return loss, p


def _numpy_update(case: Case, params: Sequence[NDArray[Any]]) -> Callable[[Sequence[NDArray[Any]]], None]:
    """Return a function that updates `params` in place, given their gradients."""
    rate = np.float32(case.learning_rate)
    means, squares = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    step = 0

    def sgd(gradients: Sequence[NDArray[Any]]) -> None:
        for p, g in zip(params, gradients, strict=True):
            p -= rate * g

    def adam(gradients: Sequence[NDArray[Any]]) -> None:
        nonlocal step
        step += 1
        root = np.float32(np.sqrt(1 - BETA2**step))
        size = np.float32(case.learning_rate / (1 - BETA1**step))
        for p, g, m, v in zip(params, gradients, means, squares, strict=True):
            m += np.float32(1 - BETA1) * (g - m)
            v += np.float32(1 - BETA2) * (g * g - v)
            p -= size * m / (np.sqrt(v) / root + np.float32(EPSILON))

    return adam if case.optimizer == "adam" else sgd


# -- scikit-learn --------------------------------------------------------------------------------------


def scikit_learn(case: Case, X: NDArray[Any], y: NDArray[Any]) -> Epoch:
    """MLPClassifier of scikit-learn, with one `partial_fit` per epoch."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        case.sizes[1:-1],
        solver=case.optimizer,
        learning_rate_init=case.learning_rate,
        momentum=0.0,
        alpha=0.0,
        batch_size=case.batch_size,
        shuffle=False,
        random_state=0,
    )
    model.partial_fit(X[: case.batch_size], y[: case.batch_size], classes=np.arange(case.sizes[-1]))
    # the first call created the arrays: set them to the initial parameters, and the optimizer state to zero
    weights, biases = initial_parameters(case)
    for parameter, value in zip([*model.coefs_, *model.intercepts_], [*weights, *biases], strict=True):
        parameter[...] = value
    for name in ("velocities", "ms", "vs"):
        for array in getattr(model._optimizer, name, []):
            array[...] = 0
    model._optimizer.t = 0

    orders = case.orders()

    def epoch() -> float:
        order = next(orders)
        model.partial_fit(X[order], y[order])
        return float(model.loss_)

    return epoch
