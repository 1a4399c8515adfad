"""Early stopping: stop when a metric no longer improves, and restore the best weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.checks import counted, require_count, require_nonnegative, use_plain_numbers
from mlp.training.callbacks import Run

_COMPUTED = ("val_loss", "val_score", "loss")


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a metric has not improved for `patience` epochs, and restore the best weights.

    Attributes
    ----------
    monitor : str
        ``"val_loss"``, ``"val_score"``, ``"loss"``, or the name of one of the `metrics` of `fit`, of which larger
        values are better.
    patience : int
        Number of epochs without improvement after which training stops.
    min_delta : float
        Minimum change that counts as an improvement.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        use_plain_numbers(self)
        if not isinstance(self.monitor, str) or not self.monitor:
            raise ConfigurationError(f"monitor must be the name of a metric, not {self.monitor!r}.")
        require_count("patience", self.patience)
        require_nonnegative("min_delta", self.min_delta)


def check_early_stopping(
    choice: EarlyStopping | bool, metrics: Collection[str] = (), *, has_validation: bool
) -> EarlyStopping | None:
    """Return the early stopping rule for the argument of `fit`, or None.

    Raises
    ------
    ConfigurationError
        If `choice` is not valid, or monitors a validation metric without a validation set.
    UnknownNameError
        If it monitors something that is not computed.
    """
    if not isinstance(choice, (bool, EarlyStopping)):
        raise ConfigurationError(f"early_stopping must be True, False or an EarlyStopping(...), not {choice!r}.")
    if not choice:
        return None
    rule = EarlyStopping() if choice is True else choice
    if rule.monitor not in (*_COMPUTED, *metrics):
        raise UnknownNameError.among("metric to monitor", rule.monitor, (*_COMPUTED, *metrics))
    if rule.monitor != "loss" and not has_validation:
        raise ConfigurationError(
            f"early stopping monitors {rule.monitor!r}, but there is no validation set. Give validation_data "
            "or validation_fraction, or use EarlyStopping(monitor='loss')."
        )
    return rule


def update_early_stopping(run: Run, rule: EarlyStopping) -> None:
    """Compare the last epoch with the best one: store its weights if it is better, or stop after `rule.patience`."""
    state, history = run.state, run.history
    values = getattr(history, rule.monitor) if rule.monitor in _COMPUTED else history.metrics[rule.monitor]
    # lower is better for losses only
    value = values[-1] if rule.monitor in ("val_loss", "loss") else -values[-1]
    if value < state.best - rule.min_delta:
        state.best, state.waited = value, 0
        state.other_weights = run.net.parameters.copy()
        history.best_epoch = state.epoch
        return
    state.waited += 1
    stop_if_waited(run, rule)


def stop_if_waited(run: Run, rule: EarlyStopping) -> None:
    """Stop if the metric has not improved for `rule.patience` epochs."""
    history = run.history
    if run.state.waited >= rule.patience:
        best = f"; best was epoch {history.best_epoch}" if history.best_epoch is not None else ""  # none if all are NaN
        run.stop(f"{rule.monitor} has not improved for {counted(rule.patience, 'epoch')}{best}")
