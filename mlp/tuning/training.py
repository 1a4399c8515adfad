"""The training of one trial, which is that of ``mlp train`` with the same settings."""

from __future__ import annotations

from typing import Any

from mlp.data import Dataset
from mlp.dataset_networks import network_for
from mlp.model import MLP
from mlp.optimizers import OPTIMIZERS
from mlp.schedules import Cosine
from mlp.training import Callback, EarlyStopping


def train(dataset: Dataset, settings: dict[str, Any], backend: str, device: str, *callbacks: Callback) -> MLP:
    """Train a network with settings by the names of ``mlp train``, with the same bits."""
    net = network_for(
        dataset,
        settings["hidden"],
        activation=settings["activation"],
        dropout=settings["dropout"],
        seed=settings["seed"],
        backend=backend,
        device=device,
    )
    rate = Cosine(settings["lr"], epochs=settings["epochs"]) if settings["schedule"] == "cosine" else settings["lr"]
    others = {name: settings[name] for name in ("weight_decay", "momentum", "nesterov") if name in settings}
    net.fit(
        dataset.X,
        dataset.y,
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        optimizer=OPTIMIZERS[settings["optimizer"]](rate, **others),
        validation_fraction=settings["validation"],
        class_weight=settings.get("class_weight"),
        early_stopping=EarlyStopping(patience=settings["early_stopping"]),
        callbacks=callbacks,
    )
    return net
