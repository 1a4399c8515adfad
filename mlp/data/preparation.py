"""From the columns of a raw table to columns of numbers, text and booleans, which a `Preprocessing` can encode."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlp._backends import FileFormatError
from mlp.checks import counted, quoted
from mlp.data.dates import DATE_FORMATS, DATE_PARTS, ISO, as_dates, date_parts, parse_date, parse_time
from mlp.data.reading import Reading
from mlp.data.saved_state import require, require_keys, require_list

MISSING_MARKS = (
    "", "?", "-", "--", ".", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none", "nil",
)  # fmt: skip
"""Texts that stand for a missing value in a raw table, in small letters and without spaces around them."""

MOSTLY = 0.9
"""A column of text is numbers, dates or times if at least this share of its values is."""

RawKind = Literal["number", "text", "boolean", "date", "time"]

_MAX_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Note:
    """What was done with a column, for a reader: a heading such as ``"left out"``, and a text of one line.

    Examples
    --------
    >>> Note("left out", "id (counts the rows)")
    Note(heading='left out', text='id (counts the rows)')
    """

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class RawColumn:
    """A column of a raw table, and what it is read as.

    Attributes
    ----------
    name : str
    kind : {"number", "text", "boolean", "date", "time"}
    parts : tuple of str
        Of a date: those of `mlp.data.dates.DATE_PARTS` that are used.
    date_format : str
        Of a date: one of `mlp.data.dates.DATE_FORMATS`.

    Examples
    --------
    >>> RawColumn("joined", "date", ("year", "elapsed")).prepared_names
    ('joined year', 'joined elapsed')
    """

    name: str
    kind: RawKind
    parts: tuple[str, ...] = ()
    date_format: str = ISO

    @property
    def prepared_names(self) -> tuple[str, ...]:
        """The names of the columns that are made of it."""
        return tuple(f"{self.name} {part}" for part in self.parts) if self.kind == "date" else (self.name,)

    def prepare(self, column: NDArray[Any], marks: frozenset[str]) -> tuple[dict[str, NDArray[Any]], Counts]:
        """Return the columns that are made of it, with NaN or None for missing values, and what was read as missing."""
        values, counts = read_values(column, self.kind, marks, self.date_format)
        if self.kind == "date":
            parts = date_parts(values)
            return {name: parts[part] for name, part in zip(self.prepared_names, self.parts, strict=True)}, counts
        return {self.name: values}, counts


@dataclass(frozen=True, slots=True)
class Preparation:
    """How the columns of a raw table are read.

    Attributes
    ----------
    marks : tuple of str
        Texts that stand for a missing value, in small letters and without spaces around them.
    columns : tuple of RawColumn
        The columns that are used.
    left_out : tuple of (str, str)
        Name and reason of each other column.
    reading : Reading
        How the text of the file was read.

    Examples
    --------
    >>> preparation = Preparation(("", "?"), (RawColumn("age", "number"),), (("name", "text, 9 different values"),))
    >>> preparation.apply({"age": np.array(["31", " ?", "old"], object)})
    ({'age': array([31., nan, nan])}, [Note(heading='missing', text="age: 1 value such as ' ?'"), \
Note(heading='stray', text="age: 1 text such as 'old' among numbers, read as missing")])
    """

    marks: tuple[str, ...]
    columns: tuple[RawColumn, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    reading: Reading = field(default_factory=Reading)

    def apply(self, table: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], list[Note]]:
        """Return the columns for a `Preprocessing`, and what was read as missing.

        Parameters
        ----------
        table : mapping of str to ndarray of shape (n,)
            The raw table; it must have all of `columns`.
        """
        prepared, counts = self.apply_and_count(table)
        return prepared, [note for column in self.columns for note in counts[column.name].notes(column)]

    def apply_and_count(self, table: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, Counts]]:
        """As `apply`, but return for each raw column how many values were read as missing."""
        marks = frozenset(self.marks)
        prepared: dict[str, NDArray[Any]] = {}
        counts: dict[str, Counts] = {}
        for column in self.columns:
            made, counts[column.name] = column.prepare(table[column.name], marks)
            prepared |= made
        return prepared, counts

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns to read from a file as text even if all values look like numbers."""
        return tuple(column.name for column in self.columns if column.kind in ("text", "date", "time"))

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The columns that hold numbers, whatever else is in them."""
        return tuple(column.name for column in self.columns if column.kind == "number")

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain data, for JSON.

        Examples
        --------
        >>> Preparation(("?",), (RawColumn("age", "number"),)).to_dict()
        {'marks': ['?'], 'columns': [{'name': 'age', 'kind': 'number'}], 'left_out': []}
        """
        state = {
            "marks": list(self.marks),
            "columns": [_column_to_dict(column) for column in self.columns],
            "left_out": [list(entry) for entry in self.left_out],
        }
        reading = self.reading.to_dict()
        return state | ({"reading": reading} if reading else {})

    @classmethod
    def from_dict(cls, state: object, where: str) -> Preparation:
        """Create the object from the result of `to_dict`; every entry is checked.

        Raises
        ------
        FileFormatError
            If an entry is missing, unknown or of the wrong type; the message names it.
        """
        entry = require_keys(state, {"marks", "columns", "left_out"}, where, optional={"reading"})
        marks, left_out = entry["marks"], entry["left_out"]
        texts = isinstance(marks, list) and len(marks) <= _MAX_NAMES and all(isinstance(mark, str) for mark in marks)
        require(texts, f"{where} marks", marks, "a list of texts")
        columns = tuple(
            _column_from_dict(column, f"{where} columns[{i}]")
            for i, column in enumerate(require_list(entry["columns"], f"{where} columns"))
        )
        pairs = isinstance(left_out, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
            for pair in left_out
        )
        require(pairs, f"{where} left_out", left_out, "a list of names and reasons")
        reading = Reading.from_dict(entry.get("reading", {}), f"{where} reading")
        return cls(tuple(marks), columns, tuple((name, reason) for name, reason in left_out), reading)


