"""The rows of an NPY file, or of the NPY files in a folder one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp.data.streams.npy_file import NpyFile
from mlp.data.streams.npy_source import require_same_rows
from mlp.data.streams.opening import find_parts


class NpyParts:
    """An array whose rows are in one or several NPY files.

    Parameters
    ----------
    name : str
        The file, or the folder of the parts.

    Attributes
    ----------
    shape : tuple of int
        Of all rows.
    row_bytes : int
        Size of a row in a file.

    Raises
    ------
    FileFormatError, DtypeError, ShapeError
        As `NpyFile`; or if the rows of the parts are not alike.
    """

    def __init__(self, name: str) -> None:
        paths = find_parts(name)[1]
        self._files = [NpyFile(path, len(paths)) for path in paths]
        require_same_rows(self._files)
        self._stops = np.cumsum([file.shape[0] for file in self._files]).tolist()
        self.shape: tuple[int, ...] = (self._stops[-1], *self._files[0].shape[1:])
        self.row_bytes = self._files[0].row_bytes

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Read the rows from `first` to `stop` in native byte order if there are several files, else in that of it.

        Raises
        ------
        FileFormatError
            As `NpyFile.read`.
        """
        pieces = []
        for file, end in zip(self._files, self._stops, strict=True):
            start = end - file.shape[0]
            if start < stop and end > first:
                pieces.append(file.read(max(first, start) - start, min(stop, end) - start))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
