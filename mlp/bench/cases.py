"""`Case`: a network, a batch size and an optimizer, with the data and the amount of work that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, UnknownNameError

LEARNING_RATES = {"sgd": 0.01, "adam": 0.0001}
"""Speed does not depend on them; they are small so that rounding errors stay small over many steps."""

STEPS, MIN_STEPS = 1024, 2
WORK = 1.5e10
"""Floating-point operations of an epoch, about: a tenth of a second on two processors."""


@dataclass(frozen=True)
class Case:
    """What every contestant trains: ReLU, softmax and cross-entropy, in float32, rows in their own order.

    Parameters
    ----------
    net : str
        Widths of the layers: ``"784-30-10"``.
    batch_size : int
    optimizer : {"sgd", "adam"}
        Plain gradient steps, or Adam with the usual constants.
    max_rows : int
        Bound on the rows of an epoch.

    Raises
    ------
    ConfigurationError, UnknownNameError
        If one of them cannot be used.

    Examples
    --------
    >>> case = Case("784-30-10", 16)
    >>> case.sizes, case.rows
    ([784, 30, 10], 16384)
    """

    net: str
    batch_size: int
    optimizer: str = "sgd"
    max_rows: int = 16384

    def __post_init__(self) -> None:
        parts = self.net.split("-")
        if len(parts) < 2 or not all(part.isdecimal() and int(part) for part in parts):
            raise ConfigurationError(f"a net is written as its widths, such as 784-30-10, not {self.net!r}.")
        if self.sizes[-1] < 2:
            raise ConfigurationError(f"net {self.net} has one output; softmax needs two or more.")
        if self.batch_size < 1:
            raise ConfigurationError(f"a batch size is 1 or more, not {self.batch_size}.")
        if self.optimizer not in LEARNING_RATES:
            raise UnknownNameError.among("optimizer", self.optimizer, LEARNING_RATES)

    def __str__(self) -> str:
        return f"{self.net}, batch {self.batch_size}, {self.optimizer}"

    @property
    def sizes(self) -> list[int]:
        """Width of the input, of each hidden layer, and of the output."""
        return [int(width) for width in self.net.split("-")]

    @property
    def learning_rate(self) -> float:
        """Of every contestant."""
        return LEARNING_RATES[self.optimizer]

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    @property
    def flops(self) -> float:
        """Floating-point operations of a row: two matrix products for the first layer, three for each other."""
        return 2.0 * sum((3 if layer else 2) * a * b for layer, (a, b) in enumerate(pairwise(self.sizes)))

    @property
    def bytes_per_step(self) -> float:
        """Bytes that a step cannot avoid if nothing stays in a cache between steps: its rows, and what it updates.

        The parameters, and under Adam its two moments, are read and written once each.
        """
        arrays = 3 if self.optimizer == "adam" else 1
        return 4.0 * (self.batch_size * self.sizes[0] + 2 * arrays * self.n_parameters)

    @property
    def intensity(self) -> float:
        """Operations for each byte, for the roofline."""
        return self.flops * self.batch_size / self.bytes_per_step

    @property
    def steps(self) -> int:
        """Updates of an epoch: enough to be timed, few enough for large networks and slow contestants."""
        steps = min(STEPS, self.max_rows // self.batch_size, int(WORK / (self.flops * self.batch_size)))
        return max(steps, MIN_STEPS)

    @property
    def rows(self) -> int:
        """Rows of an epoch, in whole batches."""
        return self.steps * self.batch_size

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Rows and labels of MNIST's shape and range; speed does not depend on what they show.

        Returns
        -------
        X : ndarray, shape (rows, n_in)
        y : ndarray, shape (rows,)
        """
        rng = np.random.default_rng(0)
        X = rng.random((self.rows, self.sizes[0]), dtype=np.float32)
        X[X < 0.8] = 0  # four fifths of an MNIST image are black
        return X, rng.integers(0, self.sizes[-1], self.rows)
