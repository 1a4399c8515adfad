"""What can still be had of a run: each part of its folder, its data, or why they cannot be read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from mlp._backends import FileFormatError, MLPError
from mlp.data.files import open_checked
from mlp.inspection.report.command import command
from mlp.io import runs
from mlp.persistence import load
from mlp.training import History

if TYPE_CHECKING:
    from mlp.data import Dataset
    from mlp.model import MLP

Value = TypeVar("Value")


@dataclass(frozen=True)
class Found:
    """A run as it is found.

    Attributes
    ----------
    folder : Path
    config : dict
    again : tuple
        From `command`: how to train it again.
    history : History
        Without epochs where there is none.
    results : dict or None
        None for a run that did not come to its end.
    net : MLP or None
    dataset : Dataset or None
    problems : dict of str to str
        Why there is no ``"history"``, ``"results"``, ``"model"`` or ``"data"``.
    """

    folder: Path
    config: dict[str, Any]
    again: tuple[list[str], list[str]]
    history: History
    results: dict[str, Any] | None
    net: MLP | None
    dataset: Dataset | None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """``"accuracy"`` or ``"R²"``, if it is known."""
        if self.net is not None:
            return "R²" if self.net.task == "numbers" else "accuracy"
        return str((self.results or {}).get("score", "score")).replace("R^2", "R²")

    def score_text(self, score: float) -> str:
        """A score as people read it."""
        return f"{100 * score:.2f} %" if self.score_name == "accuracy" else f"{score:.4f}"

    def figure(self, name: str) -> float | None:
        """A number of the results, ``"test.score"`` for one within a group; None where there is none."""
        value: Any = self.results
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, int | float) else None

    @property
    def part(self) -> str:
        """Which rows are shown to the network."""
        return "test" if self.dataset is not None and self.dataset.X_test is not None else "training"

    @property
    def rows(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs and targets of that part."""
        assert self.dataset is not None
        X, y = self.dataset.X_test, self.dataset.y_test
        return (self.dataset.X, self.dataset.y) if X is None or y is None else (X, y)


def find(folder: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None) -> Found:
    """Read whatever can be read of a run.

    Raises
    ------
    FileFormatError
        If `folder` is no run, or its configuration is damaged.
    """
    config, problems = runs.read_config(folder), dict[str, str]()
    try:
        again = command(config)
    except (LookupError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise FileFormatError(
            f"{str(Path(folder) / runs.CONFIG)!r} is damaged: it describes no run ({what})"
        ) from error

    def attempt(name: str, read: Callable[[], Value]) -> Value | None:
        try:
            return read()
        except (MLPError, OSError, MemoryError) as error:
            problems[name] = " ".join(str(error).split()) or type(error).__name__
            return None

    return Found(
        Path(folder),
        config,
        again,
        attempt("history", lambda: runs.read_history(folder)) or History(),
        attempt("results", lambda: _results(folder)),
        attempt("model", lambda: load(runs.model_path(folder), backend="numpy")),
        attempt("data", lambda: runs.read_dataset(folder, data_dir=data_dir)),
        problems,
    )


def _results(folder: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(folder) / runs.RESULTS
    with open_checked(path, "JSON") as (handle, _):
        results = json.load(handle)
    if not isinstance(results, dict):
        raise FileFormatError(f"{str(path)!r} is damaged: it holds no results")
    return results
