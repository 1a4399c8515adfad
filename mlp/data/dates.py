"""Dates and times as numbers."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATE_PARTS = ("year", "month", "weekday", "hour", "elapsed")
"""The numbers that `date_parts` makes of a date."""

ISO = "%Y-%m-%d"

DATE_FORMATS = (ISO, "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
"""The formats of dates, in the notation of `datetime.datetime.strptime`.  A time may follow in each."""

_PARTS = ("year", "month", "day", "hour", "minute", "second")
_OTHER_DATES = {
    text: re.compile(
        re.escape(text)
        .replace("%Y", r"(?P<year>\d{4})")
        .replace("%m", r"(?P<month>\d\d?)")
        .replace("%d", r"(?P<day>\d\d?)")
        + r"(?:[T ](?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d))?)?"
    )
    for text in DATE_FORMATS[1:]
}
_EITHER_FIRST = {"%d/%m/%Y": "%m/%d/%Y", "%m/%d/%Y": "%d/%m/%Y", "%d-%m-%Y": "%m-%d-%Y", "%m-%d-%Y": "%d-%m-%Y"}

_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?")
_ISO_TIME = re.compile(r"\d\d?:\d\d(?::\d\d(?:\.\d{1,9})?)?")
_NANOSECONDS = re.compile(r"(?<=[.,]\d{6})\d+")
_SECONDS_OF_A_DAY = 86_400


def parse_date(text: str, date_format: str = ISO) -> datetime.datetime | None:
    """Read a date, or a date and a time, in a format (by default ISO 8601); None for any other text.

    A time with an offset is converted to UTC; the result has no time zone.

    Examples
    --------
    >>> parse_date("2024-02-29"), parse_date("2024-02-29T23:30:00-01:00"), parse_date("2023-02-29")
    (datetime.datetime(2024, 2, 29, 0, 0), datetime.datetime(2024, 3, 1, 0, 30), None)
    >>> parse_date("29.2.2024 14:30", "%d.%m.%Y")
    datetime.datetime(2024, 2, 29, 14, 30)
    """
    if date_format != ISO:
        found = _OTHER_DATES[date_format].fullmatch(text)
        if found is None:
            return None
        year, month, day, hour, minute, second = (int(found[part] or 0) for part in _PARTS)
        try:
            return datetime.datetime(year, month, day, hour, minute, second)
        except ValueError:  # a day or an hour that does not exist
            return None
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        date = datetime.datetime.fromisoformat(_NANOSECONDS.sub("", text))
        return date if date.tzinfo is None else date.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # a day that does not exist, or one before the year 1 in UTC
        return None


def find_date_format(counts: Mapping[str, int], share: float) -> tuple[str | None, str | None]:
    """Find the format of a column of dates.

    Parameters
    ----------
    counts : mapping of str to int
        The texts of the column, and how often each occurs.
    share : float
        The least share of the texts that are dates.

    Returns
    -------
    date_format : str or None
        One of `DATE_FORMATS`; None if the column holds no dates, or it is unknown whether the day or the month comes
        first: no value tells it, or some values tell the one and some the other.
    ambiguous : str or None
        In that last case, the first such date.

    Examples
    --------
    >>> find_date_format({"31.01.2024": 1, "02.03.2024": 1}, 0.9)
    ('%d.%m.%Y', None)
    >>> find_date_format({"01/31/2024": 1, "02/03/2024": 1}, 0.9), find_date_format({"02/03/2024": 2}, 0.9)
    (('%m/%d/%Y', None), (None, '02/03/2024'))
    """
    n = sum(counts.values())
    for date_format in DATE_FORMATS:
        dates = {text for text in counts if parse_date(text, date_format) is not None}
        if not dates or sum(counts[text] for text in dates) < share * n:
            continue
        if date_format not in _EITHER_FIRST:
            return date_format, None
        others = {text for text in counts if parse_date(text, _EITHER_FIRST[date_format]) is not None}
        if others <= dates and dates - others:
            return date_format, None
        if not dates <= others or dates == others:
            return None, next(text for text in counts if text in dates & others or text in dates)
    return None, None


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
