"""Rows of an NPY file that are read when they are needed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError, ShapeError
from mlp.data.arrays import check_header
from mlp.data.files import open_checked
from mlp.data.streams.open_file import OpenFile


class NpyFile:
    """The array of an NPY file, in C order, read in rows.

    Parameters
    ----------
    path : str or path-like
    n_files : int
        Number of files that the caller has open.

    Attributes
    ----------
    where : str
        The path in quotes, for error messages.
    dtype : dtype
        In the byte order of the file.
    shape : tuple of int
    row_bytes : int
        Size of a row in the file.

    Raises
    ------
    FileFormatError
        If the file is not NPY, its size differs from what its header declares, or its values are in Fortran order.
    DtypeError
        If the elements are not real numbers.
    ShapeError
        If there is no row, or a row has no value.
    """

    def __init__(self, path: str | os.PathLike[str], n_files: int = 1) -> None:
        self._file = OpenFile(path, "NPY", n_files)
        self.where = self._file.where
        with open_checked(path, "NPY") as (handle, size):
            self.dtype, self.shape, is_fortran, self._offset = check_header(handle, size, self.where)
        if not self.shape or 0 in self.shape:
            raise ShapeError(f"{self.where} has shape {self.shape}, expected one row or more of one value or more")
        if is_fortran and len(self.shape) > 1:
            raise FileFormatError(
                f"{self.where} is in Fortran order: the values of a row are far from each other, so rows cannot be "
                "read in blocks; write it again: numpy.save(path, numpy.ascontiguousarray(array)), or load it in memory"
            )
        self.row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Read rows, in the byte order of the file.

        Raises
        ------
        FileFormatError
            If the file has been changed since it was opened, or cannot be read.
        """
        rows = np.empty((stop - first, *self.shape[1:]), self.dtype)
        self._file.read_into(as_bytes(rows), self._offset + first * self.row_bytes)
        return rows


def as_bytes(array: NDArray[Any]) -> memoryview:
    """The memory of an array in C order."""
    return array.reshape(-1).view(np.uint8).data
