"""The inputs of the tabular estimators: data frames and arrays as columns of a raw table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from mlp._backends import DataError, UnknownNameError
from mlp.data import Preprocessing
from mlp.data.columns import as_columns
from mlp.data.inference import ColumnChoices, counts_rows, prepare
from mlp.estimators.inputs import to_host

logger = logging.getLogger("mlp")

Table = dict[str, NDArray[Any]]

_CATEGORICAL_TYPES = ("category", "Categorical", "Enum")
"""How pandas and polars call the types of columns that are categories whatever their values are."""


def as_table(estimator: Any, X: Any, *, reset: bool) -> tuple[Table, list[str]]:
    """Return the columns of X by name, and the names of those whose type says that they are categories.

    Parameters
    ----------
    estimator : estimator
        Gets the number and the names of the features if `reset`; else those of X are compared with them.
    X : data frame or array_like, shape (n, n_features)
        The columns of an array are named ``x0, x1, ...``.
    reset : bool

    Raises
    ------
    ValueError, TypeError
        As in scikit-learn.
    """
    if hasattr(X, "columns") and hasattr(X, "__getitem__") and not hasattr(X, "tocsr"):
        names = [str(name) for name in X.columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise DataError(f"X has several columns of the name {min(twice)!r}: give them different names.")
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        table = as_columns(X)
        n = len(next(iter(table.values()), ()))
        if not n:
            raise DataError(
                f"Found array with 0 sample(s) (shape=({n}, {len(names)})) while a minimum of 1 is required by "
                f"{type(estimator).__name__}."
            )
        categorical = [str(name) for name in X.columns if str(X[name].dtype).partition("(")[0] in _CATEGORICAL_TYPES]
        return table, categorical
    X = validate_data(estimator, to_host("X", X), reset=reset, dtype=None, ensure_all_finite=False)
    if X.dtype.kind == "f" and np.isinf(X).any():
        raise DataError("X contains infinity: replace it with a number, or with NaN if the value is missing.")
    return {f"x{i}": np.ascontiguousarray(column) for i, column in enumerate(X.T)}, []


def fit_preprocessing(table: Table, categorical: Sequence[str]) -> Preprocessing:
    """Decide how to read each column, and fit robust scaling and one-hot encoding; the log says what was left out.

    Raises
    ------
    DataError
        If no column is left.
    """
    counters = {name for name, column in table.items() if counts_rows(name, column)}
    n = len(next(iter(table.values())))
    preparation, notes = prepare(table, np.arange(n), ColumnChoices(categorical=tuple(categorical)), "X", counters)
    prepared, found = preparation.apply(table)
    for note in [*notes, *found]:
        logger.log(logging.WARNING if note.heading == "stray" else logging.INFO, "%s: %s", note.heading, note.text)
    fitted = Preprocessing.fit(prepared, "robust", share_rare=True)
    return Preprocessing("robust", fitted.columns, preparation)


def chosen_columns(choice: Any, table: Table) -> list[str]:
    """The names of the columns that the parameter `categorical_features` chooses by name or by position.

    Raises
    ------
    UnknownNameError
        If there is no such column.
    """
    names = list(table)
    if choice is None:
        return []
    chosen = []
    for entry in choice:
        if isinstance(entry, int | np.integer) and not isinstance(entry, bool) and 0 <= entry < len(names):
            chosen.append(names[entry])
        elif isinstance(entry, str) and entry in table:
            chosen.append(entry)
        else:
            raise UnknownNameError.among("column in categorical_features", str(entry), names)
    return chosen
