"""`load`: read a data set by name or path, split it, and preprocess it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, FileFormatError, ShapeError, UnknownNameError
from mlp.checks import shortened
from mlp.data.arrays import column_number, map_npy, read_npz, without_column
from mlp.data.columns import as_float64, column_kind, format_rows
from mlp.data.dataset import Dataset, Task
from mlp.data.images import digits, mnist
from mlp.data.preprocessing import SCALES, Preprocessing, Scale
from mlp.data.row_blocks import row_blocks, take_rows
from mlp.data.splitting import split_rows
from mlp.data.tables import TABLE_SUFFIXES, check_column, read_table
from mlp.data.targets import encode_targets
from mlp.data.toy_sets import TOY_NAMES, toy

SOURCE_NAMES = ("digits", "mnist", *TOY_NAMES)
"""The names of built-in data sets; `load` treats any other name as a path."""

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
    """Load a data set, split off a test part, and fit the preprocessing on the training part.

    Parameters
    ----------
    source : str or path-like
        - ``"digits"``: 1797 images of 8x8 pixels from scikit-learn;
        - ``"mnist"``: the four IDX files in `data_dir`, which include a test part;
        - ``"xor"``, ``"moons"``, ``"circles"``, ``"spirals"``, ``"sine"``: toy sets, see `toy`;
        - a path that ends in ``.csv``, ``.tsv`` or ``.parquet``: a table, see `read_table`;
        - a path that ends in ``.npz``: the arrays `X` and `y`, and optionally the test part `X_test` and `y_test` (or
          the names of Keras: `x_train`, `y_train`, `x_test`, `y_test`).  uint8 arrays of more than two dimensions are
          images: they are flattened, and `input_scale` is 1/255;
        - a path that ends in ``.npy``: a matrix; one of its columns is the target.
    data_dir : str or path-like, optional
        The folder of MNIST; by default the value of the environment variable ``MLP_DATA``.
    target : str or int, optional
        The name of the target column of a table, or its number in an NPY file (by default the last, -1).
    test_fraction : float
        Fraction of the rows for the test part, if the source has no test part; 0 for none.  Classes are split in
        proportion; see `mlp.data.splitting.split_rows`.
    seed : int
        Seed of the split, and of the noise of a toy set.
    task : {"classification", "regression"}, optional
        By default text, booleans and integers are classes, and floats are regression targets.
    scale : {"none", "standard", "minmax"}, optional
        Scaling of the inputs, fitted on the training part only; see `Preprocessing.fit`.  By default tables are
        standardised, images stay uint8 with an `input_scale`, and other arrays are not changed.  An explicit scale
        replaces the `input_scale`, and missing values (NaN) become the median of the column.

    Returns
    -------
    Dataset
        See its attributes.

    Raises
    ------
    UnknownNameError
        If the data set, column, task or scale is unknown.
    ConfigurationError
        If an argument is out of range, or does not apply to this source.
    FileFormatError
        If the file is missing, unreadable or damaged.
    DataError, ShapeError, DtypeError
        If the contents are not valid training data.

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
    _check_arguments(name, kind, data_dir, target)
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
        raise ConfigurationError(f"{name!r} is a {dataset.task} data set; task={task!r} does not apply to it")
    # before the split, so that errors have the row numbers of the file
    _check_finite(dataset.X, f"{name!r}, training part", nan_is_missing=scale is not None)
    if dataset.X_test is not None:
        _check_finite(dataset.X_test, f"{name!r}, test part", nan_is_missing=scale is not None)
    return _scale(_split(dataset, test_fraction, seed), scale)


def _file_kind(name: str) -> str:
    path = Path(name)
    if path.suffix.lower() in _FILE_SUFFIXES:
        return path.suffix.lower()
    if os.path.exists(path):  # also for a name that is too long for a file
        problem = "is a folder" if path.is_dir() else f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise FileFormatError(f"{name!r} {problem}; name a file that ends in {' '.join(_FILE_SUFFIXES)}")
    valid = [*SOURCE_NAMES, f"or a path that ends in {' '.join(_FILE_SUFFIXES)}"]
    error = UnknownNameError.among("data set", name, valid)
    if path.suffix or len(path.parts) > 1:
        raise UnknownNameError(f"{error} (there is no file of that name either in '{Path.cwd()}')")
    raise error


def _check_arguments(name: str, kind: str, data_dir: object, target: object) -> None:
    if data_dir is not None and kind != "mnist":
        raise ConfigurationError(f"data_dir is the folder of MNIST and does not apply to {name!r}; remove it")
    if target is not None and kind not in (*TABLE_SUFFIXES, ".npy"):
        raise ConfigurationError(
            f"target names a column of a table or NPY file and does not apply to {name!r}; remove it"
        )


