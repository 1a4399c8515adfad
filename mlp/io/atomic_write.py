"""Durable files: a file is replaced completely or not changed, and what was written survives a power cut."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mlp._backends import StorageError

if os.name != "nt":
    import fcntl


def write_atomically(path: str | os.PathLike[str], *chunks: bytes | memoryview) -> None:
    """Write `chunks`, one after the other, to the file `path` atomically; see `write_chunks_atomically`.

    Parameters
    ----------
    path : str or path-like
        A link is followed.
    *chunks : bytes-like

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
    write_chunks_atomically(path, chunks)


def write_chunks_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Write `chunks`, each when the one before is written, to the file `path` atomically.

    After any failure (full disk, killed process, power cut), `path` has either its old content or all of the new: the
    bytes are written to a temporary file in the same folder and flushed to disk, then the file is renamed.  Temporary
    files that killed processes have left are deleted.

    Parameters
    ----------
    path : str or path-like
        A link is followed.
    chunks : iterable of bytes-like
        If it raises an error, so does this function, as in any failure.

    Raises
    ------
    StorageError
        If the file cannot be written; the old file is not changed, and the temporary file is deleted.
    """
    with storage_errors(path):
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            raise StorageError(f"{str(path)!r} is a folder or a device, not a file; choose another name")
        remove_leftovers(target.parent, target.name)
        with _temporary_file(target) as (temporary, handle):
            handle.writelines(chunks)
            handle.flush()
            os.fsync(handle.fileno())
            if os.name == "nt":
                handle.close()  # Windows cannot rename an open file; elsewhere it stays locked until then
            os.replace(temporary, target)
        _sync_folder(target.parent)


def remove_leftovers(folder: str | os.PathLike[str], name: str = "") -> None:
    """Delete the temporary files in `folder` that killed processes have left; of the file `name` only, if given.

    A process that is writing a temporary file holds a lock on it.
    """
    if os.name == "nt":
        return
    entries = []
    with contextlib.suppress(OSError):  # not a readable folder
        entries = os.listdir(folder)
    for entry in entries:
        if entry.startswith(f".{name}") and _is_temporary(entry):
            with contextlib.suppress(OSError), open(os.path.join(folder, entry), "rb") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(os.path.join(folder, entry))


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Create a folder and its parents, if they do not exist, on disk too.

    Raises
    ------
    StorageError
        If it cannot be created.
    """
    path = Path(folder)
    with storage_errors(folder):
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for created in missing:
            _sync_folder(created.parent)


def append(path: str | os.PathLike[str], text: str) -> None:
    """Append to a text file; `sync` brings it to disk."""
    with storage_errors(path), open(path, "a", encoding="utf-8") as handle:
        handle.write(text)


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file is on disk."""
    with storage_errors(path), open(path, "rb") as handle:
        os.fsync(handle.fileno())


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


_SUFFIX = re.compile(r"\.[0-9a-f]{8}\.tmp\Z")


def _is_temporary(name: str) -> bool:
    return _SUFFIX.search(name) is not None


@contextlib.contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new locked file beside `target`, which is deleted if the block fails."""
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with open(descriptor, "wb") as handle:
            if os.name != "nt":
                with contextlib.suppress(OSError):  # some network file systems have no locks, and nothing is deleted
                    fcntl.flock(handle, fcntl.LOCK_EX)
            if not path.exists():
                continue  # deleted as a leftover before it was locked
            try:
                yield path, handle
            except BaseException:
                with contextlib.suppress(OSError):
                    handle.close()  # Windows cannot delete an open file
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
        return


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
