"""The study of Optuna: in memory or in a SQLite file, which is continued if it is of the same search."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlp._backends import ConfigurationError, FileFormatError, StorageError

STUDY = "mlp"
"""The name of the study in its file."""

STARTUP_TRIALS = 5
"""Trials without pruning at the beginning, whose median the following ones must reach."""

WARMUP = 0.2
"""No trial is pruned in this share of the epochs."""


def require_optuna() -> Any:
    """Return the package `optuna`.

    Raises
    ------
    ConfigurationError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigurationError("tuning needs optuna, which is not installed; run: pip install 'optuna>=4'") from error
    return optuna


@contextlib.contextmanager
def opened(optuna: Any, path: str | os.PathLike[str] | None, conditions: dict[str, Any], epochs: int) -> Iterator[Any]:
    """The study in a file, which is continued if it has the same conditions."""
    # a trial is compared with the others only when it has had some time
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=max(round(WARMUP * epochs), 1))
    if path is None:
        yield optuna.create_study(study_name=STUDY, direction="minimize", pruner=pruner)
        return
    import sqlalchemy

    name = os.fspath(path)
    existed = Path(path).exists()
    url = sqlalchemy.URL.create("sqlite", database=os.path.abspath(path)).render_as_string()
    storage = None
    try:
        storage = optuna.storages.RDBStorage(url)
        study = optuna.create_study(
            study_name=STUDY, storage=storage, direction="minimize", pruner=pruner, load_if_exists=True
        )
        _require_same(study, conditions, name)
        yield study
    except sqlalchemy.exc.DatabaseError as error:
        if isinstance(error, sqlalchemy.exc.OperationalError) or not existed:
            raise StorageError(f"{name!r} cannot be used for the trials: {error.orig}") from error
        raise FileFormatError(f"{name!r} is no file of trials: {error.orig}; choose another file") from error
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(f"{name!r} cannot be used for the trials: {error.__cause__ or error}") from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _require_same(study: Any, conditions: dict[str, Any], name: str) -> None:
    recorded = study.user_attrs.get("conditions")
    if recorded is None:
        study.set_user_attr("conditions", json.dumps(conditions))
        return
    before = json.loads(recorded)
    derived = ("data_sha256", "early_stopping")  # these differ if others do, which are to be named
    for key in sorted(before.keys() | conditions.keys(), key=lambda key: (key in derived, key)):
        if before.get(key) != conditions.get(key):
            what = "other data" if key == "data_sha256" else f"{key} {before.get(key)!r}, not {conditions.get(key)!r}"
            raise ConfigurationError(
                f"{name!r} has trials with {what}, which cannot be compared with new ones; give the same data and "
                "arguments, or another storage"
            )


def n_done(study: Any) -> int:
    """Number of trials that are finished or pruned."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.get_trials(deepcopy=False))


@contextlib.contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without Optuna's log, and without the advice about each single training."""

    def no_advice(record: logging.LogRecord) -> bool:
        return record.module != "advice"

    logger, level = logging.getLogger("mlp"), optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logger.addFilter(no_advice)
    try:
        yield
    finally:
        logger.removeFilter(no_advice)
        optuna.logging.set_verbosity(level)


@contextlib.contextmanager
def progress_bar(study: Any, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show the number of trials and the best one on stderr, if that is a terminal; yield what updates it."""
    if not (shown and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("trial"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[best]}"), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("tuning", total=total, completed=n_done(study), best="")

        def advance() -> None:
            values = [trial.value for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
            best = f"lowest validation loss {min(values):.4g}" if values else ""
            bar.update(task, completed=n_done(study), best=best)

        advance()
        yield advance
