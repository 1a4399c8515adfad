"""Read a table from a CSV, TSV or Parquet file, compressed or not."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlp._backends import ConfigurationError, FileFormatError, UnknownNameError
from mlp.checks import quoted, shortened
from mlp.data.delimited import read_delimited
from mlp.data.parquet import read_parquet
from mlp.data.preparation import Note, plain
from mlp.data.reading import UTF_8, Reading, find_separator
from mlp.data.table_files import TABLE_SUFFIXES, open_table, table_suffix

_SAMPLE_BYTES = 2**16
_MAX_NAMED = 5
_SPOKEN = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_table(
    path: str | os.PathLike[str],
    *,
    text: Collection[str] = (),
    max_bytes: int | None = None,
    separator: str | None = None,
    encoding: str = UTF_8,
    decimal: str = ".",
) -> dict[str, NDArray[Any]]:
    """Read a table as a dict of columns: integers, floats, booleans, text or, in Parquet files, dates.

    Missing values are NaN in columns of numbers (integers become floats) and None in other columns.  The first line of
    a CSV or TSV file must be the header.  Missing values in these files are the empty field, ``NA``, ``N/A``, ``NaN``,
    ``nan``, ``null`` and ``NULL``.  The type of a column is inferred from all of its values.  Blank lines are skipped.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.csv``, ``.tsv`` or ``.parquet``; CSV and TSV files may be compressed: ``.csv.gz``,
        ``.csv.zst``.  ``"-"`` is the standard input, a CSV file.
    text : collection of str
        Columns of a CSV or TSV file to read as text even if all values look like numbers, such as post codes or
        the `Preprocessing.text_columns` of a trained model; names that are not in the file are ignored.
    max_bytes : int, optional
        Limit on the memory for the columns of a Parquet file, or on the size of a compressed file after
        decompression, in bytes.  By default the value of the environment
        variable ``MLP_MAX_EXPANDED_BYTES``; without it 1000 times the size of the file, but at least 32 MiB and at most
        8 GiB.
    separator : str, optional
        The character between the fields of a CSV or TSV file.  Default: a comma in CSV files, and a tab in TSV files.
    encoding : str
        The encoding of a CSV or TSV file, such as ``"latin-1"``, ``"cp1252"`` or ``"utf-16"``.
    decimal : str
        The decimal mark of its numbers, ``"."`` or ``","``.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        The columns, in the order of the file.

    Raises
    ------
    FileFormatError
        If the file is not Parquet, or not in its encoding, a row has too few or too many fields, a name is empty or
        occurs twice, there are no rows, or a Parquet file would expand to more than the limit.
    DataError
        If a column holds numbers in a format that would be read as text, or integers that no float can hold exactly
        beside missing values.
    DtypeError
        If a column of a Parquet file is nested, or holds neither numbers, text nor booleans.
    UnknownNameError
        If the file name has another suffix.
    ConfigurationError
        If the separator, the encoding or the decimal mark is not possible.
    MissingExtraError
        If polars, or for Parquet pyarrow, is not installed.

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
    reading = Reading(separator, encoding, decimal)
    if reading.separator is None and table_suffix(path).startswith(".csv"):
        reading = replace(reading, separator=",")  # not recognised, and checked against the decimal mark
    return _read(path, text, reading, max_bytes, raw=False).columns


@dataclass(frozen=True)
class RawTable:
    """A table as it is in its file.

    Attributes
    ----------
    columns : dict of str to ndarray of shape (n,)
    reading : Reading
        How it was read, with what was recognised in the file; a separator of None is that of the suffix.
    notes : tuple of Note
        What was recognised, and which columns have other names than in the file.
    renamed : dict of str to str
        The names in the file of columns that are called otherwise; empty for a column without a name.
    """

    columns: dict[str, NDArray[Any]]
    reading: Reading = field(default_factory=Reading)
    notes: tuple[Note, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)


