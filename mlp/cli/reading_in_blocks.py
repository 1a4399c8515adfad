"""``--stream``: whether data are read in blocks, and why."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from mlp.cli.options import Function, option

SHARE = 4
"""Data that take more than one part in so many of the memory are read in blocks by default."""

_HELP = (
    "Read an NPY or Parquet file in blocks, again in each epoch, instead of keeping it in memory; a folder of them is "
    "always read so.  Default: if the rows take more than a quarter of the memory that this process may use."
)


def stream_option(function: Function) -> Function:
    """Add ``--stream`` and ``--no-stream``."""
    return option("Data", "--stream/--no-stream", "stream", default=None, help=_HELP)(function)


def choose(source: str, options: dict[str, Any]) -> tuple[bool, str]:
    """Whether `source` is read in blocks, and a sentence that says why; empty if there is nothing to choose.

    The rule depends on the files and the limits of this process alone, not on what is in use at the moment.

    Parameters
    ----------
    source : str
        The argument DATA of a command.
    options : dict
        ``stream``: None if it is not given; ``scale`` and ``dtype``, if the command has them.

    Raises
    ------
    UsageError, ConfigurationError, FileFormatError
        If the source is to be read in blocks, and cannot be.
    """
    asked = options["stream"]
    if asked is False and Path(source).is_dir():
        raise click.UsageError(f"--no-stream: the folder {source!r} can only be read in blocks; remove it.")
    if not can_be_read_in_blocks(source):
        if asked:
            from mlp import data

            data.stream(source)  # raises the error that says what to do
        return False, ""
    size = bytes_in_memory(source, scale=options.get("scale"), dtype=options.get("dtype"))
    if asked is not None:
        return asked, f"{gigabytes(size)}, read in blocks: --stream" if asked else ""
    if Path(source).is_dir():
        return True, f"{gigabytes(size)} in a folder, read in blocks"
    from mlp.io.memory_limits import usable_memory

    memory = usable_memory()
    if memory is None or SHARE * size <= memory.bytes:
        return False, ""
    return True, (
        f"{gigabytes(size)}, read in blocks: more than a quarter of the {gigabytes(memory.bytes)} {memory.source}; "
        "--no-stream reads it into memory"
    )


def can_be_read_in_blocks(source: str) -> bool:
    """Whether a source is a file of a kind that `mlp.data.stream` reads, or a folder of such files."""
    from mlp.data.streams.opening import STREAM_SUFFIXES

    if Path(source).is_dir():
        return any(Path(name).suffix.lower() in STREAM_SUFFIXES for name in os.listdir(source))
    return Path(source).suffix.lower() in STREAM_SUFFIXES and Path(source).is_file()


def bytes_in_memory(source: str, *, scale: str | None = None, dtype: str | None = None) -> int:
    """The size of the rows as a training in memory keeps them: a byte for each value of uint8, else four or eight."""
    if Path(source).is_dir():
        from mlp.data.streams.opening import STREAM_SUFFIXES
        from mlp.data.streams.parts import list_parts

        parts = list_parts(source, STREAM_SUFFIXES)[1]
        return sum(bytes_in_memory(part, scale=scale, dtype=dtype) for part in parts)
    floats = 8 if dtype == "float64" else 4
    if Path(source).suffix.lower() == ".parquet":
        from mlp.data.streams.parquet_file import ParquetFile

        file = ParquetFile(source)
        return int(file.group_rows.sum()) * len(file.types) * floats
    import numpy as np

    from mlp.data.arrays import check_header
    from mlp.data.files import open_checked

    with open_checked(source, "NPY") as (handle, size):
        element, shape, _, _ = check_header(handle, size, repr(source))
    return math.prod(shape) * (1 if element == np.uint8 and scale is None else floats)


def gigabytes(size: int) -> str:
    """A number of bytes in GB, or in MB if it is less than one.

    Examples
    --------
    >>> gigabytes(6_012_000_128), gigabytes(1_228_800_000), gigabytes(47_040_128)
    ('6.0 GB', '1.2 GB', '47 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size:,} bytes"
