"""The exceptions of the project: one base class, `MLPError`, and a class for each kind of error.

Every class also derives from the matching built-in exception, so ``except ValueError`` works too.  The classes
are defined here because `backends` raises them and does not import `mlp`; `mlp` exports them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MLPError(Exception):
    """Base class of all errors that this project raises deliberately."""


class ConfigurationError(MLPError, ValueError):
    """A hyper-parameter is out of range, or two hyper-parameters contradict each other."""


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
        """Make the error for `name`, with the most similar of the `valid` names as a suggestion."""
        known = list(valid)
        as_written = {option.lower(): option for option in known}
        near = difflib.get_close_matches(str(name).lower(), as_written, n=1, cutoff=0.5)
        hint = f"; did you mean {as_written[near[0]]!r}?" if near else "."
        return cls(f"unknown {kind} {name!r}{hint} Valid: {', '.join(known)}")


class ShapeError(MLPError, ValueError):
    """Dimensions that must be equal differ; the message names the layer and both shapes."""


class DtypeError(MLPError, TypeError):
    """An array has a dtype that cannot be used (object, complex, text), or arrays have different dtypes."""


class DataError(MLPError, ValueError):
    """Data that cannot be used for training: NaN, infinity, labels out of range, an empty data set."""


class FileFormatError(MLPError, ValueError):
    """A file cannot be read: it is missing, truncated, of another format, or larger than its header declares."""


class StorageError(MLPError, OSError):
    """A file or folder cannot be written: the disk is full, permissions or the parent folder are missing."""


class WrongDeviceError(MLPError, TypeError):
    """An array is on another device; the message says how to convert it."""


class BackendUnavailableError(MLPError, RuntimeError):
    """The requested backend cannot run on this machine; the message says what to install."""


class DeviceMemoryError(MLPError, MemoryError):
    """The memory of a GPU does not suffice; the message says what was needed, what is free, and what to lower."""


class NotDifferentiableError(MLPError, ValueError):
    """Training needs the derivative of a function that has no useful one, such as ``step``."""


class GradientError(MLPError, ValueError):
    """A user-defined derivative differs from the central differences of its function."""


class DivergenceError(MLPError, ArithmeticError):
    """Training produced NaN or infinity.

    Attributes
    ----------
    epoch, batch : int
        Epoch of the training, and batch of that epoch, with the first such value; counted from 1.
    layer : int
        The first layer (counted from 1) with a value that is not finite.
    learning_rate : float
        The learning rate of that batch.
    """

    def __init__(self, message: str, *, epoch: int, batch: int, layer: int, learning_rate: float) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch
        self.layer = layer
        self.learning_rate = learning_rate

    def __reduce__(self) -> tuple[object, ...]:
        # pickle does not support exceptions with keyword arguments, and joblib sends them between processes
        return _rebuild_divergence, (str(self), self.epoch, self.batch, self.layer, self.learning_rate)


def _rebuild_divergence(message: str, epoch: int, batch: int, layer: int, learning_rate: float) -> DivergenceError:
    return DivergenceError(message, epoch=epoch, batch=batch, layer=layer, learning_rate=learning_rate)
