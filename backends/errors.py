"""The exceptions of the project: one root, `MLPError`, and a type for each kind of mistake.

Every type also derives from the built-in exception that Python users expect in its place, so
``except ValueError`` written for another library keeps working.  They live here and not in `mlp`
because `backends` raises them and imports nothing from above; `mlp` hands them on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MLPError(Exception):
    """Root of every error that this project raises on purpose."""


class ConfigurationError(MLPError, ValueError):
    """A hyper-parameter is out of range, or two of them contradict each other."""


class UnknownNameError(ConfigurationError):
    """A name (of an activation, loss, backend, ...) that is not in its table.

    Examples
    --------
    >>> raise UnknownNameError.among("activation", "rleu", ["relu", "tanh"])
    Traceback (most recent call last):
        ...
    backends.errors.UnknownNameError: unknown activation 'rleu'; did you mean 'relu'? Valid: relu, tanh
    """

    @classmethod
    def among(cls, kind: str, name: object, valid: Iterable[str]) -> UnknownNameError:
        """Build the error for `name`, suggesting the nearest of the `valid` ones."""
        known = list(valid)
        as_written = {option.lower(): option for option in known}
        near = difflib.get_close_matches(str(name).lower(), as_written, n=1, cutoff=0.5)
        hint = f"; did you mean {as_written[near[0]]!r}?" if near else "."
        return cls(f"unknown {kind} {name!r}{hint} Valid: {', '.join(known)}")


class ShapeError(MLPError, ValueError):
    """Dimensions that must be equal are not; the text names the layer and both shapes."""


class DtypeError(MLPError, TypeError):
    """An array whose element type cannot be used: object, complex, text, or a mixture."""


class DataError(MLPError, ValueError):
    """Values that cannot be learnt from: NaN, infinity, labels out of range, an empty set."""


class FileFormatError(MLPError, ValueError):
    """A file that is unreadable, truncated, foreign, or larger than it claims."""


class StorageError(MLPError, OSError):
    """A file or folder that cannot be written: a full disk, missing rights, a folder that is not there."""


class WrongDeviceError(MLPError, TypeError):
    """An array of another device; the text names the door to bring it in by."""


class BackendUnavailableError(MLPError, RuntimeError):
    """A backend was asked for that this machine cannot run; the text says what to install."""


class NotDifferentiableError(MLPError, ValueError):
    """Training was asked through a function that has no useful slope, such as ``step``."""


class GradientError(MLPError, ValueError):
    """A user's derivative disagrees with central differences of its own function."""


class DivergenceError(MLPError, ArithmeticError):
    """Training produced NaN or infinity.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 0.
    layer : int
        The first layer (counted from 1) whose numbers were not finite.
    learning_rate : float
        The rate in force at that batch.
    """

    def __init__(self, message: str, *, epoch: int, batch: int, layer: int, learning_rate: float) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch
        self.layer = layer
        self.learning_rate = learning_rate

    def __reduce__(self) -> tuple[object, ...]:
        # exceptions with keyword arguments do not pickle on their own, and joblib sends them between processes
        return _rebuild_divergence, (str(self), self.epoch, self.batch, self.layer, self.learning_rate)


def _rebuild_divergence(message: str, epoch: int, batch: int, layer: int, learning_rate: float) -> DivergenceError:
    return DivergenceError(message, epoch=epoch, batch=batch, layer=layer, learning_rate=learning_rate)
