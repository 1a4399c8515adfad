"""A stream of rows of Parquet files, and the data set that the first pass makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError
from mlp.checks import counted
from mlp.data.dataset import Task
from mlp.data.encoders import Scale
from mlp.data.files import chosen_limit
from mlp.data.inference import ColumnChoices, counts_rows
from mlp.data.preparation import Note, plain
from mlp.data.preprocessing import Preprocessing
from mlp.data.streams.encoded_targets import EncodedTargets
from mlp.data.streams.first_pass import FirstPass
from mlp.data.streams.held_out_part import split_off, training_mask
from mlp.data.streams.parquet_file import MAX_GROUP_BYTES, too_large
from mlp.data.streams.parquet_source import ParquetSource
from mlp.data.streams.row_stream import RowStream
from mlp.data.streams.streamed_dataset import StreamedDataset
from mlp.data.streams.table_fit import TableFit
from mlp.data.streams.table_targets import StreamTargets
from mlp.data.table_targets import Target, target_names

FIRST_ROWS = 2**18
"""Training rows on which it is decided what the columns of a table are."""

_FIRST_VALUES = 2**23
_ENCODED_ROWS = 2**14


class TableStream(RowStream):
    """Rows of a table; the inputs and targets are set by the first pass.

    Inputs are computed in float64 and rounded to float32.
    """

    is_bytes = False

    def __init__(self, source: ParquetSource) -> None:
        self._source = source
        self.name, self.block_rows = source.name, source.block_rows
        self.n_inputs = 0

    def set(
        self, fingerprint: str, targets: EncodedTargets, target_columns: StreamTargets, preprocessing: Preprocessing
    ) -> None:
        """Set what the first pass has found."""
        assert preprocessing.preparation is not None
        self._fingerprint, self._targets, self._target_columns = fingerprint, targets, target_columns
        self._preprocessing = preprocessing
        self._columns = [column.name for column in preprocessing.preparation.columns]
        self.n_inputs = preprocessing.n_outputs

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the hashes of all blocks."""
        return self._fingerprint

    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `RowStream`."""
        table = self._source.read(block, [*self._columns, *self._target_columns.names])
        y = self._targets.encode(self._target_columns.values(table)[0])
        X = np.empty((len(y), self.n_inputs), np.float32)
        for first in range(0, len(y), _ENCODED_ROWS):  # the intermediate results are several times larger
            rows = slice(first, first + _ENCODED_ROWS)
            X[rows], _ = self._preprocessing.transform_table({name: table[name][rows] for name in self._columns})
        return X, y


def stream_table(
    source: ParquetSource,
    target: Target,
    task: Task | None,
    scale: Scale,
    choices: ColumnChoices,
    test_fraction: float,
    seed: int,
    *,
    progress: bool,
    readers: int = 1,  # row groups are large
) -> StreamedDataset:
    """Read all rows once, and return the data set; the arguments are those of `mlp.data.stream`."""
    where = repr(source.name)
    columns = dict.fromkeys(source.names)
    names = target_names(target, columns, where)
    choices.require_columns(columns, names, where)
    if len(columns) == len(names):
        raise DataError(f"{where} has no column but the target {plain(names[0])}; add at least one input column")
    rows = TableStream(source)
    train, _ = split_off(rows, test_fraction, seed)
    n_training = train.n_rows
    first_rows, training = _first_rows(source, train)
    targets = StreamTargets(names, first_rows, rows.n_rows, task, where)
    inputs = {name: column for name, column in first_rows.items() if name not in names}
    counters = {name for name, column in inputs.items() if counts_rows(name, column)}
    fit = TableFit(inputs, training, choices, counters, scale, n_training, seed)
    decided = len(training)
    del first_rows, inputs
    needed = [*fit.columns, *names]

    def read(block: int, digest: Any) -> Mapping[str, NDArray[Any]]:
        return source.read(block, needed, digest)

    first_pass = FirstPass(source.block_rows, progress=progress, readers=readers)
    for block, numbers, table in first_pass.blocks(read):
        in_training = training_mask(train, block)
        targets.add(table, numbers.start, in_training)
        fit.add(table, numbers, in_training)
    encoded = targets.finish()
    preprocessing, notes = fit.finish(where)
    if decided < n_training:
        text = f"what the columns are was decided on the first {counted(decided, 'training row')} of {n_training:,}"
        notes.insert(0, Note("read", text))
    _check_encoded(source, preprocessing.n_outputs)
    rows.set(first_pass.fingerprint, encoded, targets, preprocessing)
    train, test = split_off(rows, test_fraction, seed)
    return StreamedDataset(
        source.name,
        train,
        test,
        encoded.task,
        encoded.classes,
        encoded.class_counts,
        encoded.statistics,
        None,
        preprocessing,
        preprocessing.feature_names,
        names,
        encoded.reason if len(names) == 1 else "several targets are numbers",
        tuple(notes),
    )


def _first_rows(source: ParquetSource, train: RowStream) -> tuple[dict[str, NDArray[Any]], NDArray[np.intp]]:
    """The first rows of a table with up to `FIRST_ROWS` training rows, and the numbers of these."""
    needed = min(FIRST_ROWS, max(_FIRST_VALUES // len(source.names), 1))
    tables: list[Mapping[str, NDArray[Any]]] = []
    masks: list[NDArray[np.bool_]] = []
    for block in range(len(source.block_rows)):
        mask = training_mask(train, block)
        stop = int(np.searchsorted(mask.cumsum(), needed)) + 1
        table = source.read(block, source.names, check=True)
        tables.append({name: column[:stop].copy() for name, column in table.items()})
        masks.append(mask[:stop])
        needed -= int(np.count_nonzero(masks[-1]))
        if needed == 0:
            break
    joined = {name: _joined([table[name] for table in tables]) for name in source.names}
    return joined, np.flatnonzero(np.concatenate(masks))


def _joined(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The values of a column in several blocks; booleans with and without missing values become objects."""
    kinds = {column.dtype.kind for column in columns}
    if len(kinds) > 1 and "O" in kinds:
        return np.concatenate([column.astype(object) for column in columns])
    return np.concatenate(columns)


def _check_encoded(source: ParquetSource, n_inputs: int) -> None:
    """Raise an error if the inputs of a block take too much memory."""
    chosen = chosen_limit(None)
    limit = MAX_GROUP_BYTES if chosen is None else chosen
    largest = int(source.block_rows.max())
    if 4 * largest * n_inputs > limit:
        where = f"{source.name!r}, a row group of {largest} rows of {counted(n_inputs, 'input')}"
        raise too_large(where, 4 * largest * n_inputs, limit)
