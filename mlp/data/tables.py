"""Read tables from CSV, TSV and Parquet files with polars, after checks that polars does not make."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, FileFormatError, MLPError, UnknownNameError
from mlp.data.columns import column_kind
from mlp.data.files import MAX_EXPANDED_BYTES, open_checked

if TYPE_CHECKING:
    import polars

logger = logging.getLogger(__name__)

MISSING_VALUES = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Missing values in a CSV or TSV file."""

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")

_BYTES_PER_VALUE = 8


class MissingExtraError(MLPError, ImportError):
    """An optional library is not installed; the message says how to install it."""


def read_table(
    path: str | os.PathLike[str], *, text: Collection[str] = (), max_bytes: int = MAX_EXPANDED_BYTES
) -> dict[str, NDArray[Any]]:
    """Read a table as a dict of columns: integers, floats, booleans or text.

    Missing values are NaN in columns of numbers (integers become floats) and None in other columns.  The first line of
    a CSV or TSV file must be the header.  Missing values in these files are the empty field, ``NA``, ``N/A``, ``NaN``,
    ``nan``, ``null`` and ``NULL``.  The type of a column is inferred from all of its values.  Blank lines are skipped.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.csv``, ``.tsv`` or ``.parquet``.
    text : collection of str
        Columns of a CSV or TSV file to read as text even if all values look like numbers, such as post codes or
        the `Preprocessing.text_columns` of a trained model; names that are not in the file are ignored.
    max_bytes : int
        Limit on the total size of the values of a Parquet file.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        The columns, in the order of the file.

    Raises
    ------
    FileFormatError
        If the file is not UTF-8 or not Parquet, a row has too few or too many fields, a name is empty or occurs
        twice, or there are no rows.
    DataError
        If a column holds numbers in a format that would be read as text.
    DtypeError
        If a column of a Parquet file is neither numbers, text nor booleans.
    UnknownNameError
        If the file name has another suffix.
    MissingExtraError
        If polars is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "people.csv"
    >>> _ = path.write_text("age,city\\n31,Oslo\\n,Bergen\\n")
    >>> read_table(path)
    {'age': array([31., nan]), 'city': array(['Oslo', 'Bergen'], dtype=object)}
    >>> folder.cleanup()
    """
    where = repr(os.fspath(path))
    suffix = Path(path).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise UnknownNameError.among("kind of table", Path(path).suffix, TABLE_SUFFIXES)
    with open_checked(path, suffix[1:].upper()) as (handle, _):
        if suffix == ".parquet":
            frame = _read_parquet(handle, max_bytes, where)
        else:
            frame = _read_text(handle, "," if suffix == ".csv" else "\t", text, where)
        if frame.height == 0 or frame.width == 0:
            raise FileFormatError(f"{where} has {frame.width} columns and {frame.height} rows; it needs at least one")
        columns = {name: _to_numpy(frame[name], f"{where}, column {name!r}") for name in frame.columns}
    for name, column in columns.items():
        column_where = f"{where}, column {name!r}"
        if column_kind(column, column_where) == "text" and suffix != ".parquet" and name not in text:
            _check_text_column(column, column_where)
    return columns


def _polars(where: str) -> Any:
    try:
        import polars
    except ImportError as error:
        raise MissingExtraError(
            f"reading {where} needs polars, which is not installed; run: pip install polars"
        ) from error
    return polars


def _read_parquet(handle: BinaryIO, max_bytes: int, where: str) -> polars.DataFrame:
    pl = _polars(where)
    try:
        # with run-length encoding a small file can declare any number of rows, so check the metadata first
        rows = pl.scan_parquet(handle).select(pl.len()).collect().item()
        handle.seek(0)
        width = len(pl.read_parquet_schema(handle))
        if rows * width * _BYTES_PER_VALUE > max_bytes:
            raise FileFormatError(
                f"{where} declares {rows} rows of {width} columns, more than the limit of {max_bytes} bytes; "
                "if you trust it, read it with a larger max_bytes"
            )
        handle.seek(0)
        frame: polars.DataFrame = pl.read_parquet(handle)
    except pl.exceptions.PanicException as error:  # a BaseException: damaged files can crash the threads of polars
        raise FileFormatError(f"{where} is damaged or not of format PARQUET; write or copy it again") from error
    return frame


