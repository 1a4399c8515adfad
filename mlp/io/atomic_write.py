"""Atomic writing of files: a file is replaced completely or not changed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mlp._backends import StorageError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to the file `path` atomically.

    After any failure (full disk, killed process, power cut), `path` has either its old content or all of the new: the
    bytes are written to a temporary file in the same folder and flushed to disk, then the file is renamed.

    Parameters
    ----------
    path : str or path-like
        A link is followed.
    data : bytes

    Raises
    ------
    StorageError
        If the file cannot be written; the old file is not changed, and the temporary file is deleted.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "note.txt"
    >>> write_atomically(path, b"once")
    >>> write_atomically(path, b"twice")
    >>> path.read_bytes(), len(list(path.parent.iterdir()))
    (b'twice', 1)
    >>> folder.cleanup()
    """
    with storage_errors(path):
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            raise StorageError(f"{str(path)!r} is a folder or a device, not a file; choose another name")
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            _write_new(temporary, data)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(target.parent)


@contextlib.contextmanager
def storage_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert an `OSError` from writing `path` to a `StorageError` that names the path.

    Examples
    --------
    >>> with storage_errors("/no/such/folder/model.safetensors"):
    ...     raise FileNotFoundError(2, "No such file or directory")
    Traceback (most recent call last):
        ...
    backends.errors.StorageError: '/no/such/folder/model.safetensors' cannot be written: No such file or directory; \
check that its folder exists, is writable, and has space left
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        storage_error = StorageError(
            f"{os.fspath(path)!r} cannot be written: {error.strerror or error}; check that its folder exists, is "
            "writable, and has space left"
        )
        storage_error.errno = error.errno
        raise storage_error from error


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with open(descriptor, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Write the directory entry to disk, so that it survives a power cut; Windows cannot do this."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some network file systems do not support this; the file is written anyway
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
