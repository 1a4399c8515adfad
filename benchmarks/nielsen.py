"""The algorithm of the program in Nielsen's book, for comparison.

It processes one sample at a time, as column vectors, and adds up the gradients of a mini-batch in lists (M. Nielsen,
"Neural Networks and Deep Learning", 2015, chapters 1 and 2).  This is a new implementation with the same operations in
the same order.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np

Samples = list[tuple[Any, Any]]


class Network:
    """A network of sigmoid neurons; training data are lists of pairs of column vectors."""

    def __init__(self, sizes: list[int]) -> None:
        self.biases = [np.random.randn(n, 1) for n in sizes[1:]]  # noqa: NPY002 - the generator of the book
        self.weights = [np.random.randn(n, m) for m, n in pairwise(sizes)]  # noqa: NPY002

    def SGD(self, training_data: Samples, epochs: int, mini_batch_size: int, eta: float) -> None:
        for _ in range(epochs):
            random.shuffle(training_data)
            for first in range(0, len(training_data), mini_batch_size):
                self.update(training_data[first : first + mini_batch_size], eta / mini_batch_size)

    def update(self, mini_batch: Samples, rate: float) -> None:
        sum_b, sum_w = self.zeros()
        for x, y in mini_batch:
            gradient_b, gradient_w = self.backprop(x, y)
            sum_b = [total + gradient for total, gradient in zip(sum_b, gradient_b, strict=True)]
            sum_w = [total + gradient for total, gradient in zip(sum_w, gradient_w, strict=True)]
        self.biases = [b - rate * total for b, total in zip(self.biases, sum_b, strict=True)]
        self.weights = [w - rate * total for w, total in zip(self.weights, sum_w, strict=True)]

    def backprop(self, x: Any, y: Any) -> tuple[list[Any], list[Any]]:
        gradient_b, gradient_w = self.zeros()
        logits, activations = [], [x]
        for b, w in zip(self.biases, self.weights, strict=True):
            logits.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(logits[-1]))
        delta = activations[-1] - y
        for layer in reversed(range(len(self.weights))):
            delta = delta * sigmoid_derivative(logits[layer])
            gradient_b[layer], gradient_w[layer] = delta, np.dot(delta, activations[layer].T)
            if layer:
                delta = np.dot(self.weights[layer].T, delta)
        return gradient_b, gradient_w

    def zeros(self) -> tuple[list[Any], list[Any]]:
        return [np.zeros(b.shape) for b in self.biases], [np.zeros(w.shape) for w in self.weights]


def sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_derivative(z: Any) -> Any:
    return sigmoid(z) * (1 - sigmoid(z))
