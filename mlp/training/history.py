"""`History`: the metrics of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

INTERRUPTED = "interrupted by Ctrl-C"
"""The beginning of `History.stop_reason` after Ctrl-C."""


@dataclass
class History:
    """The metrics of each epoch, as lists with one value per epoch, and why training stopped.

    Attributes
    ----------
    loss : list of float
        Mean loss over the rows of the epoch, including penalties, each computed before the update of its batch.
    val_loss, val_score : list of float
        Loss (without penalties) and score on the validation set after the epoch; empty without a validation set, and
        NaN for epochs without one.
    learning_rate : list of float
        Learning rate of the last update of the epoch.
    samples_per_second : list of float
        Rows divided by the wall time of training, without validation.
    seconds : list of float
        Wall time of training, without validation.
    best_epoch : int or None
        The epoch, counted from 1, whose weights early stopping restored: its values are at index ``best_epoch - 1``.
    stop_reason : str
        Why training stopped.
    backend, backend_reason : str
        The backend, and why it was chosen.
    error : str
        Message of the error that stopped this training in `mlp.fit_many`; empty if there was none.
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_score: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stop_reason: str = ""
    backend: str = ""
    backend_reason: str = ""
    error: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the training."""
        return self.stop_reason.startswith(INTERRUPTED)

    def __len__(self) -> int:
        return len(self.loss)

    def append_validation(self, loss: float, score: float) -> None:
        """Append the metrics of the last epoch; earlier epochs without validation get NaN."""
        missing = [math.nan] * (len(self.loss) - 1 - len(self.val_loss))
        self.val_loss += [*missing, loss]
        self.val_score += [*missing, score]
