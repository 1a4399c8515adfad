"""Open untrusted files: every failure has a typed error, and sizes are checked before memory is allocated."""

from __future__ import annotations

import io
import math
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlp._backends import ConfigurationError, FileFormatError, MLPError
from mlp.checks import require_count, shortened

MAX_EXPANDED_BYTES = 8 * 2**30
"""Largest expanded size of a compressed file by default.  Uncompressed files need no limit."""

MAX_EXPANSION = 1000
"""Largest ratio of the expanded size to that of the file by default; data that say something seldom reach 100."""

SMALL_EXPANSION_BYTES = 2**25
"""Expanded size that is permitted at any ratio."""

LIMIT_VARIABLE = "MLP_MAX_EXPANDED_BYTES"
"""The environment variable that replaces all of these limits."""

MAX_COLUMNS = 50_000
"""Most columns of a table; each takes some kilobytes beside its values."""

DEFLATE_RATIO = 1032
"""Largest expansion factor of deflate: two bits can repeat 258 bytes."""

_MAX_DIMENSIONS = 64  # numpy's


@contextmanager
def open_checked(path: str | os.PathLike[str], kind: str) -> Iterator[tuple[io.BufferedReader, int]]:
    """Open a regular, non-empty file and yield it with its size in bytes.

    The parsers of the standard library and of numpy raise many types of exception for damaged files.  Every exception
    in the ``with`` block is converted to a `FileFormatError` that names the file.

    Parameters
    ----------
    path : str or path-like
        The file.
    kind : str
        The expected format, for error messages: ``"NPY"``, ``"IDX"``, ...

    Raises
    ------
    FileFormatError
        If the file is missing, a folder, not readable, empty, or not of this format.

    Examples
    --------
    >>> with open_checked("no such.npy", "NPY") as (handle, size):
    ...     pass
    Traceback (most recent call last):
        ...
    backends.errors.FileFormatError: there is no file 'no such.npy'; check the spelling and the current folder
    """
    name = repr(os.fspath(path))
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise FileFormatError(f"there is no file {name}; check the spelling and the current folder") from None
    except OSError as error:
        raise FileFormatError(
            f"{name} cannot be accessed: {error.strerror}; check the access rights of its folder"
        ) from error
    if stat.S_ISDIR(mode):
        raise FileFormatError(f"{name} is a folder, expected a file of format {kind}; name a file inside it")
    if not stat.S_ISREG(mode):
        raise FileFormatError(
            f"{name} is a pipe or a device, expected a file of format {kind}; copy it to a file first"
        )
    with _open(path, name) as handle:
        size = os.fstat(handle.fileno()).st_size
        if size == 0:
            raise FileFormatError(f"{name} is empty (0 bytes), expected format {kind}; write or copy it again")
        try:
            yield handle, size
        except (MLPError, MemoryError):
            raise
        except Exception as error:
            raise FileFormatError(
                f"{name} is damaged or not of format {kind} ({type(error).__name__}: {shortened(error)}); write or "
                "copy it again"
            ) from error


def _open(path: str | os.PathLike[str], name: str) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise FileFormatError(f"{name} cannot be opened: {error.strerror}; check its access rights") from error


def declared_bytes(shape: tuple[int, ...], itemsize: int, where: str) -> int:
    """Return the size in bytes of an array of this shape; reject shapes that no array can have.

    Raises
    ------
    FileFormatError
        If a dimension is negative, there are too many dimensions, or the size overflows (even if one dimension is 0).

    Examples
    --------
    >>> declared_bytes((60000, 28, 28), 1, "train-images-idx3-ubyte")
    47040000
    """
    possible = len(shape) <= _MAX_DIMENSIONS and all(n >= 0 for n in shape)
    if not possible or math.prod(max(n, 1) for n in shape) * itemsize > sys.maxsize:
        raise FileFormatError(f"{where} declares an impossible shape of {len(shape)} dimensions; the file is damaged")
    return math.prod(shape) * itemsize


def expansion_limit(size: int, max_bytes: int | None = None) -> int:
    """Return the largest number of bytes that a compressed file may expand to.

    Parameters
    ----------
    size : int
        Size of the file in bytes.
    max_bytes : int, optional
        The limit; by default the value of the environment variable ``MLP_MAX_EXPANDED_BYTES``, and without it 1000
        times the size of the file, but at least 32 MiB and at most 8 GiB.

    Raises
    ------
    ConfigurationError
        If the limit is not a positive integer.

    Examples
    --------
    >>> expansion_limit(100), expansion_limit(10**6), expansion_limit(10**9), expansion_limit(100, 10**10)
    (33554432, 1000000000, 8589934592, 10000000000)
    """
    chosen = chosen_limit(max_bytes)
    return min(max(MAX_EXPANSION * size, SMALL_EXPANSION_BYTES), MAX_EXPANDED_BYTES) if chosen is None else chosen


def chosen_limit(max_bytes: int | None) -> int | None:
    """Return `max_bytes` or else the value of ``MLP_MAX_EXPANDED_BYTES``; None if there is neither.

    Raises
    ------
    ConfigurationError
        If the limit is not a positive integer.
    """
    if max_bytes is not None:
        return require_count("max_bytes", max_bytes)
    setting = os.environ.get(LIMIT_VARIABLE)
    if not setting:
        return None
    if not setting.isdecimal() or int(setting) == 0:
        raise ConfigurationError(f"{LIMIT_VARIABLE} is {setting!r}, expected a number of bytes such as 20000000000")
    return int(setting)


def check_limit(expanded: int, limit: int, where: str) -> None:
    """Reject content that would expand to more than the limit.

    Raises
    ------
    FileFormatError
        If it would.

    Examples
    --------
    >>> check_limit(2**35, 2**33, "'rows.parquet'")
    Traceback (most recent call last):
        ...
    backends.errors.FileFormatError: 'rows.parquet' would expand to 34359738368 bytes or more, above the limit of \
8589934592; if you trust it, set the environment variable MLP_MAX_EXPANDED_BYTES (or max_bytes) to a larger number
    """
    if expanded > limit:
        raise FileFormatError(
            f"{where} would expand to {expanded} bytes or more, above the limit of {limit}; if you trust it, set the "
            f"environment variable {LIMIT_VARIABLE} (or max_bytes) to a larger number"
        )


def check_expansion(expanded: int, compressed: int, limit: int, where: str) -> None:
    """Reject content that deflate cannot have produced, or that is larger than the limit.

    Parameters
    ----------
    expanded, compressed : int
        Declared number of bytes after decompression, and actual number before it.
    limit : int
        The limit on `expanded`; see `expansion_limit`.
    where : str
        The file, for the error message.

    Raises
    ------
    FileFormatError
        If `expanded` is out of bounds.

    Examples
    --------
    >>> check_expansion(2**35, 128, MAX_EXPANDED_BYTES, "'small.gz'")
    Traceback (most recent call last):
        ...
    backends.errors.FileFormatError: 'small.gz' declares 34359738368 bytes, but its 128 compressed bytes cannot hold \
more than 132096; the file is truncated or damaged
    """
    if expanded > compressed * DEFLATE_RATIO:
        raise FileFormatError(
            f"{where} declares {expanded} bytes, but its {compressed} compressed bytes cannot hold more than "
            f"{compressed * DEFLATE_RATIO}; the file is truncated or damaged"
        )
    check_limit(expanded, limit, where)
