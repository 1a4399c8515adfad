"""Read Parquet files with pyarrow, after checks that bound the memory, which pyarrow does not make."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DtypeError, FileFormatError
from mlp.checks import quoted, shortened
from mlp.data.columns import inexact_integers
from mlp.data.extras import require_extra
from mlp.data.files import MAX_COLUMNS, check_limit, chosen_limit, expansion_limit
from mlp.data.parquet_layout import ColumnChunk, page_headers, read_footer

if TYPE_CHECKING:
    import pyarrow

FOOTER_EXPANSION = 50
"""Bytes of memory for each byte of the metadata at the end of a file, at most: measured for columns of one value."""

_SMALL_FOOTER_BYTES = 2**20

MAX_PAGES = 60_000
"""Most pages in a file, in all of its columns; a file of `files.MAX_EXPANDED_BYTES` has about half as many."""

_BATCH_ROWS = 2**16
_STRING_BYTES = 56  # of a Python string, beside its characters
_VALUE_BYTES = 8
_PLAIN = 0
_DELTA_TEXT = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}  # a few bytes can be any number of texts
_MAGIC = b"PAR1"


def read_parquet(
    handle: io.BufferedReader, size: int, max_bytes: int | None, where: str, *, raw: bool = False
) -> dict[str, NDArray[Any]]:
    """Read all columns of an open Parquet file.

    Parameters
    ----------
    handle : BufferedReader
        The file.
    size : int
        Its size in bytes.
    max_bytes : int, optional
        Largest number of bytes that the columns may take, see the documentation; by default that of `expansion_limit`.
    where : str
        The file, for error messages.
    raw : bool
        Read dates and times too, as datetime64, and integers that no float can hold exactly beside missing values.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        As in `mlp.data.read_table`.

    Raises
    ------
    FileFormatError
        If the file is damaged, or would expand to more than the limit.
    DtypeError
        If a column is nested, or holds neither numbers, text nor booleans.
    DataError
        If integers beside missing values are too large to be stored exactly as floats.
    MissingExtraError
        If pyarrow is not installed.
    """
    require_extra("pyarrow", where)
    n_rows, chunks = read_layout(handle, size, max_bytes, where)
    limit = expansion_limit(size, max_bytes)
    check_limit(sum(chunk.n_rows for chunk in chunks) * _VALUE_BYTES, limit, where)
    metadata, schema = read_schema(handle, where, raw=raw)
    check_pages(handle, size, chunks, lambda expanded: check_limit(expanded, limit, where), where)
    return read_columns(handle, metadata, schema, schema.names, n_rows, where, raw=raw)


def read_layout(
    handle: io.BufferedReader, size: int, max_bytes: int | None, where: str
) -> tuple[int, list[ColumnChunk]]:
    """Return the number of rows and all column chunks of an open Parquet file.

    Raises
    ------
    FileFormatError
        If they cannot be read, or take too much memory.
    """
    n_rows, chunks = read_footer(_footer(handle, size, chosen_limit(max_bytes), where), where)
    n_columns = len({chunk.name for chunk in chunks})
    if n_columns > MAX_COLUMNS:
        raise FileFormatError(f"{where} has {n_columns} columns, more than the limit of {MAX_COLUMNS}; remove some")
    return n_rows, chunks


def read_schema(handle: io.BufferedReader, where: str, *, raw: bool) -> tuple[Any, pyarrow.Schema]:
    """Return pyarrow's metadata and schema of a file whose layout has been read.

    Raises
    ------
    FileFormatError
        If two columns have the same name.
    DtypeError
        If a column holds neither numbers, text nor booleans, nor, if `raw`, dates.
    """
    import pyarrow.parquet

    handle.seek(0)
    metadata = pyarrow.parquet.read_metadata(handle)
    schema = _open(handle, metadata, ()).schema_arrow
    _check_columns(schema, where, raw)
    return metadata, schema


def read_columns(
    handle: io.BufferedReader,
    metadata: Any,
    schema: pyarrow.Schema,
    names: Sequence[str],
    n_rows: int,
    where: str,
    *,
    raw: bool,
    group: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Read some columns of all rows, or of a row group, whose pages have been checked.

    Raises
    ------
    FileFormatError
        If there are not as many values as rows.
    DataError
        As `read_parquet`.
    """
    if n_rows == 0:
        return {name: np.empty(0) for name in names}
    text = [name for name in names if _is_text(_value_type(schema.field(name)))]
    # as a dictionary, a text that occurs in many rows is stored once
    file = _open(handle, metadata, text)
    columns = {}
    for name in names:
        column_where = f"{where}, column {quoted(name)}"
        column = _read_column(file, schema.field(name), column_where, raw, group)
        if len(column) != n_rows:
            raise FileFormatError(
                f"{column_where} has {len(column)} values, but the file declares {n_rows} rows; write or copy it again"
            )
        columns[name] = column
    return columns


