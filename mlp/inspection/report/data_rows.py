"""Rows of the data on the page: which rows of the file they are, their values, and a page without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlp.checks import shortened
from mlp.data import CategoricalColumn, Preprocessing
from mlp.data.table_files import table_suffix
from mlp.data.tables import read_raw_table
from mlp.inspection.report.html_elements import Note, Section
from mlp.inspection.report.run_data import RunData

MAX_COLUMNS = 8
"""Most columns of the table whose values are shown."""

MAX_CHARACTERS = 30
"""Longer values are cut off."""


def row_numbers(run: RunData) -> NDArray[np.intp]:
    """The rows of the source that the rows of `run.rows` are, counted from 0; of a test part of its own, its rows."""
    assert run.dataset is not None
    numbers = run.dataset.rows if run.dataset.X_test is None else run.dataset.rows_test
    return np.arange(len(run.rows[0])) if numbers is None else numbers


def row_values(run: RunData, rows: ArrayLike) -> tuple[list[str], list[list[str]], int]:
    """The first columns that the network uses, and their values in some rows of the table, as they are in the file.

    Parameters
    ----------
    run : RunData
    rows : array_like of int
        Rows of the file.

    Returns
    -------
    names : list of str
        At most `MAX_COLUMNS`; none if the data are no raw table.
    values : list of list of str
        For each of the rows.
    n_columns : int
        The number of all columns that the network uses.
    """
    assert run.dataset is not None
    selected = np.asarray(rows, dtype=np.intp)
    preparation = None if run.dataset.preprocessing is None else run.dataset.preprocessing.preparation
    source = str(run.config["data"]["source"])
    if preparation is None or not table_suffix(source):
        return [], [[] for _ in selected], 0
    names = [column.name for column in preparation.columns][:MAX_COLUMNS]
    columns = read_raw_table(source, names, preparation.reading).columns
    values = [[_text(columns[name][row]) for name in names] for row in selected]
    return names, values, len(preparation.columns)


def _text(value: object) -> str:
    return "" if value is None or value != value else shortened(value, MAX_CHARACTERS)


def shown_rows(sections: Iterable[Section]) -> frozenset[int]:
    """The rows of the data that some sections show."""
    return frozenset().union(*(part.rows for section in _all(sections) for part in section.parts))


def _all(sections: Iterable[Section]) -> Iterator[Section]:
    for section in sections:
        yield section
        yield from _all(section.sections)


def without_rows(section: Section) -> Section:
    """A section without what shows rows of the data."""
    parts = [part for part in section.parts if not part.rows]
    if len(parts) < len(section.parts):
        parts.append(Note("What shows rows of the data was left out (--no-data)."))
    return replace(section, parts=parts, sections=[without_rows(inner) for inner in section.sections])


def names_without_values(preprocessing: Preprocessing | None) -> list[str] | None:
    """The names of the inputs, without the categories of the data; None if the inputs have no names."""
    if preprocessing is None:
        return None
    names: list[str] = []
    for column in preprocessing.columns:
        if isinstance(column, CategoricalColumn):
            names += [f"{column.name} ({i})" for i in range(1, column.n_outputs + 1)]
        else:
            names += column.feature_names
    return names