def read_raw_table(
    path: str | os.PathLike[str],
    text: Collection[str] = (),
    reading: Reading | None = None,
    numbers: Collection[str] = (),
) -> RawTable:
    """Read a table as it is in its file, for a `Preparation`.

    Numbers in an unusual format are left as text, and integers that no float can hold exactly become floats.  Columns
    without a name, or with that of another, are called as pandas calls them: ``Unnamed: 0``, ``a.1``.  The separator
    and the decimal mark are recognised where `reading` does not have them.

    Parameters
    ----------
    path, text
        As in `read_table`.
    reading : Reading, optional
    numbers : collection of str
        Columns that hold numbers, whatever else is in them.

    Raises
    ------
    FileFormatError, DataError, DtypeError, UnknownNameError, MissingExtraError
        As in `read_table`.
    """
    return _read(path, text, Reading() if reading is None else reading, None, raw=True, numbers=numbers)


def read_columns(
    path: str | os.PathLike[str], text: Collection[str], max_bytes: int | None = None, *, raw: bool
) -> dict[str, NDArray[Any]]:
    """Read a table as `read_table` does or, if `raw`, as `read_raw_table` does."""
    return _read(path, text, Reading(), max_bytes, raw=raw).columns


def _read(
    path: str | os.PathLike[str],
    text: Collection[str],
    reading: Reading,
    max_bytes: int | None,
    *,
    raw: bool,
    numbers: Collection[str] = (),
) -> RawTable:
    where = repr(os.fspath(path))
    suffix = table_suffix(path)
    if not suffix:
        raise UnknownNameError.among("kind of table", Path(path).suffix, TABLE_SUFFIXES)
    with open_table(path, max_bytes, reading.encoding) as (handle, size):
        if suffix == ".parquet":
            table = RawTable(read_parquet(handle, size, max_bytes, where, raw=raw))
        else:
            usual = "," if suffix.startswith(".csv") else "\t"
            table = _delimited(handle, usual, text, reading, where, raw, numbers)
    columns = table.columns
    n_rows = len(next(iter(columns.values()), ()))
    if n_rows == 0:
        raise FileFormatError(f"{where} has {len(columns)} columns and {n_rows} rows; it needs at least one")
    return table


def _delimited(
    handle: io.BufferedReader,
    usual: str,
    text: Collection[str],
    reading: Reading,
    where: str,
    raw: bool,
    numbers: Collection[str],
) -> RawTable:
    separator = reading.separator or (find_separator(_first_lines(handle), usual) if raw else usual)
    # a file with commas between its fields can have no others in its numbers, unless they are in quotes
    commas = reading.decimal == "," or (raw and reading.decimal is None and separator != ",")
    read = read_delimited(handle, separator, text, where, raw=raw, commas=commas, numbers=numbers)
    notes = []
    if separator not in (usual, reading.separator):
        notes.append(Note("read", f"{_SPOKEN[separator]} between the fields; see --separator"))
        reading = replace(reading, separator=separator)
    if read.with_commas and reading.decimal is None:
        named = ", ".join(map(plain, read.with_commas[:_MAX_NAMED]))
        more = f" and {len(read.with_commas) - _MAX_NAMED} more" if len(read.with_commas) > _MAX_NAMED else ""
        notes.append(Note("read", f"decimal commas in {named}{more}; see --decimal"))
        reading = replace(reading, decimal=",")
    twice = {name: old for name, old in read.renamed.items() if old}
    notes += [Note("renamed", f"{plain(name)}, another column called {plain(old)}") for name, old in twice.items()]
    return RawTable(read.columns, reading, tuple(notes), read.renamed)


def _first_lines(handle: io.BufferedReader) -> str:
    """The first lines of a file, complete ones, without a byte order mark."""
    handle.seek(0)
    sample = handle.read(_SAMPLE_BYTES)
    handle.seek(0)
    if len(sample) == _SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1]
    return sample.decode("utf-8-sig", "replace")


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
    known = shortened(", ".join(columns))
    if name is None:
        raise ConfigurationError(f"{where}: no target column is given; choose one (target=..., --target): {known}")
    if name not in columns:
        similar, _, _ = str(UnknownNameError.among("", quoted(name), columns)).partition(" Valid: ")
        hint = similar.removeprefix(f"unknown  {quoted(name)!r}")
        raise UnknownNameError(f"{where} has no column {quoted(name)}{hint} Valid: {known}")
    return str(name)
