"""Load rows for a trained model, preprocessed as in training."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import ConfigurationError, DataError, ShapeError, UnknownNameError
from mlp.checks import shortened
from mlp.cli.options import READING_OPTIONS
from mlp.cli.table_rows import Rows, encode_labels, from_table, warn_if_changed
from mlp.data.arrays import column_number, map_npy, without_column
from mlp.data.sources import is_images
from mlp.data.table_files import TABLE_SUFFIXES, table_suffix
from mlp.io import run_folders

if TYPE_CHECKING:
    from mlp.model import MLP

logger = logging.getLogger("mlp")

PARTS = ("train", "test", "all")
_ARRAYS = {"x_train": "X", "y_train": "y", "x_test": "X_test"}  # Keras' names


def load_rows(
    net: MLP, model: str, source: str, options: dict[str, Any], *, with_targets: bool, keep: list[str] | None = None
) -> Rows:
    """Read the rows of `source` for `net`.

    Parameters
    ----------
    net : MLP
    model : str
        Its file or its run folder; the configuration of a run has its data, target and split.
    options : dict
        ``part``: by default ``"test"`` if there is a test part, otherwise ``"all"``; ``target`` and ``data_dir``: as
        in `mlp.data.load`, by default those of the run; ``separator``, ``encoding`` and ``decimal``: as in
        `mlp.data.load`, by default those of the model.
    with_targets : bool
        Whether `y` is needed.
    keep : list of str, optional
        Columns of a table to return as texts.
    """
    reading = {name: options[name] for name in READING_OPTIONS if options.get(name) is not None}
    part, target, data_dir = options["part"], options["target"], options["data_dir"]
    if part is not None and part not in PARTS:
        raise UnknownNameError.among("part", part, PARTS)
    config = run_config(model)
    run_data: dict[str, Any] = config.get("data", {})
    built_in = source in data.SOURCE_NAMES
    is_run_data = bool(run_data) and run_data["source"] == (source if built_in else os.path.abspath(source))
    split = {"test_fraction": run_data.get("test_fraction", 0.2), "seed": run_data.get("seed", net.seed)}
    if built_in and source != "mnist" and not is_run_data and part != "all":
        logger.warning(
            "the training rows of %s in %s are unknown; the test part is the one for seed %d and test_fraction %g",
            model, source, split["seed"], split["test_fraction"],
        )  # fmt: skip
    suffix = table_suffix(source) or Path(source).suffix.lower()
    if part is None and not built_in and not is_run_data:
        part = "all" if suffix != ".npz" else None
    with_targets = with_targets or (part != "all" and suffix != ".npz")
    if suffix in TABLE_SUFFIXES and not built_in:
        target = run_data.get("target") if target is None else target
        split["sha256"] = config["data_sha256"] if is_run_data else None
        return from_table(net, source, part, target, split, with_targets, keep or [], reading)
    if reading:
        raise ConfigurationError(f"--{next(iter(reading))} is of CSV and TSV files and does not apply to {source!r}")
    if keep:
        raise ConfigurationError(f"--keep names columns of a table and does not apply to {source!r}; remove it")
    if not built_in and not with_targets:
        X = preprocess(net, _inputs_only(source, part, target))
        return Rows(X, None, part or "all", np.arange(len(X)), len(X))
    task: data.dataset.Task | None = None if built_in else "classification" if has_class_targets(net) else "regression"
    if is_run_data and target is None:
        # the split depends on the task
        task = run_folders.task_of(config) if suffix == ".npy" else run_data.get("task")
    if target is None and suffix == ".npy":
        target = run_data.get("target")
    if data_dir is None and source == "mnist":
        data_dir = run_data.get("data_dir")
    dataset = data.load(source, data_dir=data_dir, target=target, task=task, **split)
    if is_run_data and not built_in and options["target"] is None and not run_data.get("stream"):
        warn_if_changed(config["data_sha256"], preprocess(net, dataset.X), dataset.y, source)
    n_rows = len(dataset.X) + (0 if dataset.X_test is None else len(dataset.X_test))
    X, y, part, rows = _select_part(dataset, part)
    y = _to_model_classes(net, y, dataset.classes, repr(source))
    return Rows(preprocess(net, X), y, part, rows, n_rows)


def has_class_targets(net: MLP) -> bool:
    """Whether the targets are class labels; otherwise they are numbers or a matrix of 0 and 1 (multi-label)."""
    return net.task == "classes" or net.class_numbers


def run_config(model: str) -> dict[str, Any]:
    """Return the configuration of a run, from its folder or the model file in it; empty for any other model file."""
    folder = Path(model) if Path(model).is_dir() else Path(model).parent
    if folder == Path(model) or (folder / run_folders.CONFIG).is_file():
        return run_folders.read_config(folder)
    return {}


def target_names_of(net: MLP, model: str, target: str | None) -> list[str]:
    """Names of the outputs of a network for numbers; ``0``, ``1``, ... if its run does not tell them."""
    configured = run_config(model).get("data", {}).get("target") if target is None else target
    names = configured if isinstance(configured, list) else str(configured).split(",")
    n = net.sizes[-1]
    return [name.strip() for name in names] if len(names) == n else [str(k) for k in range(n)]


def _select_part(dataset: data.Dataset, part: str | None) -> tuple[NDArray[Any], NDArray[Any], str, NDArray[np.intp]]:
    rows = np.arange(len(dataset.X)) if dataset.rows is None else dataset.rows
    if dataset.X_test is None or dataset.y_test is None:
        if part == "test":
            raise ConfigurationError(f"{dataset.name!r} has no test part; use --part all")
        return dataset.X, dataset.y, "all", rows
    rows_test = np.arange(len(dataset.X_test)) if dataset.rows_test is None else dataset.rows_test
    match part:
        case "train":
            return dataset.X, dataset.y, "train", rows
        case "all":
            X, y = np.concatenate([dataset.X, dataset.X_test]), np.concatenate([dataset.y, dataset.y_test])
            if dataset.rows is None:
                return X, y, "all", np.arange(len(X))
            order = np.argsort(np.concatenate([rows, rows_test]), kind="stable")  # as in the source
            return X[order], y[order], "all", np.arange(len(X))
        case _:
            return dataset.X_test, dataset.y_test, "test", rows_test


def _inputs_only(source: str, part: str | None, target: str | None) -> NDArray[Any]:
    """Read the inputs of an NPY or NPZ file without targets."""
    suffix = Path(source).suffix.lower()
    if suffix == ".npy":
        matrix = map_npy(source)
        if target is None:
            return flattened(matrix)
        if matrix.ndim != 2:
            raise ShapeError(f"{source!r} has shape {matrix.shape}, expected (rows, columns)")
        return without_column(matrix, column_number(target, matrix.shape[1], repr(source)))
    if suffix != ".npz":
        data.load(source)  # raises the error that lists the formats
    arrays = {_ARRAYS.get(name, name): array for name, array in data.read_npz(source).items()}
    keys = ["X_test"] if part == "test" and "X_test" in arrays else ["X"]
    if part in (None, "all") and "X_test" in arrays and "X" in arrays:
        keys = ["X", "X_test"]
    if not all(key in arrays for key in keys):
        raise DataError(
            f"{source!r} holds the arrays {shortened(', '.join(arrays))}; expected X, one row per prediction"
        )
    matrices = [arrays[key].reshape(len(arrays[key]), -1) if arrays[key].ndim > 2 else arrays[key] for key in keys]
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)


def flattened(X: NDArray[Any]) -> NDArray[Any]:
    """A matrix with a row for each image, if X holds images; otherwise X."""
    return X.reshape(len(X), -1) if is_images(X.dtype, X.ndim) else X


def preprocess(net: MLP, X: NDArray[Any]) -> NDArray[Any]:
    """The inputs as the model takes them."""
    if net.preprocessing is None:
        return X
    if X.ndim != 2:
        raise ShapeError(f"the inputs have shape {X.shape}, expected (rows, columns)")
    return net.preprocessing.transform(X)


def _to_model_classes(net: MLP, y: NDArray[Any], classes: tuple[Any, ...] | None, where: str) -> NDArray[Any]:
    """Convert class numbers of the data to class numbers of the model."""
    if classes is None or net.classes is None or classes == net.classes:
        return y
    return encode_labels(net, [classes[code] for code in y.tolist()], where)
