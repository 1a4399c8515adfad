"""Row groups of a Parquet file that are read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError
from mlp.data.extras import require_extra
from mlp.data.files import LIMIT_VARIABLE, chosen_limit, open_checked
from mlp.data.parquet import check_pages, read_columns, read_layout, read_schema
from mlp.data.parquet_layout import ColumnChunk
from mlp.data.streams.open_file import file_state

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

MAX_GROUP_BYTES = 2**28
"""Largest size in memory of a row group by default."""

_READ_BYTES = 2**20


class ParquetFile:
    """The columns of a Parquet file, read in row groups.

    The file is opened for each read: pyarrow cannot read one open file from several threads.

    Parameters
    ----------
    path : str or path-like

    Attributes
    ----------
    where : str
        The path in quotes, for error messages.
    group_rows : ndarray of int64, shape (n_groups,)
    types : dict of str to str
        The columns, and the types of their values.

    Raises
    ------
    FileFormatError, DtypeError, MissingExtraError
        As `mlp.data.read_table`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self.where = os.fspath(path), repr(os.fspath(path))
        require_extra("pyarrow", self.where)
        with open_checked(path, "PARQUET") as (handle, self._size):
            self._state = file_state(handle.fileno())
            _, chunks = read_layout(handle, self._size, None, self.where)
            self._metadata, self._schema = read_schema(handle, self.where, raw=True)
        groups: dict[int, list[ColumnChunk]] = {}
        for chunk in chunks:
            groups.setdefault(chunk.group, []).append(chunk)
        self._groups = [(number, group) for number, group in groups.items() if group[0].n_rows]
        self.group_rows = np.array([group[0].n_rows for _, group in self._groups], np.int64)
        self.types = {field.name: str(field.type) for field in self._schema}

    def check(self, group: int, digest: Any = None) -> None:
        """Check how much memory a row group takes, before it is read; a digest is updated with its bytes.

        Raises
        ------
        FileFormatError
            If it takes too much, is damaged, or has been changed.
        """
        number, chunks = self._groups[group]
        chosen = chosen_limit(None)
        limit = MAX_GROUP_BYTES if chosen is None else chosen

        def check_size(expanded: int) -> None:
            if expanded > limit:
                raise too_large(f"{self.where}, row group {number}", expanded, limit)

        with self._opened() as handle:
            check_pages(handle, self._size, chunks, check_size, f"{self.where}, row group {number}")
            for chunk in chunks if digest is not None else ():
                handle.seek(chunk.start)
                left = chunk.stop - chunk.start
                while left > 0 and (block := handle.read(min(_READ_BYTES, left))):
                    digest.update(block)
                    left -= len(block)

    def read(self, group: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Read some columns of a row group that has been checked, as `mlp.data.tables.read_raw_table` does.

        Raises
        ------
        FileFormatError, DataError
            If the file is damaged, or has been changed.
        """
        number, chunks = self._groups[group]
        where = f"{self.where}, row group {number}"
        with self._opened() as handle:
            return read_columns(
                handle, self._metadata, self._schema, names, chunks[0].n_rows, where, raw=True, group=number
            )

    @contextmanager
    def _opened(self) -> Iterator[io.BufferedReader]:
        with open_checked(self._path, "PARQUET") as (handle, _):
            if file_state(handle.fileno()) != self._state:
                raise FileFormatError(
                    f"{self.where} has been changed while it was used; open it again, and do not write to it meanwhile"
                )
            yield handle


def too_large(where: str, expanded: int, limit: int) -> FileFormatError:
    """Return the error for a row group that takes too much memory."""
    return FileFormatError(
        f"{where} takes {expanded} bytes of memory or more, above the limit of {limit}; write the file again with "
        "smaller row groups: polars.scan_parquet(path).sink_parquet(new, row_group_size=50_000), or set the "
        f"environment variable {LIMIT_VARIABLE} to a larger number"
    )
