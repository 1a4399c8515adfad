"""Load a raw table as a data set: choose its columns, split its rows, and fit the preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.data.dataset import Dataset, Task
from mlp.data.encoders import CategoricalColumn, Scale
from mlp.data.inference import ColumnChoices, counts_rows, prepare
from mlp.data.preparation import Note, plain
from mlp.data.preprocessing import Preprocessing
from mlp.data.splitting import split_rows
from mlp.data.table_targets import Target, read_targets, target_names
from mlp.data.tables import check_column, read_columns, read_table
from mlp.data.targets import encode_targets

Table = Mapping[str, NDArray[Any]]


def load_table(
    name: str,
    target: Target,
    test_fraction: float,
    seed: int,
    task: Task | None,
    scale: Scale,
    choices: ColumnChoices,
    preprocessing: Preprocessing | None,
) -> Dataset:
    """Load a raw table; the arguments are those of `mlp.data.load`."""
    where = repr(name)
    text = choices.categorical if preprocessing is None else preprocessing.text_columns
    columns = read_columns(name, text, raw=True)
    names = target_names(target, columns, where)
    choices.require_columns(columns, names, where)
    if len(columns) == len(names):
        raise DataError(f"{where} has no column but the target {plain(names[0])}; add at least one input column")
    targets = read_targets(columns, names, task, where)
    every = len(targets.rows) == len(columns[names[0]])
    table = {key: column if every else column[targets.rows] for key, column in columns.items() if key not in names}
    labels = targets.y if targets.classes is not None else None
    train, test = split_rows(len(targets.rows), test_fraction, seed, labels)
    notes = list(targets.notes)
    if preprocessing is None:
        counters = {key for key, column in columns.items() if counts_rows(key, column)}
        preparation, found = prepare(table, train, choices, where, counters)
        prepared, _ = preparation.apply({key: column[train] for key, column in table.items()})
        fitted = Preprocessing.fit(prepared, scale, share_rare=True)
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
