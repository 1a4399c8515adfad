"""Targets: the choice between classification and regression, and the encoding of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, ShapeError, UnknownNameError
from mlp.data.columns import as_categories, as_float64, column_kind, format_rows
from mlp.data.dataset import Task

_MANY_CLASSES = 20
"""Whole numbers with more distinct values are probably no classes."""

NOT_WHOLE: tuple[Task, str] = ("regression", "not whole numbers")
"""What `choose_task` returns for numbers that are not whole."""


def choose_task(values: NDArray[Any]) -> tuple[Task, str]:
    """Choose the task for a column of targets, and say why.

    Text and booleans are classes.  Numbers are classes if all of them are whole, such as 0.0 and 1.0, at most 20 are
    different, and each occurs twice on average or there are only two.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The targets; none is missing.

    Returns
    -------
    task : {"classification", "regression"}
    reason : str

    Examples
    --------
    >>> choose_task(np.array([0.0, 1.0, 1.0]))
    ('classification', '2 different whole numbers')
    >>> choose_task(np.array([118_000, 95_500, 203_000]))
    ('regression', '3 different whole numbers in 3 rows')
    """
    if values.dtype.kind not in "iuf":
        kind = column_kind(values, "the target")
        return "classification", "text" if kind == "text" else "true and false"
    if not (values == np.floor(values)).all():
        return NOT_WHOLE
    return task_of_whole_numbers(len(np.unique(values)), len(values), is_float=values.dtype.kind == "f")


def task_of_whole_numbers(distinct: int, n_rows: int, *, is_float: bool) -> tuple[Task, str]:
    """Choose the task for a column of whole numbers as `choose_task` does, by how many of them are different.

    Examples
    --------
    >>> task_of_whole_numbers(3, 100, is_float=False)
    ('classification', '3 different whole numbers')
    """
    if distinct > _MANY_CLASSES:
        return "regression", f"{distinct:,} different whole numbers"
    if distinct == 1 and is_float:
        return "regression", "one number, with a decimal point"
    if distinct > 2 and 2 * distinct > n_rows:
        return "regression", f"{distinct} different whole numbers in {n_rows} rows"
    return "classification", f"{distinct} different whole numbers"


def encode_targets(
    values: NDArray[Any], task: Task | None, where: str
) -> tuple[NDArray[Any], Task, tuple[str | int | float | bool, ...] | None]:
    """Choose the task, and convert the targets to the form that `Dataset` has.

    Text, booleans and integers are classes, floating-point numbers are regression targets; `task` overrides this.
    Classes are the distinct values in sorted order.  A matrix of integers or booleans with a single 1 in each row
    is read as one-hot classes 0, 1, ...

    Parameters
    ----------
    values : ndarray of shape (n,) or (n, k)
        The targets as read.
    task : {"classification", "regression"} or None
        The task; None chooses it from the dtype.
    where : str
        Name of the targets in error messages: ``"column 'price'"``.

    Returns
    -------
    y : ndarray of shape (n,), int64 codes; or of shape (n,) or (n, k), floating point
        The encoded targets.
    task : {"classification", "regression"}
        The task.
    classes : tuple or None
        The label of each code.

    Raises
    ------
    DataError
        If targets are missing or infinite, there is only one class, regression targets are not numbers, or `task` is
        None and integers look like regression targets.
    ShapeError
        If a matrix of classes is not one-hot.
    UnknownNameError
        If `task` is unknown.

    Examples
    --------
    >>> encode_targets(np.array(["no", "yes", "no"]), None, "column 'spam'")
    (array([0, 1, 0]), 'classification', ('no', 'yes'))
    >>> encode_targets(np.array([1.5, 2.5]), None, "column 'price'")
    (array([1.5, 2.5]), 'regression', None)
    """
    check_task(task)
    if values.ndim not in (1, 2) or len(values) == 0:
        raise ShapeError(f"{where} has shape {values.shape}, expected one target per row: (n,) or (n, k)")
    if task is None:
        task = "regression" if values.dtype.kind == "f" else "classification"
        if task == "classification" and values.ndim == 1 and values.dtype.kind in "iu":
            check_are_classes(len(np.unique(values)), len(values), where)
    if task == "regression":
        return _check_regression(values, where), task, None
    y, classes = _decode_one_hot(values, where) if values.ndim == 2 else _encode_classes(values, where)
    require_two_classes(classes, where)
    return y, task, classes


def check_task(task: Task | None) -> None:
    """Raise an error if a task is unknown; None is that to be chosen.

    Raises
    ------
    UnknownNameError
        If so.
    """
    if task is not None and task not in get_args(Task):
        raise UnknownNameError.among("task", task, get_args(Task))


def require_two_classes(classes: Sequence[Any], where: str) -> None:
    """Raise an error if there is one class only.

    Raises
    ------
    DataError
        If so.
    """
    if len(classes) < 2:
        raise DataError(
            f"{where} has one class only, {classes[0]!r}, but classification needs two or more; "
            "add rows of another class, or choose another target"
        )


def check_are_classes(distinct: int, n_rows: int, where: str) -> None:
    """Raise an error if integers of so many different values look like regression targets.

    Raises
    ------
    DataError
        If so.
    """
    if distinct > _MANY_CLASSES and 2 * distinct > n_rows:
        raise DataError(
            f"{where} has {distinct} different integers in {n_rows} rows, which look like regression "
            "targets; set task='regression', or task='classification' if each integer is a class"
        )


def _check_regression(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.dtype.kind not in "iuf":
        raise no_numbers(column_kind(values.ravel(), where), where)
    finite = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
    if not finite.all():
        raise not_finite(format_rows(~finite), where)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def no_numbers(kind: str, where: str) -> DataError:
    """Return the error for regression targets that are no numbers."""
    return DataError(f"{where} holds {kind} values, but regression needs numbers; use task='classification'")


def not_finite(rows: str, where: str) -> DataError:
    """Return the error for targets that are NaN or infinite in some rows, see `format_rows`."""
    return DataError(f"{where} is missing or infinite in {rows}; remove those rows")


def _encode_classes(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], tuple[str | int | float | bool, ...]]:
    if column_kind(values, where) == "number":
        numbers = as_float64(values, where) if values.dtype.kind == "f" else values
        _check_present(np.isnan(numbers), where)
        distinct, codes = np.unique(numbers, return_inverse=True)
        return codes.astype(np.int64), tuple(distinct.tolist())
    labels: list[Any] = as_categories(values, where)
    _check_present(np.array([label is None for label in labels]), where)
    classes = sorted(set(labels))
    code = {label: i for i, label in enumerate(classes)}
    return np.array([code[label] for label in labels], dtype=np.int64), tuple(classes)


def _check_present(missing: NDArray[np.bool_], where: str) -> None:
    if missing.any():
        raise DataError(f"{where} is missing in {format_rows(missing)}; remove those rows, or add the label")


def not_one_hot(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of the rows of a matrix that are not a single 1 among zeros.

    Examples
    --------
    >>> not_one_hot(np.array([[0, 1], [1, 1]]))
    array([False,  True])
    """
    wrong: NDArray[np.bool_] = ((values != 0) & (values != 1)).any(axis=1) | (np.count_nonzero(values, axis=1) != 1)
    return wrong


def one_hot_error(shape: tuple[int, ...], rows: str, where: str) -> ShapeError:
    """Return the error for a matrix of classes of which some rows, see `format_rows`, are not one-hot."""
    return ShapeError(
        f"{where} has shape {shape}, but {rows} are not one-hot (a single 1, the rest 0); "
        "give labels of shape (n,), or task='regression' for several outputs"
    )


def _decode_one_hot(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    wrong = not_one_hot(values)
    if wrong.any():
        raise one_hot_error(values.shape, format_rows(wrong), where)
    return values.argmax(axis=1).astype(np.int64), tuple(range(values.shape[1]))
