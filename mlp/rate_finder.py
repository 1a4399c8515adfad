"""`find_learning_rate`: the learning rate range test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlp import optimizers
from mlp._backends import ConfigurationError, DivergenceError
from mlp.checks import require_count, require_positive
from mlp.model import MLP
from mlp.optimizers import Optimizer
from mlp.schedules import Schedule
from mlp.training import Callback, Run
from mlp.training.learning_rate_test import LearningRateTest

SMOOTHING = 0.98
"""Weight of the earlier losses in the moving average."""

DIVERGED = 4.0
"""The test ends when the smoothed loss is so many times its lowest value."""

MIN_STEPS = 10


@dataclass
class _Growing(Schedule):
    """Multiplies the rate by the same factor at each update, from `learning_rate` to `last` in `steps` updates."""

    last: float = 1.0
    steps: int = 2

    def __call__(self, step: int, epoch: float) -> float:
        share = min(step / (self.steps - 1), 1.0)
        return self.learning_rate * float((self.last / self.learning_rate) ** share)


class _Losses(Callback):
    """Records the losses, and stops the training after `steps` updates or when the loss has grown too much."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self._average = 0.0

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        if self.diverged or len(self.losses) == self.steps:
            return  # some backends stop only after some more batches
        if not np.isfinite(loss):
            self.diverged = True
            return
        self.losses.append(loss)
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        self.smoothed.append(self._average / (1 - SMOOTHING ** len(self.losses)))
        self.diverged = self.smoothed[-1] > DIVERGED * min(self.smoothed)
        if self.diverged or len(self.losses) == self.steps:
            run.stop("the test of the learning rate is done")


def find_learning_rate(
    net: MLP,
    X: Any,
    y: Any,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int | None = None,
    optimizer: str | Optimizer | None = None,
    sample_weight: Any = None,
    class_weight: Any = None,
) -> LearningRateTest:
    """Train a copy of `net` with a learning rate that grows from update to update, and record the losses.

    This is the learning rate range test of Smith (2017), "Cyclical learning rates for training neural networks",
    section 3.3, with the exponential growth, the moving average and the suggestions of fastai (Howard & Gugger 2020,
    "fastai: A layered API for deep learning").  The loss does not change while the rate is too low, then it falls, and
    at last it grows; a good rate is where it falls.

    Parameters
    ----------
    net : MLP
        It is not changed.
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_out)
    low, high : float
        The first and the last learning rate.
    steps : int
        Number of updates, at least 10.
    batch_size : int, optional
        As in `MLP.fit`; use that of the training, on which a good rate depends.
    optimizer : str or Optimizer
        Default: Adam.  Its learning rate is not used.
    sample_weight, class_weight
        As in `MLP.fit`.

    Returns
    -------
    LearningRateTest
        Its `suggestion` is a rate to use; None if the loss did not fall.

    Raises
    ------
    ConfigurationError, DataError, ShapeError, DtypeError
        If an argument is invalid.

    Examples
    --------
    >>> import mlp
    >>> digits = mlp.data.load("digits")
    >>> net = mlp.MLP([64, 64, 10], input_scale=digits.input_scale)
    >>> test = mlp.find_learning_rate(net, digits.X, digits.y)
    >>> 1e-4 < test.suggestion < 0.3
    True
    """
    for name, rate in (("low", low), ("high", high)):
        require_positive(name, rate)
    if not low < high:
        raise ConfigurationError(f"low must be less than high={high:g}, not {low:g}.")
    if require_count("steps", steps) < MIN_STEPS:
        raise ConfigurationError(f"steps must be at least {MIN_STEPS}, not {steps}.")
    chosen = optimizers.optimizer("adam" if optimizer is None else optimizer)
    copy = net.copy()
    record = _Losses(steps)
    try:
        copy.fit(
            X,
            y,
            epochs=steps,  # it stops before, unless an epoch is one update
            batch_size=batch_size,
            optimizer=replace(chosen, learning_rate=_Growing(low, last=high, steps=steps)),
            sample_weight=sample_weight,
            class_weight=class_weight,
            callbacks=[record],
        )
    except DivergenceError:
        record.diverged = True
    if copy.history is not None and copy.history.interrupted:
        raise KeyboardInterrupt
    done = len(record.losses)
    rates = low * (high / low) ** (np.arange(done) / (steps - 1))
    return LearningRateTest(rates, np.array(record.losses), np.array(record.smoothed), steps, record.diverged)
