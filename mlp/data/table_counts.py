"""How many values of a table were read as missing or are unknown; the counts of several blocks can be added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mlp.data.preparation import Counts


@dataclass
class Occurrences:
    """A number of values, and the first of them."""

    n: int = 0
    example: Any = None

    def add(self, others: Occurrences) -> None:
        """Add those of rows that follow."""
        self.example = self.example if self.n else others.example
        self.n += others.n


@dataclass
class TableCounts:
    """What was found in some rows of a table, for each column in which something was.

    Attributes
    ----------
    read : dict of str to Counts
        By raw column: values that were read as missing.
    far : dict of str to Occurrences
        By prepared column: numbers out of all range, which were read as missing.
    unknown : dict of str to Occurrences
        By prepared column: rows with a category that the training rows did not have.

    Examples
    --------
    >>> first, second = TableCounts(unknown={"city": Occurrences(2, "Rome")}), TableCounts()
    >>> second.unknown["city"] = Occurrences(1, "Bari")
    >>> TableCounts.sum([first, second]).unknown
    {'city': Occurrences(n=3, example='Rome')}
    """

    read: dict[str, Counts] = field(default_factory=dict)
    far: dict[str, Occurrences] = field(default_factory=dict)
    unknown: dict[str, Occurrences] = field(default_factory=dict)

    @classmethod
    def sum(cls, parts: Iterable[TableCounts]) -> TableCounts:
        """Return the counts of rows that follow each other."""
        total = cls()
        for part in parts:
            for name, counts in part.read.items():
                total.read.setdefault(name, Counts()).add(counts)
            for name, occurrences in part.far.items():
                total.far.setdefault(name, Occurrences()).add(occurrences)
            for name, occurrences in part.unknown.items():
                total.unknown.setdefault(name, Occurrences()).add(occurrences)
        return total
