"""Numbers formatted for readers."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Format a duration in a suitable unit.

    Examples
    --------
    >>> duration(0.0123), duration(1.234), duration(3725.0)
    ('12.3 ms', '1.23 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes} min {remainder} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short_number(number: float) -> str:
    """Format a large number with three digits.

    Examples
    --------
    >>> short_number(143_985.0), short_number(1_234_567.0)
    ('144 k', '1.23 M')
    """
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k" if number >= 1e3 else f"{number:.3g}"


def finite(values: list[float]) -> list[float]:
    """The finite values of a list."""
    return [value for value in values if math.isfinite(value)]
