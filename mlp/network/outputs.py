"""`Outputs`: what a network computes for the rows of any array, checked, and in the units of the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Backend, DataError, NetworkPlan, no_float_warnings
from mlp.checks import cast_inputs, check_rows
from mlp.configuration import TargetScaling
from mlp.finite_outputs import first_layer_not_finite, outputs_if_finite, require_finite_outputs

CHUNK = 4096
"""Rows per forward pass outside training; limits the memory of the activations."""


class Outputs:
    """Computes the outputs of a network, or of some of its layers, for rows that users give.

    Parameters
    ----------
    plan : NetworkPlan
    xp : Backend
    parameters : array, shape (n_parameters,)
        On the device; the present values are used in each call.
    target_scaling : tuple (shifts, scales), optional
        By which the outputs are scaled back to the range of the targets; as in `MLP`.
    last : int, optional
        The layers up to this one, as in a slice.  Default: all.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        xp: Backend,
        parameters: Any,
        target_scaling: TargetScaling | None = None,
        last: int | None = None,
    ) -> None:
        self.plan, self.xp, self.parameters, self.target_scaling = plan, xp, parameters, target_scaling
        self._custom_output = last is None and plan.kind.output.custom  # what it returns is not checked
        with xp.current_device():
            layers = zip(plan.layout.layers(parameters)[:last], plan.activations[:last], strict=True)
            scaling = plan.layout.scaling(parameters)
            self.predictor = xp.predictor([(W, b, f) for (W, b), f in layers], scaling, plan.input_scale)

    def is_of(self, plan: NetworkPlan, xp: Backend, parameters: Any, target_scaling: TargetScaling | None) -> bool:
        """Whether these are the objects that it was made for."""
        return (
            self.plan is plan
            and self.xp is xp
            and self.parameters is parameters
            and self.target_scaling is target_scaling
        )

    def __call__(self, X: Any) -> NDArray[Any]:
        """The outputs, shape (n, n_out), on the host; errors are those of `MLP.feedforward`."""
        y = self._usual(X)
        return self.checked(X) if y is None else y

    def _usual(self, X: Any) -> NDArray[Any] | None:
        """The outputs for the rows of a NumPy array; None if anything about it needs a closer look.

        Of the time for a single row, a closer look takes more than the arithmetic.
        """
        if (
            type(X) is not np.ndarray
            or X.ndim != 2
            or X.dtype.kind not in "buif"
            or self.xp.namespace is not np
            or not len(X)
            or X.shape[1] != self.predictor.n_in
        ):
            return None
        y = outputs_if_finite(self.predictor, X, CHUNK)
        if y is None or self.target_scaling is None:
            return y
        with no_float_warnings():
            y = self._in_units_of_targets(y)
            return y if np.isfinite(y).all() else None

    def checked(self, X: Any) -> NDArray[Any]:
        """As a call, for arrays that need a closer look."""
        with self.xp.current_device(), no_float_warnings():
            X = check_rows(X, self.predictor.n_in, self.xp)
            y = self._of_rows(X)
            self.require_finite(y, X)
        return y

    def unchecked(self, X: Any) -> NDArray[Any]:
        """As a call, but outputs that overflow are returned as they are: infinite or NaN."""
        with self.xp.current_device(), no_float_warnings():
            return self._of_rows(check_rows(X, self.predictor.n_in, self.xp))

    def require_finite(self, outputs: NDArray[Any], X: Any) -> None:
        """Raise `DataError` if an output for checked rows is NaN or infinite."""
        require_finite_outputs(outputs, lambda row: self._first_layer_not_finite(X[row : row + 1]))

    def _of_rows(self, X: Any) -> NDArray[Any]:
        y = np.concatenate(
            [self.xp.to_numpy(self.predictor(self._cast(X, first))) for first in range(0, X.shape[0], CHUNK)]
        )
        return y if self.target_scaling is None else self._in_units_of_targets(y)

    def _cast(self, X: Any, first: int) -> Any:
        """Some of the rows on the device, in the network's dtype, so that X is not copied as a whole."""
        try:
            return cast_inputs(X[first : first + CHUNK], self.predictor.dtype, self.xp)
        except DataError:
            cast_inputs(X, self.predictor.dtype, self.xp)  # raises the error with the row's number in X
            raise

    def _in_units_of_targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Outputs scaled back to the range of the targets."""
        assert self.target_scaling is not None
        shift, scale = (np.array(values, dtype=self.predictor.dtype) for values in self.target_scaling)
        return y * scale + shift  # type: ignore[no-any-return]

    def _first_layer_not_finite(self, row: Any) -> tuple[int, str] | None:
        predictor = self.predictor
        x = as_floats(self.xp, cast_inputs(row, predictor.dtype, self.xp), predictor.dtype, predictor.input_scale)
        x = x if predictor.factors is None else self.xp.scale_columns(x, predictor.factors)
        place = first_layer_not_finite(self.xp, x, predictor.layers, custom_output=self._custom_output)
        if place is None and not self._custom_output:
            return len(predictor.layers), "scaling them back to the range of the targets overflows"
        return place


def as_floats(xp: Backend, x: Any, dtype: Any, input_scale: float) -> Any:
    """Convert checked inputs on the device to the network's dtype; uint8 is multiplied by `input_scale`."""
    if x.dtype == dtype:
        return xp.asarray(x)
    out = xp.empty(x.shape, dtype)
    return xp.take_rows(x, xp.namespace.arange(x.shape[0]), out=out, scale=input_scale)