def _open(handle: io.BufferedReader, metadata: Any, text: Any) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(
        handle,
        metadata=metadata,
        read_dictionary=text,
        pre_buffer=False,
        page_checksum_verification=True,  # of files that have checksums
        arrow_extensions_enabled=False,
    )


def _footer(handle: io.BufferedReader, size: int, limit: int | None, where: str) -> bytes:
    handle.seek(max(size - 8, 0))
    end = handle.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length + 12 > size:
        raise FileFormatError(
            f"{where} is truncated, encrypted or not of format PARQUET: it does not end in the bytes {_MAGIC!r} after "
            "its metadata; write or copy it again"
        )
    if limit is None:
        limit = max(2 * size, FOOTER_EXPANSION * _SMALL_FOOTER_BYTES)
    check_limit(FOOTER_EXPANSION * length, limit, f"{where}, the metadata of its columns and row groups")
    handle.seek(size - 8 - length)
    return handle.read(length)


def _check_columns(schema: pyarrow.Schema, where: str, raw: bool) -> None:
    import pyarrow.types as kinds

    seen = set()
    for field in schema:
        column_where = f"{where}, column {quoted(field.name)}"
        if field.name in seen:
            raise FileFormatError(f"{column_where}: another column has the same name; rename one")
        seen.add(field.name)
        kind = _value_type(field)
        if kinds.is_nested(kind):
            raise DtypeError(
                f"{column_where} is nested: it holds {shortened(kind, 60)}, expected one number, text or boolean in "
                "each row; write its parts as columns of their own, or remove it"
            )
        if not (
            kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_null(kind)
            or _is_text(kind) or (raw and _is_date(kind))
        ):  # fmt: skip
            raise DtypeError(
                f"{column_where} holds values of type {shortened(kind, 60)}, expected numbers, text or booleans; "
                f"convert {_remedy(kind)}, or remove the column"
            )


def _remedy(kind: pyarrow.DataType) -> str:
    import pyarrow.types as kinds

    if kinds.is_temporal(kind):
        return "dates and times to numbers"
    if kinds.is_decimal(kind):
        return "decimals to floating-point numbers"
    return "them"


def _value_type(field: pyarrow.Field) -> pyarrow.DataType:
    import pyarrow.types as kinds

    return field.type.value_type if kinds.is_dictionary(field.type) else field.type


