"""Run folders: one folder per training, with everything needed to repeat, use and resume it.

The folder of a run contains

- ``config.json``: data, network, training settings, backend and the reason for it, machine, parent run;
- ``metrics.csv``: one row per epoch, written at the end of the epoch;
- ``model.safetensors``: the network, see `mlp.load`;
- ``training.safetensors``: the network with its training state, for `mlp.runs.resume`;
- ``results.json``: the results, written at the end.

No other run writes to this folder: a resumed run has a new folder, whose ``config.json`` names the parent run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import ConfigurationError, DataError, FileFormatError
from mlp.checks import quoted
from mlp.data import Dataset, Preprocessing, StreamedDataset
from mlp.data.dataset import Task
from mlp.data.files import open_checked
from mlp.data.streams import RowStream
from mlp.data.table_files import STANDARD_INPUT, table_stem, table_suffix
from mlp.io import checkpoints, descriptions, machine_info, model_files
from mlp.io.atomic_write import append, make_folder, remove_leftovers, storage_errors, sync
from mlp.io.fields import FieldError
from mlp.io.json_documents import read_json, write_json
from mlp.io.model_files import Snapshot
from mlp.io.model_format import opened
from mlp.network import FeedForward
from mlp.training import AnyExamples, Callback, History, Interval, Run, TrainingState

CONFIG, METRICS, MODEL, RESULTS = "config.json", "metrics.csv", "model.safetensors", "results.json"
TRAINING = checkpoints.FILE

COLUMNS = ("epoch", "loss", "val_loss", "val_score", "learning_rate", "seconds", "samples_per_second")
"""Columns of ``metrics.csv``; epochs are counted from 1."""

CHECKPOINT_SECONDS = 10.0
"""Minimum time between checkpoints after epochs: without an interval of checkpoints, a killed process loses this much
training, or one epoch if longer."""

FORMAT_VERSION = 1


# -- writing ---------------------------------------------------------------------------------------------


def require_new(folder: str | os.PathLike[str]) -> None:
    """Raise `ConfigurationError` if `folder` exists already, unless it is an empty folder."""
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise ConfigurationError(
            f"{str(path)!r} exists already, and a run never overwrites files; choose another folder, or omit "
            "--output-dir for a new folder under runs/"
        )


def create_folder(name: str, output_dir: str | os.PathLike[str] | None = None) -> Path:
    """Create a folder for a run: `output_dir`, or else the next free one of ``runs/NAME-1``, ``runs/NAME-2``, ...

    Raises
    ------
    ConfigurationError
        If `output_dir` is not empty.
    StorageError
        If the folder cannot be created.
    """
    if output_dir is not None:
        require_new(output_dir)
        make_folder(output_dir)
        if not _claim(Path(output_dir)):
            raise ConfigurationError(
                f"another run has just started in {str(output_dir)!r}; choose another folder, or omit --output-dir for "
                "a new folder under runs/"
            )
        return Path(output_dir)
    base = Path("runs")
    make_folder(base)
    folders = [path for path in base.iterdir() if path.is_dir()]
    for folder in folders:
        remove_leftovers(folder)
    existing = (path.name.rpartition("-") for path in folders)
    number = 1 + max((int(suffix) for stem, _, suffix in existing if stem == name and suffix.isdecimal()), default=0)
    while (base / f"{name}-{number}").exists():
        number += 1
    while True:
        folder = base / f"{name}-{number}"
        make_folder(folder)
        if _claim(folder):
            return folder
        number += 1  # another process has created it


def _claim(folder: Path) -> bool:
    """Create the first file of a run in `folder`; return False if another run has done so."""
    with storage_errors(folder):
        try:
            (folder / METRICS).touch(exist_ok=False)
        except FileExistsError:
            return False
    return True


def configuration(
    dataset: Dataset | StreamedDataset,
    source: dict[str, Any],
    training: dict[str, Any],
    *,
    parent: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """The part of ``config.json`` that is known before training starts.

    Parameters
    ----------
    dataset : Dataset or StreamedDataset
    source : dict
        The arguments of `load_data` for this data set.
    training : dict
        ``epochs``, ``batch_size``, ``optimizer`` (from `Optimizer.to_dict`), ``validation_fraction`` and
        ``early_stopping`` (the fields of `EarlyStopping`, or None).
    parent : path-like, optional
        The run that this one resumes.
    """
    return {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parent": None if parent is None else str(Path(parent).resolve()),
        "data": source,
        "data_sha256": fingerprint(dataset),
        "training": training,
        "versions": machine_info.versions(),
        "machine": machine_info.describe(),
    }


def load_data(arguments: Mapping[str, Any], *, progress: bool = False) -> Dataset | StreamedDataset:
    """Load a data set, or open it to be read in blocks if the argument ``stream`` is true.

    Parameters
    ----------
    arguments : mapping
        Those of `mlp.data.load` or of `mlp.data.stream`, and ``stream``.
    progress : bool
        Show how much of the data is read before the training, if they are read in blocks.
    """
    settings = {name: value for name, value in arguments.items() if name != "stream"}
    if not arguments.get("stream"):
        return data.load(**settings)
    for name in ("data_dir", "separator", "encoding", "decimal"):
        if settings.pop(name, None) is not None:
            raise ConfigurationError(f"{name} does not apply to {settings['source']!r}; remove it")
    return data.stream(**settings, progress=progress)


def fingerprint(dataset: Dataset | StreamedDataset) -> str:
    """SHA-256 of the training part of a data set, to detect changes; of a stream, that of its fingerprint."""
    if isinstance(dataset, StreamedDataset):
        return fingerprint_of_stream(dataset.train)
    return fingerprint_of(dataset.X, dataset.y)


def fingerprint_of_stream(train: RowStream) -> str:
    """As `fingerprint`, from the training part of a stream."""
    return hashlib.sha256(train.fingerprint.encode()).hexdigest()


def fingerprint_of(X: NDArray[Any], y: NDArray[Any]) -> str:
    """SHA-256 of the inputs and targets of a training part."""
    digest = hashlib.sha256()
    for array in (X, y):
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Recorder(Callback):
    """Writes the run folder during training: a callback and the checkpoint of `MLP.fit`.

    Parameters
    ----------
    config : dict
        From `configuration`.
    output_dir : path-like, optional
        As in `create_folder`.
    every : str, optional
        Time between two checkpoints, as in `Checkpoint`.  Default: after an epoch, if `pause` has passed.
    pause : float
        Minimum seconds between writing the model, and without `every` the training state, at the end of an epoch.
    allow_different_machine : bool
        As in `Checkpoint`.

    Attributes
    ----------
    folder : Path
        Created when training starts, so that a run that cannot start leaves no folder.
    """

    folder: Path

    def __init__(
        self,
        config: dict[str, Any],
        output_dir: str | os.PathLike[str] | None = None,
        *,
        every: str | None = None,
        pause: float = CHECKPOINT_SECONDS,
        allow_different_machine: bool = False,
    ) -> None:
        self.config = config
        self.output_dir = output_dir
        self.every = None if every is None else Interval.parse(every)
        self.pause = pause
        self.allow_different_machine = allow_different_machine
        self._saved_at = -math.inf

    # -- callback -------------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        net = run.net
        self.folder = create_folder(table_stem(self.config["data"]["source"]) or "run", self.output_dir)
        backend = {"name": net.backend, "device": net.xp.device, "reason": net.backend_reason}
        write_json(self.folder / CONFIG, self.config | {"model": net.get_config(), "backend": backend})
        self._append(COLUMNS, *(_row(run.history, epoch) for epoch in range(len(run.history))))
        Snapshot.of(net, run.state).save(self.folder / TRAINING)

    def on_epoch_end(self, run: Run) -> None:
        self._append(_row(run.history, len(run.history) - 1))
        if run.whole_epoch and time.monotonic() - self._saved_at >= self.pause:
            snapshot = Snapshot.of(run.net, run.state)
            snapshot.save_model(self.folder / MODEL)
            if self.every is None:
                self._save(snapshot)
            self._saved_at = time.monotonic()

    def on_train_end(self, run: Run) -> None:
        model_files.save(run.net, self.folder / MODEL)

    # -- checkpoint -----------------------------------------------------------------------------------------

    def conditions(self, net: FeedForward, examples: AnyExamples, validation: AnyExamples | None) -> dict[str, Any]:
        """What a training that is resumed from the folder must have in common with this one."""
        return {"data": self.config["data_sha256"], **checkpoints.machine(net)}

    def require_same(self, recorded: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        """Raise an error that names the first condition of the training to resume that differs and may not."""
        allowed = self.allow_different_machine
        checkpoints.require_same_conditions(recorded, present, allow_different_machine=allowed)

    def begin(self, net: FeedForward, state: TrainingState) -> None:
        """Do nothing: `on_train_begin` creates the folder."""

    def capture(self, net: FeedForward, state: TrainingState, parameters: NDArray[Any]) -> Callable[[], None]:
        """Return a function that writes a checkpoint; `state` and `parameters` will not change."""
        snapshot = Snapshot.made_of(net, state, parameters)
        return lambda: self._save(snapshot)

    def finish(self, run: Run) -> None:
        """Do nothing: results follow."""

    def _save(self, snapshot: Snapshot) -> None:
        sync(self.folder / METRICS)
        snapshot.save(self.folder / TRAINING)

    def _append(self, *rows: Sequence[object]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        append(self.folder / METRICS, text.getvalue())


def _row(history: History, epoch: int) -> list[object]:
    def value(values: list[float]) -> float | None:
        return values[epoch] if epoch < len(values) else None

    return [epoch + 1, *(value(getattr(history, name)) for name in COLUMNS[1:])]


# -- reading ---------------------------------------------------------------------------------------------


def model_path(model_or_run: str | os.PathLike[str]) -> Path:
    """The path of a model file; for the folder of a run, the path of its model."""
    path = Path(model_or_run)
    if not path.is_dir():
        return path
    if not (path / MODEL).is_file():
        is_run = (path / CONFIG).is_file()
        reason = "has no model yet: its training did not complete an epoch" if is_run else "is not a run"
        raise FileFormatError(f"the folder {str(path)!r} {reason}; the folder of a run contains {CONFIG} and {MODEL}")
    return path / MODEL


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the ``config.json`` of a run.

    Raises
    ------
    FileFormatError
        If it is missing or damaged.
    """
    path = Path(folder) / CONFIG
    if Path(folder).is_dir() and not path.exists():
        raise FileFormatError(f"the folder {str(folder)!r} is not a run: it has no {CONFIG}")
    config = read_json(path)
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise FileFormatError(
            f"{str(path)!r} has format version {quoted(version)}; this version of mlp reads {FORMAT_VERSION}"
        )
    try:
        descriptions.check_config(config)
    except FieldError as error:
        raise FileFormatError(
            f"{str(path)!r} is damaged: {error}; restore the file from a copy, or start a new run"
        ) from error
    checked: dict[str, Any] = config
    return checked


