"""The rows that a trained model is given, in the form it was trained on."""

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
from mlp.data.columns import as_float64
from mlp.data.splitting import split_rows
from mlp.data.tables import TABLE_SUFFIXES, check_column
from mlp.io import runs

if TYPE_CHECKING:
    from mlp.model import MLP

logger = logging.getLogger("mlp")

PARTS = ("train", "test", "all")
_ARRAYS = {"x_train": "X", "y_train": "y", "x_test": "X_test"}  # Keras' names


@dataclass(frozen=True)
class Rows:
    """Inputs of a model and, where they were asked for, the answers.

    Attributes
    ----------
    X : ndarray, shape (n, n_in)
    y : ndarray or None
        Class numbers of the model, or numbers.
    part : str
        ``"train"``, ``"test"`` or ``"all"``: which of the rows these are.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    part: str


def load_rows(net: MLP, model: str, source: str, options: dict[str, Any], *, answers: bool) -> Rows:
    """Read the rows of `source` for `net`.

    Parameters
    ----------
    net : MLP
    model : str
        Its file or its run's folder; a run knows its data, target and split.
    options : dict
        ``part``: by default ``"test"`` where there is such a part, else ``"all"``; ``target`` and ``data_dir``: as
        in `mlp.data.load`, by default the run's.
    answers : bool
        Whether `y` is needed.
    """
    part, target, data_dir = options["part"], options["target"], options["data_dir"]
    if part is not None and part not in PARTS:
        raise UnknownNameError.among("part", part, PARTS)
    of_run = _data_of_run(Path(model))
    known = source in data.SOURCE_NAMES
    own = bool(of_run) and of_run["source"] == (source if known else os.path.abspath(source))
    split = {"test_fraction": of_run.get("test_fraction", 0.2), "seed": of_run.get("seed", net.seed)}
    if known and source != "mnist" and not own and part != "all":
        logger.warning(
            "%s does not say which rows of %s it was trained on; the test part is that of seed %d and %g of the rows",
            model, source, split["seed"], split["test_fraction"],
        )  # fmt: skip
    suffix = Path(source).suffix.lower()
    if part is None and not known and not own:
        part = "all" if suffix != ".npz" else None
    answers = answers or (part != "all" and suffix != ".npz")
    if suffix in TABLE_SUFFIXES and not known:
        return _from_table(net, source, part, target or of_run.get("target"), split, answers)
    if not known and not answers:
        return Rows(_prepared(net, _inputs_only(source, part, target)), None, part or "all")
    task: data.dataset.Task | None = None if known else "classification" if _names_classes(net) else "regression"
    if own and target is None:
        task = of_run.get("task")  # so that the rows are split as they were
    if target is None and suffix == ".npy":
        target = of_run.get("target")
    if data_dir is None and source == "mnist":
        data_dir = of_run.get("data_dir")
    found = data.load(source, data_dir=data_dir, target=target, task=task, **split)
    X, y, part = _pick(found, part)
    return Rows(_prepared(net, X), _as_classes_of(net, y, found.classes, repr(source)), part)


def _names_classes(net: MLP) -> bool:
    """Whether its answers are classes; else they are numbers, or several yes and no that stand in the data as such."""
    return net.task == "classes" or net.class_numbers


def _data_of_run(model: Path) -> dict[str, Any]:
    """What the run's folder, given itself or by the model in it, says of its data; nothing for a model elsewhere."""
    folder = model if model.is_dir() else model.parent
    if folder == model or (folder / runs.CONFIG).is_file():
        found: dict[str, Any] = runs.read_config(folder)["data"]
        return found
    return {}


def _pick(found: data.Dataset, part: str | None) -> tuple[NDArray[Any], NDArray[Any], str]:
    if found.X_test is None or found.y_test is None:
        if part == "test":
            raise ConfigurationError(f"{found.name!r} has no test part; use --part all")
        return found.X, found.y, "all"
    match part:
        case "train":
            return found.X, found.y, "train"
        case "all":
            return np.concatenate([found.X, found.X_test]), np.concatenate([found.y, found.y_test]), "all"
        case _:
            return found.X_test, found.y_test, "test"


def _from_table(
    net: MLP, source: str, part: str | None, target: str | None, split: dict[str, Any], answers: bool
) -> Rows:
    text = set(() if net.preprocessing is None else net.preprocessing.text_columns)
    if target is not None and net.classes and all(isinstance(name, str) for name in net.classes):
        text.add(target)  # classes that look like numbers are still text
    columns = data.read_table(source, text=text)
    y = None
    if answers:
        name = check_column(target, columns, repr(source))
        where = f"{source!r}, column {name!r}"
        y = as_float64(columns[name], where) if net.classes is None else _codes(net, columns[name].tolist(), where)
        del columns[name]
    if net.preprocessing is not None:
        X = net.preprocessing.transform(columns)
    else:
        columns.pop(str(target), None)
        X = np.column_stack([as_float64(column, f"{source!r}, column {key!r}") for key, column in columns.items()])
    if part == "all" or y is None or (part is None and not split["test_fraction"]):
        return Rows(X, y, "all")
    train, test = split_rows(len(y), split["test_fraction"], split["seed"], None if net.classes is None else y)
    chosen = train if part == "train" else test
    return Rows(X[chosen], y[chosen], part or "test")


def _inputs_only(source: str, part: str | None, target: str | None) -> NDArray[Any]:
    """The inputs of an NPY or NPZ file, which need not have answers."""
    suffix = Path(source).suffix.lower()
    if suffix == ".npy":
        matrix = data.read_npy(source)
        if target is None:
            return matrix
        if not target.lstrip("-").isdecimal() or matrix.ndim != 2:
            raise ConfigurationError(f"--target {target}: the columns of {source!r} have numbers, not names")
        return np.delete(matrix, int(target), axis=1)
    if suffix != ".npz":
        data.load(source)  # says what can be read
    arrays = {_ARRAYS.get(name, name): array for name, array in data.read_npz(source).items()}
    wanted = "X_test" if part in (None, "test") and "X_test" in arrays else "X"
    if wanted not in arrays:
        raise DataError(f"{source!r} holds the arrays {', '.join(arrays)}; expected X, with a row for each answer")
    X = arrays[wanted]
    return X.reshape(len(X), -1) if X.ndim > 2 else X


def _prepared(net: MLP, X: NDArray[Any]) -> NDArray[Any]:
    if net.preprocessing is None:
        return X
    if X.ndim != 2:
        raise ShapeError(f"the inputs have shape {X.shape}, expected (rows, columns)")
    return net.preprocessing.transform(X)


def _as_classes_of(net: MLP, y: NDArray[Any], classes: tuple[Any, ...] | None, where: str) -> NDArray[Any]:
    """Class numbers of the data as those of the model."""
    if classes is None or net.classes is None or classes == net.classes:
        return y
    return _codes(net, [classes[code] for code in y.tolist()], where)


def _codes(net: MLP, labels: list[Any], where: str) -> NDArray[Any]:
    assert net.classes is not None
    code = {label: number for number, label in enumerate(net.classes)}
    for row, label in enumerate(labels):
        if label not in code:
            known = ", ".join(map(repr, net.classes[:10])) + (", ..." if len(net.classes) > 10 else "")
            raise DataError(f"{where}: row {row} (counted from 0) is {label!r}; the model's classes are {known}")
    return np.array([code[label] for label in labels], dtype=np.int64)
