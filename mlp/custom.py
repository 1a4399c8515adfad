"""A user's own activations and losses, given as functions of `xp`; they run on every backend.

Both are checked when a network first uses them: the derivative given must agree with central differences of
the function given, in double precision.
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
        return dy * self.derivative(xp, z)


@dataclass(frozen=True)
class _ValueAndSlope:
    value: Callable[[Any, Any, Any], Any]
    slope: Callable[[Any, Any, Any], Any]

    def __call__(self, xp: Any, y: Any, t: Any) -> tuple[Any, Any]:
        return self.value(xp, y, t), self.slope(xp, y, t)


def custom_activation(
    name: str, forward: Callable[[Any, Any], Any], derivative: Callable[[Any, Any], Any]
) -> Activation:
    """An activation of your own.

    Parameters
    ----------
    name : str
        Saved with a model; `mlp.load(path, custom={name: activation})` needs it again.
    forward : callable
        ``forward(xp, z)`` gives y, entry by entry; `xp` has exp, log, tanh, where, maximum, ...
    derivative : callable
        ``derivative(xp, z)`` gives dy/dz.

    Raises
    ------
    GradientError
        When a network first uses it, if the two disagree.

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
    _require_new(name, formulas.ACTIVATIONS, "activation")
    return Activation(name, forward, _Backward(derivative), saves="z", custom=True)


def custom_loss(
    name: str,
    value: Callable[[Any, Any, Any], Any],
    slope: Callable[[Any, Any, Any], Any],
    *,
    mean_over_outputs: bool = True,
) -> formulas.Loss:
    """A loss of your own.

    Parameters
    ----------
    name : str
    value : callable
        ``value(xp, y, t)``: the loss of each entry of the output y against the target t, shape (n, n_out).
    slope : callable
        ``slope(xp, y, t)``: its derivative in y, shape (n, n_out).
    mean_over_outputs : bool
        Whether a row's loss is the mean over its outputs (else their sum).

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
    _require_new(name, formulas.LOSSES, "loss")
    return formulas.Loss(name, _ValueAndSlope(value, slope), mean_over_outputs=mean_over_outputs, custom=True)


def _require_new(name: str, table: Any, kind: str) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"a {kind} of your own needs a name, not {name!r}.")
    if name in table:
        raise ConfigurationError(f"there is a built-in {kind} {name!r}; give yours a name of its own.")


def check_activation(row: Activation) -> None:
    """Compare a user's derivative with central differences; raise `GradientError` where they differ."""
    xp = get_backend("numpy")
    # no round numbers: that is where kinks are
    z = np.linspace(-4.03, 4.07, 41).reshape(1, -1)
    numeric = (xp.activate(z + _STEP, row) - xp.activate(z - _STEP, row)) / (2 * _STEP)
    try:
        given = xp.activate_backward(np.ones_like(z), z, row)
    except ValueError as error:
        raise GradientError(f"the derivative of activation {row.name!r} must keep the shape of z: {error}.") from error
    _compare(f"activation {row.name!r}", "z", z, numeric, given)


def check_loss(loss: formulas.Loss) -> None:
    """Compare a user's slope with central differences; raise `GradientError` where they differ."""
    xp = get_backend("numpy")
    assert loss.formula is not None
    y = np.linspace(0.03, 0.97, 41).reshape(1, -1)
    t = y[:, ::-1] + 0.011  # never equal to y, where many losses have a kink
    numeric = (loss.formula(xp, y + _STEP, t)[0] - loss.formula(xp, y - _STEP, t)[0]) / (2 * _STEP)
    _compare(f"loss {loss.name!r}", "y", y, numeric, np.asarray(loss.formula(xp, y, t)[1]))


def _compare(what: str, variable: str, points: NDArray[Any], numeric: NDArray[Any], given: NDArray[Any]) -> None:
    if numeric.shape != points.shape or given.shape != points.shape:
        raise GradientError(
            f"{what} must keep the shape of its argument: for {points.shape} the function gives {numeric.shape} "
            f"and the derivative {given.shape}."
        )
    error = np.abs(given - numeric) / np.maximum(np.abs(numeric), 1.0)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if not error.ravel()[worst] <= _TOLERANCE:
        raise GradientError(
            f"the derivative of {what} disagrees with its function: at {variable} = {points.ravel()[worst]:.4g} it "
            f"gives {given.ravel()[worst]:.8g}, and central differences give {numeric.ravel()[worst]:.8g}."
        )
