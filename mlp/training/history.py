"""`History`: the metrics of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_INTERRUPTED = "interrupted by "
INTERRUPTED = _INTERRUPTED + "Ctrl-C"
"""The beginning of `History.stop_reason` after Ctrl-C."""
TERMINATED = _INTERRUPTED + "SIGTERM"
"""The beginning of `History.stop_reason` after SIGTERM, by which batch systems end a job."""


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
        Wall time of training, without validation.  Short epochs that were trained in one call of the backend share its
        time, in proportion to their batches.
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
        """Whether Ctrl-C or SIGTERM ended the training."""
        return self.stop_reason.startswith(_INTERRUPTED)

    @property
    def terminated(self) -> bool:
        """Whether SIGTERM ended the training."""
        return self.stop_reason.startswith(TERMINATED)

    def __len__(self) -> int:
        return len(self.loss)

    def append_validation(self, loss: float, score: float) -> None:
        """Append the metrics of the last epoch; earlier epochs without validation get NaN."""
        missing = [math.nan] * (len(self.loss) - 1 - len(self.val_loss))
        self.val_loss += [*missing, loss]
        self.val_score += [*missing, score]

    def shorten(self, epochs: int) -> None:
        """Remove the values of all epochs after the first `epochs`."""
        for values in vars(self).values():
            if isinstance(values, list):
                del values[epochs:]