def _read_text(handle: BinaryIO, separator: str, text: Collection[str], where: str) -> polars.DataFrame:
    pl = _polars(where)
    header, not_blank = _check_rows(handle, separator, where)
    handle.seek(0)
    frame: polars.DataFrame = pl.read_csv(
        handle,
        separator=separator,
        infer_schema_length=None,  # all rows: a value in the last row can change the type of a column
        null_values=list(MISSING_VALUES),
        schema_overrides={name: pl.String for name in text if name in header},
    )
    if frame.width != len(header) or frame.height != len(not_blank):
        raise FileFormatError(
            f"{where} has ambiguous quotes or line ends; write it with line ends \\n or \\r\\n "
            'and double every " within a value'
        )
    frame.columns = header  # polars does not unescape doubled quotes in column names
    return frame.filter(pl.Series(not_blank, dtype=pl.Boolean))


def _to_numpy(column: polars.Series, where: str) -> NDArray[Any]:
    if str(column.dtype).endswith("Int128"):
        raise DataError(
            f"{where} holds integers of more than 64 bits, which cannot be stored exactly; remove the column, or "
            "write it with a decimal point if the last digits do not matter"
        )
    return column.to_numpy()


def _check_rows(handle: BinaryIO, separator: str, where: str) -> tuple[list[str], list[bool]]:
    """Return the header and, for each row below it, whether it is not blank.

    The check is needed because polars silently pads short rows with missing values and renames duplicate columns.
    """
    lines = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
    reader = csv.reader(lines, delimiter=separator, strict=True)
    not_blank = []
    try:
        header = next(reader, [])
        _check_header(header, separator, where)
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
            f"{where}, line {_first_line_not_utf8(handle)}: not UTF-8 text; save it as UTF-8 "
            "(iconv -f latin1 -t utf-8 converts from Latin-1)"
        ) from error
    lines.detach()  # otherwise the wrapper closes the file when it is deleted
    if not any(not_blank):
        raise FileFormatError(f"{where} has a header and no rows below it; add at least one row")
    return header, not_blank


def _check_header(header: list[str], separator: str, where: str) -> None:
    if not any(header):
        raise FileFormatError(f"{where} has no header; its first line must contain the column names")
    other = next((character for character in ";\t|," if len(header) == 1 and character in header[0]), None)
    if other:
        raise FileFormatError(
            f"{where}: the header is one name, {header[0]!r}; the fields seem to be separated by {other!r}, expected "
            f"{separator!r} (pandas.read_csv(path, sep={other!r}).to_csv(new, index=False) converts it)"
        )
    seen = set()
    for i, name in enumerate(header, 1):
        if not name:
            raise FileFormatError(
                f"{where}: column {i} of {len(header)} has no name in the header; name it, or remove it "
                "(if pandas wrote its row numbers there: use to_csv(path, index=False))"
            )
        if name in seen:
            raise FileFormatError(f"{where}: column {i} has the same name as another column, {name!r}; rename one")
        seen.add(name)


def _first_line_not_utf8(handle: BinaryIO) -> int:
    handle.seek(0)
    for number, line in enumerate(handle, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return number


def _check_text_column(column: NDArray[np.object_], where: str) -> None:
    """Detect columns of numbers that were read as text because of stray characters."""
    present = [(row, value) for row, value in enumerate(column) if value is not None]
    other = [(row, value) for row, value in present if not _is_number(value)]
    if not other:
        row, value = present[0]
        raise DataError(
            f"{where} holds numbers in an unusual format, such as {value!r} in row {row} (counted from 0); "
            "remove spaces, plus signs and underscores, or read it as text: read_table(path, text=[name])"
        )
    if 2 * len(other) < len(present):
        row, value = other[0]
        logger.warning(
            "%s is read as text: row %d (counted from 0) holds %r, although most values are numbers", where, row, value
        )


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def check_column(name: str | int | None, columns: Collection[str], where: str) -> str:
    """Return the name of the target column, or raise an error that lists the columns.

    Raises
    ------
    ConfigurationError
        If `name` is None.
    UnknownNameError
        If the column does not exist.

    Examples
    --------
    >>> check_column("prize", ["price", "size"], "'houses.csv'")
    Traceback (most recent call last):
        ...
    backends.errors.UnknownNameError: 'houses.csv' has no column 'prize'; did you mean 'price'? Valid: price, size
    """
    if name is None:
        raise ConfigurationError(
            f"{where}: no target column is given; choose one (target=..., --target): {', '.join(columns)}"
        )
    if name not in columns:
        remedy = str(UnknownNameError.among("column", name, columns)).removeprefix(f"unknown column {name!r}")
        raise UnknownNameError(f"{where} has no column {name!r}{remedy}")
    return str(name)
