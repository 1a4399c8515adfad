"""A file that is read in parts, from several threads, and must not change meanwhile."""

from __future__ import annotations

import os
import threading
import weakref

from mlp._backends import FileFormatError
from mlp.data.files import open_checked

_MAX_OPEN = 64


class OpenFile:
    """A file that stays open, and is read at given places.  Its contents are never mapped to memory.

    If there are many files, it is opened for each read instead, since a process can have few files open.

    Parameters
    ----------
    path : str or path-like
    kind : str
        The format, for error messages: ``"NPY"``, ...
    n_files : int
        Number of files that the caller has open.

    Attributes
    ----------
    path : str
    where : str
        The path in quotes, for error messages.
    size : int
        Number of bytes.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str, n_files: int = 1) -> None:
        self.path, self.where = os.fspath(path), repr(os.fspath(path))
        with open_checked(path, kind) as (handle, self.size):
            self._state = file_state(handle.fileno())
        self._descriptor: int | None = None
        self._lock = threading.Lock()  # only where reading at a place moves the place of the next read
        if n_files <= _MAX_OPEN:
            self._descriptor = self._open()
            weakref.finalize(self, os.close, self._descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise FileFormatError(
                f"{self.where} can no longer be opened: {error.strerror}; leave the file in place while it is used"
            ) from error

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer of bytes with those of the file from `offset` on.

        Raises
        ------
        FileFormatError
            If the file has been changed, shortened or replaced, or cannot be read.
        """
        descriptor = self._open() if self._descriptor is None else self._descriptor
        try:
            done = 0
            while done < len(buffer):
                n = self._read(descriptor, buffer[done:], offset + done)
                if n == 0:
                    raise FileFormatError(
                        f"{self.where} has {os.fstat(descriptor).st_size} bytes, but had {self.size} when it was "
                        "opened; do not shorten a file while it is used"
                    )
                done += n
            if file_state(descriptor) != self._state:
                raise FileFormatError(
                    f"{self.where} has been changed while it was used; open it again, and do not write to it meanwhile"
                )
        except OSError as error:
            raise FileFormatError(
                f"{self.where} cannot be read at byte {offset}: {error.strerror}; check the disk or the network"
            ) from error
        finally:
            if self._descriptor is None:
                os.close(descriptor)

    def _read(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(descriptor, [buffer], offset)
        with self._lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            block = os.read(descriptor, len(buffer))
        buffer[: len(block)] = block
        return len(block)


def file_state(descriptor: int) -> tuple[int, int, int]:
    """What changes if the contents do."""
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns
