"""How the learning rate changes while training goes on.

A schedule is called with the number of updates made so far and the epochs done so far, a fraction within
an epoch (3.25: a quarter through the fourth), and gives the rate of the next update.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.validation import require_nonnegative, require_positive


@dataclass
class Schedule(ABC):
    """Base of all schedules.

    Attributes
    ----------
    learning_rate : float
        The rate at the start (for `Cosine`: after the warm-up).
    """

    learning_rate: float

    def __post_init__(self) -> None:
        require_positive("learning_rate", self.learning_rate)

    @abstractmethod
    def __call__(self, step: int, epoch: float) -> float:
        """Rate of the update that follows `step` updates and `epoch` epochs."""

    def rates(self, step: int, epoch: int, n_batches: int) -> NDArray[np.float64]:
        """Rates of an epoch's updates, shape (n_batches,)."""
        return np.array([self(step + batch, epoch + batch / n_batches) for batch in range(n_batches)])

    def observe(self, loss: float) -> None:  # noqa: B027  # most schedules do not look at it
        """Told the loss of each epoch, on the validation set where there is one."""

    def to_dict(self) -> dict[str, Any]:
        """The schedule as plain data, its memory included; `from_dict` reads it back."""
        return {"name": _NAMES[type(self)], **asdict(self)}


@dataclass
class Constant(Schedule):
    """The same rate throughout.

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
    """Multiply by `factor` after every `every` epochs.

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
    """Multiply by `factor` once an epoch, evenly spread over its updates.

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
    """Divide by a power of the number of updates: ``learning_rate / (step + 1) ** power``.

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
        Length of the whole, warm-up included; the rate stays at `floor` after it.
    warmup : float
        Epochs of linear rise from zero.
    floor : float

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
            raise ConfigurationError(f"a warm-up of {self.warmup} epochs leaves nothing of {self.epochs} epochs.")

    def __call__(self, step: int, epoch: float) -> float:
        if epoch < self.warmup:
            return self.learning_rate * epoch / self.warmup
        part = min((epoch - self.warmup) / (self.epochs - self.warmup), 1.0)
        return self.floor + (self.learning_rate - self.floor) * 0.5 * (1 + math.cos(math.pi * part))


@dataclass
class ReduceOnPlateau(Schedule):
    """Multiply by `factor` when the loss has not fallen for `patience` epochs.

    Attributes
    ----------
    factor : float
    patience : int
    min_delta : float
        What counts as a fall.
    floor : float
        The rate goes no lower.
    current, best, waited
        Its memory.

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