def require_same_network(folder: str | os.PathLike[str], config: dict[str, Any]) -> None:
    """Raise `FileFormatError` if the training state of a run is of a network of other sizes than ``config.json`` says.

    The sizes in the training state are those of its tensors.  So a changed ``config.json`` cannot ask for a network
    that needs any amount of memory.
    """
    path = Path(folder) / TRAINING
    if not path.is_file():
        return
    with opened(path) as file:
        sizes, configured = file.description["config"]["sizes"], config["model"]["sizes"]
    if sizes != configured:
        raise FileFormatError(
            f"{str(Path(folder) / CONFIG)!r} is damaged: config.model.sizes is {quoted(configured)}, but the network "
            f"in {TRAINING} has {quoted(sizes)}; restore the file from a copy, or start a new run"
        )


def read_dataset(
    folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None, progress: bool = False
) -> Dataset | StreamedDataset:
    """Load the data of a run, and check that they have not changed.

    Returns
    -------
    Dataset or StreamedDataset
        The latter if the run was trained on data that are read in blocks; they are all read once now.

    Raises
    ------
    FileFormatError, StorageError, ConfigurationError
        If the run or its data cannot be read.
    DataError
        If the data have changed since the run was trained.
    """
    config = read_config(folder)
    source = load_arguments(config, data_dir)
    if source["source"] == STANDARD_INPUT:
        raise DataError(
            f"the run {str(folder)!r} was trained on the standard input, which cannot be read again; save the table "
            "to a file and start a new run"
        )
    if source.get("stream"):
        source = source | {"task": task_of(config)}
    elif table_suffix(source["source"]):
        # as it was read for the training; another version of this library might choose otherwise
        preprocessing = _saved_preprocessing(folder)
        source = source | {"preprocessing": preprocessing}
        if preprocessing is not None and preprocessing.preparation is None:
            source = source | {"task": task_of(config)}
    elif Path(source["source"]).suffix.lower() == ".npy":
        source = source | {"task": task_of(config)}
    dataset = load_data(source, progress=progress)
    if fingerprint(dataset) != config["data_sha256"]:
        raise DataError(
            f"the data in {source['source']!r} have changed since the run {str(folder)!r} was trained on them; restore "
            "the old data, or start a new run"
        )
    return dataset


