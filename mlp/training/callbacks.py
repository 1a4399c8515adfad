"""`Run`, a training under way, and `Callback`, code of a user's own that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mlp._backends import ConfigurationError, Control
from mlp.network import FeedForward
from mlp.training.history import History
from mlp.training.state import TrainingState


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    net : FeedForward
        The network that is trained; in `MLP.fit` the `MLP` itself.
    state : TrainingState
    epochs : int
        How many there are to be in all.
    whole_epoch : bool
        Whether the last epoch saw all of its batches; False where training was stopped within it.
    """

    net: FeedForward
    state: TrainingState
    epochs: int
    whole_epoch: bool = True
    control: Control = field(default_factory=Control)

    @property
    def history(self) -> History:
        return self.state.history

    @property
    def epoch(self) -> int:
        """Epochs done so far."""
        return self.state.epoch

    def stop(self, reason: str = "a callback asked for it") -> None:
        """End training after the batch at hand."""
        self.history.stop_reason = reason
        self.control.request_stop()


class Callback:
    """Base for code of your own that runs while a network trains; override what you need.

    A plain function given as a callback is called as `on_epoch_end`.

    Examples
    --------
    >>> import mlp
    >>> class StopAt(mlp.Callback):
    ...     def on_epoch_end(self, run):
    ...         if run.history.loss[-1] < 0.1:
    ...             run.stop("good enough")
    """

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_batch_end(self, run: Run, batch: int, loss: float) -> None:
        """After each update."""

    def on_epoch_end(self, run: Run) -> None:
        """After each epoch, when `Run.history` has its figures."""

    def on_train_end(self, run: Run) -> None:
        """At the end, with the weights as they will stay."""


class _EpochFunction(Callback):
    def __init__(self, function: Callable[[Run], object]) -> None:
        self.function = function

    def on_epoch_end(self, run: Run) -> None:
        self.function(run)


def check_callbacks(callbacks: Iterable[Callback | Callable[[Run], object]]) -> tuple[Callback, ...]:
    """Callbacks as `Callback` objects: a function becomes one that is called after each epoch."""
    hooks = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for hook in hooks:
        if isinstance(hook, type) or not (isinstance(hook, Callback) or callable(hook)):
            raise ConfigurationError(f"a callback is a mlp.Callback object or a function of the run, not {hook!r}.")
    return tuple(hook if isinstance(hook, Callback) else _EpochFunction(hook) for hook in hooks)
