"""`load`: read a data set by name or path, split it, and preprocess it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, FileFormatError, ShapeError, UnknownNameError
from mlp.checks import shortened
from mlp.data.arrays import column_number, map_npy, read_npy, read_npz, without_column
from mlp.data.columns import format_rows
from mlp.data.dataset import Dataset, Task
from mlp.data.images import digits, mnist
from mlp.data.inference import ColumnChoices
from mlp.data.preprocessing import SCALES, Preprocessing, Scale
from mlp.data.raw_tables import load_as_before, load_table
from mlp.data.reading import Reading
from mlp.data.row_blocks import row_blocks, take_rows
from mlp.data.splitting import split_rows
from mlp.data.table_files import TABLE_SUFFIXES, table_suffix
from mlp.data.table_targets import Target
from mlp.data.targets import choose_task, encode_targets
from mlp.data.toy_sets import TOY_NAMES, toy

SOURCE_NAMES = ("digits", "mnist", *TOY_NAMES)
"""The names of built-in data sets; `load` treats any other name as a path."""

FILE_SUFFIXES = (*TABLE_SUFFIXES, ".npy", ".npz")
"""Suffixes of the files that `load` reads."""
IMAGE_SCALE = 1 / 255
"""The `input_scale` of images of bytes."""

_NPZ_NAMES = {"x_train": "X", "y_train": "y", "x_test": "X_test"}  # as in Keras' mnist.npz


def load(
    source: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    target: Target | os.PathLike[str] = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    task: Task | None = None,
    scale: Scale | None = None,
    drop: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    separator: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> Dataset:
    """Load a data set, split off a test part, and fit the preprocessing on the training part.

    Parameters
    ----------
    source : str or path-like
        - ``"digits"``: 1797 images of 8x8 pixels from scikit-learn;
        - ``"mnist"``: the four IDX files in `data_dir`, which include a test part;
        - ``"xor"``, ``"moons"``, ``"circles"``, ``"spirals"``, ``"sine"``: toy sets, see `toy`;
        - a path that ends in ``.csv``, ``.tsv`` or ``.parquet``, or in ``.csv.gz`` or ``.csv.zst``: a table;
        - ``"-"``: a table in CSV format from the standard input;
        - a path that ends in ``.npz``: the arrays `X` and `y`, and optionally the test part `X_test` and `y_test` (or
          the names of Keras: `x_train`, `y_train`, `x_test`, `y_test`).  uint8 arrays of more than two dimensions are
          images: they are flattened, and `input_scale` is 1/255;
        - a path that ends in ``.npy``: a matrix, one of whose columns is the target; or, if `target` is another NPY
          file, the inputs, which may be images as in an NPZ file.
    data_dir : str or path-like, optional
        The folder of MNIST; by default the value of the environment variable ``MLP_DATA``.
    target : str, int, path-like or list of str, optional
        The name of the target column of a table, or its number in an NPY file (by default the last, -1), or the path of
        an NPY file with the targets of another.  Several
        columns of a table can be targets if they are numbers: a list of names, or one text with commas.
    test_fraction : float
        Fraction of the rows for the test part, if the source has no test part; 0 for none.  Classes are split in
        proportion; see `mlp.data.splitting.split_rows`.
    seed : int
        Seed of the split, and of the noise of a toy set.
    task : {"classification", "regression"}, optional
        By default text and booleans are classes, and so are whole numbers in a table or an NPY file if at most 20 are
        different and each occurs twice on average.  Other numbers are regression targets.  In an NPZ file, and in
        an NPY file of targets alone, integers are classes, and floats are regression targets.
    scale : {"none", "standard", "minmax", "robust"}, optional
        Scaling of the inputs, fitted on the training part only; see `Preprocessing.fit`.  By default tables are
        standardised, images stay uint8 with an `input_scale`, and other arrays are not changed.  An explicit scale
        replaces the `input_scale`, and missing values (NaN) become the median of the column.
    drop : sequence of str
        Columns of a table that are left out.
    columns : sequence of str, optional
        The only columns of a table that are inputs.
    categorical, numeric : sequence of str
        Columns of a table that are read as categories, and as numbers.
    separator : str, optional
        The character between the fields of a CSV or TSV file.  By default a comma in CSV files and a tab in TSV files,
        or a semicolon, a tab, a comma or a bar if only that gives all rows as many fields as the header.
    encoding : str, optional
        The encoding of a CSV or TSV file: ``"utf-8"`` (default), ``"latin-1"``, ``"cp1252"``, ``"utf-16"``, ...
    decimal : str, optional
        The decimal mark in a CSV or TSV file, ``"."`` or ``","``.  By default, in files without commas between the
        fields, columns are numbers with a decimal comma if at least 90 % of their values are.
    preprocessing : Preprocessing, optional
        Of a model that was trained on this table: its columns are read, and its numbers are used, as they were then.

    Returns
    -------
    Dataset
        See its attributes.

    Notes
    -----
    The columns of a table may be as they are in a raw file.  Text with blanks or one of the usual marks (``?``, ``NA``,
    ``null``, ...) is a missing value.  Left out are columns that are empty, constant, or nearly unique text, and
    those that count the rows, such as an index.  Dates as in ISO 8601, and others that tell the day from the month,
    become numbers: year, month, weekday, hour and the days elapsed since 1970.  The second column called ``a`` is
    called ``a.1``, as by pandas.  Text of which 90 % are numbers is a column of numbers, and other texts in it are
    missing values.  Rare categories share an input.  Rows without a target are left out.  The attribute `notes` of the
    result says what was done.

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
circles, spirals, sine, or a path that ends in .csv .tsv .parquet .csv.gz .tsv.gz .csv.zst .tsv.zst .npy .npz
    """
    if scale is not None and scale not in SCALES:
        raise UnknownNameError.among("scale", scale, SCALES)
    name = os.fspath(source)
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    kind = name if name in SOURCE_NAMES else _file_kind(name)
    choices = ColumnChoices(
        tuple(drop), None if columns is None else tuple(columns), tuple(categorical), tuple(numeric)
    )
    arguments = {"separator": separator, "encoding": encoding, "decimal": decimal}
    given: dict[str, Any] = {key: value for key, value in arguments.items() if value is not None}
    _check_arguments(name, kind, data_dir, target, choices)
    if given and (kind not in TABLE_SUFFIXES or kind == ".parquet"):
        raise ConfigurationError(
            f"{next(iter(given))} is of CSV and TSV files and does not apply to {name!r}; remove it"
        )
    if kind in TABLE_SUFFIXES:
        chosen_scale: Scale = "standard" if scale is None else scale
        if preprocessing is not None and preprocessing.preparation is None:
            return load_as_before(name, target, test_fraction, seed, task, preprocessing)
        return load_table(
            name, target, test_fraction, seed, task, chosen_scale, choices, preprocessing, Reading(**given)
        )
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
    if table_suffix(name) or path.suffix.lower() in FILE_SUFFIXES:
        return table_suffix(name) or path.suffix.lower()
    if os.path.exists(path):  # also for a name that is too long for a file
        problem = "is a folder" if path.is_dir() else f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise FileFormatError(f"{name!r} {problem}; name a file that ends in {' '.join(FILE_SUFFIXES)}")
    valid = [*SOURCE_NAMES, f"or a path that ends in {' '.join(FILE_SUFFIXES)}"]
    error = UnknownNameError.among("data set", name, valid)
    if path.suffix or len(path.parts) > 1:
        raise UnknownNameError(f"{error} (there is no file of that name either in '{Path.cwd()}')")
    raise error


def _check_arguments(name: str, kind: str, data_dir: object, target: object, choices: ColumnChoices) -> None:
    if data_dir is not None and kind != "mnist":
        raise ConfigurationError(f"data_dir is the folder of MNIST and does not apply to {name!r}; remove it")
    if target is not None and kind not in (*TABLE_SUFFIXES, ".npy"):
        raise ConfigurationError(
            f"target names a column of a table or NPY file and does not apply to {name!r}; remove it"
        )
    if choices != ColumnChoices() and kind not in TABLE_SUFFIXES:
        given = next(argument for argument in vars(choices) if getattr(choices, argument))
        raise ConfigurationError(f"{given} names columns of a table and does not apply to {name!r}; remove it")


def _check_finite(X: NDArray[Any], where: str, *, nan_is_missing: bool) -> None:
    if X.dtype.kind != "f":
        return
    bad = np.zeros(len(X), dtype=np.bool_)
    for rows in row_blocks(X):  # X may be mapped from a file that is larger than the memory for another copy
        bad[rows] = (np.isinf(X[rows]) if nan_is_missing else ~np.isfinite(X[rows])).any(axis=1)
    if bad.any():
        first = X[bad.argmax()]
        column = (np.isinf(first) if nan_is_missing else ~np.isfinite(first)).argmax()
        raise inputs_not_finite(where, format_rows(bad), int(column))


def inputs_not_finite(where: str, rows: str, column: int) -> DataError:
    """Return the error for inputs that are NaN or infinite: in which rows, and in which column of the first."""
    return DataError(
        f"{where}: inputs are NaN or infinite in {rows}, first in column {column}; remove those rows, "
        "or write NaN for missing values and set scale ('none', 'standard', 'minmax', 'robust'), which "
        "replaces NaN with the median of the column"
    )


def _split(dataset: Dataset, test_fraction: float, seed: int) -> Dataset:
    if dataset.X_test is not None:
        return dataset
    labels = dataset.y if dataset.classes is not None else None
    train, test = split_rows(len(dataset.X), test_fraction, seed, labels)
    X, y = dataset.X, dataset.y
    if len(test) == 0:
        return replace(dataset, X=take_rows(X, train), y=y[train], rows=train)
    return replace(
        dataset,
        X=take_rows(X, train),
        y=y[train],
        X_test=take_rows(X, test),
        y_test=y[test],
        rows=train,
        rows_test=test,
    )


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


def _load_npy(name: str, target: Target, task: Task | None) -> Dataset:
    if names_npy_file(target):
        return _load_npy_pair(name, str(target), task)
    matrix = map_npy(name)
    require_matrix(matrix.shape, repr(name))
    if isinstance(target, list | tuple):
        raise ConfigurationError(f"{name!r}: target is {target!r}, but an NPY file has one target; give its number")
    column = column_number(target, matrix.shape[1], repr(name))
    values = matrix[:, column].astype(matrix.dtype.newbyteorder("="))
    where, reason = f"{name!r}, column {column}", "as asked"
    if task is None and values.dtype.kind in "iuf" and np.isfinite(values).all():
        task, reason = choose_task(values)
    y, task, classes = encode_targets(values, task, where)
    return Dataset(name, without_column(matrix, column), y, task=task, classes=classes, task_reason=reason)


def names_npy_file(target: object) -> bool:
    """Whether a target is the path of an NPY file.

    Examples
    --------
    >>> names_npy_file("y.npy"), names_npy_file(-1)
    (True, False)
    """
    return isinstance(target, str | os.PathLike) and os.fspath(target).lower().endswith(".npy")


def require_matrix(shape: tuple[int, ...], where: str) -> None:
    """Raise an error if an array is no matrix of inputs and a target column.

    Raises
    ------
    ShapeError
        If so.
    """
    if len(shape) != 2 or shape[1] < 2 or shape[0] == 0:
        raise ShapeError(
            f"{where} has shape {shape}, expected rows of two columns or more, one of them the target; for separate "
            "inputs and targets name the file of the targets: target='y.npy'"
        )


def _load_npy_pair(name: str, target: str, task: Task | None) -> Dataset:
    X, y = map_npy(name), read_npy(target)
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise ShapeError(
            f"{name!r} has shape {X.shape}, and {target!r} {y.shape}; each row of the first needs its target in the "
            "second"
        )
    images = is_images(X.dtype, X.ndim)
    X = _input_matrix(X, images, repr(name))
    codes, task, classes = encode_targets(y, task, repr(target))
    return Dataset(name, X, codes, task=task, classes=classes, input_scale=IMAGE_SCALE if images else None)


def _load_npz(name: str, task: Task | None) -> Dataset:
    arrays = {_NPZ_NAMES.get(key, key): array for key, array in read_npz(name).items()}
    expected = "expected X and y, and optionally X_test and y_test (or x_train, y_train, x_test, y_test)"
    if set(arrays) not in ({"X", "y"}, {"X", "y", "X_test", "y_test"}):
        raise DataError(f"{name!r} holds the arrays {shortened(', '.join(arrays))}; {expected}")
    images = is_images(arrays["X"].dtype, arrays["X"].ndim)
    for key in ("X", "X_test"):
        if key in arrays:
            arrays[key] = _input_matrix(arrays[key], images, f"{name!r}, array {key}")
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
        input_scale=IMAGE_SCALE if images else None,
    )


def is_images(dtype: np.dtype[Any], ndim: int) -> bool:
    """Whether an array of inputs holds images: bytes in more than two dimensions."""
    return bool(dtype == np.uint8) and ndim > 2


def require_inputs(shape: tuple[int, ...], images: bool, where: str) -> None:
    """Raise an error if an array cannot be inputs: it must be a matrix, unless it holds images.

    Raises
    ------
    DataError
        If there are no values.
    ShapeError
        If it has another number of dimensions.
    """
    if 0 in shape:
        raise DataError(f"{where} has shape {shape}, which is empty; add rows and inputs")
    if not images and len(shape) != 2:
        remedy = "X.reshape(len(X), -1)" if len(shape) > 1 else "X.reshape(-1, 1) if each row has one input"
        raise ShapeError(f"{where} has shape {shape}, expected (rows, inputs); reshape it: {remedy}")


def _input_matrix(X: NDArray[Any], images: bool, where: str) -> NDArray[Any]:
    images = images and is_images(X.dtype, X.ndim)  # those of a training part do not make images of the test part
    require_inputs(X.shape, images, where)
    return X.reshape(len(X), -1) if images else X


def _concatenate_targets(y: NDArray[Any], y_test: NDArray[Any], where: str) -> NDArray[Any]:
    if y.dtype.kind != y_test.dtype.kind or y.ndim == 0 or y.shape[1:] != y_test.shape[1:]:
        raise DataError(
            f"{where}: y is {y.dtype.name} of shape {y.shape}, y_test {y_test.dtype.name} of shape {y_test.shape}; "
            "their types and columns must match"
        )
    return np.concatenate([y, y_test])
