"""`Case`: a network, a batch size and an optimizer, with its data and its amount of work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, Shuffle, UnknownNameError
from mlp.checks import counted
from mlp.data.images import DATA_DIR_VARIABLE, digits, mnist

LEARNING_RATES = {"sgd": 0.01, "adam": 0.0001}
"""Small, so that rounding errors stay small over many steps; the speed does not depend on them."""

PRECISIONS = ("float32", "tf32")
"""The second one allows products of float32 matrices in TF32, which only GPUs have; CPUs stay with float32."""

DATA = ("images", "dense")
"""Handwritten digits, in which most pixels are zero; and random numbers, of which none is."""

SEED = 0
"""Of the initial weights and the order of the rows."""

STEPS, MIN_STEPS = 1024, 2
WORK = 1.5e10
"""Approximate floating-point operations of an epoch: a tenth of a second on two processors."""

GPU_WORK, GPU_ROWS = 1e11, 65536
"""The same limits for a comparison with a GPU.  It does the work of a CPU's epoch in a few steps, and what an epoch
costs beside its steps would hide them; 65536 rows are about those of MNIST."""


@dataclass(frozen=True)
class Case:
    """The task of every implementation: ReLU, softmax and cross-entropy, with rows in a new order in each epoch.

    Parameters
    ----------
    net : str
        Widths of the layers: ``"784-30-10"``.
    batch_size : int
    optimizer : {"sgd", "adam"}
        SGD without momentum, or Adam with the default constants.
    max_rows : int
        Largest number of rows in an epoch.
    precision : {"float32", "tf32"}
        Precision of the matrix products on a GPU.
    work : float
        Approximate limit of the floating-point operations in an epoch.
    contents : {"images", "dense"}
        What the rows are, see `data`.
    threads : int, optional
        Number of threads of every implementation on the CPU; default: each chooses.

    Raises
    ------
    ConfigurationError, UnknownNameError
        If an argument is invalid.

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
    precision: str = "float32"
    work: float = WORK
    contents: str = "images"
    threads: int | None = None

    def __post_init__(self) -> None:
        parts = self.net.split("-")
        if len(parts) < 2 or not all(part.isdecimal() and int(part) for part in parts):
            raise ConfigurationError(f"net {self.net!r} is not a list of layer widths such as 784-30-10.")
        if self.sizes[-1] < 2:
            raise ConfigurationError(f"net {self.net} has one output; softmax needs two or more.")
        if self.batch_size < 1:
            raise ConfigurationError(f"batch_size is {self.batch_size}, expected 1 or more.")
        if self.optimizer not in LEARNING_RATES:
            raise UnknownNameError.among("optimizer", self.optimizer, LEARNING_RATES)
        if self.precision not in PRECISIONS:
            raise UnknownNameError.among("precision", self.precision, PRECISIONS)
        if self.contents not in DATA:
            raise UnknownNameError.among("kind of data", self.contents, DATA)
        if self.threads is not None and self.threads < 1:
            raise ConfigurationError(f"threads is {self.threads}, expected 1 or more.")

    def __str__(self) -> str:
        precision = "" if self.precision == "float32" else f", {self.precision}"
        rest = conditions(self.contents, self.threads)
        return f"{self.net}, batch {self.batch_size}, {self.optimizer}{precision}{rest}"

    @property
    def sizes(self) -> list[int]:
        """Width of the input, of each hidden layer, and of the output."""
        return [int(width) for width in self.net.split("-")]

    @property
    def learning_rate(self) -> float:
        """Learning rate of every implementation."""
        return LEARNING_RATES[self.optimizer]

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    @property
    def flops(self) -> float:
        """Floating-point operations per row: two matrix products for the first layer, three for each other layer."""
        return 2.0 * sum((3 if layer else 2) * a * b for layer, (a, b) in enumerate(pairwise(self.sizes)))

    @property
    def row_bytes(self) -> int:
        """Size of a row of X in bytes."""
        return 4 * self.sizes[0]

    @property
    def parameter_bytes(self) -> int:
        """Size of what a step reads and changes: the parameters, and the two moments of Adam."""
        return 4 * self.n_parameters * (3 if self.optimizer == "adam" else 1)

    @property
    def steps(self) -> int:
        """Updates per epoch: enough to measure, but few for large networks and slow implementations."""
        steps = min(STEPS, self.max_rows // self.batch_size, int(self.work / (self.flops * self.batch_size)))
        return max(steps, MIN_STEPS)

    @property
    def rows(self) -> int:
        """Rows per epoch, a multiple of the batch size."""
        return self.steps * self.batch_size

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows of an epoch and their classes.

        Images are those of MNIST in the folder that the environment variable ``MLP_DATA`` names, else the digits of
        scikit-learn.  They are enlarged to the inputs of the network, and repeated if there are too few.

        Returns
        -------
        X : ndarray, shape (rows, n_in)
            From 0 to 1.
        y : ndarray, shape (rows,)
        """
        rng = np.random.default_rng(0)
        n_in, n_out = self.sizes[0], self.sizes[-1]
        if self.contents == "dense":
            return rng.random((self.rows, n_in), dtype=np.float32), rng.integers(0, n_out, self.rows)
        dataset = mnist() if images() == "MNIST" else digits()
        rows = np.resize(rng.permutation(len(dataset.X)), self.rows)
        old, new = math.isqrt(dataset.X.shape[1]), math.isqrt(n_in - 1) + 1
        pixels = np.arange(new) * old // new
        X = dataset.X.reshape(-1, old, old)[rows[:, None, None], pixels[:, None], pixels].reshape(self.rows, -1)
        return X[:, :n_in] * np.float32(dataset.input_scale), dataset.y[rows] % n_out

    def orders(self) -> Iterator[NDArray[np.int64]]:
        """The row numbers of each epoch in the order of training, which is that of `MLP.fit`."""
        for epoch in count():
            yield Shuffle(SEED, epoch, self.rows).row_numbers()


def conditions(contents: str, threads: int | None) -> str:
    """The end of the name of a case: its data and its number of threads, if they are not the usual ones."""
    data = "" if contents == "images" else f", {contents} data"
    return data if threads is None else f"{data}, {counted(threads, 'thread')}"


def images() -> str:
    """Which images `Case.data` has: ``"MNIST"`` or ``"digits"``."""
    return "MNIST" if os.environ.get(DATA_DIR_VARIABLE) else "digits"
