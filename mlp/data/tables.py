"""Read a table from a CSV, TSV or Parquet file, compressed or not."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlp._backends import ConfigurationError, FileFormatError, UnknownNameError
from mlp.checks import quoted, shortened
from mlp.data.delimited import read_delimited
from mlp.data.parquet import read_parquet
from mlp.data.table_files import TABLE_SUFFIXES, open_table, table_suffix


def read_table(
    path: str | os.PathLike[str], *, text: Collection[str] = (), max_bytes: int | None = None
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

    Returns
    -------
    dict of str to ndarray of shape (n,)
        The columns, in the order of the file.

    Raises
    ------
    FileFormatError
        If the file is not UTF-8 or not Parquet, a row has too few or too many fields, a name is empty or occurs
        twice, there are no rows, or a Parquet file would expand to more than the limit.
    DataError
        If a column holds numbers in a format that would be read as text, or integers that no float can hold exactly
        beside missing values.
    DtypeError
        If a column of a Parquet file is nested, or holds neither numbers, text nor booleans.
    UnknownNameError
        If the file name has another suffix.
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
    return read_columns(path, text, max_bytes, raw=False)


def read_columns(
    path: str | os.PathLike[str], text: Collection[str], max_bytes: int | None = None, *, raw: bool
) -> dict[str, NDArray[Any]]:
    """Read a table as `read_table` does, or as it is in the file, for a `Preparation`.

    Parameters
    ----------
    path, text, max_bytes
        As in `read_table`.
    raw : bool
        Numbers in an unusual format are left as text, and integers that no float can hold exactly become floats.
        Columns without a name are called as pandas calls them: ``Unnamed: 0``.
    """
    where = repr(os.fspath(path))
    suffix = table_suffix(path)
    if not suffix:
        raise UnknownNameError.among("kind of table", Path(path).suffix, TABLE_SUFFIXES)
    with open_table(path, max_bytes) as (handle, size):
        if suffix == ".parquet":
            columns = read_parquet(handle, size, max_bytes, where, raw=raw)
        else:
            columns = read_delimited(handle, "," if suffix.startswith(".csv") else "\t", text, where, raw=raw)
        n_rows = len(next(iter(columns.values()), ()))
        if n_rows == 0:
            raise FileFormatError(f"{where} has {len(columns)} columns and {n_rows} rows; it needs at least one")
    return columns


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
