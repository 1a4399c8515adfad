"""A stream of rows of NPY files, and the data set that the first pass makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.data.dataset import Task
from mlp.data.encoders import Scale
from mlp.data.preparation import Note
from mlp.data.preprocessing import Preprocessing
from mlp.data.sources import IMAGE_SCALE, inputs_not_finite
from mlp.data.streams.array_targets import ArrayTargets
from mlp.data.streams.column_fit import ColumnFit
from mlp.data.streams.encoded_targets import EncodedTargets
from mlp.data.streams.first_pass import READERS, FirstPass
from mlp.data.streams.held_out_part import split_off, training_mask
from mlp.data.streams.npy_source import NpySource
from mlp.data.streams.row_numbers import FaultyRows
from mlp.data.streams.row_stream import RowStream
from mlp.data.streams.streamed_dataset import StreamedDataset


class NpyStream(RowStream):
    """Rows of NPY files; what the first pass has found is set afterwards.

    Bytes (uint8) stay as they are; integers of at most 16 bits and booleans become float32, larger ones float64, and
    preprocessed inputs float32: they are computed in float64 and rounded once.
    """

    def __init__(self, source: NpySource, *, preprocessed: bool) -> None:
        self._source = source
        self.name, self.block_rows, self.n_inputs = source.name, source.block_rows, source.n_inputs
        self.is_bytes = bool(source.dtype == np.uint8) and not preprocessed
        self._fingerprint = ""
        self._targets: EncodedTargets | None = None
        self._preprocessing: Preprocessing | None = None

    def set(self, fingerprint: str, targets: EncodedTargets, preprocessing: Preprocessing | None) -> None:
        """Set what the first pass has found."""
        self._fingerprint, self._targets, self._preprocessing = fingerprint, targets, preprocessing

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the hashes of all blocks."""
        return self._fingerprint

    def read(self, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `RowStream`."""
        assert self._targets is not None, "the first pass comes first"
        X, y = self._source.read(block)
        return self._inputs(X), self._targets.encode(y)

    def _inputs(self, X: NDArray[Any]) -> NDArray[Any]:
        if self._preprocessing is not None:
            return self._preprocessing.transform(X).astype(np.float32)
        if X.dtype == np.uint8 or X.dtype in (np.float32, np.float64):
            return X
        return X.astype(np.float32 if X.dtype.itemsize <= 2 else np.float64)


def stream_npy(
    source: NpySource,
    task: Task | None,
    scale: Scale | None,
    test_fraction: float,
    seed: int,
    *,
    progress: bool,
    readers: int = READERS,
) -> StreamedDataset:
    """Read all rows once, and return the data set; the arguments are those of `mlp.data.stream`."""
    rows = NpyStream(source, preprocessed=scale is not None)
    train, test = split_off(rows, test_fraction, seed)
    few_are_classes = not source.has_target_files
    targets = ArrayTargets(
        source.target_dtype, source.target_shape, source.target_where, task, few_are_classes=few_are_classes
    )
    fit = None
    if scale is not None:
        fit = ColumnFit(source.n_inputs, source.dtype, scale, train.n_rows, seed)
    faulty, column = FaultyRows(), 0
    first_pass = FirstPass(source.block_rows, progress=progress, readers=readers)
    for block, numbers, (X, y) in first_pass.blocks(source.read):
        training = training_mask(train, block)
        targets.add(y, numbers.start, training)
        if X.dtype.kind == "f":
            wrong = ~np.isfinite(X) if fit is None else np.isinf(X)
            if wrong.any():
                if not faulty:
                    column = int(wrong[wrong.any(axis=1).argmax()].argmax())
                faulty.add(wrong.any(axis=1), numbers.start)
        if fit is not None and not faulty:
            fit.add(X[training], fit.sampled(numbers)[training])
    if faulty:
        raise inputs_not_finite(repr(source.name), str(faulty), column)
    encoded = targets.finish()
    names = [f"x{i}" for i in range(source.n_inputs)]
    preprocessing, notes = None, list[Note]()
    if fit is not None and scale is not None:
        columns, notes = fit.finish(names)
        preprocessing = Preprocessing(scale, columns)
    rows.set(first_pass.fingerprint, encoded, preprocessing)
    return StreamedDataset(
        source.name,
        train,
        test,
        encoded.task,
        encoded.classes,
        encoded.class_counts,
        encoded.statistics,
        IMAGE_SCALE if source.is_images and preprocessing is None else None,
        preprocessing,
        tuple(names),
        task_reason=encoded.reason,
        notes=tuple(notes),
    )
