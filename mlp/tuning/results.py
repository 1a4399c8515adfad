"""`Tuning`, the result of a search: its trials, and the best settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp._backends import DataError
from mlp.checks import counted
from mlp.data import Dataset
from mlp.io.toml_text import to_toml
from mlp.model import MLP
from mlp.tuning.training import train

FINISHED, PRUNED, DIVERGED, FAILED, RUNNING = "finished", "pruned", "diverged", "failed", "running"


@dataclass(frozen=True)
class Trial:
    """One training with its settings.

    Attributes
    ----------
    number : int
        From 0, in the order of the beginnings.
    state : str
        ``"finished"``; ``"pruned"``: stopped because it was worse than the median of the trials before; ``"diverged"``;
        ``"failed"``: interrupted; or ``"running"``: in another process, or in one that was killed.
    settings : dict
        By the names of the options of ``mlp train``.
    val_loss, val_score : float or None
        Validation loss and score of the best epoch; None unless the trial is finished.
    epochs, best_epoch : int or None
    seconds : float or None
    """

    number: int
    state: str
    settings: dict[str, Any]
    val_loss: float | None = None
    val_score: float | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Tuning:
    """The result of `tune`.

    Attributes
    ----------
    trials : list of Trial
        All trials, of earlier calls with the same file too.
    interrupted : bool
        Whether Ctrl-C ended the search.
    fixed : dict
        The settings that all trials have in common.
    dataset : Dataset
    backend, device : str
        As asked for.
    """

    trials: list[Trial]
    interrupted: bool
    fixed: dict[str, Any]
    dataset: Dataset
    backend: str = "auto"
    device: str = "auto"

    @property
    def ranking(self) -> list[Trial]:
        """The finished trials, the one with the lowest validation loss first."""
        finished = [trial for trial in self.trials if trial.state == FINISHED]
        return sorted(finished, key=lambda trial: (np.inf if trial.val_loss is None else trial.val_loss, trial.number))

    @property
    def best(self) -> Trial:
        """The finished trial with the lowest validation loss.

        Raises
        ------
        DataError
            If no trial is finished.
        """
        if not self.ranking:
            raise DataError("no trial is finished, so there are no best settings; give more time, or check the data.")
        return self.ranking[0]

    @property
    def best_settings(self) -> dict[str, Any]:
        """All settings of the best trial, by the names of the options of ``mlp train``."""
        return self.best.settings | self.fixed

    def to_toml(self, **data: Any) -> str:
        """The best settings as a file for ``mlp train --config``; `data` are settings that name the data."""
        best = self.best
        comment = (
            f"trial {best.number}, the best of {counted(len(self.trials), 'trial')}: validation loss "
            f"{best.val_loss:.4g} in epoch {best.best_epoch}"
        )
        return to_toml(data | self.best_settings, comment)

    def train_best(self) -> MLP:
        """Train the network of the best trial once more, to the same weights, and return it."""
        return train(self.dataset, self.best_settings, self.backend, self.device)


def as_trial(frozen: Any) -> Trial:
    """The record of a trial of Optuna, an `optuna.trial.FrozenTrial`."""
    attributes = frozen.user_attrs
    states = {"COMPLETE": FINISHED, "PRUNED": DIVERGED if "reason" in attributes else PRUNED, "FAIL": FAILED}
    finished = frozen.state.name == "COMPLETE"
    return Trial(
        frozen.number,
        states.get(frozen.state.name, RUNNING),
        attributes.get("settings", {}),
        frozen.value if finished else None,
        *(attributes.get(name) for name in ("val_score", "epochs", "best_epoch", "seconds")),
    )
