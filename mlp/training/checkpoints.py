"""When checkpoints of a training are due, and writing them beside the training."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from mlp._backends import ConfigurationError, Trainer
from mlp.checks import quoted
from mlp.network import FeedForward
from mlp.training.callbacks import Run
from mlp.training.state import TrainingState
from mlp.training.streamed_examples import AnyExamples

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """The time between two checkpoints: a number of seconds, or of updates.

    Examples
    --------
    >>> Interval.parse("30s"), Interval.parse("500steps")
    (Interval(seconds=30.0, steps=None), Interval(seconds=None, steps=500))
    >>> Interval.parse("often")
    Traceback (most recent call last):
        ...
    backends.errors.ConfigurationError: 'often' is not an interval; expected a time such as 30s, 5min or 1h, or a \
number of updates such as 500steps.
    """

    seconds: float | None = None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read an interval such as ``"30s"``, ``"5min"``, ``"1h"`` or ``"500steps"``.

        Raises
        ------
        ConfigurationError
            If `text` is something else.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(s|min|h|steps?)\s*", text) if isinstance(text, str) else None
        if found:
            number, unit = float(found[1]), found[2]
            if unit in _UNITS and 0 < number * _UNITS[unit] < threading.TIMEOUT_MAX:
                return cls(seconds=number * _UNITS[unit])
            if unit not in _UNITS and number >= 1 and number.is_integer():
                return cls(steps=int(number))
        raise ConfigurationError(
            f"{quoted(text)} is not an interval; expected a time such as 30s, 5min or 1h, or a number of updates such "
            "as 500steps."
        )


@runtime_checkable
class CheckpointWriter(Protocol):
    """What `train` needs to write checkpoints; `mlp.io.checkpoints` has the implementation.

    Attributes
    ----------
    every : Interval or None
        None writes no checkpoints during the training, only at its end.
    """

    @property
    def every(self) -> Interval | None: ...

    def conditions(self, net: FeedForward, examples: AnyExamples, validation: AnyExamples | None) -> dict[str, Any]:
        """What a training that is resumed from the checkpoint must have in common with this one."""

    def require_same(self, recorded: dict[str, Any], present: dict[str, Any]) -> None:
        """Raise an error if conditions of the training to resume differ that may not."""

    def begin(self, net: FeedForward, state: TrainingState) -> None:
        """Prepare to write, or raise an error; called before anything changes."""

    def capture(self, net: FeedForward, state: TrainingState, parameters: NDArray[Any]) -> Callable[[], None]:
        """Return a function that writes a checkpoint; `state` and `parameters` will not change."""

    def finish(self, run: Run) -> None:
        """Called at the very end of the training, after its last checkpoint."""


def check_checkpoint(choice: CheckpointWriter | None) -> None:
    """Raise `ConfigurationError` if the argument `checkpoint` of `fit` cannot write checkpoints."""
    if choice is not None and not isinstance(choice, CheckpointWriter):
        raise ConfigurationError(
            f"checkpoint must be a mlp.Checkpoint, such as mlp.Checkpoint('folder', every='30s'), not {quoted(choice)}."
        )


class Checkpoints:
    """Says when a checkpoint is due, and writes it in another thread while the training goes on.

    A timer ends the running part of an epoch by a request to stop, since the kernels run whole epochs.  It starts again
    after a checkpoint is on disk, so a slow disk makes checkpoints rarer and the training not slower.

    Parameters
    ----------
    writer : CheckpointWriter or None
        Without one, no checkpoint is ever due.
    run : Run
        The training.
    """

    def __init__(self, writer: CheckpointWriter | None, run: Run) -> None:
        self._writer, self._run = writer, run
        self._every = (writer.every if writer else None) or Interval()
        self._thread: ThreadPoolExecutor | None = None
        self._written: Future[None] | None = None
        self._timer: threading.Timer | None = None
        self._time_is_up = self._closed = False
        self._last_step: int | None = None
        self._copies: tuple[NDArray[Any], NDArray[Any]] | None = None

    def __enter__(self) -> Self:
        self._start_timer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._thread:
            self._thread.shutdown()  # it may start the timer again
        if self._timer:
            self._timer.cancel()
        if error is None:
            self._wait()

    def updates_left(self, step: int) -> int | None:
        """Number of updates until the next checkpoint, after `step` updates in total; None if it depends on time."""
        if self._every.steps is None:
            return None
        if self._last_step is None:
            self._last_step = step
        return max(self._last_step + self._every.steps - step, 0)

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint, after `step` updates in total."""
        return self._time_is_up or self.updates_left(step) == 0

    def write(self, net: FeedForward, state: TrainingState, trainer: Trainer) -> None:
        """Write a checkpoint in another thread, after the last one is written; `trainer` has the weights and slots.

        Raises
        ------
        StorageError
            If the last one could not be written.
        """
        assert self._writer is not None
        self._wait()
        self._copies = parameters, slots = trainer.current(self._copies)
        self._time_is_up, self._last_step = False, state.step
        self._run.control.withdraw_stop()
        if self._run.stopping:  # that request came since the caller looked
            self._run.control.request_stop()
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="mlp-checkpoint")
        self._written = self._thread.submit(self._writer.capture(net, state.snapshot(net.xp, slots), parameters))
        self._written.add_done_callback(self._after_writing)

    def _after_writing(self, written: Future[None]) -> None:
        if written.exception():
            self._end_part()  # so that the training ends with this error, and does not go on without checkpoints
        else:
            self._start_timer()

    def _start_timer(self) -> None:
        if self._every.seconds is not None and not self._closed:
            self._timer = threading.Timer(self._every.seconds, self._end_part)
            self._timer.daemon = True
            self._timer.start()

    def _end_part(self) -> None:
        if not self._closed:
            self._time_is_up = True
            self._run.control.request_stop()

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()
