"""What can be read of a run: the files in its folder and its data, or the reasons why they cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from mlp._backends import DataError, FileFormatError, MLPError
from mlp.data import StreamedDataset
from mlp.inspection.report.reproduce_command import train_command
from mlp.io import run_folders
from mlp.io.json_documents import read_json
from mlp.persistence import load
from mlp.training import History

if TYPE_CHECKING:
    from mlp.data import Dataset
    from mlp.model import MLP

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunData:
    """The content of a run's folder.

    Attributes
    ----------
    folder : Path
    config : dict
    train_command : tuple
        The command that repeats the training, from `command.train_command`.
    history : History
        Empty if it cannot be read.
    results : dict or None
        None for a run that did not finish.
    net : MLP or None
    dataset : Dataset or None
    problems : dict of str to str
        Why ``"history"``, ``"results"``, ``"model"`` or ``"data"`` could not be read.
    """

    folder: Path
    config: dict[str, Any]
    train_command: tuple[list[str], list[str]]
    history: History
    results: dict[str, Any] | None
    net: MLP | None
    dataset: Dataset | None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """``"accuracy"``, ``"R²"`` or ``"D²"``; ``"score"`` if it is unknown."""
        if self.net is not None:
            return self.net.score_name.replace("^2", "²")
        return str((self.results or {}).get("score", "score")).replace("^2", "²")

    def score_text(self, score: float) -> str:
        """A score as text: an accuracy in per cent, another score with four decimals."""
        return f"{100 * score:.2f} %" if self.score_name == "accuracy" else f"{score:.4f}"

    def result(self, name: str) -> float | None:
        """A number of ``results.json``, None if it is missing; ``"test.score"`` names a nested key."""
        value: Any = self.results
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, int | float) else None

    @property
    def part(self) -> str:
        """The part of the data set that predictions are shown for: ``"test"``, or ``"training"`` if there is none."""
        return "test" if self.dataset is not None and self.dataset.X_test is not None else "training"

    @property
    def rows(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and targets of that part."""
        assert self.dataset is not None
        X, y = self.dataset.X_test, self.dataset.y_test
        return (self.dataset.X, self.dataset.y) if X is None or y is None else (X, y)


def read_run(folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> RunData:
    """Read all that can be read of a run.

    Raises
    ------
    FileFormatError
        If `folder` is not a run, or its configuration is damaged.
    """
    config, problems = run_folders.read_config(folder), dict[str, str]()
    try:
        command = train_command(config)
    except (LookupError, TypeError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise FileFormatError(
            f"{str(Path(folder) / run_folders.CONFIG)!r} is damaged: it does not describe a run ({cause})"
        ) from error

    def attempt(name: str, read: Callable[[], Value]) -> Value | None:
        try:
            return read()
        except (MLPError, OSError, MemoryError) as error:
            problems[name] = " ".join(str(error).split()) or type(error).__name__
            return None

    return RunData(
        Path(folder),
        config,
        command,
        attempt("history", lambda: run_folders.read_history(folder)) or History(),
        attempt("results", lambda: _results(folder)),
        attempt("model", lambda: load(run_folders.model_path(folder), backend="numpy")),
        attempt("data", lambda: _dataset(folder, config, data_dir)),
        problems,
    )


def _dataset(
    folder: str | os.PathLike[str], config: dict[str, Any], data_dir: str | os.PathLike[str] | None
) -> Dataset:
    if config["data"].get("stream"):
        raise DataError(
            "they are read in blocks, and a report needs them in memory; mlp evaluate scores the network on them"
        )
    dataset = run_folders.read_dataset(folder, data_dir=data_dir)
    assert not isinstance(dataset, StreamedDataset)
    return dataset


def _results(folder: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(folder) / run_folders.RESULTS
    results = read_json(path)
    if not isinstance(results, dict):
        raise FileFormatError(f"{str(path)!r} is damaged: it is not a JSON object with results")
    return results
