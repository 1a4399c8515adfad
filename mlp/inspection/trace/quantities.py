"""What happened in some steps of training, as frozen data that every format is written from."""

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
"""A quantity with more values than this is summarised where it is written out."""
SHOWN_STEPS = 10
"""Of a longer trace the first steps and the last one are written out."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """One quantity of a step.

    Attributes
    ----------
    name : str
        A Python identifier, unique within the step: ``"dW1"``.
    symbol, formula : str
        ``"∂L/∂W¹"`` and ``"(a⁰)ᵀ · ∂L/∂z¹"``; what is given may have no formula.
    phase : {"given", "forward", "backward", "update"}
    layer : int or None
        Counted from 1; None for what belongs to the whole network.
    values : ndarray
        On the host, read-only, of the network's dtype (a loss: float64).
    code : str or None
        NumPy statements that compute it from the quantities before it; None for what comes from outside.
    replaces : bool
        Whether it takes the place of what the symbol stood for before, as updates do.
    """

    name: str
    symbol: str
    formula: str
    phase: str
    layer: int | None
    values: NDArray[Any]
    code: str | None
    replaces: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def left(self) -> str:
        """The left-hand side of its equation: ``"z¹ ="``, or ``"W¹ ←"`` where an update replaces a value."""
        return f"{self.symbol} {'←' if self.replaces else '='}"

    @property
    def equation(self) -> str:
        """Symbol and formula in a line; of what is given, the symbol and what there is to say of it."""
        if self.phase == "given":
            return f"{self.symbol} ({self.formula})" if self.formula else self.symbol
        return f"{self.left} {self.formula}"

    @property
    def summarised(self) -> bool:
        """Whether it has too many values to be written out."""
        return self.values.size > SHOWN_VALUES

    @property
    def digits(self) -> int:
        """Significant digits that are worth writing."""
        return 9 if self.values.dtype == np.float64 else 7

    def number(self, value: Any) -> str:
        """One of its values as text."""
        return f"{float(value):.{self.digits}g}"

    def rows(self) -> list[list[str]]:
        """Its values as text, row by row; a number and a vector are one row."""
        return [[self.number(value) for value in row] for row in np.atleast_2d(self.values)]

    def summary(self) -> dict[str, Any]:
        """Of many values: the least, the mean, the greatest, the Euclidean norm, and the first few."""
        values = self.values.astype(np.float64)
        return {
            "min": float(values.min()),
            "mean": float(values.mean()),
            "max": float(values.max()),
            "norm": math.sqrt(float(np.square(values).sum())),
            "first": values.ravel()[:4].tolist(),
        }

    def summary_text(self) -> str:
        """`summary` in a line."""
        figures = self.summary()
        first = ", ".join(self.number(value) for value in figures.pop("first"))
        parts = ", ".join(f"{name} {self.number(value)}" for name, value in figures.items())
        return f"{self.values.size:,} values: {parts}; first {first}, …"


@dataclass(frozen=True, eq=False)
class Step:
    """One step of training: a batch forward, back, and the update.

    Attributes
    ----------
    number : int
        Counted from 1.
    epoch, batch : int
        As training counts them, from 0.
    loss : float
        Before the update, penalties included.
    constants : dict of str to float
        Of the update rule, by their symbols: ``{"η": 0.5}``.
    quantities : tuple of Quantity
        In the order in which they are computed.
    """

    number: int
    epoch: int
    batch: int
    loss: float
    constants: dict[str, float]
    quantities: tuple[Quantity, ...]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The values of a quantity by its name."""
        for quantity in self.quantities:
            if quantity.name == name:
                return quantity.values
        raise UnknownNameError.among("quantity", name, (quantity.name for quantity in self.quantities))

    @property
    def title(self) -> str:
        """The step in a line."""
        constants = "".join(f", {symbol} = {value:g}" for symbol, value in self.constants.items())
        return f"Step {self.number}: batch {self.batch} of epoch {self.epoch}{constants}"

    def phases(self) -> Iterator[tuple[str, list[Quantity]]]:
        """The quantities by phase, in order."""
        for phase in PHASES:
            found = [quantity for quantity in self.quantities if quantity.phase == phase]
            if found:
                yield phase, found


@dataclass(frozen=True, eq=False)
class Recording:
    """The data of a `Trace`, which describes them and adds the formats."""

    network: NetworkPlan
    optimizer: Optimizer
    dtype: np.dtype[Any]
    backend: str
    device: str
    seed: int
    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """The network in a line."""
        hidden = ", ".join(row.name for row in self.network.activations[:-1])
        sizes = "-".join(map(str, self.network.layout.sizes))
        return f"{sizes}, {hidden or 'no hidden layer'}, {self.network.kind.name}, {self.dtype}, seed {self.seed}"

    def shown(self) -> list[Step | None]:
        """The steps to write out; None stands for those left out between the first ones and the last."""
        if len(self.steps) <= SHOWN_STEPS:
            return list(self.steps)
        return [*self.steps[: SHOWN_STEPS - 1], None, self.steps[-1]]
