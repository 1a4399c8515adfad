"""Learning rate schedules.

A schedule is called with the number of updates done so far and the number of epochs done so far, and returns the
learning rate of the next update.  Within an epoch, the number of epochs is a fraction: 3.25 is a quarter of the
fourth epoch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.checks import require_nonnegative, require_positive, use_plain_numbers


def name_of(cls: type, noun: str, names: Mapping[type, str]) -> str:
    """The name of a class of this library in files.

    Raises
    ------
    ConfigurationError
        If it is another class.
    """
    if cls not in names:
        raise ConfigurationError(
            f"the {noun} {cls.__name__} cannot be saved: files contain no code, only the names of the {noun}s of mlp, "
            f"which are {', '.join(names.values())}. Use one of them, or train without saving the training state."
        )
    return names[cls]


@dataclass
class Schedule(ABC):
    """Base of all schedules.

    Attributes
    ----------
    learning_rate : float
        The initial rate (for `Cosine`: the rate after the warm-up).
    """

    learning_rate: float

    def __post_init__(self) -> None:
        use_plain_numbers(self)
        require_positive("learning_rate", self.learning_rate)

    @abstractmethod
    def __call__(self, step: int, epoch: float) -> float:
        """Rate of the next update after `step` updates and `epoch` epochs."""

    def rates(self, step: int, epoch: int, n_batches: int) -> NDArray[np.float64]:
        """Rates of an epoch's updates, shape (n_batches,)."""
        return np.array([self(step + batch, epoch + batch / n_batches) for batch in range(n_batches)])

    @property
    def adapts(self) -> bool:
        """Whether the rates depend on the losses, given to `observe`."""
        return type(self).observe is not Schedule.observe

    def observe(self, loss: float) -> None:  # noqa: B027  # most schedules do not use the loss
        """Called after each epoch with its loss, on the validation set if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """The schedule as plain data, with its state; `from_dict` reads it back."""
        return {"name": name_of(type(self), "schedule", _NAMES), **asdict(self)}


@dataclass
class Constant(Schedule):
    """A constant rate.

    Examples
    --------
    >>> Constant(0.1)(step=1000, epoch=3.5)
    0.1
    """

    def __call__(self, step: int, epoch: float) -> float:
        return self.learning_rate

    def rates(self, step: int, epoch: int, n_batches: int) -> NDArray[np.float64]:
        return np.full(n_batches, self.learning_rate, dtype=np.float64)


@dataclass
class Step(Schedule):
    """Multiply the rate by `factor` every `every` epochs.

    Examples
    --------
    >>> schedule = Step(1.0, every=10, factor=0.5)
    >>> schedule(0, 9.9), schedule(0, 10.0), schedule(0, 20.0)
    (1.0, 0.5, 0.25)
    """

    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("every", self.every)
        require_positive("factor", self.factor)

    def __call__(self, step: int, epoch: float) -> float:
        return self.learning_rate * float(self.factor ** int(epoch // self.every))


@dataclass
class Exponential(Schedule):
    """Multiply the rate by `factor` per epoch, spread evenly over the updates.

    Examples
    --------
    >>> Exponential(1.0, factor=0.25)(0, 0.5)
    0.5
    """

    factor: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("factor", self.factor)

    def __call__(self, step: int, epoch: float) -> float:
        return self.learning_rate * float(self.factor**epoch)


@dataclass
class InverseScaling(Schedule):
    """Divide the rate by a power of the number of updates: ``learning_rate / (step + 1) ** power``.

    Examples
    --------
    >>> InverseScaling(1.0)(step=99, epoch=0.5)
    0.1
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("power", self.power)

    def __call__(self, step: int, epoch: float) -> float:
        return self.learning_rate / float((step + 1) ** self.power)


@dataclass
class Cosine(Schedule):
    """A linear warm-up, then half a cosine down to `floor` (Loshchilov & Hutter 2017, equation 5).

    Attributes
    ----------
    epochs : float
        Total length, including the warm-up; after it the rate stays at `floor`.
    warmup : float
        Length of the linear increase from zero, in epochs.
    floor : float
        The final rate.

    Examples
    --------
    >>> schedule = Cosine(1.0, epochs=10, warmup=2)
    >>> [round(schedule(0, epoch), 3) for epoch in (0, 1, 2, 6, 10, 11)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """

    epochs: float = 10
    warmup: float = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("epochs", self.epochs)
        require_nonnegative("warmup", self.warmup)
        require_nonnegative("floor", self.floor)
        if self.warmup >= self.epochs:
            raise ConfigurationError(f"warmup must be less than epochs={self.epochs}, not {self.warmup}.")

    def __call__(self, step: int, epoch: float) -> float:
        if epoch < self.warmup:
            return self.learning_rate * epoch / self.warmup
        progress = min((epoch - self.warmup) / (self.epochs - self.warmup), 1.0)
        return self.floor + (self.learning_rate - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class CosLog4(Schedule):
    """Four periods of a cosine over the logarithm of the time, from zero to zero (Holzmüller et al. 2024, section 3).

    The rate is ``learning_rate * (1 - cos(2 pi log2(1 + 15 t))) / 2``, where t is the fraction of the training that is
    done.  It is `learning_rate` four times, and zero between: short phases of training come first, and long ones last.

    Attributes
    ----------
    epochs : float
        Total length; after it the rate stays at zero.

    Examples
    --------
    >>> schedule = CosLog4(1.0, epochs=15)
    >>> [round(schedule(0, epoch), 3) for epoch in (0, 2**0.5 - 1, 1, 2 * 2**0.5 - 1, 3, 7, 15, 16)]
    [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """

    epochs: float = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("epochs", self.epochs)

    def __call__(self, step: int, epoch: float) -> float:
        progress = min(epoch / self.epochs, 1.0)
        return self.learning_rate * 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * progress)))


@dataclass
class ReduceOnPlateau(Schedule):
    """Multiply the rate by `factor` when the loss has not decreased for `patience` epochs.

    Attributes
    ----------
    factor : float
    patience : int
    min_delta : float
        Minimum decrease of the loss that counts.
    floor : float
        Lower bound of the rate.
    current, best, waited : float, float, int
        State: the current rate, the lowest loss so far, and the number of epochs without a decrease.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(1.0, factor=0.5, patience=2)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.observe(loss)
    >>> schedule(0, 4.0)
    0.5
    """

    factor: float = 0.1
    patience: int = 5
    min_delta: float = 1e-4
    floor: float = 0.0
    current: float = field(default=math.nan)
    best: float = field(default=math.inf)
    waited: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("factor", self.factor)
        require_positive("patience", self.patience)
        if math.isnan(self.current):
            self.current = self.learning_rate

    def __call__(self, step: int, epoch: float) -> float:
        return self.current

    def observe(self, loss: float) -> None:
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.current, self.waited = max(self.current * self.factor, self.floor), 0


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "inverse_scaling": InverseScaling,
    "cosine": Cosine,
    "coslog4": CosLog4,
    "reduce_on_plateau": ReduceOnPlateau,
}
_NAMES = {cls: name for name, cls in SCHEDULES.items()}


def from_dict(data: dict[str, Any]) -> Schedule:
    """Read a schedule back from `Schedule.to_dict`.

    Examples
    --------
    >>> from_dict(Cosine(0.1, epochs=5).to_dict())
    Cosine(learning_rate=0.1, epochs=5, warmup=0, floor=0.0)
    """
    fields = dict(data)
    name = fields.pop("name", None)
    if name not in SCHEDULES:
        raise UnknownNameError.among("schedule", name, SCHEDULES)
    return SCHEDULES[name](**fields)
