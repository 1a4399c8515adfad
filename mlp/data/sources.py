"""`load`: from the name of a set or the path of a file to a `Dataset` that is split and preprocessed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, FileFormatError, ShapeError, UnknownNameError
from mlp.data.arrays import read_npy, read_npz
from mlp.data.columns import kind_of, name_rows, numbers
from mlp.data.dataset import Dataset, Task
from mlp.data.images import digits, mnist
from mlp.data.preprocessing import SCALES, Preprocessing, Scale
from mlp.data.splitting import split_rows
from mlp.data.tables import TABLE_SUFFIXES, check_column, read_table
from mlp.data.targets import encode_targets
from mlp.data.toys import TOY_NAMES, toy

SOURCE_NAMES = ("digits", "mnist", *TOY_NAMES)
"""The names that `load` knows; anything else is a path."""

_FILE_SUFFIXES = (*TABLE_SUFFIXES, ".npy", ".npz")
_NPZ_NAMES = {"x_train": "X", "y_train": "y", "x_test": "X_test"}  # as in Keras' mnist.npz


def load(
    source: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    target: str | int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    task: Task | None = None,
    scale: Scale | None = None,
) -> Dataset:
    """Load a data set, set a test part aside, and fit the preprocessing on the rest.

    Parameters
    ----------
    source : str or path-like
        - ``"digits"``: 1797 images of 8x8, with scikit-learn;
        - ``"mnist"``: the four IDX files in `data_dir`, with their own test part;
        - ``"xor"``, ``"moons"``, ``"circles"``, ``"spirals"``, ``"sine"``: toy sets, see `toy`;
        - a path that ends in ``.csv``, ``.tsv`` or ``.parquet``: a table, see `read_table`;
        - a path that ends in ``.npz``: the arrays `X` and `y`, and `X_test` and `y_test` if it has its own test part
          (or, as Keras names them, `x_train`, `y_train`, `x_test`, `y_test`).  uint8 arrays of more than two
          dimensions are taken as images: flattened, and to be scaled by 1/255;
        - a path that ends in ``.npy``: a matrix that has the target as one of its columns.
    data_dir : str or path-like, optional
        The folder of MNIST; by default what the environment variable ``MLP_DATA`` names.
    target : str or int, optional
        The name of the target column of a table, or the number of that of an NPY file (by default the last, -1).
    test_fraction : float
        The share of rows that is set aside for the test, if the source has no test part of its own; 0 for none.
        Classes are split in proportion; see `mlp.data.splitting.split_rows`.
    seed : int
        Seed of the split, and of a toy set's noise.
    task : {"classification", "regression"}, optional
        What the targets mean.  By default text, booleans and integers are classes and floats are quantities.
    scale : {"none", "standard", "minmax"}, optional
        How inputs are scaled, with numbers of the training part only; see `Preprocessing.fit`.  By default tables
        are standardised, images keep their bytes and carry an `input_scale`, and other arrays are left as they are.
        A scale given by name replaces the `input_scale`, and missing values (NaN) become the column's median.

    Returns
    -------
    Dataset
        See its attributes.

    Raises
    ------
    UnknownNameError
        If there is no such set, column, task or scale.
    ConfigurationError
        If an argument is out of range, or means nothing for this source.
    FileFormatError
        If the file is missing, unreadable or damaged.
    DataError, ShapeError, DtypeError
        If its contents cannot be learnt from.

    Examples
    --------
    >>> load("digits")
    <Dataset 'digits': classification, 1438 training rows, 359 test rows, 64 inputs, 10 outputs>
    >>> load("moon")
    Traceback (most recent call last):
        ...
    backends.errors.UnknownNameError: unknown data set 'moon'; did you mean 'moons'? Valid: digits, mnist, xor, moons, \