def task_of(config: Mapping[str, Any]) -> Task:
    """The task that a run was trained for, whether it was chosen or asked for."""
    return "regression" if config["model"]["classes"] is None else "classification"


def _saved_preprocessing(folder: str | os.PathLike[str]) -> Preprocessing | None:
    """The preprocessing of the network of a run; None if it has no file yet."""
    for name in (TRAINING, MODEL):
        if (Path(folder) / name).is_file():
            with opened(Path(folder) / name) as file:
                state = file.description["preprocessing"]
            return None if state is None else Preprocessing.from_dict(state)
    return None


def read_history(folder: str | os.PathLike[str]) -> History:
    """Read the metrics of each epoch from ``metrics.csv``; an incomplete last row is ignored.

    Raises
    ------
    FileFormatError
        If the file is missing or damaged.
    """
    path = Path(folder) / METRICS
    with open_checked(path, "CSV") as (handle, _):
        complete_lines = handle.read().decode().rpartition("\n")[0]
        header, *rows = csv.reader(complete_lines.splitlines() or [""])
        if tuple(header) != COLUMNS:
            raise FileFormatError(f"{str(path)!r} is damaged: its columns are {quoted(', '.join(header))}")
        table = np.array([[float(cell or "nan") for cell in row] for row in rows]).reshape(-1, len(COLUMNS))
    return History(**{name: column.tolist() for name, column in zip(COLUMNS[1:], table.T[1:], strict=True)})


def load_arguments(config: dict[str, Any], data_dir: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The arguments of `load_data` for the data of a run; `data_dir` replaces the configured one if given."""
    source: dict[str, Any] = config["data"] | ({} if data_dir is None else {"data_dir": os.path.abspath(data_dir)})
    return source


def backend_and_device(config: dict[str, Any]) -> tuple[str, str]:
    """Backend and device of a run."""
    return config["backend"].get("name", "auto"), config["backend"].get("device", "auto")
