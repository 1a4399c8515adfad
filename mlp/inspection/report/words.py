"""Figures as people read them."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """A time span in the unit that fits.

    Examples
    --------
    >>> duration(0.0123), duration(1.234), duration(3725.0)
    ('12.3 ms', '1.23 s', '1 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short(number: float) -> str:
    """A large number in three digits.

    Examples
    --------
    >>> short(143_985.0), short(1_234_567.0)
    ('144 k', '1.23 M')
    """
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k" if number >= 1e3 else f"{number:.3g}"


def finite(values: list[float]) -> list[float]:
    """Those that are numbers."""
    return [value for value in values if math.isfinite(value)]
