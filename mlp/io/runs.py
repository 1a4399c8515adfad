"""Runs on disk: a folder for each training, with what it takes to repeat it, to use it, and to go on with it.

A run's folder holds

- ``config.json``: the data, the network, how it is trained, the backend and why, the machine, the parent run;
- ``metrics.csv``: a row for each epoch, written as soon as the epoch is done;
- ``model.safetensors``: the network, see `mlp.load`;
- ``training.safetensors``: the network with the memory of its training after the last whole epoch, for
  `mlp.runs.resume`;
- ``results.json``: what came of it, once it has ended.

It is never written to by another run: one that is resumed goes on in a folder of its own, which names its parent.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mlp import data
from mlp._backends import ConfigurationError, DataError, FileFormatError, StorageError
from mlp.data import Dataset
from mlp.data.files import open_checked
from mlp.io import machine, persistence
from mlp.io.documents import write_json
from mlp.io.persistence import Snapshot
from mlp.io.storage import storage_errors
from mlp.training import Callback, History, Run

CONFIG, METRICS, MODEL, TRAINING, RESULTS = (
    "config.json",
    "metrics.csv",
    "model.safetensors",
    "training.safetensors",
    "results.json",
)

COLUMNS = ("epoch", "loss", "val_loss", "val_score", "learning_rate", "seconds", "samples_per_second")
"""Of ``metrics.csv``; epochs count from 1."""

CHECKPOINT_SECONDS = 10.0
"""At least this long from one checkpoint to the next: a kill costs this, or an epoch if that takes longer."""

FORMAT_VERSION = 1
_PARTS: dict[str, type] = {"data": dict, "data_sha256": str, "model": dict, "training": dict, "backend": dict}


# -- making ----------------------------------------------------------------------------------------------


def require_new(folder: str | os.PathLike[str]) -> None:
    """Raise `ConfigurationError` if there is something at `folder` already (an empty folder is nothing)."""
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise ConfigurationError(
            f"{str(path)!r} is there already, and a run never overwrites anything; choose another folder, or leave "
            "--output-dir out for a new one under runs/"
        )


def create_folder(name: str, output_dir: str | os.PathLike[str] | None = None) -> Path:
    """Make a new folder for a run: `output_dir`, or else the next free ``runs/NAME-1``, ``runs/NAME-2``, ...

    Raises
    ------
    ConfigurationError
        If `output_dir` has something in it.
    StorageError
        If the folder cannot be made.
    """
    if output_dir is not None:
        require_new(output_dir)
        with storage_errors(output_dir):
            Path(output_dir).mkdir(parents=True, exist_ok=True)
        return Path(output_dir)
    base = Path("runs")
    with storage_errors(base):
        base.mkdir(exist_ok=True)
    taken = (path.name.rpartition("-") for path in base.iterdir())
    number = 1 + max((int(count) for stem, _, count in taken if stem == name and count.isdecimal()), default=0)
    while True:
        folder = base / f"{name}-{number}"
        try:
            with storage_errors(folder):
                folder.mkdir()
        except StorageError as error:
            if not folder.exists():
                raise error
            number += 1  # another process was quicker
            continue
        return folder


def configuration(
    dataset: Dataset, source: dict[str, Any], training: dict[str, Any], *, parent: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """What ``config.json`` says before training begins.

    Parameters
    ----------
    dataset : Dataset
    source : dict
        The arguments of `mlp.data.load` that gave it.
    training : dict
        ``epochs``, ``batch_size``, ``optimizer`` (as `Optimizer.to_dict` gives it), ``validation_fraction`` and
        ``early_stopping`` (the fields of `EarlyStopping`, or None).
    parent : path-like, optional
        The run that this one goes on with.
    """
    return {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parent": None if parent is None else str(Path(parent).resolve()),
        "data": source,
        "data_sha256": fingerprint(dataset),
        "training": training,
        "versions": machine.versions(),
        "machine": machine.describe(),
    }


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of a data set's training part, which tells whether it is still the same."""
    digest = hashlib.sha256()
    for array in (dataset.X, dataset.y):
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Recorder(Callback):
    """Keeps a run's folder while the network trains.

    Parameters
    ----------
    config : dict
        From `configuration`.
    output_dir : path-like, optional
        As in `create_folder`.
    every : float
        Seconds from one checkpoint to the next; the first is made after the first epoch.

    Attributes
    ----------
    folder : Path
        Made when training begins, so that a run that cannot start leaves nothing behind.
    """

    folder: Path

    def __init__(
        self,
        config: dict[str, Any],
        output_dir: str | os.PathLike[str] | None = None,
        *,
        every: float = CHECKPOINT_SECONDS,
    ) -> None:
        self.config = config
        self.output_dir = output_dir
        self.every = every
        self._saved_at = -math.inf
        self._last: Snapshot

    def on_train_begin(self, run: Run) -> None:
        net = run.net
        self.folder = create_folder(Path(self.config["data"]["source"]).stem or "run", self.output_dir)
        place = {"name": net.backend, "device": net.xp.device, "reason": net.backend_reason}
        write_json(self.folder / CONFIG, self.config | {"model": net.get_config(), "backend": place})
        self._append(COLUMNS, *(_row(run.history, epoch) for epoch in range(len(run.history))))
        self._last = Snapshot.of(net, run.state)
        self._last.save(self.folder / TRAINING)

    def on_epoch_end(self, run: Run) -> None:
        self._append(_row(run.history, len(run.history) - 1))
        if not run.whole_epoch:
            return  # to be resumed exactly, an epoch has to be seen whole
        self._last = Snapshot.of(run.net, run.state)
        if time.monotonic() - self._saved_at >= self.every:
            self._last.save_model(self.folder / MODEL)
            self._last.save(self.folder / TRAINING)
            self._saved_at = time.monotonic()

    def on_train_end(self, run: Run) -> None:
        persistence.save(run.net, self.folder / MODEL)
        self._last.save(self.folder / TRAINING)

    def _append(self, *rows: Sequence[object]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        path = self.folder / METRICS
        with storage_errors(path), path.open("a", encoding="utf-8") as handle:
            handle.write(text.getvalue())


def _row(history: History, epoch: int) -> list[object]:
    def figure(values: list[float]) -> float | None:
        return values[epoch] if epoch < len(values) else None

    return [epoch + 1, *(figure(getattr(history, name)) for name in COLUMNS[1:])]


# -- reading ---------------------------------------------------------------------------------------------


def model_path(model_or_run: str | os.PathLike[str]) -> Path:
    """The model's file: a run's folder stands for the model in it."""
    path = Path(model_or_run)
    if not path.is_dir():
        return path
    if not (path / MODEL).is_file():
        what = "has no model yet: its training did not finish an epoch" if (path / CONFIG).is_file() else "is no run"
        raise FileFormatError(f"the folder {str(path)!r} {what}; a run's folder holds {CONFIG} and {MODEL}")
    return path / MODEL


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``config.json`` of a run.

    Raises
    ------
    FileFormatError
        If there is none, or it is damaged.
    """
    path = Path(folder) / CONFIG
    if Path(folder).is_dir() and not path.exists():
        raise FileFormatError(f"the folder {str(folder)!r} is no run: it has no {CONFIG}")
    with open_checked(path, "JSON") as (handle, _):
        config = json.load(handle)
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION:
        raise FileFormatError(f"{str(path)!r} has format version {version!r}; this mlp reads {FORMAT_VERSION}")
    for part, kind in _PARTS.items():
        if not isinstance(config.get(part), kind):
            raise FileFormatError(f"{str(path)!r} is damaged: its {part!r} is {config.get(part)!r:.80}")
    checked: dict[str, Any] = config
    return checked


def read_dataset(folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """The data of a run, as they were when it was trained.

    Raises
    ------
    FileFormatError, StorageError, ConfigurationError
        If the run or its data cannot be read.
    DataError
        If the data are no longer the same.
    """
    config = read_config(folder)
    source = source_of(config, data_dir)
    dataset = data.load(**source)
    if fingerprint(dataset) != config["data_sha256"]:
        raise DataError(
            f"the data in {source['source']!r} have changed since the run {str(folder)!r} was trained on them; bring "
            "the old data back, or start a new run"
        )
    return dataset


def read_history(folder: str | os.PathLike[str]) -> History:
    """What each epoch came to, from the run's ``metrics.csv``; a last row that was cut short is left out.

    Raises
    ------
    FileFormatError
        If there is no such file, or it is damaged.
    """
    path = Path(folder) / METRICS
    with open_checked(path, "CSV") as (handle, _):
        whole = handle.read().decode().rpartition("\n")[0]
        header, *rows = csv.reader(whole.splitlines() or [""])
        if tuple(header) != COLUMNS:
            raise FileFormatError(f"{str(path)!r} is damaged: its columns are {', '.join(header)!r:.80}")
        figures = np.array([[float(cell or "nan") for cell in row] for row in rows]).reshape(-1, len(COLUMNS))
    return History(**{name: column.tolist() for name, column in zip(COLUMNS[1:], figures.T[1:], strict=True)})


def source_of(config: dict[str, Any], data_dir: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The arguments of `mlp.data.load`."""
    source: dict[str, Any] = config["data"] | ({} if data_dir is None else {"data_dir": os.path.abspath(data_dir)})
    return source


def place_of(config: dict[str, Any]) -> tuple[str, str]:
    """Backend and device that a run was on."""
    return config["backend"].get("name", "auto"), config["backend"].get("device", "auto")
