"""User-defined activations and losses, written as functions of `xp`; they run on every backend.

Both are checked when a network first uses them: the given derivative must agree with central differences of
the given function in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import Activation, ConfigurationError, GradientError, formulas, get_backend

_STEP = 1e-6  # balances truncation (step**2) against rounding (1e-16 / step)
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class _Backward:
    derivative: Callable[[Any, Any], Any]

    def __call__(self, xp: Any, dy: Any, z: Any) -> Any:
        derivative = self.derivative(xp, z)
        with np.errstate(all="ignore"):  # only the user's function may warn
            return dy * derivative


@dataclass(frozen=True)
class _ValueAndDerivative:
    value: Callable[[Any, Any, Any], Any]
    derivative: Callable[[Any, Any, Any], Any]

    def __call__(self, xp: Any, y: Any, t: Any) -> tuple[Any, Any]:
        return self.value(xp, y, t), self.derivative(xp, y, t)


def custom_activation(
    name: str, forward: Callable[[Any, Any], Any], derivative: Callable[[Any, Any], Any]
) -> Activation:
    """Make a user-defined activation.

    Parameters
    ----------
    name : str
        Saved with a model.  To load the model, pass ``mlp.load(path, custom={name: activation})``.
    forward : callable
        ``forward(xp, z)`` returns y, elementwise; `xp` has exp, log, tanh, where, maximum, ...
    derivative : callable
        ``derivative(xp, z)`` returns dy/dz, elementwise.

    Returns
    -------
    Activation

    Raises
    ------
    GradientError
        When a network first uses the activation, if `derivative` is not the derivative of `forward`.

    Examples
    --------
    >>> import mlp
    >>> bent = mlp.custom_activation(
    ...     "bent_identity",
    ...     lambda xp, z: (xp.sqrt(z * z + 1) - 1) / 2 + z,
    ...     lambda xp, z: z / (2 * xp.sqrt(z * z + 1)) + 1,
    ... )
    >>> net = mlp.MLP([2, 8, 1], activation=bent, loss="mse")
    """
    _check_name(name, formulas.ACTIVATIONS, "activation")
    return Activation(name, forward, _Backward(derivative), saves="z", custom=True)


def custom_loss(
    name: str,
    value: Callable[[Any, Any, Any], Any],
    slope: Callable[[Any, Any, Any], Any],
    *,
    mean_over_outputs: bool = True,
) -> formulas.Loss:
    """Make a user-defined loss.

    Parameters
    ----------
    name : str
    value : callable
        ``value(xp, y, t)`` returns the loss of each entry of the output y for the target t, shape (n, n_out).
    slope : callable
        ``slope(xp, y, t)`` returns its derivative with respect to y, shape (n, n_out).
    mean_over_outputs : bool
        Whether the loss of a row is the mean over its outputs (else their sum).

    Returns
    -------
    Loss

    Raises
    ------
    GradientError
        When a network first uses the loss, if `slope` is not the derivative of `value`.

    Examples
    --------
    >>> import mlp
    >>> log_cosh = mlp.custom_loss(
    ...     "log_cosh",
    ...     lambda xp, y, t: xp.log(0.5 * (xp.exp(y - t) + xp.exp(t - y))),
    ...     lambda xp, y, t: xp.tanh(y - t),
    ... )
    >>> net = mlp.MLP([2, 8, 1], loss=log_cosh)
    """
    _check_name(name, formulas.LOSSES, "loss")
    return formulas.Loss(name, _ValueAndDerivative(value, slope), mean_over_outputs=mean_over_outputs, custom=True)


def _check_name(name: str, table: Any, kind: str) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"the name of a custom {kind} must be a nonempty string, not {name!r}.")
    if name in table:
        raise ConfigurationError(f"there is already a built-in {kind} {name!r}; choose another name.")


def check_activation(activation: Activation) -> None:
    """Compare the derivative of a custom activation with central differences.

    Raises
    ------
    GradientError
        If they differ.
    """
    xp = get_backend("numpy")
    z = np.linspace(-4.03, 4.07, 41).reshape(1, -1)  # no round numbers: many functions have a kink there
    numeric = (xp.activate(z + _STEP, activation) - xp.activate(z - _STEP, activation)) / (2 * _STEP)
    name = activation.name
    try:
        analytic = xp.activate_backward(np.ones_like(z), z, activation)
    except ValueError as error:
        raise GradientError(f"the derivative of activation {name!r} must have the shape of z: {error}.") from error
    _compare(f"activation {name!r}", "z", z, numeric, analytic)


def check_loss(loss: formulas.Loss) -> None:
    """Compare the derivative of a custom loss with central differences.

    Raises
    ------
    GradientError
        If they differ.
    """
    xp = get_backend("numpy")
    assert loss.formula is not None
    y = np.linspace(0.03, 0.97, 41).reshape(1, -1)
    t = y[:, ::-1] + 0.011  # never equal to y: many losses have a kink there
    numeric = (loss.formula(xp, y + _STEP, t)[0] - loss.formula(xp, y - _STEP, t)[0]) / (2 * _STEP)
    _compare(f"loss {loss.name!r}", "y", y, numeric, np.asarray(loss.formula(xp, y, t)[1]))


def _compare(what: str, variable: str, points: NDArray[Any], numeric: NDArray[Any], analytic: NDArray[Any]) -> None:
    if numeric.shape != points.shape or analytic.shape != points.shape:
        raise GradientError(
            f"{what} must return the shape of its argument: for {points.shape} the function returns {numeric.shape} "
            f"and the derivative {analytic.shape}."
        )
    error = np.abs(analytic - numeric) / np.maximum(np.abs(numeric), 1.0)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if not error.ravel()[worst] <= _TOLERANCE:
        raise GradientError(
            f"the derivative of {what} disagrees with its function: at {variable} = {points.ravel()[worst]:.4g} it "
            f"gives {analytic.ravel()[worst]:.8g}, and central differences give {numeric.ravel()[worst]:.8g}."
        )
