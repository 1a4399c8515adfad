"""Dates and times as numbers."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATE_PARTS = ("year", "month", "weekday", "hour", "elapsed")
"""The numbers that `date_parts` makes of a date."""

_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?")
_ISO_TIME = re.compile(r"\d\d?:\d\d(?::\d\d(?:\.\d{1,9})?)?")
_NANOSECONDS = re.compile(r"(?<=[.,]\d{6})\d+")
_SECONDS_OF_A_DAY = 86_400


def parse_date(text: str) -> datetime.datetime | None:
    """Read a date, or a date and a time, as ISO 8601 writes them; None for any other text.

    A time with an offset is converted to UTC; the result has no time zone.

    Examples
    --------
    >>> parse_date("2024-02-29"), parse_date("2024-02-29T23:30:00-01:00"), parse_date("2023-02-29")
    (datetime.datetime(2024, 2, 29, 0, 0), datetime.datetime(2024, 3, 1, 0, 30), None)
    """
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        date = datetime.datetime.fromisoformat(_NANOSECONDS.sub("", text))
        return date if date.tzinfo is None else date.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # a day that does not exist, or one before the year 1 in UTC
        return None


def parse_time(text: str) -> float | None:
    """Read a time of the day, ``14:30`` or ``14:30:15``, as hours; None for any other text.

    Examples
    --------
    >>> parse_time("14:30"), parse_time("9:15:00"), parse_time("24:10")
    (14.5, 9.25, None)
    """
    if not _ISO_TIME.fullmatch(text):
        return None
    hours, minutes, seconds = (*(float(part) for part in text.split(":")), 0.0)[:3]
    return hours + minutes / 60 + seconds / 3600 if hours < 24 and minutes < 60 and seconds < 60 else None


def as_dates(values: list[datetime.datetime | None]) -> NDArray[np.datetime64]:
    """Return dates as an array, with NaT for missing values.

    Examples
    --------
    >>> as_dates([datetime.datetime(2024, 2, 29), None])
    array(['2024-02-29T00:00:00.000000',                        'NaT'],
          dtype='datetime64[us]')
    """
    return np.array(values, dtype="datetime64[us]")


def date_parts(dates: NDArray[np.datetime64]) -> dict[str, NDArray[np.float64]]:
    """Return the parts of dates as numbers, with NaN where a date is missing.

    They are the year, the month (1 to 12), the weekday (1 is Monday, 7 is Sunday, as in ISO 8601), the hour with its
    fraction, and the days elapsed since 1 January 1970, with their fraction.

    Parameters
    ----------
    dates : ndarray of shape (n,), datetime64
        In any unit.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        A value for each of `DATE_PARTS`.

    Examples
    --------
    >>> {name: float(part[0]) for name, part in date_parts(np.array(["2024-02-29T12:30"], "datetime64[us]")).items()}
    {'year': 2024.0, 'month': 2.0, 'weekday': 4.0, 'hour': 12.5, 'elapsed': 19782.520833333332}
    """
    days = dates.astype("datetime64[D]")
    months = dates.astype("datetime64[M]").astype(np.int64)
    day_number = days.astype(np.int64)
    one_day = np.timedelta64(_SECONDS_OF_A_DAY, "s")
    with np.errstate(invalid="ignore"):
        fraction = (dates - days) / one_day  # NaT gives NaN
        parts: dict[str, Any] = {
            "year": 1970 + months // 12,
            "month": 1 + months % 12,
            "weekday": 1 + (day_number + 3) % 7,  # 1 January 1970 was a Thursday
            "hour": 24 * fraction,
            "elapsed": day_number + fraction,
        }
    return {name: np.where(np.isnat(dates), np.nan, parts[name]) for name in DATE_PARTS}
