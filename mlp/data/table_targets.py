"""The target columns of a raw table: the rows that have a value, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError
from mlp.checks import counted
from mlp.data.dataset import Task
from mlp.data.inference import kind_of
from mlp.data.preparation import MISSING_MARKS, Note, RawColumn, RawKind, plain, read_values
from mlp.data.tables import check_column
from mlp.data.targets import choose_task, encode_targets

_MARKS = frozenset(MISSING_MARKS)

Target = str | int | list[str] | tuple[str, ...] | None


@dataclass(frozen=True)
class Targets:
    """The targets of a table.

    Attributes
    ----------
    names : tuple of str
        The columns.
    rows : ndarray of int
        The rows that have a value in each of them.
    y : ndarray of shape (n,) or (n, k)
        Their values, encoded as `Dataset` has them.
    task : {"classification", "regression"}
    classes : tuple or None
        The labels of the classes.
    reason : str
        Why it is this task.
    notes : tuple of Note
        Which rows were left out.
    """

    names: tuple[str, ...]
    rows: NDArray[np.intp]
    y: NDArray[Any]
    task: Task
    classes: tuple[str | int | float | bool, ...] | None
    reason: str
    notes: tuple[Note, ...]


def target_names(target: Target, columns: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the target columns; a text of several names is separated by commas.

    Raises
    ------
    ConfigurationError, UnknownNameError
        As `mlp.data.tables.check_column`, or if a name is given twice.

    Examples
    --------
    >>> target_names("width,height", {"width": 1, "height": 2, "age": 3}, "'boxes.csv'")
    ('width', 'height')
    """
    names = target if isinstance(target, list | tuple) else [target]
    if isinstance(target, str) and target not in columns and "," in target:
        parts = [part.strip() for part in target.split(",")]
        names = parts if any(part in columns for part in parts) else [target]
    checked = tuple(check_column(name, columns, where) for name in names)
    if len(set(checked)) < len(checked):
        raise ConfigurationError(f"{where}: a target column is given twice; remove one")
    return checked


def read_targets(columns: Mapping[str, NDArray[Any]], names: tuple[str, ...], task: Task | None, where: str) -> Targets:
    """Read the target columns for a training.

    Rows in which one of them has no value are left out.  For `task` see `mlp.data.targets.choose_task`; several targets
    must be numbers.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n,)
        The raw table.
    names : tuple of str
        The target columns.
    task : {"classification", "regression"} or None
        The task; None chooses it.
    where : str
        The table, for error messages.

    Raises
    ------
    DataError
        If no row has a value, the values are no targets, or there is one class only.
    ConfigurationError
        If there are several targets, and `task` is classification.
    """
    if len(names) > 1 and task == "classification":
        raise ConfigurationError(f"{where}: several targets must be numbers; name one target for classification")
    notes: list[Note] = []
    values = []
    for name in names:
        in_column = f"{where}, column {name!r}"
        kind = target_kind(columns[name], "regression" if len(names) > 1 else task, in_column)
        if kind == "number" and columns[name].dtype.kind in "iu":
            values.append(columns[name])
            continue
        read, counts = read_values(columns[name], kind, _MARKS)
        notes += [note for note in counts.notes(RawColumn(name, kind)) if note.heading == "stray"]
        values.append(read)
    present = np.all([has_value(column) for column in values], axis=0)
    rows = np.flatnonzero(present)
    shown = " and ".join(map(plain, names))
    if not len(rows):
        raise DataError(f"{where}, column {shown}: no row has a value; choose another target")
    if len(rows) < len(present):
        notes.append(Note("left out", f"{counted(len(present) - len(rows), 'row')} without a value of {shown}"))
    in_column = f"{where}, column {shown}"
    if len(names) > 1:
        matrix = np.column_stack([column[rows] for column in values])
        y, task, classes = encode_targets(matrix, "regression", in_column)
        return Targets(names, rows, y, task, classes, "several targets are numbers", tuple(notes))
    target = _whole_again(values[0][rows]) if len(rows) < len(present) else values[0][rows]
    reason = "as asked"
    if task is None:
        task, reason = choose_task(target)
    y, task, classes = encode_targets(target, task, in_column)
    return Targets(names, rows, y, task, classes, reason, tuple(notes))


def read_labels(column: NDArray[Any], classes: tuple[Any, ...] | None) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Read a target column for a model that has these classes, or predicts numbers (None).

    Returns
    -------
    values : ndarray
        Those that are not missing.
    rows : ndarray of int
        Their rows.

    Examples
    --------
    >>> read_labels(np.array([" yes", "?", "no"], object), ("no", "yes"))
    (array(['yes', 'no'], dtype=object), array([0, 2]))
    """
    kind: RawKind = "number"
    if classes is not None and all(isinstance(label, str) for label in classes):
        kind = "text"
    elif classes is not None and all(isinstance(label, bool) for label in classes):
        kind = "boolean"
    if kind == "number" and column.dtype.kind in "iu":
        return column, np.arange(len(column))
    values, _ = read_values(column, kind, _MARKS)
    rows = np.flatnonzero(has_value(values))
    return values[rows], rows


def target_kind(column: NDArray[Any], task: Task | None, where: str) -> RawKind:
    """Return what a target column of a raw table is read as.

    Raises
    ------
    DataError
        If it holds dates or times.
    """
    kind = kind_of(column)
    if kind is None or (task == "classification" and kind in ("date", "time")):
        return "text"  # no value, which is told when the rows are counted
    if kind in ("date", "time"):
        raise DataError(f"{where} holds {kind}s, which are no target; choose another one, or write them as numbers")
    if task == "classification" and kind == "number" and column.dtype.kind == "O":
        return "text"
    return kind


def has_value(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of the values that are not missing."""
    if values.dtype.kind == "f":
        missing: NDArray[np.bool_] = np.isnan(values)
        return ~missing
    if values.dtype.kind == "O":
        return np.array([value is not None for value in values.tolist()], dtype=np.bool_)
    return np.ones(len(values), dtype=np.bool_)


def _whole_again(values: NDArray[Any]) -> NDArray[Any]:
    """Integers that are floats because other rows had none."""
    whole = values.dtype.kind == "f" and (np.abs(values) < 2**53).all() and (values == np.floor(values)).all()
    return values.astype(np.int64) if whole else values