def _check_finite(X: NDArray[Any], where: str, *, nan_is_missing: bool) -> None:
    if X.dtype.kind != "f":
        return
    bad = np.zeros(len(X), dtype=np.bool_)
    for rows in row_blocks(X):  # X may be mapped from a file that is larger than the memory for another copy
        bad[rows] = (np.isinf(X[rows]) if nan_is_missing else ~np.isfinite(X[rows])).any(axis=1)
    if bad.any():
        first = X[bad.argmax()]
        column = (np.isinf(first) if nan_is_missing else ~np.isfinite(first)).argmax()
        raise DataError(
            f"{where}: inputs are NaN or infinite in {format_rows(bad)}, first in column {column}; remove those rows, "
            "or write NaN for missing values and set scale ('none', 'standard', 'minmax'), which replaces NaN with the "
            "median of the column"
        )


def _split(dataset: Dataset, test_fraction: float, seed: int) -> Dataset:
    if dataset.X_test is not None:
        return dataset
    labels = dataset.y if dataset.classes is not None else None
    train, test = split_rows(len(dataset.X), test_fraction, seed, labels)
    X, y = dataset.X, dataset.y
    if len(test) == 0:
        return replace(dataset, X=take_rows(X, train), y=y[train])
    return replace(dataset, X=take_rows(X, train), y=y[train], X_test=take_rows(X, test), y_test=y[test])


def _scale(dataset: Dataset, scale: Scale | None) -> Dataset:
    if scale is not None:
        fitted = Preprocessing.fit(dataset.X, scale)
        X_test = None if dataset.X_test is None else _transform(fitted, dataset.X_test)
        X = _transform(fitted, dataset.X)
        return replace(dataset, X=X, X_test=X_test, input_scale=None, preprocessing=fitted)
    return dataset


def _transform(fitted: Preprocessing, X: NDArray[Any]) -> NDArray[np.float64]:
    # nothing else refers to the array, so its memory may hold the result
    in_place = X.dtype == np.float64 and X.flags.owndata and X.flags.writeable
    return fitted.transform(X, out=X if in_place else None)


def _load_table(
    name: str, target: str | int | None, test_fraction: float, seed: int, task: Task | None, scale: Scale
) -> Dataset:
    columns = read_table(name)
    target = check_column(target, columns, repr(name))
    y, task, classes = encode_targets(columns.pop(target), task, f"{name!r}, column {target!r}")
    for key, column in columns.items():
        if column_kind(column, f"{name!r}, column {key!r}") == "number":
            as_float64(column, f"{name!r}, column {key!r}")  # checked before the split shuffles the row numbers
    if not columns:
        raise DataError(f"{name!r} has no column but the target {target!r}; add at least one input column")
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
    matrix = map_npy(name)
    if matrix.ndim != 2 or matrix.shape[1] < 2 or len(matrix) == 0:
        raise ShapeError(
            f"{name!r} has shape {matrix.shape}, expected rows of two columns or more, one of them the target; "
            "for separate inputs and targets write an NPZ file: numpy.savez(path, X=X, y=y)"
        )
    column = column_number(target, matrix.shape[1], repr(name))
    values = matrix[:, column].astype(matrix.dtype.newbyteorder("="))
    y, task, classes = encode_targets(values, task, f"{name!r}, column {column}")
    return Dataset(name, without_column(matrix, column), y, task=task, classes=classes)


def _load_npz(name: str, task: Task | None) -> Dataset:
    arrays = {_NPZ_NAMES.get(key, key): array for key, array in read_npz(name).items()}
    expected = "expected X and y, and optionally X_test and y_test (or x_train, y_train, x_test, y_test)"
    if set(arrays) not in ({"X", "y"}, {"X", "y", "X_test", "y_test"}):
        raise DataError(f"{name!r} holds the arrays {shortened(', '.join(arrays))}; {expected}")
    images = arrays["X"].dtype == np.uint8 and arrays["X"].ndim > 2
    for key in ("X", "X_test"):
        if key in arrays:
            arrays[key] = _check_inputs(arrays[key], images, f"{name!r}, array {key}")
    y, y_test = arrays["y"], arrays.get("y_test")
    all_targets = y if y_test is None else _concatenate_targets(y, y_test, repr(name))
    codes, task, classes = encode_targets(all_targets, task, f"{name!r}, array y")
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


def _check_inputs(X: NDArray[Any], images: bool, where: str) -> NDArray[Any]:
    if X.size == 0:
        raise DataError(f"{where} has shape {X.shape}, which is empty; add rows and inputs")
    if images and X.dtype == np.uint8 and X.ndim > 2:
        return X.reshape(len(X), -1)
    if X.ndim != 2:
        remedy = "X.reshape(len(X), -1)" if X.ndim > 1 else "X.reshape(-1, 1) if each row has one input"
        raise ShapeError(f"{where} has shape {X.shape}, expected (rows, inputs); reshape it: {remedy}")
    return X


def _concatenate_targets(y: NDArray[Any], y_test: NDArray[Any], where: str) -> NDArray[Any]:
    if y.dtype.kind != y_test.dtype.kind or y.ndim == 0 or y.shape[1:] != y_test.shape[1:]:
        raise DataError(
            f"{where}: y is {y.dtype.name} of shape {y.shape}, y_test {y_test.dtype.name} of shape {y_test.shape}; "
            "their types and columns must match"
        )
    return np.concatenate([y, y_test])
