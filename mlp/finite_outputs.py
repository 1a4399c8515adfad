"""Compute outputs that are finite; where some are not, find the layer where that begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, Operations, Predictor, loop, no_float_warnings


def outputs_if_finite(predictor: Predictor, X: NDArray[Any], chunk: int) -> NDArray[Any] | None:
    """The outputs for the rows of a NumPy array; None if an input or output may not be finite.

    Parameters
    ----------
    predictor : Predictor
        Of a backend whose arrays are those of NumPy.
    X : ndarray, shape (n, n_in)
        One row or more, of real numbers.
    chunk : int
        Rows that are computed at once, unless the predictor needs little memory for any number of rows.
    """
    converts = X.dtype != predictor.dtype and X.dtype != np.uint8
    step = len(X) if predictor.in_blocks and not converts else chunk
    outputs = []
    for first in range(0, len(X), step):
        rows = X[first : first + step]
        if converts:
            with np.errstate(over="ignore"):
                rows = rows.astype(predictor.dtype)
        y, finite = predictor.checked(rows)
        if not finite:
            return None
        outputs.append(y)
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def require_finite_outputs(outputs: NDArray[Any], find_layer: Callable[[int], tuple[int, str] | None]) -> None:
    """Raise `DataError` if an output is NaN or infinite; the message names the first such row and the layer.

    To be called within `no_float_warnings`, since the sum of finite outputs can overflow.

    Parameters
    ----------
    outputs : ndarray, shape (n, n_out)
    find_layer : callable
        The result of `first_layer_not_finite` for one row; called only if an output is not finite.  None means that
        the user's own output activation returned NaN or infinity for finite values, which is no error.
    """
    if math.isfinite(np.add.reduce(outputs, axis=None)):  # one pass is enough for nearly all outputs
        return
    finite = np.isfinite(outputs).all(axis=1)
    for row in np.flatnonzero(~finite).tolist():
        place = find_layer(row)
        if place is not None:
            layer, cause = place
            count = len(finite) - int(finite.sum())
            rows = "1 row has" if count == 1 else f"{count} of {len(finite)} rows have"
            or_float64 = "" if outputs.dtype == np.float64 else ", or use dtype='float64'"
            raise DataError(
                f"the outputs for row {row} of X (counted from 0) are not finite, from layer {layer} on: {cause}. "
                f"{rows} such outputs. The inputs are finite, but too large for this network in {outputs.dtype}: scale "
                f"them as in training, remove these rows{or_float64}."
            )


def first_layer_not_finite(
    xp: Operations, x: Any, layers: Iterable[tuple[Any, Any, Any]], *, custom_output: bool = False
) -> tuple[int, str] | None:
    """The first layer (counted from 1) with weights or outputs that are NaN or infinite, and which of them; or None.

    Parameters
    ----------
    x : array, shape (n, n_in)
        On the device.
    layers : iterable of (W, b, activation)
    custom_output : bool
        Whether the last activation is user-defined: then its inputs count as the outputs.
    """
    layers = list(layers)
    for number, (W, b, activation) in enumerate(layers, start=1):
        with no_float_warnings():
            x = xp.dense(x, W, b, "identity" if custom_output and number == len(layers) else activation)
        if not (loop.all_finite(xp, W) and loop.all_finite(xp, b)):
            return number, "its weights are not finite"
        if not loop.all_finite(xp, x):
            return number, "its outputs are not finite"
    return None
