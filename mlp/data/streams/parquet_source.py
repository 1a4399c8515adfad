"""A table in Parquet files: one or several parts of it, in blocks that are the row groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError, ShapeError
from mlp.checks import quoted
from mlp.data.streams.parquet_file import ParquetFile


class ParquetSource:
    """Blocks of rows of Parquet files.

    Parameters
    ----------
    name : str
        The file or the folder, for error messages.
    files : sequence of ParquetFile
        The parts: their rows are one after the other.

    Attributes
    ----------
    block_rows : ndarray of int64, shape (n_blocks,)
    names : tuple of str
        The columns.
    types : dict of str to str
        The types of their values.

    Raises
    ------
    ShapeError
        If the parts have different columns.
    FileFormatError
        If there are no rows.
    """

    def __init__(self, name: str, files: Sequence[ParquetFile]) -> None:
        self.name, self._files = name, files
        for file in files[1:]:
            _require_same(file, files[0])
        self.types = files[0].types
        self.names = tuple(self.types)
        self.block_rows: NDArray[np.int64] = np.concatenate([file.group_rows for file in files])
        self._places = [(file, group) for file in files for group in range(len(file.group_rows))]
        if not len(self.block_rows) or not self.names:
            raise FileFormatError(
                f"{name!r} has {len(self.names)} columns and {int(self.block_rows.sum())} rows; it needs at least one"
            )

    def read(
        self, block: int, names: Sequence[str], digest: Any = None, *, check: bool = False
    ) -> dict[str, NDArray[Any]]:
        """Read some columns of a block that has been checked.

        With `check`, check it first; with a digest of `hashlib`, check it, and update the digest with its bytes.
        """
        file, group = self._places[block]
        if check or digest is not None:
            file.check(group, digest)
        return file.read(group, names)


def _require_same(file: ParquetFile, first: ParquetFile) -> None:
    if file.types == first.types and list(file.types) == list(first.types):
        return
    for name in [*first.types, *file.types]:
        here, there = file.types.get(name), first.types.get(name)
        if here != there:
            problem = f"has no column {quoted(name)}" if here is None else f"has a column {quoted(name)} of type {here}"
            other = "has none" if there is None else f"has one of type {there}"
            raise ShapeError(f"{file.where} {problem}, but {first.where} {other}; the parts of a table must be alike")
    raise ShapeError(f"{file.where} has the columns in another order than {first.where}; write them in one order")
