"""`Run`, the current training, and `Callback`, user-defined code that is called during training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mlp._backends import ConfigurationError, Control
from mlp.distributed import SERIAL, Communicator
from mlp.network import FeedForward
from mlp.training.history import INTERRUPTED, TERMINATED, History
from mlp.training.state import TrainingState


@dataclass
class Run:
    """The current training, as passed to callbacks.

    Attributes
    ----------
    net : FeedForward
        The network in training; in `MLP.fit` the `MLP` itself.
    state : TrainingState
    epochs : int
        Total number of epochs.
    whole_epoch : bool
        Whether all batches of the last epoch were processed; False if training was stopped within the epoch.
    stopping : bool
        Whether a stop was requested.
    comm : Communicator
        Connects the ranks of the training.
    """

    net: FeedForward
    state: TrainingState
    epochs: int
    whole_epoch: bool = True
    stopping: bool = False
    control: Control = field(default_factory=Control)
    comm: Communicator = SERIAL

    @property
    def history(self) -> History:
        return self.state.history

    @property
    def epoch(self) -> int:
        """Complete epochs so far."""
        return self.state.epoch

    def stop(self, reason: str = "a callback asked for it") -> None:
        """Stop training after the current batch; `reason` is recorded unless Ctrl-C or SIGTERM came first."""
        if not self.history.interrupted or reason == TERMINATED:
            self.history.stop_reason = reason
        self.stopping = True
        self.control.request_stop()

    def agree_to_stop(self) -> bool:
        """Whether this or another rank is stopping; all ranks get the same answer, and stop then."""
        if self.comm.size == 1:
            return self.stopping
        reasons = ("another rank asked for it", INTERRUPTED, TERMINATED)
        own = 1 + max(i for i, text in enumerate(("", *reasons[1:])) if self.history.stop_reason.startswith(text))
        agreed = self.comm.agree(own if self.stopping else 0)
        if agreed > 1 or (agreed and not self.stopping):  # a signal may have reached only some of them
            self.stop(reasons[agreed - 1])
        return bool(agreed)


class Callback:
    """Base class of callbacks, which run user-defined code during training; override the methods you need.

    A function passed as a callback is called in place of `on_epoch_end`.

    Examples
    --------
    >>> import mlp
    >>> class StopAt(mlp.Callback):
    ...     def on_epoch_end(self, run):
    ...         if run.history.loss[-1] < 0.1:
    ...             run.stop("good enough")
    """

    def on_train_begin(self, run: Run) -> None:
        """Called before the first epoch."""

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        """Called after each update; `batch` is the index of its batch in the epoch, from 0."""

    def on_epoch_end(self, run: Run) -> None:
        """Called after each epoch, when `Run.history` contains its values."""

    def on_train_end(self, run: Run) -> None:
        """Called at the end, with the final weights."""


class _EpochFunction(Callback):
    def __init__(self, function: Callable[[Run], object]) -> None:
        self.function = function

    def on_epoch_end(self, run: Run) -> None:
        self.function(run)


def check_callbacks(callbacks: Iterable[Callback | Callable[[Run], object]]) -> tuple[Callback, ...]:
    """Return `Callback` objects; a function becomes a callback that is called after each epoch."""
    items = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for callback in items:
        if isinstance(callback, type) or not (isinstance(callback, Callback) or callable(callback)):
            raise ConfigurationError(
                f"a callback must be a mlp.Callback object or a function of the run, not {callback!r}."
            )
    return tuple(callback if isinstance(callback, Callback) else _EpochFunction(callback) for callback in items)
