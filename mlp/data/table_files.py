"""Open a table's file: compressed ones and the standard input are copied to a temporary file first."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlp._backends import FileFormatError
from mlp.data.extras import require_extra
from mlp.data.files import MAX_EXPANDED_BYTES, check_limit, chosen_limit, expansion_limit, open_checked
from mlp.data.reading import UTF_8

STANDARD_INPUT = "-"
"""The name that stands for the standard input, a table in CSV format."""

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")

_BLOCK_BYTES = 2**20


def table_suffix(name: str | os.PathLike[str]) -> str:
    """Return the suffix of a table's file in small letters, with that of its compression; ``""`` for other files.

    Examples
    --------
    >>> table_suffix("houses.CSV"), table_suffix("houses.csv.gz"), table_suffix("-"), table_suffix("houses.npy")
    ('.csv', '.csv.gz', '.csv', '')
    """
    if os.fspath(name) == STANDARD_INPUT:
        return ".csv"
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    for last in (suffixes[-1:], suffixes[-2:]):
        if "".join(last) in TABLE_SUFFIXES:
            return "".join(last)
    return ""


def table_stem(name: str | os.PathLike[str]) -> str:
    """Return the name of a file without its folder and its suffixes.

    Examples
    --------
    >>> table_stem("data/houses.csv.gz"), table_stem("-"), table_stem("v1.2.npy")
    ('houses', 'stdin', 'v1.2')
    """
    if os.fspath(name) == STANDARD_INPUT:
        return "stdin"
    file = Path(name).name
    suffix = table_suffix(name)
    return file[: len(file) - len(suffix)] if suffix and len(file) > len(suffix) else Path(name).stem


@contextmanager
def open_table(
    path: str | os.PathLike[str], max_bytes: int | None = None, encoding: str = UTF_8
) -> Iterator[tuple[io.BufferedReader, int]]:
    """Open the file of a table, and yield it, not compressed and in UTF-8, with its size in bytes.

    Parameters
    ----------
    path : str or path-like
        A file with one of `TABLE_SUFFIXES`, or ``"-"`` for the standard input.
    max_bytes : int, optional
        Limit on the size after decompression, as in `mlp.data.read_table`.
    encoding : str
        The encoding of a CSV or TSV file.

    Raises
    ------
    FileFormatError
        If the file is missing, empty, damaged or in another encoding, or would expand to more than the limit.
    """
    with _opened(path, max_bytes) as (handle, size):
        if encoding == UTF_8 or table_suffix(path) == ".parquet":
            yield handle, size
            return
        with _in_utf_8(handle, encoding, repr(os.fspath(path))) as file, open(file.name, "rb") as reader:
            yield reader, os.fstat(file.fileno()).st_size


@contextmanager
def _opened(path: str | os.PathLike[str], max_bytes: int | None) -> Iterator[tuple[io.BufferedReader, int]]:
    """The file as it is, not compressed."""
    where = repr(os.fspath(path))
    if os.fspath(path) == STANDARD_INPUT:
        limit = chosen_limit(max_bytes) or MAX_EXPANDED_BYTES
        with _copied(sys.stdin.buffer, limit, "the standard input") as file, open_checked(file.name, "CSV") as opened:
            yield opened
        return
    suffix = table_suffix(path)
    with open_checked(path, suffix[1:].upper()) as (handle, size):
        compression = suffix.rpartition(".")[2]
        if compression not in ("gz", "zst"):
            yield handle, size
            return
        with _expanding(handle, compression, where) as stream:
            copy = _copied(stream, expansion_limit(size, max_bytes), where)
            with copy as file:
                expanded = os.fstat(file.fileno()).st_size
                if expanded == 0:
                    raise FileFormatError(f"{where} holds an empty file; write it again")
                with open(file.name, "rb") as reader:
                    yield reader, expanded


@contextmanager
def _in_utf_8(handle: io.BufferedReader, encoding: str, where: str) -> Iterator[IO[bytes]]:
    """A temporary file with the text of a file in another encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with tempfile.NamedTemporaryFile(prefix="mlp-") as file:
        done = line = 0
        while True:
            block = handle.read(_BLOCK_BYTES)
            kept = len(decoder.getstate()[0])  # bytes of a character that the block before cut
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, "replace").count("\n")
                raise FileFormatError(
                    f"{where}, line {line + before + 1}, byte {done - kept + error.start} "
                    f"(0x{error.object[error.start]:02x}): not {encoding} text; give the encoding in which the file "
                    "was written (encoding=..., --encoding)"
                ) from error
            done, line = done + len(block), line + text.count("\n")
            file.write(text.encode(UTF_8, "surrogatepass"))
            if not block:
                break
        file.flush()
        yield file


@contextmanager
def _expanding(handle: io.BufferedReader, compression: str, where: str) -> Iterator[IO[bytes]]:
    if compression == "gz":
        with gzip.GzipFile(fileobj=handle) as stream:
            yield stream  # type: ignore[misc]
        return
    require_extra("pyarrow", where)
    import pyarrow

    with pyarrow.CompressedInputStream(handle, "zstd") as stream:
        yield stream


@contextmanager
def _copied(stream: IO[bytes], limit: int, where: str) -> Iterator[IO[bytes]]:
    """A temporary file with the content of a stream, which readers can open again by its name."""
    with tempfile.NamedTemporaryFile(prefix="mlp-") as file:
        size = 0
        while block := stream.read(_BLOCK_BYTES):
            size += len(block)
            check_limit(size, limit, where)
            file.write(block)
        file.flush()
        yield file
