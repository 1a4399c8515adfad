"""Inputs and targets in NPY files: a matrix with a target column, or a file for each; one or several parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, ShapeError
from mlp.checks import quoted
from mlp.data.arrays import column_number, without_column
from mlp.data.sources import is_images, require_inputs, require_matrix
from mlp.data.streams.npy_file import NpyFile, as_bytes
from mlp.data.table_targets import Target

BLOCK_BYTES = 2**18
"""About how many bytes of the files a block has: reading larger ones is hardly faster."""


class NpySource:
    """Blocks of rows of NPY files.

    Parameters
    ----------
    name : str
        The file or the folder, for error messages.
    files : sequence of NpyFile
        The parts: inputs, or inputs and a target column; their rows are one after the other.
    target_files : sequence of NpyFile, optional
        The targets of each part.
    target : str, int or None
        The number of the target column, if there are no `target_files`.

    Attributes
    ----------
    block_rows : ndarray of int64, shape (n_blocks,)
    n_inputs : int
    dtype : dtype
        Of the inputs, in native byte order.
    has_target_files : bool
    is_images : bool
        Whether the inputs are bytes of more than two dimensions.
    target_dtype : dtype
    target_shape : tuple of int
        Of all targets: (n,) or (n, k).
    target_where : str
        The targets, for error messages.
    """

    def __init__(
        self, name: str, files: Sequence[NpyFile], target_files: Sequence[NpyFile] | None, target: Target
    ) -> None:
        self.name, self._files, self._target_files = name, files, target_files
        require_same_rows(files)
        first = files[0]
        n_rows = sum(file.shape[0] for file in files)
        shape: tuple[int, ...] = (n_rows, *first.shape[1:])
        self.dtype = first.dtype.newbyteorder("=")
        self.has_target_files, self.is_images = target_files is not None, False
        if target_files is None:
            require_matrix(shape, repr(name))
            if isinstance(target, list | tuple):
                raise ConfigurationError(
                    f"{name!r}: target is {quoted(target)}, but an NPY file has one target; give its number"
                )
            self._column = column_number(target, shape[1], repr(name))
            self.target_dtype, self.target_shape = self.dtype, shape[:1]
            self.target_where = f"{name!r}, column {self._column}"
            self.n_inputs = shape[1] - 1
        else:
            require_same_rows(target_files)
            _require_pairs(files, target_files)
            self.is_images = is_images(self.dtype, len(shape))
            require_inputs(shape, self.is_images, repr(name))
            self.n_inputs = int(np.prod(shape[1:]))
            targets = target_files[0]
            self.target_dtype = targets.dtype.newbyteorder("=")
            self.target_shape = (n_rows, *targets.shape[1:])
            self.target_where = targets.where if len(files) == 1 else f"the targets of {name!r}"
        self._set_blocks()

    def _set_blocks(self) -> None:
        parts, firsts, rows = [], [], []
        for number, file in enumerate(self._files):
            row_bytes = file.row_bytes + (self._target_files[number].row_bytes if self._target_files else 0)
            step = max(BLOCK_BYTES // row_bytes, 1)
            first = np.arange(0, file.shape[0], step)
            firsts.append(first)
            parts.append(np.full(len(first), number))
            rows.append(np.minimum(step, file.shape[0] - first))
        self._part, self._first = np.concatenate(parts), np.concatenate(firsts)
        self.block_rows: NDArray[np.int64] = np.concatenate(rows).astype(np.int64)

    def read(self, block: int, digest: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read the rows of a block.

        Parameters
        ----------
        block : int
        digest : object of `hashlib`, optional
            It is updated with the bytes of the files.

        Returns
        -------
        X : ndarray of shape (rows, n_inputs)
        y : ndarray of shape (rows, ...)
            As they are in the files, but in native byte order.
        """
        part, first = int(self._part[block]), int(self._first[block])
        stop = first + int(self.block_rows[block])
        read = [self._files[part].read(first, stop)]
        if self._target_files is not None:
            read.append(self._target_files[part].read(first, stop))
        if digest is not None:
            for array in read:
                digest.update(as_bytes(array))
        X, *y = (array.astype(array.dtype.newbyteorder("="), copy=False) for array in read)
        if y:
            return X.reshape(len(X), -1), y[0]
        return without_column(X, self._column), X[:, self._column]


def require_same_rows(files: Sequence[NpyFile]) -> None:
    """Raise an error if the rows of the parts differ in shape or dtype.

    Raises
    ------
    ShapeError
        If so.
    """
    first = files[0]
    for file in files[1:]:
        if file.shape[1:] != first.shape[1:] or file.dtype.newbyteorder("=") != first.dtype.newbyteorder("="):
            raise ShapeError(
                f"{file.where} has rows of shape {file.shape[1:]} of {file.dtype.name}, but {first.where} of "
                f"{first.shape[1:]} of {first.dtype.name}; the parts of a data set must be alike"
            )


def _require_pairs(files: Sequence[NpyFile], target_files: Sequence[NpyFile]) -> None:
    if len(files) != len(target_files):
        raise ShapeError(f"there are {len(files)} parts with inputs, but {len(target_files)} with targets")
    for file, targets in zip(files, target_files, strict=True):
        if file.shape[0] != targets.shape[0]:
            raise ShapeError(
                f"{file.where} has {file.shape[0]} rows, but {targets.where} has {targets.shape[0]}; each row needs "
                "its target"
            )
