"""Read CSV and TSV files with polars, after checks that polars does not make.

A fast scan shows that most files are plain.  Only the others are read row by row, which names the line that is wrong.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import DataError, FileFormatError
from mlp.checks import quoted
from mlp.data.columns import EXACT_INTEGERS, inexact_integers
from mlp.data.decimal_commas import all_with_points
from mlp.data.extras import require_extra
from mlp.data.reading import UTF_8
from mlp.data.row_scan import MAX_LINE, Scan, may_have_words, scan_rows
from mlp.data.table_header import Header

if TYPE_CHECKING:
    import polars

logger = logging.getLogger(__name__)

MISSING_VALUES = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Missing values in a CSV or TSV file."""

_ONLY_AS_IN_NUMBERS = r"(?i)^[\s\x1c-\x1f\d+\-._einfaty]+$"
"""Texts of characters that `float` accepts: spaces, digits of any script, signs, the letters of nan and infinity."""

_FIRST_ROWS = 1000
"""Rows from which the types of the columns are inferred, before all rows are read with them."""

_FIRST_BYTES = 2**18
"""Bytes in which words for missing values are searched before all rows are read."""

_LARGE_FILE = 2**27
"""Size in bytes from which a file is read and scanned at the same time."""


@dataclass(frozen=True)
class Delimited:
    """The content of a CSV or TSV file.

    Attributes
    ----------
    columns : dict of str to ndarray of shape (n,)
        As in `mlp.data.read_table`.
    renamed : dict of str to str
        See `Header`.
    with_commas : list of str
        The columns of numbers that have a decimal comma.
    """

    columns: dict[str, NDArray[Any]]
    renamed: dict[str, str]
    with_commas: list[str]


def read_delimited(
    handle: io.BufferedReader,
    separator: str,
    text: Collection[str],
    where: str,
    *,
    raw: bool = False,
    commas: bool = False,
    numbers: Collection[str] = (),
) -> Delimited:
    """Read all columns of an open CSV or TSV file in UTF-8.

    Parameters
    ----------
    handle : BufferedReader
        The file.
    separator : str
        The character between fields.
    text : collection of str
        Columns to read as text even if all values look like numbers.
    where : str
        The file, for error messages.
    raw : bool
        As in `mlp.data.tables.read_columns`.
    commas : bool
        Whether numbers may have a decimal comma.
    numbers : collection of str
        With `commas`: columns that hold numbers, whatever else is in them.

    Raises
    ------
    FileFormatError, DataError, MissingExtraError
        As in `mlp.data.read_table`.
    """
    pl = require_extra("polars", where)
    header = _header(handle, separator, where, raw)
    frame = None
    if header is not None:
        frame = _read_plain(handle, separator, header, text)
    if frame is None:
        header, not_blank = _check_rows(handle, separator, where, raw)
        frame = _read_frame(handle, separator, header, text, MISSING_VALUES, None, None)
        if frame.width != len(header) or frame.height != len(not_blank):
            raise FileFormatError(
                f"{where} has ambiguous quotes or line ends; write it with line ends \\n or \\r\\n "
                'and double every " within a value'
            )
        if not all(not_blank):
            frame = frame.filter(pl.Series(np.frombuffer(not_blank, dtype=np.bool_)))
    assert header is not None
    frame.columns = header.names  # polars does not unescape doubled quotes in column names
    changed = all_with_points(frame, text, numbers) if commas else []
    frame = frame.with_columns(changed)
    for name in header.names:
        if frame[name].dtype == pl.String and name not in text and not raw:
            _check_text_column(frame[name], f"{where}, column {quoted(name)}")
    columns = {name: _to_numpy(frame[name], f"{where}, column {quoted(name)}", raw) for name in header.names}
    return Delimited(columns, header.renamed, [column.name for column in changed])


def _header(handle: io.BufferedReader, separator: str, where: str, raw: bool) -> Header | None:
    """Return the checked header, or None if it needs a closer look."""
    lines = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
    try:
        fields = next(csv.reader(lines, delimiter=separator, strict=True), [])
    except (csv.Error, UnicodeDecodeError):
        return None
    finally:
        lines.detach()  # otherwise the wrapper closes the file when it is deleted
    return Header.checked(fields, separator, where, raw)


def _read_plain(
    handle: io.BufferedReader, separator: str, header: Header, text: Collection[str]
) -> polars.DataFrame | None:
    """Read a file and scan it; None if it needs a closer look."""
    import polars as pl

    size = os.fstat(handle.fileno()).st_size
    handle.seek(0)
    handle.readline(MAX_LINE)
    words = may_have_words(handle.read(_FIRST_BYTES))

    def read(words: bool, first_rows: int | None) -> polars.DataFrame | None:
        missing_values = MISSING_VALUES if words else ()  # polars is faster without
        max_rows = size // len(header) + 1  # as many as are possible, since polars completes rows that are too short
        try:
            frame = _read_frame(handle, separator, header, text, missing_values, first_rows, max_rows)
        except pl.exceptions.PolarsError:
            return None
        return frame if frame.width == len(header) else None

    with ThreadPoolExecutor(1) as executor:
        scanning = executor.submit(_scan, handle, separator, len(header))
        if size < _LARGE_FILE and scanning.result() is None:
            return None  # polars takes more memory for some damaged files than for good ones
        frame = read(words, _FIRST_ROWS)
        scan = scanning.result()
    if scan is None:
        return None
    if scan.has_words and not words:  # the first of them come late
        frame = read(True, _FIRST_ROWS)
    # Inference from all rows takes three times as long as reading, so it is done only if it could matter: a later value
    # does not have the type of the first rows (an error of polars), or might have it by a more lenient rule.
    if frame is None or _types_may_be_wrong(frame, header, text, scan):
        frame = read(scan.has_words, None)
    if frame is None or frame.height != scan.n_rows:  # a row is not as long as the others
        return None
    return frame


