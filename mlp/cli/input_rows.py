"""Load rows for a trained model, preprocessed as in training."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import ConfigurationError, DataError, ShapeError, UnknownNameError
from mlp.checks import shortened
from mlp.data.arrays import column_number, map_npy, without_column
from mlp.data.columns import as_float64
from mlp.data.splitting import split_rows
from mlp.data.tables import TABLE_SUFFIXES, check_column
from mlp.io import run_folders

if TYPE_CHECKING:
    from mlp.model import MLP

logger = logging.getLogger("mlp")

PARTS = ("train", "test", "all")
_ARRAYS = {"x_train": "X", "y_train": "y", "x_test": "X_test"}  # Keras' names


@dataclass(frozen=True)
class Rows:
    """Inputs of a model and, if requested, the targets.

    Attributes
    ----------
    X : ndarray, shape (n, n_in)
    y : ndarray or None
        Class numbers of the model, or regression targets.
    part : str
        ``"train"``, ``"test"`` or ``"all"``: the part of the data.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    part: str


def load_rows(net: MLP, model: str, source: str, options: dict[str, Any], *, with_targets: bool) -> Rows:
    """Read the rows of `source` for `net`.

    Parameters
    ----------
    net : MLP
    model : str
        Its file or its run folder; the configuration of a run has its data, target and split.
    options : dict
        ``part``: by default ``"test"`` if there is a test part, otherwise ``"all"``; ``target`` and ``data_dir``: as
        in `mlp.data.load`, by default those of the run.
    with_targets : bool
        Whether `y` is needed.
    """
    part, target, data_dir = options["part"], options["target"], options["data_dir"]
    if part is not None and part not in PARTS:
        raise UnknownNameError.among("part", part, PARTS)
    run_data = _run_data(Path(model))
    built_in = source in data.SOURCE_NAMES
    is_run_data = bool(run_data) and run_data["source"] == (source if built_in else os.path.abspath(source))
    split = {"test_fraction": run_data.get("test_fraction", 0.2), "seed": run_data.get("seed", net.seed)}
    if built_in and source != "mnist" and not is_run_data and part != "all":
        logger.warning(
            "the training rows of %s in %s are unknown; the test part is the one for seed %d and test_fraction %g",
            model, source, split["seed"], split["test_fraction"],
        )  # fmt: skip
    suffix = Path(source).suffix.lower()
    if part is None and not built_in and not is_run_data:
        part = "all" if suffix != ".npz" else None
    with_targets = with_targets or (part != "all" and suffix != ".npz")
    if suffix in TABLE_SUFFIXES and not built_in:
        target = run_data.get("target") if target is None else target
        return _from_table(net, source, part, target, split, with_targets)
    if not built_in and not with_targets:
        return Rows(_preprocess(net, _inputs_only(source, part, target)), None, part or "all")
    task: data.dataset.Task | None = None if built_in else "classification" if _has_class_targets(net) else "regression"
    if is_run_data and target is None:
        task = run_data.get("task")  # the split depends on the task
    if target is None and suffix == ".npy":
        target = run_data.get("target")
    if data_dir is None and source == "mnist":
        data_dir = run_data.get("data_dir")
    dataset = data.load(source, data_dir=data_dir, target=target, task=task, **split)
    X, y, part = _select_part(dataset, part)
    return Rows(_preprocess(net, X), _to_model_classes(net, y, dataset.classes, repr(source)), part)


def _has_class_targets(net: MLP) -> bool:
    """Whether the targets are class labels; otherwise they are numbers or a matrix of 0 and 1 (multi-label)."""
    return net.task == "classes" or net.class_numbers


def _run_data(model: Path) -> dict[str, Any]:
    """Return the data settings of a run, from its folder or the model file in it; empty for any other model file."""
    folder = model if model.is_dir() else model.parent
    if folder == model or (folder / run_folders.CONFIG).is_file():
        settings: dict[str, Any] = run_folders.read_config(folder)["data"]
        return settings
    return {}


