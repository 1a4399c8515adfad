"""`History`: the metrics of each epoch."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field
from typing import Any

from mlp._backends import ConfigurationError
from mlp.checks import counted
from mlp.training.history_html import history_html

_INTERRUPTED = "interrupted by "
INTERRUPTED = _INTERRUPTED + "Ctrl-C"
"""The beginning of `History.stop_reason` after Ctrl-C."""
TERMINATED = _INTERRUPTED + "SIGTERM"
"""The beginning of `History.stop_reason` after SIGTERM, by which batch systems end a job."""


@dataclass(repr=False)
class History:
    """The metrics of each epoch, as lists with one value per epoch, and why training stopped.

    A notebook shows it as a table with curves.

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
    metrics : dict of list of float
        The metrics that `fit` was asked for, by name; NaN for epochs without them.
    planned_epochs : int or None
        The total number of epochs that training should have.
    planned_reason : str
        Why that many: ``"as asked"``, or the default with its reason.
    best_epoch : int or None
        The epoch, counted from 1, whose weights early stopping restored: its values are at index ``best_epoch - 1``.
    stop_reason : str
        Why training stopped.
    backend, backend_reason : str
        The backend, and why it was chosen.
    error : str
        Message of the error that stopped this training in `mlp.fit_many`; empty if there was none.

    Examples
    --------
    >>> import mlp
    >>> net = mlp.MLP([2, 8, 2], seed=0)
    >>> net.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], epochs=200, optimizer=mlp.Adam(0.05))
    <History of 200 epochs: loss 0.8341 to 0.002144, all 200 epochs done>
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_score: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    planned_epochs: int | None = None
    planned_reason: str = ""
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

    def append_metric(self, name: str, value: float) -> None:
        """Append a metric of the last epoch; earlier epochs without it get NaN."""
        values = self.metrics.setdefault(name, [])
        values += [*([math.nan] * (len(self.loss) - 1 - len(values))), value]

    def shorten(self, epochs: int) -> None:
        """Remove the values of all epochs after the first `epochs`."""
        for values in (*vars(self).values(), *self.metrics.values()):
            if isinstance(values, list):
                del values[epochs:]

    def __repr__(self) -> str:
        if not self.loss:
            return "<History of 0 epochs>"
        values = {"loss": self.loss, "val_loss": self.val_loss, "val_score": self.val_score} | self.metrics
        changes = ", ".join(f"{name} {found[0]:.4g} to {found[-1]:.4g}" for name, found in values.items() if found)
        reason = f", {self.stop_reason}" if self.stop_reason else ""
        return f"<History of {counted(len(self), 'epoch')}: {changes}{reason}>"

    def _repr_html_(self) -> str:
        return history_html(repr(self).strip("<>"), {"loss": self.loss} | self.columns())

    def columns(self) -> dict[str, list[float]]:
        """The values of each epoch by name, of equal length; NaN where a value is missing.

        Examples
        --------
        >>> History(loss=[2.0, 1.0], val_loss=[3.0]).columns()
        {'loss': [2.0, 1.0], 'val_loss': [3.0, nan]}
        """
        lists = {name: values for name, values in vars(self).items() if isinstance(values, list) and values}
        return {
            name: [*values, *([math.nan] * (len(self) - len(values)))]
            for name, values in (lists | self.metrics).items()
        }

    def to_pandas(self) -> Any:
        """Return the values as a `pandas.DataFrame` with a row for each epoch; its index is the epoch, from 1.

        Raises
        ------
        ConfigurationError
            If pandas is not installed.
        """
        pandas = _import("pandas")
        return pandas.DataFrame(self.columns(), index=pandas.RangeIndex(1, len(self) + 1, name="epoch"))

    def to_polars(self) -> Any:
        """Return the values as a `polars.DataFrame` with a row for each epoch, and a column of the epochs, from 1.

        Raises
        ------
        ConfigurationError
            If polars is not installed.
        """
        return _import("polars").DataFrame({"epoch": list(range(1, len(self) + 1)), **self.columns()})


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ConfigurationError(f"this needs {name}: pip install {name}") from None
