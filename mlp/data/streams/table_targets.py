"""The target columns of a table that comes in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError
from mlp.data.dataset import Task
from mlp.data.preparation import MISSING_MARKS, RawKind, plain, read_values
from mlp.data.streams.array_targets import ArrayTargets
from mlp.data.streams.encoded_targets import EncodedTargets
from mlp.data.streams.row_numbers import FaultyRows
from mlp.data.table_targets import has_value, target_kind

_MARKS = frozenset(MISSING_MARKS)


class StreamTargets:
    """What the targets of a table are, found block by block; their kinds are decided on the first rows.

    A stream cannot leave out rows, so each must have a value.

    Parameters
    ----------
    names : tuple of str
        The target columns.
    first_rows : mapping of str to ndarray of shape (n,)
        The first rows of the raw table.
    n_rows : int
        Number of all rows.
    task : {"classification", "regression"} or None
    where : str
        The table, for error messages.

    Attributes
    ----------
    names : tuple of str

    Raises
    ------
    ConfigurationError
        If there are several targets, and `task` is classification.
    DataError
        If the values are no targets.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        first_rows: Mapping[str, NDArray[Any]],
        n_rows: int,
        task: Task | None,
        where: str,
    ) -> None:
        several = len(names) > 1
        if several and task == "classification":
            raise ConfigurationError(f"{where}: several targets must be numbers; name one target for classification")
        self.names, self._task = names, "regression" if several else task
        self._kinds: list[RawKind] = [
            target_kind(first_rows[name], self._task, f"{where}, column {name!r}") for name in names
        ]
        self._shown = " and ".join(map(plain, names))
        self._where = f"{where}, column {self._shown}"
        self._missing = FaultyRows()
        values, _ = self.values(first_rows)
        labels: Literal["text", "boolean"] | None = None
        if values.dtype.kind == "O":
            labels = "boolean" if self._kinds[0] == "boolean" else "text"
        shape = (n_rows, len(names)) if several else (n_rows,)
        self._targets = ArrayTargets(values.dtype, shape, self._where, self._task, labels=labels, few_are_classes=True)

    def values(self, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the targets of some rows, shape (n,) or (n, k), and a mask of the rows that have them."""
        read = []
        for name, kind in zip(self.names, self._kinds, strict=True):
            column = columns[name]
            is_integer = kind == "number" and column.dtype.kind in "iu"
            read.append(column if is_integer else read_values(column, kind, _MARKS)[0])
        present = np.all([has_value(column) for column in read], axis=0)
        return np.column_stack(read) if len(read) > 1 else read[0], present

    def add(self, columns: Mapping[str, NDArray[Any]], first: int, training: NDArray[np.bool_]) -> None:
        """Add the rows of a block, the number of its first row, and a mask of the rows of the training part."""
        values, present = self.values(columns)
        self._missing.add(~present, first)
        if not self._missing:
            self._targets.add(values, first, training)

    def finish(self) -> EncodedTargets:
        """Return the task and the encoding.

        Raises
        ------
        DataError
            If a row has no value, or as `ArrayTargets.finish`.
        """
        if self._missing:
            drop = f"polars.scan_parquet(path).drop_nulls([{', '.join(map(repr, self.names))}]).sink_parquet(new)"
            raise DataError(
                f"{self._where} has no value in {self._missing}; rows of a stream cannot be left out, so write the "
                f"table again without them: {drop}"
            )
        return self._targets.finish()