def _is_text(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _is_date(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_date(kind) or kinds.is_timestamp(kind))


def check_pages(
    handle: io.BufferedReader,
    size: int,
    chunks: Sequence[ColumnChunk],
    check_size: Callable[[int], None],
    where: str,
) -> None:
    """Check how much memory columns take, by the sizes that the file declares; `check_size` raises the error.

    They take at most 8 bytes for each value, the size of each page after decompression, and 56 bytes for each text that
    is not in a dictionary.  A page that holds more than it declares is an error of pyarrow.

    Raises
    ------
    FileFormatError
        If the sum is above the limit, there are too many pages, or the declared numbers contradict each other.
    """
    total = sum(chunk.n_rows for chunk in chunks) * _VALUE_BYTES
    check_size(total)
    n_pages = 0
    for chunk in chunks:
        column_where = f"{where}, column {quoted(chunk.name)}"
        if not len(_MAGIC) <= chunk.start < chunk.stop <= size:
            raise FileFormatError(f"{column_where} is outside of the file, which is damaged; copy it again")
        n_values = 0
        for page in page_headers(handle, chunk, column_where):
            if chunk.is_text and page.encoding in _DELTA_TEXT:
                raise FileFormatError(
                    f"{column_where} holds texts in the encoding {_DELTA_TEXT[page.encoding]}, which is not read, "
                    "because their size is unknown before they are decoded; write the file with plain or dictionary "
                    "encoding: polars.read_parquet(path).write_parquet(new)"
                )
            if page.is_dictionary and page.n_values > page.size:
                raise FileFormatError(
                    f"{column_where} has a dictionary of {page.n_values} values in {page.size} bytes; the file is "
                    "damaged, write or copy it again"
                )
            n_pages += 1
            if n_pages > MAX_PAGES:
                raise FileFormatError(f"{where} has more than {MAX_PAGES} pages; write it with larger pages")
            n_values += 0 if page.is_dictionary else page.n_values
            total += page.size
            if chunk.is_text and (page.is_dictionary or page.encoding == _PLAIN):
                total += page.n_values * _STRING_BYTES
            check_size(total)
        if n_values != chunk.n_rows:
            raise FileFormatError(
                f"{column_where} has {n_values} values in {chunk.n_rows} rows; the file is damaged, write or copy it "
                "again"
            )


def _read_column(file: Any, field: pyarrow.Field, where: str, raw: bool, group: int | None) -> NDArray[Any]:
    import pyarrow

    batches = (
        batch.column(batch.schema.get_field_index(field.name))
        for batch in file.iter_batches(
            _BATCH_ROWS, None if group is None else [group], columns=[field.name], use_threads=False
        )
    )
    if _is_text(_value_type(field)):
        return np.concatenate(list(_texts(batches)))
    chunks = []
    for chunk in batches:
        chunk.validate(full=True)  # such as numbers of categories that do not exist
        chunks.append(chunk.dictionary_decode() if isinstance(chunk, pyarrow.DictionaryArray) else chunk)
    kind, has_missing = chunks[0].type, any(chunk.null_count for chunk in chunks)
    if pyarrow.types.is_null(kind):
        return np.full(sum(map(len, chunks)), np.nan)
    if _is_date(kind):
        return np.concatenate([_dates(chunk) for chunk in chunks])
    if pyarrow.types.is_boolean(kind):
        codes = np.concatenate([_values(chunk.cast(pyarrow.uint8()), 2) for chunk in chunks])
        return np.array([False, True, None])[codes] if has_missing else codes.astype(np.bool_)
    if pyarrow.types.is_integer(kind) and has_missing:
        try:
            chunks = [chunk.cast(pyarrow.float64(), safe=not raw) for chunk in chunks]  # NaN is a float
        except pyarrow.ArrowInvalid as error:
            raise inexact_integers(where) from error
    return np.concatenate([_values(chunk, np.nan) for chunk in chunks])


def _texts(batches: Iterable[Any]) -> Iterator[NDArray[Any]]:
    """Yield arrays of Python strings and None."""
    known: Any = None
    labels = np.empty(0, dtype=object)
    for chunk in batches:
        chunk.validate(full=True)  # numbers of texts that do not exist, and text that is not UTF-8
        if known is None or not chunk.dictionary.equals(known):
            known = chunk.dictionary
            labels = np.array([*known.to_pylist(), None], dtype=object)
        yield labels[_values(chunk.indices, len(known))]


def _dates(array: Any) -> NDArray[np.datetime64]:
    """Convert an array of dates or timestamps; those with a time zone are in UTC."""
    import pyarrow

    unit = "D" if pyarrow.types.is_date32(array.type) else getattr(array.type, "unit", "ms")
    numbers = _values(array.view(pyarrow.int32() if unit == "D" else pyarrow.int64()), 0)
    dates: NDArray[np.datetime64] = numbers.astype(np.int64).astype(f"datetime64[{unit}]")
    if array.null_count:
        dates[np.from_dlpack(array.is_null().cast(pyarrow.uint8())).astype(np.bool_)] = np.datetime64("NaT")
    return dates


def _values(array: Any, missing: float) -> NDArray[Any]:
    """Convert an array of numbers; its own methods for that would import pandas, if that is installed."""
    import pyarrow

    values: NDArray[Any] = np.from_dlpack(
        pyarrow.Array.from_buffers(array.type, len(array), [None, array.buffers()[1]], offset=array.offset)
    )
    if array.null_count:
        values = values.copy()
        values[np.from_dlpack(array.is_null().cast(pyarrow.uint8())).astype(np.bool_)] = missing
    return values
