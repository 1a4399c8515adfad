"""Training that is recorded in a folder: making a run, going on with one, and repeating one.

What a run's folder holds is described in `mlp.io.runs`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlp import optimizers
from mlp.data import Dataset
from mlp.io.runs import (
    COLUMNS,
    CONFIG,
    METRICS,
    MODEL,
    RESULTS,
    TRAINING,
    Recorder,
    configuration,
    create_folder,
    fingerprint,
    model_path,
    place_of,
    read_config,
    read_dataset,
    read_history,
    require_new,
    source_of,
)
from mlp.model import MLP
from mlp.persistence import load
from mlp.training import Callback, EarlyStopping, History

__all__ = [
    "COLUMNS",
    "CONFIG",
    "METRICS",
    "MODEL",
    "RESULTS",
    "TRAINING",
    "Recorder",
    "configuration",
    "create_folder",
    "fingerprint",
    "model_path",
    "read_config",
    "read_dataset",
    "read_history",
    "repeat",
    "require_new",
    "resume",
    "train",
]


def train(
    net: MLP,
    dataset: Dataset,
    recorder: Recorder,
    *,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    resume: bool = False,
) -> History:
    """Train `net` on the training part of `dataset`, as the recorder's configuration has it."""
    return _fit(net, dataset, recorder.config["training"], (recorder, *callbacks), progress=progress, resume=resume)


def resume(
    folder: str | os.PathLike[str],
    *,
    epochs: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    backend: str | None = None,
    device: str = "auto",
) -> tuple[MLP, Dataset, dict[str, Any]]:
    """Bring a run back to where its last whole epoch ended, on its own data.

    Parameters
    ----------
    folder : path-like
        The run's folder; it is only read.
    epochs : int, optional
        How many there are to be in all; by default as many as the run was to have.
    data_dir : path-like, optional
        Where MNIST is now, if it has moved.
    backend, device : str, optional
        By default the run's own, with which it goes on bit for bit as if it had never stopped.

    Returns
    -------
    net : MLP
    dataset : Dataset
    config : dict
        Of the run that goes on, for its `Recorder`.

    Raises
    ------
    FileFormatError
        If the run or its data cannot be read.
    DataError
        If the data are no longer what the run was trained on.
    """
    config = read_config(folder)
    source = source_of(config, data_dir)
    if backend is None and device == "auto":
        backend, device = place_of(config)
    net = load(Path(folder) / TRAINING, backend=backend or "auto", device=device)
    dataset = read_dataset(folder, data_dir=data_dir)
    training = config["training"] | ({} if epochs is None else {"epochs": epochs})
    return net, dataset, configuration(dataset, source, training, parent=folder)


def repeat(
    folder: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
) -> tuple[MLP, Dataset]:
    """Train a run's network again from the beginning, on its own data and backend, and keep nothing on disk.

    One seed gives one training: where library and machine are the same, the network becomes the one in the run's
    folder, and `callbacks` see how.

    Parameters
    ----------
    folder : path-like
        The run's folder; it is only read.
    data_dir : path-like, optional
        Where MNIST is now, if it has moved.
    callbacks : sequence of Callback
    progress : bool
        As in `MLP.fit`.

    Returns
    -------
    net : MLP
    dataset : Dataset

    Raises
    ------
    FileFormatError
        If the run or its data cannot be read.
    DataError
        If the data are no longer what the run was trained on.
    """
    config = read_config(folder)
    dataset = read_dataset(folder, data_dir=data_dir)
    backend, device = place_of(config)
    net = MLP(**config["model"], preprocessing=dataset.preprocessing, backend=backend, device=device)
    _fit(net, dataset, config["training"], callbacks, progress=progress)
    return net, dataset


def _fit(
    net: MLP,
    dataset: Dataset,
    training: dict[str, Any],
    callbacks: Sequence[Callback],
    *,
    progress: bool = False,
    resume: bool = False,
) -> History:
    stopping = training["early_stopping"]
    return net.fit(
        dataset.X,
        dataset.y,
        epochs=training["epochs"],
        batch_size=training["batch_size"],
        optimizer=None if resume else _optimizer(training["optimizer"]),
        validation_fraction=training["validation_fraction"],
        early_stopping=EarlyStopping(**stopping) if stopping else False,
        callbacks=callbacks,
        progress=progress,
        resume=resume,
    )


def _optimizer(settings: dict[str, Any]) -> optimizers.Optimizer:
    rate = settings["learning_rate"]
    if isinstance(rate, dict):  # null is what JSON made of the infinity that a schedule begins its memory with
        rate = {name: value for name, value in rate.items() if value is not None}
    return optimizers.from_dict(settings | {"learning_rate": rate})