def _select_part(dataset: data.Dataset, part: str | None) -> tuple[NDArray[Any], NDArray[Any], str]:
    if dataset.X_test is None or dataset.y_test is None:
        if part == "test":
            raise ConfigurationError(f"{dataset.name!r} has no test part; use --part all")
        return dataset.X, dataset.y, "all"
    match part:
        case "train":
            return dataset.X, dataset.y, "train"
        case "all":
            return np.concatenate([dataset.X, dataset.X_test]), np.concatenate([dataset.y, dataset.y_test]), "all"
        case _:
            return dataset.X_test, dataset.y_test, "test"


def _from_table(
    net: MLP, source: str, part: str | None, target: str | None, split: dict[str, Any], with_targets: bool
) -> Rows:
    text = set(() if net.preprocessing is None else net.preprocessing.text_columns)
    if target is not None and net.classes and all(isinstance(name, str) for name in net.classes):
        text.add(target)  # also if the class labels look like numbers
    columns = data.read_table(source, text=text)
    y = None
    if with_targets:
        name = check_column(target, columns, repr(source))
        where = f"{source!r}, column {name!r}"
        y = (
            as_float64(columns[name], where)
            if net.classes is None
            else _encode_labels(net, columns[name].tolist(), where)
        )
        del columns[name]
    if net.preprocessing is not None:
        X = net.preprocessing.transform(columns)
    else:
        columns.pop(str(target), None)
        X = np.column_stack([as_float64(column, f"{source!r}, column {key!r}") for key, column in columns.items()])
    if part == "all" or y is None or (part is None and not split["test_fraction"]):
        return Rows(X, y, "all")
    train, test = split_rows(len(y), split["test_fraction"], split["seed"], None if net.classes is None else y)
    selected = train if part == "train" else test
    return Rows(X[selected], y[selected], part or "test")


def _inputs_only(source: str, part: str | None, target: str | None) -> NDArray[Any]:
    """Read the inputs of an NPY or NPZ file without targets."""
    suffix = Path(source).suffix.lower()
    if suffix == ".npy":
        matrix = map_npy(source)
        if target is None:
            return matrix
        if matrix.ndim != 2:
            raise ShapeError(f"{source!r} has shape {matrix.shape}, expected (rows, columns)")
        return without_column(matrix, column_number(target, matrix.shape[1], repr(source)))
    if suffix != ".npz":
        data.load(source)  # raises the error that lists the formats
    arrays = {_ARRAYS.get(name, name): array for name, array in data.read_npz(source).items()}
    key = "X_test" if part in (None, "test") and "X_test" in arrays else "X"
    if key not in arrays:
        raise DataError(
            f"{source!r} holds the arrays {shortened(', '.join(arrays))}; expected X, one row per prediction"
        )
    X = arrays[key]
    return X.reshape(len(X), -1) if X.ndim > 2 else X


def _preprocess(net: MLP, X: NDArray[Any]) -> NDArray[Any]:
    if net.preprocessing is None:
        return X
    if X.ndim != 2:
        raise ShapeError(f"the inputs have shape {X.shape}, expected (rows, columns)")
    return net.preprocessing.transform(X)


def _to_model_classes(net: MLP, y: NDArray[Any], classes: tuple[Any, ...] | None, where: str) -> NDArray[Any]:
    """Convert class numbers of the data to class numbers of the model."""
    if classes is None or net.classes is None or classes == net.classes:
        return y
    return _encode_labels(net, [classes[code] for code in y.tolist()], where)


def _encode_labels(net: MLP, labels: list[Any], where: str) -> NDArray[Any]:
    assert net.classes is not None
    code = {label: number for number, label in enumerate(net.classes)}
    for row, label in enumerate(labels):
        if label not in code:
            known = ", ".join(map(repr, net.classes[:10])) + (", ..." if len(net.classes) > 10 else "")
            raise DataError(f"{where}: row {row} (counted from 0) is {label!r}; the model's classes are {known}")
    return np.array([code[label] for label in labels], dtype=np.int64)