def _column_to_dict(column: RawColumn) -> dict[str, Any]:
    state: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.parts:
        state["parts"] = list(column.parts)
    return state | ({"date_format": column.date_format} if column.date_format != ISO else {})


def _column_from_dict(state: object, where: str) -> RawColumn:
    entry = require_keys(state, {"name", "kind"}, where, optional={"parts", "date_format"})
    name, kind, parts = entry["name"], entry["kind"], entry.get("parts", [])
    require(isinstance(name, str), f"{where} name", name, "a string")
    require(isinstance(kind, str) and kind in get_args(RawKind), f"{where} kind", kind, ", ".join(get_args(RawKind)))
    known = [part for part in DATE_PARTS if isinstance(parts, list) and part in parts]
    require(known == parts and bool(parts) == (kind == "date"), f"{where} parts", parts, "parts of a date, in order")
    date_format = entry.get("date_format", ISO)
    dates = date_format in DATE_FORMATS and (kind == "date" or date_format == ISO)
    require(dates, f"{where} date_format", date_format, f"of a date: {', '.join(DATE_FORMATS)}")
    return RawColumn(name, kind, tuple(known), date_format)


def require_same_columns(preparation: Preparation, names: list[str], where: str) -> None:
    """Raise an error if a preparation does not make the columns of these names, in this order.

    Raises
    ------
    FileFormatError
        If so.
    """
    made = [name for column in preparation.columns for name in column.prepared_names]
    if made != names:
        raise FileFormatError(
            f"{where} makes the columns {quoted(made)}, but the preprocessing has {quoted(names)}; save the model again"
        )


# -- values ---------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """How many values of a column were read as missing, with an example of each kind."""

    marks: int = 0
    mark: str = ""
    strays: int = 0
    stray: object = None
    infinite: int = 0

    def add(self, others: Counts) -> None:
        """Add those of rows that follow."""
        self.mark = self.mark if self.marks else others.mark
        self.stray = self.stray if self.strays else others.stray
        self.marks, self.strays = self.marks + others.marks, self.strays + others.strays
        self.infinite += others.infinite

    def notes(self, column: RawColumn) -> Iterator[Note]:
        """A note for each kind that occurs."""
        name = plain(column.name)
        if self.marks:
            yield Note("missing", f"{name}: {counted(self.marks, 'value')} such as {quoted(self.mark)}")
        if self.strays:
            among = {"number": "numbers", "boolean": "true and false"}.get(column.kind, f"{column.kind}s")
            noun = "text" if isinstance(self.stray, str) else "value"
            example = f"such as {quoted(self.stray)} among {among}"
            yield Note("stray", f"{name}: {counted(self.strays, noun)} {example}, read as missing")
        if self.infinite:
            yield Note("stray", f"{name}: {counted(self.infinite, 'infinite number')}, read as missing")


