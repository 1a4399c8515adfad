"""Preparation and preprocessing of a table that comes in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.data.encoders import CategoricalColumn, Column, NumericColumn, Scale, fit_categories
from mlp.data.inference import (
    ColumnChoices,
    constant_number,
    decide,
    decide_categories,
    finish_preparation,
)
from mlp.data.preparation import MISSING_MARKS, Counts, Note, RawColumn, plain
from mlp.data.preprocessing import FAR, Preprocessing, unknown_note
from mlp.data.streams.column_fit import ColumnFit

MAX_TEXTS = 2**20
"""Most different texts of a column that are counted."""

_MARKS = frozenset(MISSING_MARKS)


class TableFit:
    """Decides on the first rows how the columns of a table are read, and fits the preprocessing on all training rows.

    What a column is (numbers, text, dates, ...) and whether text is nearly unique are decided on the first rows.
    Whether a column is constant, and which of its categories are rare, is known when all rows have been added.

    Parameters
    ----------
    first_rows : mapping of str to ndarray of shape (n,)
        The input columns of the first rows of the raw table.
    training : ndarray of int
        Those of the training part.
    choices : ColumnChoices
    counters : collection of str
        The columns that count the rows.
    scale : {"none", "standard", "minmax", "robust"}
    n_training : int
        Number of rows of the training part.
    seed : int
        Chooses the sample for quantiles.
    """

    def __init__(
        self,
        first_rows: Mapping[str, NDArray[Any]],
        training: NDArray[np.intp],
        choices: ColumnChoices,
        counters: Collection[str],
        scale: Scale,
        n_training: int,
        seed: int,
    ) -> None:
        self._choices, self._scale, self._n_training = choices, scale, n_training
        self._decisions, self._ambiguous = decide(first_rows, training, choices, counters, keep_constant=True)
        self._used = [decision for decision in self._decisions.values() if isinstance(decision, RawColumn)]
        self._numbers = [
            name for raw in self._used if raw.kind not in ("text", "boolean") for name in raw.prepared_names
        ]
        self._fit = ColumnFit(len(self._numbers), np.dtype(np.float64), scale, n_training, seed)
        self._low, self._high = np.full((2, len(self._numbers)), np.nan)  # of all rows
        self._categories = {raw.name: Counter[Any]() for raw in self._used if raw.kind in ("text", "boolean")}
        self._others: dict[str, Counter[Any]] = {name: Counter() for name in self._categories}  # of the test part
        self._read_as_missing = {raw.name: Counts() for raw in self._used}

    @property
    def columns(self) -> list[str]:
        """The columns of the table that are needed."""
        return [raw.name for raw in self._used]

    def add(self, table: Mapping[str, NDArray[Any]], rows: range, training: NDArray[np.bool_]) -> None:
        """Add the rows of a block: the raw columns, the row numbers, and a mask of those of the training part."""
        prepared: dict[str, NDArray[Any]] = {}
        for raw in self._used:
            made, counts = raw.prepare(table[raw.name], _MARKS)
            self._read_as_missing[raw.name].add(counts)
            prepared |= made
        for name, categories in self._categories.items():
            categories.update(prepared[name][training].tolist())
            self._others[name].update(prepared[name][~training].tolist())
            if len(categories) > MAX_TEXTS or len(self._others[name]) > MAX_TEXTS:
                raise DataError(f"column {name!r} has more than {MAX_TEXTS:,} different texts; leave it out (drop=...)")
        if self._numbers:
            numbers = np.column_stack([prepared[name] for name in self._numbers])
            self._low = np.fmin(self._low, np.fmin.reduce(numbers, axis=0))
            self._high = np.fmax(self._high, np.fmax.reduce(numbers, axis=0))
            self._fit.add(numbers[training], self._fit.sampled(rows)[training])

    def finish(self, where: str) -> tuple[Preprocessing, list[Note]]:
        """Return the preprocessing, and what was done with the columns.

        Raises
        ------
        DataError
            If no column is left, or a column holds numbers too large to be scaled.
        """
        position = {name: number for number, name in enumerate(self._numbers)}
        for raw in self._used:
            if raw.name in self._categories:
                counts = self._categories[raw.name]
                self._decisions[raw.name] = decide_categories(raw.name, raw.kind, counts, self._choices)
            else:
                self._decisions[raw.name] = self._without_constants(raw, position)
        preparation, notes = finish_preparation(self._decisions, self._ambiguous, where)
        notes += [note for raw in preparation.columns for note in self._read_as_missing[raw.name].notes(raw)]
        names = [name for raw in preparation.columns for name in raw.prepared_names]
        used = np.array([position[name] for name in names if name in position], np.intp)
        fitted, sampled = self._fit.finish(self._numbers, used) if len(used) else ((), [])
        numeric = {column.name: column for column in fitted}
        columns: list[Column] = []
        for name in names:
            if name in numeric:
                columns.append(numeric[name])
                notes += self._far(numeric[name], position[name])
                continue
            column = fit_categories(name, self._categories[name].copy(), self._n_training, share_rare=True)
            columns.append(column)
            notes += _unknown(column, self._others[name]) + _rare(column)
        return Preprocessing(self._scale, tuple(columns), preparation), notes + sampled

    def _without_constants(self, raw: RawColumn, position: Mapping[str, int]) -> RawColumn | str:
        """A column of numbers or dates without the parts that are constant, or why it is left out."""
        places = np.array([position[name] for name in raw.prepared_names], np.intp)
        if not self._fit.present[places[0]]:
            return "empty" if raw.kind == "date" else "it has no number"
        changing = self._fit.low[places] < self._fit.high[places]
        if raw.kind == "date" and changing.any():
            return replace(raw, parts=tuple(part for part, kept in zip(raw.parts, changing, strict=True) if kept))
        if changing.any():
            return raw
        return constant_number(self._fit.low[places[-1]]) + (" days since 1970" if raw.kind == "date" else "")

    def _far(self, column: NumericColumn, number: int) -> list[Note]:
        """Numbers that `Preprocessing.prepare` reads as missing."""
        for value in (self._low[number], self._high[number]):
            if abs((value - column.shift) / column.scale) > FAR[self._scale]:
                text = f"{plain(column.name)}: numbers such as {value:g} out of all range, read as missing"
                return [Note("stray", text)]
        return []


def _unknown(column: CategoricalColumn, others: Counter[Any]) -> list[Note]:
    """The categories that only the test part has."""
    known = {*column.categories, *column.rare_names, None}
    unknown = {category: n for category, n in others.items() if category not in known}
    return [unknown_note(column, sum(unknown.values()), next(iter(unknown)))] if unknown else []


def _rare(column: CategoricalColumn) -> list[Note]:
    if not column.rare:
        return []
    n = f"{len(column.rare_names):,}" if column.rare_names else "the"
    return [Note("rare", f"{plain(column.name)}: {n} rare categories share one input")]
