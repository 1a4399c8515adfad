"""Readers for NPY and NPZ files: sizes are checked before memory is allocated, and nothing is unpickled."""

from __future__ import annotations

import io
import os
import zipfile
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DtypeError, FileFormatError, UnknownNameError
from mlp.checks import quoted, shortened
from mlp.data.files import check_expansion, declared_bytes, expansion_limit, open_checked

_HEADER_LIMIT = 2**16
"""Bytes to read for the header; more than numpy accepts, and independent of the length that the file declares."""

_MAX_ARRAYS = 1000


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the array of an NPY file.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ndarray
        Of booleans, integers or floating-point numbers, in native byte order.  It is mapped to memory: pages are read
        from the file when they are used, and do not count as memory of the process until they are changed.  Changes do
        not reach the file.  An array in the other byte order is copied.

    Raises
    ------
    FileFormatError
        If the file is not NPY, or its size differs from the one that its header declares.
    DtypeError
        If the elements are not real numbers: objects (which would have to be unpickled), text, complex, structured.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "points.npy"
    >>> np.save(path, np.eye(2))
    >>> read_npy(path)
    array([[1., 0.],
           [0., 1.]])
    >>> folder.cleanup()
    """
    array = map_npy(path)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def map_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the array of an NPY file as `read_npy` does, but in the byte order of the file: nothing is copied."""
    where = repr(os.fspath(path))
    with open_checked(path, "NPY") as (handle, size):
        dtype, shape, is_fortran, offset = check_header(handle, size, where)
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        if 0 in shape:  # no file can be mapped to no memory
            return np.empty(shape, dtype, order)
        return np.asarray(np.memmap(handle, dtype, "c", offset, shape, order))


def read_npz(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, NDArray[Any]]:
    """Read all arrays of an NPZ file, as written by `numpy.savez` or `numpy.savez_compressed`.

    Parameters
    ----------
    path : str or path-like
        The file.
    max_bytes : int, optional
        Limit on the total size of the arrays, in bytes.  By default the value of the environment
        variable ``MLP_MAX_EXPANDED_BYTES``; without it 1000 times the size of the file, but at least 32 MiB and at most
        8 GiB.

    Returns
    -------
    dict of str to ndarray
        The arrays by name, in the order of the file.

    Raises
    ------
    FileFormatError
        If the file is damaged or encrypted, contains anything but arrays, contains a name twice, or declares sizes
        that its bytes cannot hold.
    DtypeError
        If the elements of an array are not real numbers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "points.npz"
    >>> np.savez_compressed(path, X=np.eye(2), y=np.array([0, 1]))
    >>> {name: array.shape for name, array in read_npz(path).items()}
    {'X': (2, 2), 'y': (2,)}
    >>> folder.cleanup()
    """
    where = repr(os.fspath(path))
    with open_checked(path, "NPZ") as (handle, size), zipfile.ZipFile(handle) as archive:
        members = archive.infolist()
        _check_members(members, size, expansion_limit(size, max_bytes), where)
        arrays = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as stream:
                arrays[name] = _read_array(stream, member.file_size, f"array {quoted(name)} of {where}")
        return arrays


def _check_members(members: list[zipfile.ZipInfo], size: int, limit: int, where: str) -> None:
    if not members:
        raise FileFormatError(f"{where} holds no arrays; write it with numpy.savez(path, X=X, y=y)")
    if len(members) > _MAX_ARRAYS:
        raise FileFormatError(f"{where} holds {len(members)} arrays, more than the limit of {_MAX_ARRAYS}")
    seen = set()
    for name in (member.filename for member in members):
        if name in seen:
            raise FileFormatError(f"{where} holds {quoted(name)} twice; write it again with numpy.savez")
        seen.add(name)
        if not name.endswith(".npy") or any(part in name for part in ("/", "\\", "..")):
            raise FileFormatError(f"{where} holds {quoted(name)}, which is not an array written by numpy.savez")
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileFormatError(
                f"{where} holds {quoted(member.filename)} encrypted or compressed by another method than deflate; "
                "write it with numpy.savez_compressed"
            )
        check_expansion(member.file_size, member.compress_size, limit, f"{quoted(member.filename)} of {where}")
    # members may overlap, so the sum of their sizes can exceed the limit although each size is valid
    check_expansion(sum(member.file_size for member in members), size, limit, where)


def _read_array(stream: IO[bytes], size: int, where: str) -> NDArray[Any]:
    check_header(stream, size, where)
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_header(stream: IO[bytes], size: int, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return the dtype, the shape, whether the order is Fortran's, and the number of bytes before the values.

    Parameters
    ----------
    stream : file
        Of format NPY, at its beginning.
    size : int
        Its number of bytes.
    where : str
        The file, for error messages.

    Raises
    ------
    FileFormatError
        If the size differs from what the header declares, or the version is not 1.0 or 2.0.
    DtypeError
        If the elements are not real numbers.
    """
    dtype, shape, is_fortran, offset = _read_header(stream, where)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise DtypeError(
            f"{where} holds elements of type {shortened(dtype, 60)}, expected booleans, integers or floating-point "
            "numbers; objects are refused because unpickling them can run any code"
        )
    declared = declared_bytes(shape, dtype.itemsize, where)
    if offset + declared != size:
        raise FileFormatError(
            f"{where} declares shape {quoted(shape)} of {dtype.name}, {offset + declared} bytes with its header, "
            f"but has {size}; write or copy it again"
        )
    return dtype, shape, is_fortran, offset


def _read_header(stream: IO[bytes], where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    head = io.BytesIO(stream.read(_HEADER_LIMIT))
    version = np.lib.format.read_magic(head)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise FileFormatError(
            f"{where} has NPY version {version[0]}.{version[1]}, expected 1.0 or 2.0; write it again with numpy.save"
        )
    try:
        shape, is_fortran, dtype = readers[version](head)
    except MemoryError as error:  # of Python's parser, for deeply nested text
        raise FileFormatError(f"{where} has a header that is no description of an array; write it again") from error
    return dtype, shape, is_fortran, head.tell()


def column_number(target: str | int | None, n_columns: int, where: str) -> int:
    """Return the number of the target column of a matrix, from 0; None means the last.

    Raises
    ------
    UnknownNameError
        If there is no such column.

    Examples
    --------
    >>> column_number("-2", 3, "'points.npy'")
    1
    >>> column_number(3, 3, "'points.npy'")
    Traceback (most recent call last):
        ...
    backends.errors.UnknownNameError: target is column 3, but 'points.npy' has columns 0 to 2
    """
    try:
        column = -1 if target is None else int(target)
    except ValueError:
        raise UnknownNameError(
            f"target is {quoted(target)}, but {where} has no column names; give the column number, 0 to {n_columns - 1}"
        ) from None
    if not -n_columns <= column < n_columns:
        raise UnknownNameError(f"target is column {quoted(column)}, but {where} has columns 0 to {n_columns - 1}")
    return column % n_columns


def without_column(matrix: NDArray[Any], column: int) -> NDArray[Any]:
    """Return a matrix without one column; a view, unless the column is between others.

    Examples
    --------
    >>> without_column(np.array([[1, 2, 3]]), 2)
    array([[1, 2]])
    """
    if column == 0:
        return matrix[:, 1:]
    if column == matrix.shape[1] - 1:
        return matrix[:, :-1]
    return np.delete(matrix, column, axis=1)
