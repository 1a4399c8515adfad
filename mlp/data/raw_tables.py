"""Load a raw table as a data set: choose its columns, split its rows, and fit the preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.data.dataset import Dataset, Task
from mlp.data.encoders import CategoricalColumn, Scale
from mlp.data.inference import ColumnChoices, counts_rows, prepare
from mlp.data.preparation import Note, plain
from mlp.data.preprocessing import Preprocessing
from mlp.data.reading import Reading
from mlp.data.splitting import split_rows
from mlp.data.table_targets import Target, read_targets, target_names
from mlp.data.tables import RawTable, check_column, read_raw_table, read_table
from mlp.data.targets import encode_targets

Table = Mapping[str, NDArray[Any]]

_HUGE = 1e150
"""The squares of larger numbers overflow in float64, or their sums do."""


def load_table(
    name: str,
    target: Target,
    test_fraction: float,
    seed: int,
    task: Task | None,
    scale: Scale,
    choices: ColumnChoices,
    preprocessing: Preprocessing | None,
    reading: Reading,
) -> Dataset:
    """Load a raw table; the arguments are those of `mlp.data.load`."""
    where = repr(name)
    raw = _read(name, choices, preprocessing, reading)
    columns = raw.columns
    names = target_names(target, columns, where)
    _refuse_second_target(raw, names, where)
    choices.require_columns(columns, names, where)
    if len(columns) == len(names):
        raise DataError(f"{where} has no column but the target {plain(names[0])}; add at least one input column")
    targets = read_targets(columns, names, task, where)
    every = len(targets.rows) == len(columns[names[0]])
    table = {key: column if every else column[targets.rows] for key, column in columns.items() if key not in names}
    labels = targets.y if targets.classes is not None else None
    train, test = split_rows(len(targets.rows), test_fraction, seed, labels)
    notes = [*raw.notes, *targets.notes]
    if preprocessing is None:
        counters = {key for key, column in columns.items() if counts_rows(key, column)}
        preparation, found = prepare(table, train, choices, where, counters)
        preparation = replace(preparation, reading=raw.reading)
        prepared, _ = preparation.apply({key: column[train] for key, column in table.items()})
        try:
            fitted = Preprocessing.fit(prepared, scale, share_rare=True)
        except DataError as error:
            _name_huge(prepared, targets.rows[train], where)
            raise error
        preprocessing = Preprocessing(scale, fitted.columns, preparation)
        notes += found
    prepared_table, found = preprocessing.prepare(table)
    notes += found
    X, X_test = (_encoded(preprocessing, prepared_table, rows, notes) for rows in (train, test))
    notes += _rare(preprocessing)
    return Dataset(
        name,
        X,
        targets.y[train],
        X_test if len(test) else None,
        targets.y[test] if len(test) else None,
        targets.task,
        targets.classes,
        preprocessing=preprocessing,
        feature_names=preprocessing.feature_names,
        target_names=names,
        rows=targets.rows[train],
        rows_test=targets.rows[test] if len(test) else None,
        task_reason=targets.reason,
        notes=tuple(notes),
    )


def _read(name: str, choices: ColumnChoices, preprocessing: Preprocessing | None, reading: Reading) -> RawTable:
    if preprocessing is None or preprocessing.preparation is None:
        return read_raw_table(name, choices.categorical, reading, choices.numeric)
    preparation = preprocessing.preparation
    return read_raw_table(name, preparation.text_columns, preparation.reading, preparation.number_columns)


def _refuse_second_target(raw: RawTable, names: tuple[str, ...], where: str) -> None:
    """Raise an error if another column has the name of a target: it may hold the answers."""
    for number, old in raw.renamed.items():
        if old in names:
            raise DataError(
                f"{where} has several columns called {plain(old)}, the target; give them different names, since the "
                f"network would learn the answers from {plain(number)}"
            )


def _name_huge(prepared: Table, rows: NDArray[np.intp], where: str) -> None:
    """Raise an error that names the row and the column of a number that cannot be scaled, if there is one."""
    for name, column in prepared.items():
        if column.dtype.kind != "f" or not (np.abs(column) > _HUGE).any():
            continue
        row = int(np.nanargmax(np.abs(column)))
        raise DataError(
            f"{where}, column {plain(name)}, row {rows[row]} (counted from 0): {column[row]:g} is too large to be "
            "scaled in float64; correct it, write it as missing, or divide the column by a constant"
        )


def _encoded(
    preprocessing: Preprocessing, prepared: Table, rows: NDArray[np.intp], notes: list[Note]
) -> NDArray[np.float64]:
    """The inputs for some rows; what is unknown among them is added to the notes."""
    X, unknown = preprocessing.encode_and_count({key: column[rows] for key, column in prepared.items()})
    notes += unknown
    return X


def _rare(preprocessing: Preprocessing) -> list[Note]:
    notes = []
    for column in preprocessing.columns:
        if isinstance(column, CategoricalColumn) and column.rare:
            n = f"{len(column.rare_names):,}" if column.rare_names else "the"
            notes.append(Note("rare", f"{plain(column.name)}: {n} rare categories share one input"))
    return notes


def load_as_before(
    name: str, target: Target, test_fraction: float, seed: int, task: Task | None, preprocessing: Preprocessing
) -> Dataset:
    """Load a table for a model of a version that did not prepare raw tables."""
    columns = read_table(name)
    column = check_column(target if isinstance(target, str) else None, columns, repr(name))
    y, task, classes = encode_targets(columns.pop(column), task, f"{name!r}, column {column!r}")
    if not columns:
        raise DataError(f"{name!r} has no column but the target {column!r}; add at least one input column")
    train, test = split_rows(len(y), test_fraction, seed, y if classes is not None else None)
    X, X_test = (
        preprocessing.transform({key: values[rows] for key, values in columns.items()}) for rows in (train, test)
    )
    has_test = len(test) > 0
    return Dataset(
        name,
        X,
        y[train],
        X_test if has_test else None,
        y[test] if has_test else None,
        task,
        classes,
        preprocessing=preprocessing,
        feature_names=preprocessing.feature_names,
        target_names=(column,),
        rows=train,
        rows_test=test if has_test else None,
    )
