"""Stopping early: when a figure no longer improves, training ends and goes back to the best weights."""

from __future__ import annotations

from dataclasses import dataclass

from mlp._backends import ConfigurationError, UnknownNameError
from mlp.training.callbacks import Run
from mlp.validation import require_count, require_nonnegative


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a figure has not improved for a while, and go back to the best weights.

    Attributes
    ----------
    monitor : {"val_loss", "val_score", "loss"}
    patience : int
        Epochs without improvement to wait for.
    min_delta : float
        What counts as an improvement.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.monitor not in ("val_loss", "val_score", "loss"):
            raise UnknownNameError.among("figure to monitor", self.monitor, ("val_loss", "val_score", "loss"))
        require_count("patience", self.patience)
        require_nonnegative("min_delta", self.min_delta)


def check_early_stopping(choice: EarlyStopping | bool, *, validated: bool) -> EarlyStopping | None:
    """What `fit` was told, as a rule or None; `validated` says whether there is a validation set."""
    if not isinstance(choice, (bool, EarlyStopping)):
        raise ConfigurationError(f"early_stopping must be True, False or an EarlyStopping(...), not {choice!r}.")
    if not choice:
        return None
    rule = EarlyStopping() if choice is True else choice
    if rule.monitor != "loss" and not validated:
        raise ConfigurationError(
            f"early stopping watches {rule.monitor!r}, and there is no validation set. Give validation_data "
            "or validation_fraction, or use EarlyStopping(monitor='loss')."
        )
    return rule


def watch(run: Run, rule: EarlyStopping) -> None:
    """Compare the last epoch with the best so far: keep its weights, or stop where patience ends."""
    state, history = run.state, run.history
    value = getattr(history, rule.monitor)[-1]
    cost = -value if rule.monitor == "val_score" else value
    if cost < state.best - rule.min_delta:
        state.best, state.waited = cost, 0
        state.other_weights = run.net.parameters.copy()
        history.best_epoch = state.epoch - 1
        return
    state.waited += 1
    if state.waited >= rule.patience:
        run.stop(f"{rule.monitor} has not improved for {rule.patience} epochs; best was epoch {history.best_epoch}")