def plain(name: str) -> str:
    """A column's name in a line of text: in quotes only if it is long, or has spaces at its ends or odd characters.

    Examples
    --------
    >>> plain("Total Charges"), plain(" a"), plain("a\\nb")
    ('Total Charges', "' a'", "'a\\\\nb'")
    """
    return name if name.isprintable() and name.strip() == name != "" and len(name) <= 40 else quoted(name)


def read_values(
    column: NDArray[Any], kind: RawKind, marks: frozenset[str], date_format: str = ISO
) -> tuple[NDArray[Any], Counts]:
    """Read a column as numbers (float64), text, booleans (objects and None), dates (datetime64) or hours (float64).

    Examples
    --------
    >>> read_values(np.array(["1", "2.5", "x", " ?"], object), "number", frozenset({"?"}))[0]
    array([1. , 2.5, nan, nan])
    """
    counts = Counts()
    if kind == "number" and column.dtype.kind in "biuf":
        values = column.astype(np.float64)
    elif kind == "date" and column.dtype.kind == "M":
        return column, counts
    else:
        parse = _PARSERS[kind] if date_format == ISO else _or_stray(partial(parse_date, date_format=date_format))
        listed = _parsed(_python_values(column), parse, marks, counts)
        if kind == "date":
            return as_dates(listed), counts
        if kind in ("text", "boolean"):
            values = np.empty(len(listed), dtype=object)
            values[:] = listed
            return values, counts
        values = np.array([math.nan if value is None else value for value in listed], dtype=np.float64)
    infinite = np.isinf(values)
    counts.infinite = int(np.count_nonzero(infinite))
    values[infinite] = np.nan
    return values, counts


def _python_values(column: NDArray[Any]) -> list[Any]:
    if column.dtype.kind == "M":
        return [None if np.isnat(value) else str(value) for value in column]
    listed: list[Any] = column.tolist()
    return listed


_STRAY = object()


def _parsed(values: list[Any], parse: Callable[[str], Any], marks: frozenset[str], counts: Counts) -> list[Any]:
    known: dict[str, Any] = {}
    results = []
    for value in values:
        if not isinstance(value, str):
            result = None if is_missing(value) else parse(_as_text(value))
        elif value in known:
            result = known[value]
        else:
            text = value.strip()
            result = known[value] = None if text.lower() in marks else parse(text)
        if result is _STRAY:
            counts.strays += 1
            counts.stray = value if counts.strays == 1 else counts.stray
            result = None
        elif result is None and isinstance(value, str) and value:
            counts.marks += 1
            counts.mark = value if counts.marks == 1 else counts.mark
        results.append(result)
    return results


def _as_text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    whole = isinstance(value, float) and value.is_integer()  # integers beside missing values are floats
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]


def is_missing(value: object) -> bool:
    """Whether a value of an array of objects is None, NaN, or what pandas has for a missing value.

    Examples
    --------
    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def parse_number(text: str) -> float | None:
    """Read a number as programs write it; None for any other text.

    Examples
    --------
    >>> parse_number("+1.5e3"), parse_number("1_000"), parse_number("nan")
    (1500.0, None, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) or "_" in text else number


def _or_stray(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        result = parse(text)
        return _STRAY if result is None else result

    return parsed


_PARSERS: dict[str, Callable[[str], Any]] = {
    "number": _or_stray(parse_number),
    "text": lambda text: text,
    "boolean": _or_stray(lambda text: {"true": True, "false": False}.get(text.lower())),
    "date": _or_stray(parse_date),
    "time": _or_stray(parse_time),
}
