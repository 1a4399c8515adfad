"""A small language for what the JSON of a file must be: kinds of values, and records with a kind for each field.

A kind checks a value and raises `FieldError`, which names the field, quotes at most 80 characters of its value, and
says what is expected.  Unknown fields are refused: they may change the meaning of those that are known.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mlp._backends import MLPError
from mlp.checks import is_finite, quoted, shortened


class FieldError(ValueError):
    """A value of a file is not what it must be; the message names its field."""


class Kind(ABC):
    """What a value must be."""

    @abstractmethod
    def check(self, value: object, name: str) -> None:
        """Raise `FieldError`, with the name of the field, unless `value` is of this kind."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What is expected, for messages."""

    def refuse(self, value: object, name: str) -> FieldError:
        """The error for a value that is not of this kind."""
        return FieldError(f"{name} is {quoted(value)}, expected {self.expected}")


@dataclass(frozen=True)
class Number(Kind):
    """A number in a range, whose ends belong to it unless `open`; finite unless `finite` is False.

    Examples
    --------
    >>> Number(0, 1, open=True).check(2, "rate")
    Traceback (most recent call last):
        ...
    mlp.io.fields.FieldError: rate is 2, expected a number above 0 and below 1
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    finite: bool = True
    whole: bool = False

    @property
    def expected(self) -> str:
        noun = "a whole number" if self.whole else "a finite number" if self.finite else "a number"
        if math.isfinite(self.low) or math.isfinite(self.high):
            noun = noun.replace("finite ", "")
        lowest = f"{'above' if self.open else 'of at least'} {self.low}" if math.isfinite(self.low) else ""
        highest = f"{'below' if self.open else 'at most'} {self.high}" if math.isfinite(self.high) else ""
        limits = " and ".join(filter(None, (lowest, highest)))
        return f"{noun} {limits}".strip()

    @property
    def unlimited(self) -> bool:
        """Whether every number is of this kind."""
        return not self.finite and not self.whole and self.low == -math.inf and self.high == math.inf

    def check(self, value: object, name: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            raise self.refuse(value, name)
        if (self.finite or isinstance(value, int)) and not is_finite(value):  # an integer may have hundreds of digits
            raise self.refuse(value, name)
        if not self.finite and isinstance(value, float) and math.isnan(value):
            return
        inside = self.low < value < self.high if self.open else self.low <= value <= self.high
        if not inside and not self.unlimited:
            raise self.refuse(value, name)


@dataclass(frozen=True)
class Text(Kind):
    """A string of limited length."""

    longest: int = 10_000

    @property
    def expected(self) -> str:
        return f"a string of at most {self.longest} characters"

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, str) or len(value) > self.longest:
            raise self.refuse(value, name)


@dataclass(frozen=True)
class Choice(Kind):
    """One of some strings."""

    choices: Collection[str]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(repr, self.choices))}"

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, str) or value not in self.choices:
            raise self.refuse(value, name)


@dataclass(frozen=True)
class Instance(Kind):
    """A value of one of some types of JSON, with no further check."""

    types: tuple[type, ...]
    noun: str

    @property
    def expected(self) -> str:
        return self.noun

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, self.types):
            raise self.refuse(value, name)


BOOLEAN = Instance((bool,), "true or false")
OBJECT = Instance((dict,), "an object")


@dataclass(frozen=True)
class Nullable(Kind):
    """A value of a kind, or null."""

    kind: Kind

    @property
    def expected(self) -> str:
        return f"{self.kind.expected}, or null"

    def check(self, value: object, name: str) -> None:
        if value is None:
            return
        if not isinstance(self.kind, Number | Text | Choice | Instance):
            self.kind.check(value, name)  # its message names the part that is wrong
            return
        try:
            self.kind.check(value, name)
        except FieldError:
            raise self.refuse(value, name) from None


@dataclass(frozen=True)
class Either(Kind):
    """A value of the kind `plain`, or an object or string of the kind `other`."""

    plain: Kind
    other: Kind

    @property
    def expected(self) -> str:
        return f"{self.plain.expected}, or {self.other.expected}"

    def check(self, value: object, name: str) -> None:
        (self.other if isinstance(value, dict | str) else self.plain).check(value, name)


@dataclass(frozen=True)
class OneOrSeveral(Kind):
    """A value of a kind, or a list of such values."""

    item: Kind

    @property
    def expected(self) -> str:
        return f"{self.item.expected}, or a list of such values"

    def check(self, value: object, name: str) -> None:
        (ListOf(self.item) if isinstance(value, list) else self.item).check(value, name)


@dataclass(frozen=True)
class ListOf(Kind):
    """A list of values of one kind, of a length if that is given.

    Examples
    --------
    >>> ListOf(Number(1, whole=True), shortest=2).check([4, -5], "sizes")
    Traceback (most recent call last):
        ...
    mlp.io.fields.FieldError: sizes[1] is -5, expected a whole number of at least 1
    """

    kind: Kind
    shortest: int = 0
    longest: float = math.inf

    @property
    def expected(self) -> str:
        if self.shortest == self.longest:
            return f"a list of {self.shortest} entries"
        return f"a list of {self.shortest} or more entries" if self.shortest else "a list"

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, list) or not self.shortest <= len(value) <= self.longest:
            raise self.refuse(value, name)
        if isinstance(self.kind, Number) and self.kind.unlimited and set(map(type, value)) <= {float}:
            return  # long histories: a loop over them would take longer than to read them
        for position, entry in enumerate(value):
            self.kind.check(entry, f"{name}[{position}]")


@dataclass(frozen=True)
class MapOf(Kind):
    """An object with any names of fields, whose values are of one kind.

    Examples
    --------
    >>> MapOf(Number()).check({"a": 1, "b": "x"}, "metrics")
    Traceback (most recent call last):
        ...
    mlp.io.fields.FieldError: metrics.b is 'x', expected a finite number
    """

    kind: Kind

    @property
    def expected(self) -> str:
        return "an object"

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise self.refuse(value, name)
        for key, entry in value.items():
            self.kind.check(entry, f"{name}.{shortened(str(key))}")


@dataclass(frozen=True)
class Record(Kind):
    """An object with a kind for each field; fields in `optional` may be missing.

    Examples
    --------
    >>> point = Record({"x": Number(), "label": Text()}, optional={"label"})
    >>> point.check({"x": 1, "y": 2}, "point")
    Traceback (most recent call last):
        ...
    mlp.io.fields.FieldError: point has the unknown field 'y'; expected x, label
    """

    fields: Mapping[str, Kind]
    optional: Collection[str] = ()

    @property
    def expected(self) -> str:
        return "an object"

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise self.refuse(value, name)
        missing = next((key for key in self.fields if key not in value and key not in self.optional), None)
        if missing is not None:
            raise FieldError(f"{name} lacks the field {missing!r}")
        unknown = next((key for key in value if key not in self.fields), None)
        if unknown is not None:
            raise FieldError(
                f"{name} has the unknown field {quoted(unknown)}; expected {shortened(', '.join(self.fields), 120)}"
            )
        for key, entry in value.items():
            self.fields[key].check(entry, f"{name}.{key}")


@dataclass(frozen=True)
class Named(Kind):
    """An object whose field ``name`` says which record it is; then `build` makes something of it, or refuses it."""

    records: Mapping[str, Record]
    build: Callable[[dict[str, Any]], object] | None = None

    @property
    def expected(self) -> str:
        return f"an object with the name of one of {', '.join(self.records)}"

    def check(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise self.refuse(value, name)
        Choice(self.records).check(value.get("name"), f"{name}.name")
        self.records[value["name"]].check(value, name)
        if self.build is not None:
            check_build(self.build, value, name)


@dataclass(frozen=True)
class Built(Kind):
    """Anything of which `build` makes something without an `MLPError`."""

    build: Callable[[Any], object]

    @property
    def expected(self) -> str:
        return "a valid value"

    def check(self, value: object, name: str) -> None:
        check_build(self.build, value, name)


def check_build(build: Callable[[Any], object], value: object, name: str) -> None:
    """Raise `FieldError` if `build(value)` raises an `MLPError`."""
    try:
        build(value)
    except MLPError as error:
        raise FieldError(f"{name} is invalid: {shortened(error)}") from error
