"""What a value of an ONNX graph stands for, as far as a multilayer perceptron can have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Steps = tuple[tuple[str, NDArray[Any]], ...]
"""Operators ``Add, Sub, Mul, Div``, each with its second operand, in the order in which they run."""


class Refusal(ValueError):
    """A node or tensor that cannot be part of a network; the message does not name it, which the caller does."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant array; `source` is the name of the stored tensor that it is, or a rearrangement of."""

    array: NDArray[Any]
    source: str


@dataclass(frozen=True, eq=False)
class Numbers:
    """Inputs of numbers, side by side: missing values become `fill`, then the `steps` run.

    Attributes
    ----------
    names : tuple of str
        The inputs of the graph.
    widths : tuple of (int or None)
        Their numbers of columns; None if the file does not say.
    dtype : str
        Type of the first input: ``"float32"``, ``"uint8"``, ``"string"``, ...
    fill : ndarray or None
    steps : Steps
    flat : bool
        Whether a row is one axis, and not an image.
    whole : bool
        Whether the numbers were cast to integers.
    """

    names: tuple[str, ...]
    widths: tuple[int | None, ...]
    dtype: str
    fill: NDArray[Any] | None = None
    steps: Steps = ()
    flat: bool = True
    whole: bool = False

    @property
    def width(self) -> int | None:
        """Number of columns, if it is known."""
        known = [width for width in self.widths if width is not None]
        return sum(known) if len(known) == len(self.widths) else None


@dataclass(frozen=True, eq=False)
class Categories:
    """The one-hot encoding of an input."""

    name: str
    categories: tuple[str | bool | None, ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.categories)


@dataclass(frozen=True, eq=False)
class Table:
    """Inputs of the network, side by side."""

    parts: tuple[Numbers | Categories, ...]

    @property
    def width(self) -> int | None:
        """Number of columns, if it is known."""
        known = [part.width for part in self.parts if part.width is not None]
        return sum(known) if len(known) == len(self.parts) else None


@dataclass(frozen=True, eq=False)
class MissingFlags:
    """Where the numbers of a table are missing."""

    table: Table


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix product with its bias, shape (n_out,), or None as long as none was added."""

    source: Table | Signal
    W: NDArray[Any]
    b: NDArray[Any] | None
    node: str

    @property
    def width(self) -> int:
        """Number of outputs."""
        return int(self.W.shape[1])


@dataclass(frozen=True, eq=False)
class Signal:
    """A function of the outputs z of a layer, the same for each.

    Attributes
    ----------
    layer : Layer
    values : ndarray or None
        The function at `operators.PROBE`; None if it differs between the outputs.
    steps : Steps or None
        The function as arithmetic with constants, if it is; ``()`` is z itself.
    node : str
        The last node of the function.
    softmax : bool
        Whether it is the softmax of z.
    """

    layer: Layer
    values: NDArray[Any] | None
    steps: Steps | None
    node: str
    softmax: bool = False


@dataclass(frozen=True, eq=False)
class TwoClasses:
    """The columns 1 - y and y, for a single output y."""

    signal: Signal


@dataclass(frozen=True, eq=False)
class Label:
    """The class with the largest output, by number or by name; for a single output y, that of 1 - y and y."""

    signal: Signal
    classes: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The output of ``ZipMap``: the probability of each class by its name."""

    signal: Signal
    classes: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Stacked:
    """The outputs of each row below one another: skl2onnx writes those of a regressor with several targets so."""

    signal: Signal


@dataclass(frozen=True, eq=False)
class Shape:
    """The shape of a value; only its first entry, the number of rows, may be used."""


@dataclass(frozen=True, eq=False)
class BatchSize:
    """The number of rows."""


Value = Constant | Table | MissingFlags | Signal | TwoClasses | Label | ClassMap | Stacked | Shape | BatchSize


def is_plain(signal: Signal, probe: NDArray[Any]) -> bool:
    """Whether a signal is z itself."""
    return signal.values is not None and np.array_equal(signal.values, probe)
