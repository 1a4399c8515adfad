"""Rows of Parquet files for a trained model, read by row group and preprocessed as in training."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp.cli.table_rows import Rows, no_targets, targets_of, texts_of
from mlp.data.preprocessing import Preprocessing, require_columns
from mlp.data.streams import RowStream
from mlp.data.streams.chunks import chunks
from mlp.data.streams.first_pass import FirstPass
from mlp.data.streams.opening import open_table
from mlp.data.streams.parquet_source import ParquetSource
from mlp.data.table_counts import TableCounts
from mlp.data.table_targets import Target, target_names
from mlp.data.tables import check_column
from mlp.network import CHUNK

if TYPE_CHECKING:
    from mlp.model import MLP

_ENCODED_ROWS = 2**14
_INTEGERS = re.compile("(dictionary<values=)?u?int")


class TableForModel(RowStream):
    """The rows of a table that have a target, or all rows, with the preprocessing and the classes of a model.

    Parameters
    ----------
    net : MLP
        With a preprocessing for raw tables.
    source : str
        The file or the folder.
    target : str, list of str or None
    with_targets : bool
        Whether the targets are read; then rows without one are left out.
    keep : list of str
        Columns that are returned as texts.
    progress : bool
        Show on stderr how much of the first pass over the targets is done.

    Attributes
    ----------
    n_rows_of_source : int
        With those that have no target.

    Raises
    ------
    ShapeError, UnknownNameError, ConfigurationError
        If the table lacks a column.
    DataError
        If no row has a target, or the model does not have a class.
    """

    is_bytes = False

    def __init__(
        self, net: MLP, source: str, target: Target, *, with_targets: bool, keep: list[str], progress: bool
    ) -> None:
        self._net, self._source, self._where, self.name = net, open_table(source), repr(source), source
        assert net.preprocessing is not None
        assert net.preprocessing.preparation is not None
        self._preprocessing: Preprocessing = net.preprocessing
        columns = dict.fromkeys(self._source.names)
        self._keep = [check_column(name, columns, self._where) for name in keep]
        self._targets = target_names(target, columns, self._where) if with_targets else ()
        self._inputs = [column.name for column in net.preprocessing.preparation.columns]
        require_columns(self._inputs, {name: None for name in columns if name not in self._targets})
        self.n_inputs = net.preprocessing.n_outputs
        rows = self._source.block_rows
        self._first_rows, self.n_rows_of_source = rows.cumsum() - rows, int(rows.sum())
        self._counts: dict[int, TableCounts] = {}
        self.block_rows, self._fingerprint = rows, ""
        if with_targets:
            self._read_targets(progress)
        self._kept_floats = {name for name in self._keep if _is_float_somewhere(self._source, name)}

    def _read_targets(self, progress: bool) -> None:
        """Read the targets once: which rows have one, and the fingerprint."""
        first_pass = FirstPass(self._source.block_rows, progress=progress, readers=1)  # row groups are large

        def read(block: int, digest: Any) -> Mapping[str, NDArray[Any]]:
            return self._source.read(block, self._targets, digest)

        present = [
            len(targets_of(self._net, table, self._targets, self._where, numbers.start)[1])
            for _, numbers, table in first_pass.blocks(read)
        ]
        self.block_rows, self._fingerprint = np.array(present, np.int64), first_pass.fingerprint
        if not self.block_rows.any():
            raise no_targets(self._where, self._targets[0])

    @property
    def fingerprint(self) -> str:
        """As that of `mlp.data.stream` for the same files; empty if no targets were read."""
        return self._fingerprint

    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `RowStream`."""
        X, rows = self.read_rows(block)
        return X, rows["y"]

    def read_rows(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read the inputs of a block, and what belongs to each row.

        Returns
        -------
        X : ndarray of shape (rows, n_inputs)
            In the dtype of the network.
        rows : ndarray of shape (rows,)
            Records: ``row``, its number in the source; ``y``, its target, if targets are read; ``0``, ``1``, ..., the
            columns that are kept, as texts.
        """
        needed = dict.fromkeys((*self._inputs, *self._targets, *self._keep))
        table = self._source.read(block, list(needed), check=not self._targets)  # or the first pass has checked it
        first, n = int(self._first_rows[block]), int(self._source.block_rows[block])
        X = np.empty((n, self.n_inputs), self._net.dtype)
        found = []
        for start in range(0, n, _ENCODED_ROWS):  # the intermediate results are several times larger
            part = slice(start, start + _ENCODED_ROWS)
            X[part], counts = self._preprocessing.transform_and_count(
                {name: table[name][part] for name in self._inputs}
            )
            found.append(counts)
        self._counts[block] = TableCounts.sum(found)
        present, y = np.arange(n), None
        if self._targets:
            y, present = targets_of(self._net, table, self._targets, self._where, first)
        fields: list[Any] = [("row", np.int64)] + [(str(number), object) for number in range(len(self._keep))]
        rows = np.empty(len(present), fields if y is None else [*fields, ("y", y.dtype, y.shape[1:])])
        rows["row"] = first + present
        if y is not None:
            rows["y"] = y
        for number, name in enumerate(self._keep):
            column = table[name][present]
            rows[str(number)] = texts_of(column.astype(np.float64) if name in self._kept_floats else column)
        return (X if len(present) == n else X[present]), rows

    def warn(self) -> None:
        """Log the warnings on what was found in all blocks that were read."""
        self._preprocessing.warn(TableCounts.sum(self._counts[block] for block in sorted(self._counts)))

    def chunks(self, choose: Callable[[RowStream], RowStream], part: str) -> Iterator[Rows]:
        """Read the rows of a part, which a function chooses of this stream, some megabytes at a time."""
        for X, rows in chunks(choose(_Records(self)), CHUNK):
            kept = {name: rows[str(number)].tolist() for number, name in enumerate(self._keep)}
            y = rows["y"] if self._targets else None
            yield Rows(X, y, part, rows["row"], self.n_rows_of_source, kept=kept)


class _Records(RowStream):
    """The rows of a table with the records of `TableForModel.read_rows` in place of targets."""

    is_bytes = False

    def __init__(self, table: TableForModel) -> None:
        self._table = table
        self.name, self.block_rows, self.n_inputs = table.name, table.block_rows, table.n_inputs

    @property
    def fingerprint(self) -> str:
        return self._table.fingerprint

    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._table.read_rows(block)


def _is_float_somewhere(source: ParquetSource, name: str) -> bool:
    """Whether a column of integers has missing values, so that all of it is read as floats in memory."""
    if not _INTEGERS.match(source.types[name]):
        return False
    blocks = range(len(source.block_rows))
    return any(source.read(block, [name], check=True)[name].dtype.kind == "f" for block in blocks)
