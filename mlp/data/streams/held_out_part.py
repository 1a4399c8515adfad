"""The test part of a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlp.data.streams.row_stream import PartOfStream, RowStream


def split_off(stream: RowStream, test_fraction: float, seed: int) -> tuple[RowStream, RowStream | None]:
    """Return the training and the test part of a stream, see `RowStream.split`; no test part if the fraction is 0."""
    return stream.split(test_fraction, seed) if test_fraction else (stream, None)


def training_mask(train: RowStream, block: int) -> NDArray[np.bool_]:
    """Which rows of a block of the whole stream belong to the training part that `split_off` has returned."""
    return train.mask(block) if isinstance(train, PartOfStream) else np.ones(int(train.block_rows[block]), np.bool_)
