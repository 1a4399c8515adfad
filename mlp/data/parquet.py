"""Read Parquet files with pyarrow, after checks that bound the memory, which pyarrow does not make."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DtypeError, FileFormatError
from mlp.checks import quoted, shortened
from mlp.data.columns import inexact_integers
from mlp.data.extras import require_extra
from mlp.data.files import MAX_COLUMNS, check_limit
from mlp.data.parquet_pages import page_headers

if TYPE_CHECKING:
    import pyarrow

MAX_FOOTER_BYTES = 2**24
"""Largest size of the metadata at the end of a file; it takes several times as much memory."""

MAX_PAGES = 100_000
"""Most pages in a file, in all of its columns; a file of `files.MAX_EXPANDED_BYTES` has about half as many."""

_BATCH_ROWS = 2**16
_STRING_BYTES = 56  # of a Python string, beside its characters
_VALUE_BYTES = 8
_PLAIN = 0
_DELTA_TEXT = (6, 7)  # encodings in which a few bytes can stand for any number or length of texts
_MAGIC = b"PAR1"


def read_parquet(handle: io.BufferedReader, size: int, limit: int, where: str) -> dict[str, NDArray[Any]]:
    """Read all columns of an open Parquet file.

    Parameters
    ----------
    handle : BufferedReader
        The file.
    size : int
        Its size in bytes.
    limit : int
        Largest number of bytes that the columns may take; see `expanded_bytes`.
    where : str
        The file, for error messages.

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
    import pyarrow.parquet

    _check_footer(handle, size, where)
    metadata = pyarrow.parquet.read_metadata(handle)
    file = _open(handle, metadata, ())
    schema = file.schema_arrow
    _check_columns(schema, where)
    if metadata.num_rows == 0:
        return {name: np.empty(0) for name in schema.names}
    expanded_bytes(handle, size, metadata, limit, where)
    text = [field.name for field in schema if _is_text(field.type)]
    # as a dictionary, a text that occurs in many rows is stored once
    file = _open(handle, metadata, text)
    columns = {}
    for field in schema:
        column_where = f"{where}, column {quoted(field.name)}"
        column = _read_column(file, field, column_where)
        if len(column) != metadata.num_rows:
            raise FileFormatError(
                f"{column_where} has {len(column)} values, but the file declares {metadata.num_rows} rows; "
                "write or copy it again"
            )
        columns[field.name] = column
    return columns


def _open(handle: io.BufferedReader, metadata: Any, text: Any) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(
        handle,
        metadata=metadata,
        read_dictionary=text,
        pre_buffer=False,
        thrift_container_size_limit=MAX_COLUMNS,
        page_checksum_verification=True,  # of files that have checksums
        arrow_extensions_enabled=False,
    )


def _check_footer(handle: io.BufferedReader, size: int, where: str) -> None:
    handle.seek(max(size - 8, 0))
    end = handle.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length + 12 > size:
        raise FileFormatError(
            f"{where} is truncated, encrypted or not of format PARQUET: it does not end in the bytes {_MAGIC!r} after "
            "its metadata; write or copy it again"
        )
    if length > MAX_FOOTER_BYTES:
        raise FileFormatError(
            f"{where} has {length} bytes of metadata, more than the limit of {MAX_FOOTER_BYTES}; "
            "write it with fewer columns or larger row groups"
        )
    handle.seek(0)


