"""`CheckRows`: a few inputs with the outputs that the network computes for them in double precision.

The rows are drawn from what is known about the data: the scaling and the categories of the columns, or images if the
network takes pixels.  They do not depend on the training data, which an export must not disclose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp.data.preprocessing import CategoricalColumn, NumericColumn
from mlp.io.exports.model import Model
from mlp.network import FeedForward

CANDIDATES = 32
UNKNOWN = "(not a category)"
"""A value that the training data did not have."""


@dataclass(frozen=True)
class CheckRows:
    """Inputs and outputs.

    Attributes
    ----------
    rows : list of list
        The values that the program takes: numbers, or values of the columns; NaN or None if missing.
    outputs : ndarray of float64, shape (number of rows, `Model.outputs`)
    single_tolerance, double_tolerance : ndarray of float64, shape (`Model.outputs`,)
        How much a program that computes in float32 or in float64 may differ.
    """

    rows: list[list[Any]]
    outputs: NDArray[np.float64]
    single_tolerance: NDArray[np.float64]
    double_tolerance: NDArray[np.float64]

    @classmethod
    def draw(cls, net: FeedForward, model: Model) -> CheckRows:
        """Draw rows, and compute the outputs.

        Raises
        ------
        ConfigurationError
            If the outputs are not finite.
        """
        wanted = 5 if model.inputs <= 100 else 2
        rows = _draw(model, np.random.default_rng(0))
        inputs = _to_inputs(net, model, rows)
        exact, rounded = (_outputs(net, model, inputs, dtype) for dtype in ("float64", "float32"))
        finite = np.isfinite(exact).all(axis=1)
        if not finite.any():
            raise ConfigurationError(
                "the outputs of this network are not finite for typical inputs, so nothing it computes is of use. "
                "Were its weights trained?"
            )
        scale = np.ones(model.outputs) if model.are_probabilities else np.abs(exact[finite]).max(axis=0)
        scale[scale == 0] = 1.0
        with np.errstate(invalid="ignore"):
            difference = np.where(finite, np.abs((rounded - exact) / scale).max(axis=1), np.inf)
        # where rounding decides, as at a step, an output says nothing about the program
        usable = np.argsort(np.where(difference <= 1e-4, 0.0, difference), kind="stable")
        chosen = np.sort(usable[: min(wanted, int(finite.sum()))])
        rounding = 1e-5 + 16 * float(difference[chosen].max())
        return cls([rows[i] for i in chosen], exact[chosen], rounding * scale, 1e-9 * scale)


def _draw(model: Model, rng: np.random.Generator) -> list[list[Any]]:
    if model.columns is not None:
        columns = [
            _numbers(column, rng) if isinstance(column, NumericColumn) else _categories(column, rng)
            for column in model.columns
        ]
        return [list(row) for row in zip(*columns, strict=True)]
    shape = CANDIDATES, model.inputs
    if model.input_scale is not None:  # most pixels of an image are dark
        brightest = min(255, max(1, round(1 / model.input_scale)))
        pixels = rng.integers(0, brightest, shape, endpoint=True) * (rng.random(shape) < 0.3)
        return pixels.tolist()  # type: ignore[no-any-return]
    # fractions of 8 are exact in each format, and short
    return (np.round(8 * rng.normal(size=shape)) / 8).tolist()  # type: ignore[no-any-return]


def _numbers(column: NumericColumn, rng: np.random.Generator) -> list[float]:
    """Values around the training data's, with few digits; some are missing."""
    spread = column.scale if (column.shift, column.scale) != (0.0, 1.0) else abs(column.fill) or 1.0
    values = column.fill + spread * rng.normal(size=CANDIDATES) / 2
    missing = rng.random(CANDIDATES) < 0.15
    digits = 3 - int(np.floor(np.log10(spread)))
    return [float("nan") if lacks else round(float(x), digits) for x, lacks in zip(values, missing, strict=True)]


def _categories(column: CategoricalColumn, rng: np.random.Generator) -> list[Any]:
    choices = [*column.categories, *column.categories]
    if None not in choices:
        choices.append(None)
    if column.kind == "text":
        choices.append(UNKNOWN)
    return [choices[i] for i in rng.integers(len(choices), size=CANDIDATES)]


def _to_inputs(net: FeedForward, model: Model, rows: list[list[Any]]) -> NDArray[Any]:
    if model.columns is None:
        return np.array(rows, np.float64 if model.input_scale is None else np.uint8)
    assert net.preprocessing is not None
    if model.by_position:
        return net.preprocessing.transform(np.array(rows, np.float64))
    columns = zip(model.columns, zip(*rows, strict=True), strict=True)
    return net.preprocessing.encode(
        {c.name: np.array(values, float if isinstance(c, NumericColumn) else object) for c, values in columns}
    )


def _outputs(net: FeedForward, model: Model, inputs: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # a row whose outputs are not finite is not used
        y = net.copy(dtype).to("numpy").unchecked_outputs(inputs).astype(np.float64)
    return np.hstack([1 - y, y]) if model.has_one_output_for_two_classes else y
