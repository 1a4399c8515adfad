"""`History`: what each epoch came to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class History:
    """What each epoch came to: lists with one value an epoch, and how training ended.

    Attributes
    ----------
    loss : list of float
        Mean over the epoch's rows of the loss as it was when they were visited, penalties included.
    val_loss, val_score : list of float
        Loss (without penalties) and score on the validation set after the epoch; empty without one, and NaN for the
        epochs that had none.
    learning_rate : list of float
        Of the epoch's last update.
    samples_per_second : list of float
        Rows over wall time of the epoch's training, validation not counted.
    seconds : list of float
        Wall time of the epoch's training.
    best_epoch : int or None
        The epoch, from 0, whose weights early stopping restored.
    stop_reason : str
        Why training ended.
    backend, backend_reason : str
        Where it ran, and why there.
    error : str
        Why `mlp.fit_many` could not finish the training; empty if it did.
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

    def __len__(self) -> int:
        return len(self.loss)

    def append_validation(self, loss: float, score: float) -> None:
        """Add the figures of the epoch that `loss` was last told of; epochs without any have NaN."""
        missing = [math.nan] * (len(self.loss) - 1 - len(self.val_loss))
        self.val_loss += [*missing, loss]
        self.val_score += [*missing, score]
