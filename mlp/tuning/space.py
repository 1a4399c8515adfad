"""Where `mlp.tune` looks for settings: which of them vary, and in which ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mlp.dataset_networks import default_width

VERSION = 1
"""Part of what a study remembers: trials of another search space cannot be continued."""

WIDTHS = (4, 9)
"""Layers have 2 to the power of so many units, 16 to 512."""

MAX_DEPTH = 4
BATCH_SIZES = (4, 9)
"""Batches have 2 to the power of so many rows, 16 to 512, but an epoch has at least `MIN_UPDATES` updates."""

MIN_UPDATES = 4
ACTIVATIONS = ("relu", "gelu", "silu", "selu", "tanh")
LEARNING_RATES = {"adamw": (1e-4, 3e-2), "sgd": (1e-3, 1.0)}
WEIGHT_DECAYS = {"adamw": (1e-4, 1.0), "sgd": (1e-6, 1e-2)}
"""The decay of an update is the learning rate times this, and the learning rates of sgd are larger."""

MAX_DROPOUT, DROPOUT_STEP = 0.5, 0.05
MOMENTUM = 0.9


class Suggestions(Protocol):
    """What is used of `optuna.trial.Trial`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...
    def suggest_int(self, name: str, low: int, high: int) -> int: ...


def suggest(trial: Suggestions, n_rows: int) -> dict[str, Any]:
    """The settings of a trial, by the names of the options of ``mlp train``; `n_rows` rows are trained on.

    Learning rate and weight decay are drawn from logarithmic scales, each for its optimizer; widths and batch sizes are
    powers of two.  Bengio (2012), "Practical recommendations for gradient-based training of deep architectures",
    explains these scales.
    """
    optimizer = trial.suggest_categorical("optimizer", sorted(LEARNING_RATES))
    rate = trial.suggest_float(f"lr_{optimizer}", *LEARNING_RATES[optimizer], log=True)
    decay = trial.suggest_float(f"weight_decay_{optimizer}", *WEIGHT_DECAYS[optimizer], log=True)
    depth = trial.suggest_int("depth", 1, MAX_DEPTH)
    hidden = [2 ** trial.suggest_int(f"log2_width_{layer}", *WIDTHS) for layer in range(1, depth + 1)]
    dropout = trial.suggest_float("dropout", 0.0, MAX_DROPOUT, step=DROPOUT_STEP)
    settings = {
        "hidden": hidden,
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
        "dropout": _rounded(dropout),
        "optimizer": optimizer,
        "lr": _rounded(rate),
        "schedule": trial.suggest_categorical("schedule", ("constant", "cosine")),
        "weight_decay": _rounded(decay),
        "batch_size": 2 ** trial.suggest_int("log2_batch_size", *_batch_sizes(n_rows)),
    }
    return settings | ({"momentum": MOMENTUM, "nesterov": True} if optimizer == "sgd" else {})


def usual(n_inputs: int, n_rows: int, *, table: bool) -> dict[str, Any]:
    """The first trial: what ``mlp train`` does by default, as far as the space has it."""
    low, high = _batch_sizes(n_rows)
    return {
        "optimizer": "adamw",
        "lr_adamw": 1e-3,
        "weight_decay_adamw": 1e-2,
        "depth": 1,
        "log2_width_1": int(np.clip(round(np.log2(default_width(n_inputs, table=table))), *WIDTHS)),
        "dropout": 0.0,
        "activation": "relu",
        "schedule": "constant",
        "log2_batch_size": min(max(5, low), high),
    }


def _batch_sizes(n_rows: int) -> tuple[int, int]:
    """Smallest and largest logarithm of the batch size; small data have small batches."""
    largest = int(np.log2(max(n_rows // MIN_UPDATES, 1)))
    return min(BATCH_SIZES[0], largest), min(BATCH_SIZES[1], largest)


def _rounded(value: float) -> float:
    """Three digits: more say nothing, and these can be read and typed."""
    return float(f"{value:.3g}")
