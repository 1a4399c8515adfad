"""The runs in a folder, with their settings and results, to compare them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlp._backends import FileFormatError, MLPError
from mlp.io import run_folders
from mlp.io.json_documents import read_json
from mlp.io.run_settings import described_settings

FINISHED, INTERRUPTED, UNFINISHED, DAMAGED = "finished", "interrupted", "unfinished", "damaged"


@dataclass(frozen=True)
class RunSummary:
    """A run, as far as its files say.

    Attributes
    ----------
    run : str
        The path of its folder.
    state : str
        ``"finished"``; ``"interrupted"`` by Ctrl-C or SIGTERM, and then its files are complete too; ``"unfinished"``:
        in training, or killed; or ``"damaged"``.
    problem : str
        What is damaged.
    created : str
        Date and time in UTC, in ISO format; empty if it is not known.
    task : str
        As `MLP.task`; empty if it is not known.
    settings : dict
        By the names of the options of ``mlp train``, with those that are not the default.
    metrics : dict of float
        ``epochs`` done, ``best_epoch`` (of the lowest validation loss), ``train_loss`` of the last epoch,
        ``val_loss`` and ``val_score`` of the best one, ``test_loss``, ``test_score`` and the other scores on the test
        part, and ``seconds``.
    """

    run: str
    state: str
    problem: str = ""
    created: str = ""
    task: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def list_runs(folder: str | os.PathLike[str]) -> list[RunSummary]:
    """The runs in a folder, or the run that it is, in the order of their dates; other files and folders are ignored.

    Raises
    ------
    FileFormatError
        If there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileFormatError(f"there is no folder {str(path)!r}; mlp train makes the folder runs")
    folders = [path] if _is_run(path) else sorted(one for one in path.iterdir() if one.is_dir() and _is_run(one))
    return sorted(map(summarize, folders), key=lambda one: (one.created, one.run))


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (run_folders.CONFIG, run_folders.METRICS))


def summarize(folder: str | os.PathLike[str]) -> RunSummary:
    """What the files of one run say; a file that cannot be read is no error but a damaged run."""
    name, path = os.fspath(folder), Path(folder)
    if not (path / run_folders.CONFIG).exists():
        return RunSummary(name, UNFINISHED)  # its training is about to begin, or never did
    known: dict[str, Any] = {}
    try:
        config = run_folders.read_config(folder)
        known = {
            "created": str(config.get("created", "")),
            "task": run_folders.task_of(config),
            "settings": described_settings(config),
        }
        history = run_folders.read_history(folder)
        metrics = _of_history(history.loss, history.val_loss, history.val_score)
        metrics["seconds"] = math.fsum(value for value in history.seconds if math.isfinite(value))
        results = read_json(path / run_folders.RESULTS) if (path / run_folders.RESULTS).exists() else None
    except MLPError as error:
        return RunSummary(name, DAMAGED, str(error), **known)
    if results is None:
        return RunSummary(name, UNFINISHED, metrics=metrics, **known)
    if not isinstance(results, dict):
        problem = f"{str(path / run_folders.RESULTS)!r} is damaged: it is no object"
        return RunSummary(name, DAMAGED, problem, metrics=metrics, **known)
    test = results.get("test")
    scores = test if isinstance(test, dict) else {}
    metrics |= {f"test_{key}": value for key, value in _numbers(scores).items() if key != "rows"}
    metrics |= _numbers({"seconds": results.get("seconds")})
    return RunSummary(name, INTERRUPTED if results.get("interrupted") else FINISHED, metrics=metrics, **known)


def _of_history(loss: list[float], val_loss: list[float], val_score: list[float]) -> dict[str, float]:
    metrics: dict[str, float] = {"epochs": len(loss)} | _numbers({"train_loss": loss[-1] if loss else None})
    finite = [epoch for epoch, value in enumerate(val_loss) if math.isfinite(value)]
    if finite:
        best = min(finite, key=lambda epoch: val_loss[epoch])
        metrics |= {"best_epoch": best + 1, "val_loss": val_loss[best], "val_score": val_score[best]}
    return metrics


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Those of `values` that are finite numbers."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
