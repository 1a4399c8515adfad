"""Rows of a table for a trained model, read and prepared as in training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp import data
from mlp._backends import DataError
from mlp.checks import shortened
from mlp.data.columns import as_float64
from mlp.data.splitting import split_rows
from mlp.data.table_targets import Target, read_labels, target_names
from mlp.data.tables import check_column, read_raw_table
from mlp.io import run_folders

if TYPE_CHECKING:
    from mlp.model import MLP

logger = logging.getLogger("mlp")


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
    rows : ndarray of int
        Which rows of the source they are, counted from 0; if the source has a test part of its own, of this part.
    n_rows : int
        Number of rows of the source.
    n_without_target : int
        Number of rows that were left out because they have no target.
    kept : dict of str to list
        The columns of ``--keep``, as texts.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    part: str
    rows: NDArray[np.intp]
    n_rows: int
    n_without_target: int = 0
    kept: dict[str, list[str]] = field(default_factory=dict)

    def in_order(self) -> Rows:
        """The same rows in the order of the source."""
        order = np.argsort(self.rows, kind="stable")
        if (order == np.arange(len(order))).all():
            return self
        return replace(
            self,
            X=self.X[order],
            y=None if self.y is None else self.y[order],
            rows=self.rows[order],
            kept={name: [texts[i] for i in order] for name, texts in self.kept.items()},
        )


def from_table(
    net: MLP,
    source: str,
    part: str | None,
    target: Target,
    split: dict[str, Any],
    with_targets: bool,
    keep: list[str],
    reading: dict[str, Any],
) -> Rows:
    """Read the rows of a table; the arguments are those of `load_rows`.

    `split` has ``test_fraction`` and ``seed``, and ``sha256`` of the training part if the table is that of the run.
    `reading` has the arguments of `mlp.data.reading.Reading` that are not those of the training.
    """
    where = repr(source)
    columns = _read(net, source, target, keep, reading)
    n = len(next(iter(columns.values())))
    kept = {name: texts_of(columns[check_column(name, columns, where)]) for name in keep}
    y, present = None, np.arange(n)
    if with_targets:
        names = target_names(target, columns, where)
        y, present = targets_of(net, columns, names, where)
        if not len(present):
            raise no_targets(where, names[0])
        columns = {name: column for name, column in columns.items() if name not in names}
    else:
        columns = {name: column for name, column in columns.items() if name != target or net.preprocessing}
    X = _inputs(net, columns, where)
    if y is None:
        return Rows(X, None, "all", present, n, kept=kept)
    rows = np.arange(len(present))
    if part != "all" and not (part is None and not split["test_fraction"]):
        train, test = split_rows(len(y), split["test_fraction"], split["seed"], None if net.classes is None else y)
        warn_if_changed(split.get("sha256"), X[present[train]], y[train], source)
        part = part or "test"
        rows = train if part == "train" else test
    else:
        part = "all"
    selected = present[rows]
    kept = {name: [texts[row] for row in selected] for name, texts in kept.items()}
    return Rows(X[selected], y[rows], part, selected, n, n - len(present), kept)


def _read(net: MLP, source: str, target: Target, keep: list[str], reading: dict[str, Any]) -> dict[str, NDArray[Any]]:
    text = set(() if net.preprocessing is None else net.preprocessing.text_columns)
    if isinstance(target, str) and net.classes and all(isinstance(name, str) for name in net.classes):
        text.add(target)  # also if the class labels look like numbers
    if net.preprocessing is not None and net.preprocessing.preparation is not None:
        preparation = net.preprocessing.preparation
        chosen = replace(preparation.reading, **reading)
        return read_raw_table(source, text | set(keep), chosen, preparation.number_columns).columns
    columns = data.read_table(source, text=text, **reading)
    return (
        columns
        if not keep
        else columns
        | {
            name: column
            for name, column in data.read_table(source, text=text | set(keep), **reading).items()
            if name in keep and name not in _used(net)
        }
    )


def _used(net: MLP) -> set[str]:
    return set() if net.preprocessing is None else {column.name for column in net.preprocessing.columns}


def _inputs(net: MLP, columns: dict[str, NDArray[Any]], where: str) -> NDArray[Any]:
    if net.preprocessing is not None:
        return net.preprocessing.transform(columns)
    return np.column_stack([as_float64(column, f"{where}, column {key!r}") for key, column in columns.items()])


def targets_of(
    net: MLP, columns: Mapping[str, NDArray[Any]], names: tuple[str, ...], where: str, first: int = 0
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The targets of the rows that have them, and which rows these are; the first row is row `first` of the table."""
    if net.preprocessing is None or net.preprocessing.preparation is None:
        column, in_column = columns[names[0]], f"{where}, column {names[0]!r}"
        rows = np.arange(len(column))
        if net.classes is not None:
            return encode_labels(net, column.tolist(), in_column), rows
        numbers = as_float64(column, in_column)
        return numbers.astype(column.dtype) if column.dtype.kind == "f" else numbers, rows
    read = [read_labels(columns[name], net.classes) for name in names]
    rows = read[0][1]
    for _, others in read[1:]:
        rows = np.intersect1d(rows, others)
    in_column = f"{where}, column {names[0]!r}"
    values = [column[np.searchsorted(present, rows)] for column, present in read]
    if net.classes is not None:
        return encode_labels(net, values[0].tolist(), in_column, first + rows), rows
    targets = [column.astype(np.float64) for column in values]
    return targets[0] if len(targets) == 1 else np.column_stack(targets), rows


def no_targets(where: str, name: str) -> DataError:
    """Return the error for a target column without a value."""
    return DataError(
        f"{where}, column {name!r}: no row has a value, so there is nothing to compare with; use mlp predict"
    )


def warn_if_changed(sha256: str | None, X: NDArray[Any], y: NDArray[Any], source: str) -> None:
    """Warn if the training part of the data of a run is not that of its training; None for other data."""
    warn_of_change(sha256 is None or run_folders.fingerprint_of(X, y) == sha256, source)


def warn_of_change(is_same: bool, source: str) -> None:
    """Warn if the training part of the data of a run is not that of its training."""
    if not is_same:
        logger.warning(
            "%s has changed since the training, so it is unknown which of its rows the model was trained on",
            shortened(source),
        )


def texts_of(column: NDArray[Any]) -> list[str]:
    """The values of a column that ``--keep`` names; an empty text for a missing one."""
    return ["" if value is None or value != value else str(value) for value in column.tolist()]


def encode_labels(net: MLP, labels: list[Any], where: str, rows: NDArray[np.intp] | None = None) -> NDArray[np.int64]:
    """Convert labels to class numbers of the model; `rows` are their row numbers, for an error message.

    Raises
    ------
    DataError
        If the model does not have one of the classes.
    """
    assert net.classes is not None
    code = {label: number for number, label in enumerate(net.classes)}
    for i, label in enumerate(labels):
        if label not in code:
            row = i if rows is None else rows[i]
            known = ", ".join(map(repr, net.classes[:10])) + (", ..." if len(net.classes) > 10 else "")
            raise DataError(f"{where}: row {row} (counted from 0) is {label!r}; the model's classes are {known}")
    return np.array([code[label] for label in labels], dtype=np.int64)
