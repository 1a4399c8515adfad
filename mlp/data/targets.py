"""Targets: whether they are classes or quantities, and the codes of the classes."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, ShapeError, UnknownNameError
from mlp.data.columns import categories, kind_of, name_rows, numbers
from mlp.data.dataset import Task

_MANY_CLASSES = 20
"""Integers with more distinct values than this, each in fewer than two rows on average, look like a quantity."""


def encode_targets(
    values: NDArray[Any], task: Task | None, where: str
) -> tuple[NDArray[Any], Task, tuple[str | int | float | bool, ...] | None]:
    """Decide what targets mean and bring them into the form of `Dataset`.

    Text, booleans and integers are classes, floating-point numbers are quantities; `task` overrides that.
    Classes are the distinct values in sorted order.  A matrix of integers or booleans with a single 1 in each row
    is taken as one-hot classes 0, 1, ...

    Parameters
    ----------
    values : ndarray of shape (n,) or (n, k)
        The targets as read.
    task : {"classification", "regression"} or None
        What they mean; None decides by their type.
    where : str
        What to call them in errors: ``"column 'price'"``.

    Returns
    -------
    y : ndarray of shape (n,), int64 codes; or of shape (n,) or (n, k), floating point
        The encoded targets.
    task : {"classification", "regression"}
        The task decided on.
    classes : tuple or None
        The label of each code.

    Raises
    ------
    DataError
        If targets are missing or infinite, there is but one class, text is to be a quantity, or integers look like
        a quantity and `task` is None.
    ShapeError
        If a matrix of classes is not one-hot.
    UnknownNameError
        If there is no such `task`.

    Examples
    --------
    >>> encode_targets(np.array(["no", "yes", "no"]), None, "column 'spam'")
    (array([0, 1, 0]), 'classification', ('no', 'yes'))
    >>> encode_targets(np.array([1.5, 2.5]), None, "column 'price'")
    (array([1.5, 2.5]), 'regression', None)
    """
    if task is not None and task not in get_args(Task):
        raise UnknownNameError.among("task", task, get_args(Task))
    if values.ndim not in (1, 2) or len(values) == 0:
        raise ShapeError(f"{where} has shape {values.shape}, expected a target for each row, (n,) or (n, k)")
    if task is None:
        task = "regression" if values.dtype.kind == "f" else "classification"
        if task == "classification" and values.ndim == 1:
            _check_not_a_quantity(values, where)
    if task == "regression":
        return _quantities(values, where), task, None
    y, classes = _one_hot(values, where) if values.ndim == 2 else _classes(values, where)
    if len(classes) < 2:
        raise DataError(
            f"{where} has one class only, {classes[0]!r}; to learn to tell classes apart takes two or more. "
            "Add rows of another class, or choose another target"
        )
    return y, task, classes


def _check_not_a_quantity(values: NDArray[Any], where: str) -> None:
    if values.dtype.kind in "iu":
        distinct = len(np.unique(values))
        if distinct > _MANY_CLASSES and 2 * distinct > len(values):
            raise DataError(
                f"{where} has {distinct} different integers in {len(values)} rows, which looks like a quantity; "
                "say task='regression', or task='classification' if each of them is a class"
            )


def _quantities(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.dtype.kind not in "iuf":
        kind = kind_of(values.ravel(), where)
        raise DataError(f"{where} holds {kind} values, and regression needs numbers; use task='classification'")
    finite = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
    if not finite.all():
        raise DataError(f"{where} is missing or infinite in {name_rows(~finite)}; leave those rows out")
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _classes(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], tuple[str | int | float | bool, ...]]:
    if kind_of(values, where) == "number":
        labels = numbers(values, where) if values.dtype.kind == "f" else values
        _check_present(np.isnan(labels), where)
        found, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64), tuple(found.tolist())
    listed = categories(values, where)
    _check_present(np.array([value is None for value in listed]), where)
    present: list[Any] = listed
    classes = sorted(set(present))
    code = {label: i for i, label in enumerate(classes)}
    return np.array([code[label] for label in present], dtype=np.int64), tuple(classes)


def _check_present(missing: NDArray[np.bool_], where: str) -> None:
    if missing.any():
        raise DataError(f"{where} is missing in {name_rows(missing)}; leave those rows out, or fill in the label")


def _one_hot(values: NDArray[Any], where: str) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    wrong = ((values != 0) & (values != 1)).any(axis=1) | (np.count_nonzero(values, axis=1) != 1)
    if wrong.any():
        raise ShapeError(
            f"{where} has shape {values.shape}, but {name_rows(wrong)} are not one-hot (a single 1, the rest 0); "
            "give labels of shape (n,), or task='regression' for several quantities"
        )
    return values.argmax(axis=1).astype(np.int64), tuple(range(values.shape[1]))