def _check_columns(schema: pyarrow.Schema, where: str) -> None:
    import pyarrow.types as kinds

    seen = set()
    for field in schema:
        column_where = f"{where}, column {quoted(field.name)}"
        if field.name in seen:
            raise FileFormatError(f"{column_where}: another column has the same name; rename one")
        seen.add(field.name)
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        if kinds.is_nested(kind):
            raise DtypeError(
                f"{column_where} is nested: it holds {shortened(kind, 60)}, expected one number, text or boolean in "
                "each row; write its parts as columns of their own, or remove it"
            )
        if not (
            kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_null(kind)
            or _is_text(kind)
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


def _is_text(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as kinds

    return kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)


def expanded_bytes(handle: io.BufferedReader, size: int, metadata: Any, limit: int, where: str) -> int:
    """Return an upper bound of the memory for all columns, after a check that it is within the limit.

    It is the sum of 8 bytes for each value, the size of each page after decompression, and 56 bytes for each text that
    is not in a dictionary.  All of it is known from the footer and the page headers, so nothing is decompressed.

    Raises
    ------
    FileFormatError
        If the sum is above the limit, there are too many pages, or the page headers contradict the footer.
    """
    total = metadata.num_rows * metadata.num_columns * _VALUE_BYTES
    check_limit(total, limit, where)
    n_pages = rows = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows += group.num_rows
        for chunk in map(group.column, range(group.num_columns)):
            column_where = f"{where}, column {quoted(chunk.path_in_schema)}"
            n_values = 0
            for page in page_headers(handle, *_place(chunk, size, column_where), column_where):
                is_text = chunk.physical_type == "BYTE_ARRAY"
                if is_text and page.encoding in _DELTA_TEXT:
                    raise FileFormatError(
                        f"{column_where} is in encoding {', '.join(chunk.encodings)}; texts in a DELTA encoding are "
                        "not read, because their size is unknown before they are decoded. Write the file with plain or "
                        "dictionary encoding: polars.read_parquet(path).write_parquet(new)"
                    )
                n_pages += 1
                n_values += 0 if page.is_dictionary else page.n_values
                total += page.size
                if page.is_dictionary and page.n_values > page.size:
                    raise FileFormatError(
                        f"{column_where} has a dictionary of {page.n_values} values in {page.size} bytes; the file is "
                        "damaged, write or copy it again"
                    )
                if is_text and (page.is_dictionary or page.encoding == _PLAIN):
                    total += page.n_values * _STRING_BYTES
                if n_pages > MAX_PAGES:
                    raise FileFormatError(f"{where} has more than {MAX_PAGES} pages; write it with larger pages")
                check_limit(total, limit, where)
            if n_values != group.num_rows:
                raise FileFormatError(
                    f"{column_where} has pages of {n_values} values for {group.num_rows} rows; the file is damaged, "
                    "write or copy it again"
                )
    if rows != metadata.num_rows:
        raise FileFormatError(
            f"{where} declares {metadata.num_rows} rows, but its parts have {rows}; write or copy it again"
        )
    return total


def _place(chunk: Any, size: int, where: str) -> tuple[int, int]:
    """The first byte of a column chunk and the one after its last, in the file."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    stop = start + chunk.total_compressed_size
    if not len(_MAGIC) <= start < stop <= size:
        raise FileFormatError(f"{where} is outside of the file; the file is truncated or damaged, copy it again")
    return start, stop


def _read_column(file: Any, field: pyarrow.Field, where: str) -> NDArray[Any]:
    import pyarrow

    chunks = list(_chunks(file, field.name))
    if chunks and all(isinstance(chunk, np.ndarray) for chunk in chunks):
        return np.concatenate(chunks)
    column = pyarrow.chunked_array(chunks, type=None if chunks else field.type)
    if pyarrow.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if not column.null_count:
        return np.asarray(column.to_numpy())
    if pyarrow.types.is_integer(column.type):
        try:
            column = column.cast(pyarrow.float64())  # NaN is a float
        except pyarrow.ArrowInvalid as error:
            raise inexact_integers(where) from error
    return np.asarray(column.to_numpy())


def _chunks(file: Any, name: str) -> Iterator[Any]:
    """Yield a column in parts: texts as arrays of Python strings and None, all else as pyarrow's arrays."""
    import pyarrow

    known: Any = None
    labels = np.empty(0, dtype=object)
    for batch in file.iter_batches(_BATCH_ROWS, columns=[name], use_threads=False):
        chunk = batch.column(batch.schema.get_field_index(name))
        chunk.validate(full=True)  # numbers of texts that do not exist, and text that is not UTF-8
        if not isinstance(chunk, pyarrow.DictionaryArray):
            yield chunk
        elif not _is_text(chunk.type.value_type):
            yield chunk.dictionary_decode()
        else:
            if known is None or not chunk.dictionary.equals(known):
                known = chunk.dictionary
                labels = np.array([*known.to_pylist(), None], dtype=object)
            yield labels[chunk.indices.cast(pyarrow.int64()).fill_null(len(known)).to_numpy()]
