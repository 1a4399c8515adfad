"""Runs, which are trainings recorded in a folder: start, resume and repeat them.

The files in the folder of a run are described in `mlp.io.run_folders`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlp import optimizers
from mlp.data import Dataset, StreamedDataset
from mlp.distributed import SERIAL, Communicator
from mlp.io.atomic_write import remove_leftovers
from mlp.io.run_folders import (
    COLUMNS,
    CONFIG,
    METRICS,
    MODEL,
    RESULTS,
    TRAINING,
    Recorder,
    backend_and_device,
    configuration,
    create_folder,
    fingerprint,
    load_arguments,
    model_path,
    read_config,
    read_dataset,
    read_history,
    require_new,
    require_same_network,
)
from mlp.io.run_list import RunSummary, list_runs
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
    "RunSummary",
    "configuration",
    "create_folder",
    "fingerprint",
    "list_runs",
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
    dataset: Dataset | StreamedDataset,
    recorder: Recorder,
    *,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    resume: bool = False,
    comm: Communicator = SERIAL,
) -> History:
    """Train `net` on the training part of `dataset`, with the settings in the configuration of `recorder`.

    Of several ranks, only rank 0 writes to the folder of the run and has callbacks.
    """
    return _fit(
        net,
        dataset,
        recorder.config["training"],
        () if comm.rank else (recorder, *callbacks),
        progress=progress,
        resume=resume,
        checkpoint=recorder,
        comm=comm,
    )


def resume(
    folder: str | os.PathLike[str],
    *,
    epochs: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    backend: str | None = None,
    device: str = "auto",
    progress: bool = False,
) -> tuple[MLP, Dataset | StreamedDataset, dict[str, Any]]:
    """Restore the state of a run at its last checkpoint, with its data.

    Parameters
    ----------
    folder : path-like
        The folder of the run; no file of it is changed.
    epochs : int, optional
        Total number of epochs, including those done.  Default: as configured for the run.
    data_dir : path-like, optional
        The folder of MNIST, if it has moved.
    backend, device : str, optional
        Default: those of the run, which make the resumed training bit for bit equal to an uninterrupted one.
    progress : bool
        Show how much of data that are read in blocks is read.

    Returns
    -------
    net : MLP
    dataset : Dataset or StreamedDataset
    config : dict
        Configuration of the new run, for its `Recorder`.

    Raises
    ------
    FileFormatError
        If the run or its data cannot be read.
    DataError
        If the data have changed since the run was trained.
    """
    config = read_config(folder)
    remove_leftovers(folder)
    source = load_arguments(config, data_dir)
    if backend is None and device == "auto":
        backend, device = backend_and_device(config)
    net = load(Path(folder) / TRAINING, backend="auto" if backend is None else backend, device=device)
    dataset = read_dataset(folder, data_dir=data_dir, progress=progress)
    training = config["training"] | ({} if epochs is None else {"epochs": epochs})
    return net, dataset, configuration(dataset, source, training, parent=folder)


def repeat(
    folder: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
) -> tuple[MLP, Dataset | StreamedDataset]:
    """Train the network of a run again from the beginning, on the same data and backend; nothing is written to disk.

    With the same seed, library version and machine, the result is the network in the folder of the run.  `callbacks`
    can observe its training.

    Parameters
    ----------
    folder : path-like
        The folder of the run; it is only read.
    data_dir : path-like, optional
        The folder of MNIST, if it has moved.
    callbacks : sequence of Callback
    progress : bool
        As in `MLP.fit`.

    Returns
    -------
    net : MLP
    dataset : Dataset or StreamedDataset

    Raises
    ------
    FileFormatError
        If the run or its data cannot be read.
    DataError
        If the data have changed since the run was trained.
    """
    config = read_config(folder)
    require_same_network(folder, config)
    dataset = read_dataset(folder, data_dir=data_dir)
    backend, device = backend_and_device(config)
    net = MLP(**config["model"], preprocessing=dataset.preprocessing, backend=backend, device=device)
    _fit(net, dataset, config["training"], callbacks, progress=progress)
    return net, dataset


def _fit(
    net: MLP,
    dataset: Dataset | StreamedDataset,
    training: dict[str, Any],
    callbacks: Sequence[Callback],
    *,
    progress: bool = False,
    resume: bool = False,
    checkpoint: Recorder | None = None,
    comm: Communicator = SERIAL,
) -> History:
    early_stopping = training["early_stopping"]
    rows = (dataset.train,) if isinstance(dataset, StreamedDataset) else (dataset.X, dataset.y)
    return net.fit(
        *rows,
        epochs=training["epochs"],
        batch_size=training["batch_size"],
        optimizer=None if resume else recorded_optimizer(training["optimizer"]),
        validation_fraction=training["validation_fraction"],
        class_weight=training.get("class_weight"),
        early_stopping=EarlyStopping(**early_stopping) if early_stopping else False,
        callbacks=callbacks,
        progress=progress,
        resume=resume,
        checkpoint=checkpoint,
        shards=training.get("shards", 1),
        comm=comm,
    )


def recorded_optimizer(settings: dict[str, Any]) -> optimizers.Optimizer:
    """The optimizer of a run, from ``config["training"]["optimizer"]``."""
    rate = settings["learning_rate"]
    if isinstance(rate, dict):  # JSON has null for infinity, the initial value of ReduceOnPlateau.best
        rate = {name: value for name, value in rate.items() if value is not None}
    return optimizers.from_dict(settings | {"learning_rate": rate})
