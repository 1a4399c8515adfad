"""How the text of a CSV or TSV file is read: its encoding, and the characters between fields and in numbers."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mlp._backends import ConfigurationError
from mlp.checks import quoted
from mlp.data.saved_state import require, require_keys

UTF_8 = "utf-8"
DECIMALS = (".", ",")
SEPARATORS = (",", ";", "\t", "|")
"""The separators that are recognised."""

_SAMPLE_ROWS = 100
_NOT_SEPARATORS = "\"'\r\n.+-_"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the text of a table is read.

    Attributes
    ----------
    separator : str or None
        The character between fields; None for the one that the file seems to have.
    encoding : str
        The encoding of the text, by a name that Python knows.
    decimal : str or None
        The decimal mark of numbers, ``"."`` or ``","``; None for the one that the file seems to have.

    Raises
    ------
    ConfigurationError
        If one of them is not possible, or the separator is the decimal mark.

    Examples
    --------
    >>> Reading(";", "latin-1", ",").to_dict()
    {'separator': ';', 'encoding': 'iso8859-1', 'decimal': ','}
    >>> Reading(",", decimal=",")
    Traceback (most recent call last):
        ...
    backends.errors.ConfigurationError: separator and decimal are both ','; change one of them
    """

    separator: str | None = None
    encoding: str = UTF_8
    decimal: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and not _may_separate(self.separator):
            raise ConfigurationError(
                f"separator is {quoted(self.separator)}, expected one character between fields, such as ';' or a tab"
            )
        if self.decimal not in (None, *DECIMALS):
            raise ConfigurationError(f"decimal is {quoted(self.decimal)}, expected '.' or ','")
        if self.decimal is not None and self.separator == self.decimal:
            raise ConfigurationError(f"separator and decimal are both {self.decimal!r}; change one of them")
        object.__setattr__(self, "encoding", _encoding_name(self.encoding))

    def to_dict(self) -> dict[str, str]:
        """Return what differs from the defaults as plain data, for JSON."""
        defaults = Reading()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(defaults, name)}

    @classmethod
    def from_dict(cls, state: object, where: str) -> Reading:
        """Create the object from the result of `to_dict`; every entry is checked.

        Raises
        ------
        FileFormatError
            If an entry is unknown or not possible; the message names it.
        """
        entry: Mapping[str, Any] = require_keys(state, (), where, optional={field.name for field in fields(cls)})
        require(all(isinstance(value, str) for value in entry.values()), where, dict(entry), "texts")
        try:
            return cls(**entry)
        except ConfigurationError as error:
            require(False, where, dict(entry), f"a possible reading ({error})")
            raise


def _may_separate(text: str) -> bool:
    return len(text) == 1 and text.isascii() and not text.isalnum() and text not in _NOT_SEPARATORS and text != "\0"


def _encoding_name(name: str) -> str:
    try:
        codec = codecs.lookup(name)
        "a".encode(name)  # other codecs, such as those of compression, do not encode text
    except (LookupError, TypeError, ValueError):
        raise ConfigurationError(
            f"unknown encoding {quoted(name)}; known are utf-8, latin-1, cp1252 (of Windows), utf-16 and the others of "
            "Python's codecs"
        ) from None
    return codec.name


def find_separator(sample: str, default: str) -> str:
    """Return the separator that a file seems to have.

    It is the default one if all rows of the sample have as many fields as the header, and at least two.  Otherwise it
    is another one of `SEPARATORS` of which that is true, the one that gives most fields; or else the default one.

    Parameters
    ----------
    sample : str
        The first lines of the file, complete ones.
    default : str
        The separator that the suffix of the file stands for.

    Examples
    --------
    >>> find_separator("a;b\\n1,5;2\\n", ","), find_separator("a\\n1\\n", ","), find_separator("a,b\\n1;2\\n", ",")
    (';', ',', ',')
    """
    if _n_fields(sample, default) >= 2:
        return default
    best = max((separator for separator in SEPARATORS if separator != default), key=lambda s: _n_fields(sample, s))
    return best if _n_fields(sample, best) >= 2 else default


def _n_fields(sample: str, separator: str) -> int:
    """Number of fields of each row; 0 if the rows differ or cannot be read."""
    counts = set()
    try:
        for number, row in enumerate(csv.reader(sample.splitlines(keepends=True), delimiter=separator, strict=True)):
            if row and number < _SAMPLE_ROWS:
                counts.add(len(row))
    except csv.Error:
        return 0  # also a field that the end of the sample cuts off
    return counts.pop() if len(counts) == 1 else 0