def _scan(handle: io.BufferedReader, separator: str, n_columns: int) -> Scan | None:
    """Scan the file of `handle` through a handle of its own, because polars moves the position of the other."""
    with open(handle.name, "rb") as again:
        if not os.path.sameopenfile(handle.fileno(), again.fileno()):
            raise FileFormatError(f"{handle.name!r} was replaced while it was read; read it again")
        return scan_rows(again, separator, n_columns)


def _read_frame(
    handle: io.BufferedReader,
    separator: str,
    header: Header,
    text: Collection[str],
    missing_values: Collection[str],
    first_rows: int | None,
    max_rows: int | None,
) -> polars.DataFrame:
    import polars as pl

    names = header.names
    if header.renamed:  # as polars calls the columns
        handle.seek(0)
        names = pl.read_csv(handle, separator=separator, n_rows=0).columns
        if len(names) != len(header):
            names = header.names
    handle.seek(0)
    return pl.read_csv(
        handle,
        separator=separator,
        infer_schema_length=first_rows,
        n_rows=max_rows,
        null_values=list(missing_values) or None,
        schema_overrides={names[i]: pl.String for i, name in enumerate(header.names) if name in text},
    ).rechunk()  # in parallel; `Series.to_numpy` would copy the chunks of one column after the other


def _types_may_be_wrong(frame: polars.DataFrame, header: Header, text: Collection[str], scan: Scan) -> bool:
    """Whether inference from all rows could give another type than that from the first rows."""
    import polars as pl

    first = frame.head(_FIRST_ROWS // 2)
    for i, (name, column) in enumerate(zip(header.names, frame, strict=True)):
        if column.dtype.is_numeric() and scan.odd[i]:
            return True
        if column.dtype.is_float() and column.is_nan().any():  # as "-nan", because "NaN" and "nan" are missing values
            return True
        if column.dtype == pl.String and name not in text and first[:, i].null_count() == len(first):
            return True
    return False


def _to_numpy(column: polars.Series, where: str, raw: bool) -> NDArray[Any]:
    import polars as pl

    has_128_bits = str(column.dtype).endswith("Int128")
    if raw and column.dtype.is_integer() and (column.null_count() or has_128_bits):
        return column.cast(pl.Float64).to_numpy()
    if has_128_bits:
        raise DataError(
            f"{where} holds integers of more than 64 bits, which cannot be stored exactly; remove the column, or "
            "write it with a decimal point if the last digits do not matter"
        )
    if column.dtype.is_integer() and column.null_count():
        lowest, highest = column.min(), column.max()
        if lowest is not None and not (lowest >= -EXACT_INTEGERS and highest <= EXACT_INTEGERS):  # type: ignore[operator]
            raise inexact_integers(where)
    return column.to_numpy()


def _check_rows(handle: io.BufferedReader, separator: str, where: str, raw: bool) -> tuple[Header, bytearray]:
    """Return the header and, for each row below it, whether it is not blank.

    The check is needed because polars silently pads short rows with missing values and renames duplicate columns.
    """
    handle.seek(0)
    lines = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
    reader = csv.reader(lines, delimiter=separator, strict=True)
    not_blank = bytearray()
    try:
        header = Header.checked(next(reader, []), separator, where, raw)
        for row in reader:
            not_blank.append(bool(row))
            if row and len(row) != len(header):
                raise FileFormatError(
                    f"{where}, line {reader.line_num}: {len(row)} fields, but the header has {len(header)} columns; "
                    f"complete or remove that line, and quote values that contain {separator!r}"
                )
    except csv.Error as error:
        raise FileFormatError(f"{where}, line {reader.line_num}: {error}; correct the quotes of that line") from error
    except UnicodeDecodeError as error:
        lines.detach()
        raise FileFormatError(
            f"{where}, {_first_not_utf8(handle)}: not UTF-8 text; give its encoding (encoding=..., --encoding), such "
            "as latin-1, cp1252 (of Windows) or utf-16, or save it as UTF-8"
        ) from error
    lines.detach()
    if not any(not_blank):
        raise FileFormatError(f"{where} has a header and no rows below it; add at least one row")
    return header, not_blank


def _first_not_utf8(handle: io.BufferedReader) -> str:
    """The place of the first byte that is not UTF-8."""
    handle.seek(0)
    before = 0
    for number, line in enumerate(handle, 1):
        try:
            line.decode(UTF_8)
        except UnicodeDecodeError as error:
            return f"line {number}, byte {before + error.start} (0x{line[error.start]:02x})"
        before += len(line)
    return f"byte {before}"


def _check_text_column(column: polars.Series, where: str) -> None:
    """Detect columns of numbers that were read as text because of stray characters."""
    present = column.drop_nulls()
    candidates = present.filter(present.str.contains(_ONLY_AS_IN_NUMBERS))  # so that few values are tried one by one
    n_numbers = sum(n for value, n in candidates.value_counts().iter_rows() if _is_number(value))
    if n_numbers == 0:
        return
    if n_numbers == len(present):
        row = next(row for row, value in enumerate(column) if value is not None)
        raise DataError(
            f"{where} holds numbers in an unusual format, such as {quoted(column[row])} in row {row} (counted from 0); "
            "remove spaces, plus signs and underscores, or read it as text: read_table(path, text=[name])"
        )
    if 2 * n_numbers > len(present):
        row = next(row for row, value in enumerate(column) if value is not None and not _is_number(value))
        logger.warning(
            "%s is read as text: row %d (counted from 0) holds %s, although most values are numbers",
            where, row, quoted(column[row]),
        )  # fmt: skip


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