circles, spirals, sine, or a path that ends in .csv .tsv .parquet .npy .npz
    """
    if scale is not None and scale not in SCALES:
        raise UnknownNameError.among("scale", scale, SCALES)
    name = os.fspath(source)
    kind = name if name in SOURCE_NAMES else _file_kind(name)
    _check_meaning(name, kind, data_dir, target)
    if kind in TABLE_SUFFIXES:
        return _load_table(name, target, test_fraction, seed, task, "standard" if scale is None else scale)
    match kind:
        case "digits":
            dataset = digits()
        case "mnist":
            dataset = mnist(data_dir)
        case ".npz":
            dataset = _load_npz(name, task)
        case ".npy":
            dataset = _load_npy(name, target, task)
        case _:
            dataset = toy(name, seed=seed)
    if task not in (None, dataset.task):
        raise ConfigurationError(f"{name!r} is a set for {dataset.task}; task={task!r} means nothing for it")
    # before the split, so that the rows that errors name are those of the file
    _check_finite(dataset.X, f"{name!r}, training part", nan_is_missing=scale is not None)
    if dataset.X_test is not None:
        _check_finite(dataset.X_test, f"{name!r}, test part", nan_is_missing=scale is not None)
    return _scaled(_split(dataset, test_fraction, seed), scale)


def _file_kind(name: str) -> str:
    path = Path(name)
    if path.suffix.lower() in _FILE_SUFFIXES:
        return path.suffix.lower()
    if path.exists():
        what = "is a folder" if path.is_dir() else f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise FileFormatError(f"{name!r} {what}; name a file that ends in {' '.join(_FILE_SUFFIXES)}")
    valid = [*SOURCE_NAMES, f"or a path that ends in {' '.join(_FILE_SUFFIXES)}"]
    error = UnknownNameError.among("data set", name, valid)
    if path.suffix or len(path.parts) > 1:
        raise UnknownNameError(f"{error} (there is no file of that name either, seen from '{Path.cwd()}')")
    raise error


def _check_meaning(name: str, kind: str, data_dir: object, target: object) -> None:
    if data_dir is not None and kind != "mnist":
        raise ConfigurationError(f"data_dir is the folder of MNIST, and means nothing for {name!r}; leave it out")
    if target is not None and kind not in (*TABLE_SUFFIXES, ".npy"):
        raise ConfigurationError(
            f"target names a column of a table or NPY file; {name!r} has its targets, leave it out"
        )


def _check_finite(X: NDArray[Any], where: str, *, nan_is_missing: bool) -> None:
    if X.dtype.kind != "f":
        return
    bad = np.isinf(X) if nan_is_missing else ~np.isfinite(X)
    if bad.any():
        raise DataError(
            f"{where}: inputs are NaN or infinite in {name_rows(bad.any(axis=1))}, first in column "
            f"{np.argwhere(bad)[0][1]}; leave those rows out, or write NaN where values are missing and give a scale "
            "('none', 'standard', 'minmax'), which puts the column's median there"
        )


def _split(dataset: Dataset, test_fraction: float, seed: int) -> Dataset:
    if dataset.X_test is not None:
        return dataset
    labels = dataset.y if dataset.classes is not None else None
    train, test = split_rows(len(dataset.X), test_fraction, seed, labels)
    X, y = dataset.X, dataset.y
    if len(test) == 0:
        return replace(dataset, X=X[train], y=y[train])
    return replace(dataset, X=X[train], y=y[train], X_test=X[test], y_test=y[test])


def _scaled(dataset: Dataset, scale: Scale | None) -> Dataset:
    if scale is not None:
        fitted = Preprocessing.fit(dataset.X, scale)
        X_test = None if dataset.X_test is None else fitted.transform(dataset.X_test)
        return replace(dataset, X=fitted.transform(dataset.X), X_test=X_test, input_scale=None, preprocessing=fitted)
    return dataset


def _load_table(
    name: str, target: str | int | None, test_fraction: float, seed: int, task: Task | None, scale: Scale
) -> Dataset:
    columns = read_table(name)
    target = check_column(target, columns, repr(name))
    y, task, classes = encode_targets(columns.pop(target), task, f"{name!r}, column {target!r}")
    for key, column in columns.items():
        if kind_of(column, f"{name!r}, column {key!r}") == "number":
            numbers(column, f"{name!r}, column {key!r}")  # its errors name rows, which the split would shuffle
    if not columns:
        raise DataError(f"{name!r} has no column but the target {target!r}; there is nothing to learn from")
    train, test = split_rows(len(y), test_fraction, seed, y if classes is not None else None)
    fitted = Preprocessing.fit({key: column[train] for key, column in columns.items()}, scale)
    X, X_test = (fitted.transform({key: column[rows] for key, column in columns.items()}) for rows in (train, test))
    has_test = len(test) > 0
    return Dataset(
        name,
        X,
        y[train],
        X_test if has_test else None,
        y[test] if has_test else None,
        task,
        classes,
        preprocessing=fitted,
        feature_names=fitted.feature_names,
    )


def _load_npy(name: str, target: str | int | None, task: Task | None) -> Dataset:
    matrix = read_npy(name)
    if matrix.ndim != 2 or matrix.shape[1] < 2 or len(matrix) == 0:
        raise ShapeError(
            f"{name!r} has shape {matrix.shape}, expected rows of two columns or more, one of them the target; "
            "to keep inputs and targets apart, write an NPZ file: numpy.savez(path, X=X, y=y)"
        )
    column = _column_number(name, target, matrix.shape[1])
    y, task, classes = encode_targets(matrix[:, column], task, f"{name!r}, column {column}")
    return Dataset(name, np.delete(matrix, column, axis=1), y, task=task, classes=classes)


def _column_number(name: str, target: str | int | None, n_columns: int) -> int:
    try:
        column = -1 if target is None else int(target)
    except ValueError:
        raise ConfigurationError(f"target is {target!r}, but {name!r} has no names; give the column's number") from None
    if not -n_columns <= column < n_columns:
        raise ConfigurationError(f"target is column {column}, but {name!r} has columns 0 to {n_columns - 1}")
    return column % n_columns


def _load_npz(name: str, task: Task | None) -> Dataset:
    arrays = {_NPZ_NAMES.get(key, key): array for key, array in read_npz(name).items()}
    expected = "expected X and y, and optionally X_test and y_test (or x_train, y_train, x_test, y_test)"
    if set(arrays) not in ({"X", "y"}, {"X", "y", "X_test", "y_test"}):
        raise DataError(f"{name!r} holds the arrays {', '.join(arrays)}; {expected}")
    images = arrays["X"].dtype == np.uint8 and arrays["X"].ndim > 2
    for key in ("X", "X_test"):
        if key in arrays:
            arrays[key] = _inputs(arrays[key], images, f"{name!r}, array {key}")
    y, y_test = arrays["y"], arrays.get("y_test")
    together = y if y_test is None else _joined(y, y_test, repr(name))
    codes, task, classes = encode_targets(together, task, f"{name!r}, array y")
    return Dataset(
        name,
        arrays["X"],
        codes[: len(y)],
        arrays.get("X_test"),
        None if y_test is None else codes[len(y) :],
        task,
        classes,
        input_scale=1 / 255 if images else None,
    )


def _inputs(X: NDArray[Any], images: bool, where: str) -> NDArray[Any]:
    if X.size == 0:
        raise DataError(f"{where} has shape {X.shape}; there is nothing to learn from")
    if images and X.dtype == np.uint8 and X.ndim > 2:
        return X.reshape(len(X), -1)
    if X.ndim != 2:
        remedy = "X.reshape(len(X), -1)" if X.ndim > 1 else "X.reshape(-1, 1) if each row has one input"
        raise ShapeError(f"{where} has shape {X.shape}, expected (rows, inputs); reshape it: {remedy}")
    return X


def _joined(y: NDArray[Any], y_test: NDArray[Any], where: str) -> NDArray[Any]:
    if y.dtype.kind != y_test.dtype.kind or y.ndim == 0 or y.shape[1:] != y_test.shape[1:]:
        raise DataError(
            f"{where}: y is {y.dtype.name} of shape {y.shape}, y_test {y_test.dtype.name} of shape {y_test.shape}; "
            "they must be of one kind"
        )
    return np.concatenate([y, y_test])
