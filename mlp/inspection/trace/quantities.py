"""The data of a trace: steps and quantities, which all formats are written from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import NetworkPlan, UnknownNameError
from mlp.optimizers import Optimizer

PHASES = ("given", "forward", "backward", "update")
SHOWN_VALUES = 64
"""In the formats, a quantity with more values than this is summarised."""
SHOWN_STEPS = 10
"""Of a longer trace, the formats contain the first steps and the last one."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """One quantity of a training step.

    Attributes
    ----------
    name : str
        A Python identifier, unique within the step: ``"dW1"``.
    symbol, formula : str
        ``"∂L/∂W⁽¹⁾"`` and ``"(a⁽⁰⁾)ᵀ · ∂L/∂z⁽¹⁾"``; the formula of a given quantity may be empty.
    phase : {"given", "forward", "backward", "update"}
    layer : int or None
        Counted from 1; None for a quantity of the complete network, such as the loss.
    values : ndarray
        On the host, read-only, in the network's dtype (the loss: float64).
    code : str or None
        NumPy statements that compute it from earlier quantities; None for an input of the step.
    replaces : bool
        Whether it is a new value of an existing symbol, as in an update.
    hidden : bool
        Whether the formats leave out its values.
    """

    name: str
    symbol: str
    formula: str
    phase: str
    layer: int | None
    values: NDArray[Any]
    code: str | None
    replaces: bool = False
    hidden: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def left(self) -> str:
        """The left-hand side of its equation: ``"z⁽¹⁾ ="``, or ``"W⁽¹⁾ ←"`` for an update."""
        return f"{self.symbol} {'←' if self.replaces else '='}"

    @property
    def equation(self) -> str:
        """Symbol and formula in one line; for a given quantity, the symbol and its description."""
        if self.phase == "given":
            return f"{self.symbol} ({self.formula})" if self.formula else self.symbol
        return f"{self.left} {self.formula}"

    @property
    def summarised(self) -> bool:
        """Whether it has too many values to write all of them."""
        return self.values.size > SHOWN_VALUES

    @property
    def digits(self) -> int:
        """Number of significant digits in the formats."""
        return 9 if self.values.dtype == np.float64 else 7

    def number(self, value: Any) -> str:
        """A value as text."""
        return f"{float(value):.{self.digits}g}"

    def rows(self) -> list[list[str]]:
        """The values as text, row by row; a number or a vector is one row."""
        return [[self.number(value) for value in row] for row in np.atleast_2d(self.values)]

    def summary(self) -> dict[str, Any]:
        """Minimum, mean, maximum, Euclidean norm, and the first four values."""
        values = self.values.astype(np.float64)
        return {
            "min": float(values.min()),
            "mean": float(values.mean()),
            "max": float(values.max()),
            "norm": math.sqrt(float(np.square(values).sum())),
            "first": values.ravel()[:4].tolist(),
        }

    def summary_text(self) -> str:
        """`summary` in one line."""
        summary = self.summary()
        first = ", ".join(self.number(value) for value in summary.pop("first"))
        statistics = ", ".join(f"{name} {self.number(value)}" for name, value in summary.items())
        return f"{self.values.size:,} values: {statistics}; first {first}, …"


@dataclass(frozen=True, eq=False)
class Step:
    """One training step: forward pass, backward pass and update for one batch.

    Attributes
    ----------
    number : int
        Counted from 1.
    epoch, batch : int
        Epoch of the training, and batch of that epoch; counted from 1.
    loss : float
        Before the update, including penalties.
    constants : dict of str to float
        Constants of the update rule, by symbol: ``{"η": 0.5}``.
    quantities : tuple of Quantity
        In the order of computation.
    """

    number: int
    epoch: int
    batch: int
    loss: float
    constants: dict[str, float]
    quantities: tuple[Quantity, ...]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The values of the quantity with this name."""
        for quantity in self.quantities:
            if quantity.name == name:
                return quantity.values
        raise UnknownNameError.among("quantity", name, (quantity.name for quantity in self.quantities))

    @property
    def title(self) -> str:
        """Heading of the step."""
        constants = "".join(f", {symbol} = {value:g}" for symbol, value in self.constants.items())
        return f"Step {self.number}: batch {self.batch} of epoch {self.epoch}{constants}"

    def phases(self) -> Iterator[tuple[str, list[Quantity]]]:
        """The quantities by phase, in order."""
        for phase in PHASES:
            quantities = [quantity for quantity in self.quantities if quantity.phase == phase]
            if quantities:
                yield phase, quantities


@dataclass(frozen=True, eq=False)
class Recording:
    """Base class of `Trace`, without the formats; see there."""

    network: NetworkPlan
    optimizer: Optimizer
    dtype: np.dtype[Any]
    backend: str
    device: str
    seed: int
    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """Description of the network."""
        hidden = ", ".join(row.name for row in self.network.activations[:-1])
        sizes = "-".join(map(str, self.network.layout.sizes))
        return f"{sizes}, {hidden or 'no hidden layer'}, {self.network.kind.name}, {self.dtype}, seed {self.seed}"

    def shown(self) -> list[Step | None]:
        """The steps that the formats contain; None marks the steps that are left out."""
        if len(self.steps) <= SHOWN_STEPS:
            return list(self.steps)
        return [*self.steps[: SHOWN_STEPS - 1], None, self.steps[-1]]
