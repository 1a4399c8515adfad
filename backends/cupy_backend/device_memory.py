"""`explained`: turns CuPy's error for lack of memory into one that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from backends.errors import DeviceMemoryError


@contextlib.contextmanager
def explained(cupy: Any, device: str, what: str, n_bytes: int, advice: str) -> Iterator[None]:
    """Raise `DeviceMemoryError` instead of CuPy's own error.

    Parameters
    ----------
    cupy : module
    device : str
    what : str
        What the memory is for.
    n_bytes : int
        How much of it is needed.
    advice : str
        What to change if it is too much.
    """
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        free, total = cupy.cuda.runtime.memGetInfo()
        raise DeviceMemoryError(
            f"{device} has no memory for {what}: {in_words(n_bytes)} needed, {in_words(free)} of {in_words(total)} "
            f"free. {advice}"
        ) from error


def in_words(n_bytes: float) -> str:
    """A number of bytes as people write it.

    Examples
    --------
    >>> in_words(300), in_words(5 * 2**20), in_words(150 * 2**30)
    ('300 bytes', '5.0 MiB', '150.0 GiB')
    """
    if n_bytes < 2**10:
        return f"{n_bytes:.0f} bytes"
    power, unit = next((each for each in ((10, "KiB"), (20, "MiB")) if n_bytes < 2 ** (each[0] + 10)), (30, "GiB"))
    return f"{n_bytes / 2**power:.1f} {unit}"
