"""Numbers with a decimal comma, as programs write them in many countries: ``3,14``."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from mlp.data.preparation import MISSING_MARKS, MOSTLY

if TYPE_CHECKING:
    import polars

_NUMBER = r"^\s*[+-]?(?:\d+(?:,\d*)?|,\d+)(?:[eE][+-]?\d+)?\s*$"


def with_points(column: polars.Series, *, always: bool) -> polars.Series | None:
    """Return a column of text with points in its numbers, as floats if all values are numbers.

    Parameters
    ----------
    column : polars.Series
        Text.
    always : bool
        Whether it is known that the column holds numbers.  Otherwise it does if at least 90 % of its values, without
        marks of missing ones, are numbers with or without a decimal comma.

    Returns
    -------
    polars.Series or None
        None if no value has a decimal comma, or the column is text.

    Examples
    --------
    >>> import polars
    >>> with_points(polars.Series("price", ["3,14", "-1", None]), always=False).to_list()
    [3.14, -1.0, None]
    >>> with_points(polars.Series("city", ["Oslo", "3,14"]), always=False)
    """
    import polars as pl

    text = column.str.strip_chars()
    present = ~text.str.to_lowercase().is_in(list(MISSING_MARKS)).fill_null(True)
    is_number = text.str.contains(_NUMBER).fill_null(False)
    n, with_comma = int((is_number & present).sum()), bool((is_number & text.str.contains(",").fill_null(False)).any())
    if not with_comma or not (always or n >= MOSTLY * int(present.sum())):
        return None
    pointed = pl.select(pl.when(is_number).then(text.str.replace(",", ".")).otherwise(column)).to_series()
    floats = pointed.cast(pl.Float64, strict=False)
    every = floats.is_not_null() | ~present
    return (floats if every.all() and not bool((~present & column.is_not_null()).any()) else pointed).alias(column.name)


def all_with_points(frame: polars.DataFrame, text: Collection[str], numbers: Collection[str]) -> list[polars.Series]:
    """Return the columns of numbers with decimal commas, changed by `with_points`; those in `text` stay as they are."""
    import polars as pl

    candidates = [column for column in frame if column.dtype == pl.String and column.name not in text]
    changed = (with_points(column, always=column.name in numbers) for column in candidates)
    return [column for column in changed if column is not None]
