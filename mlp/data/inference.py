"""What the columns of a raw table are: which are used, and what each is read as."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError, DataError, UnknownNameError
from mlp.checks import counted, quoted, shortened
from mlp.data.dates import DATE_PARTS, ISO, date_parts, find_date_format, parse_time
from mlp.data.encoders import FEW_CATEGORIES, frequent_categories
from mlp.data.preparation import (
    MISSING_MARKS,
    MOSTLY,
    Note,
    Preparation,
    RawColumn,
    RawKind,
    parse_number,
    plain,
    read_values,
)

NEARLY_UNIQUE = 0.5
"""A column of text is nearly unique if more than this share of its values is different, and more than 20 are."""

_SOME_TEXTS = 20
_REPEATED = 10
_ROW_NUMBER_NAME = re.compile(r"(?i:(.*[\W_])?(id|index|row|nr|no|number|unnamed: 0))|.*[a-z]I[dD]|.*[a-z]Number")
_MARKS = frozenset(MISSING_MARKS)


@dataclass(frozen=True)
class ColumnChoices:
    """What a user says about the columns of a table.

    Attributes
    ----------
    drop : tuple of str
        Columns that are left out.
    columns : tuple of str or None
        The only columns that are used; None for all.
    categorical, numeric : tuple of str
        Columns that are read as categories, and as numbers.

    Raises
    ------
    ConfigurationError
        If two of them contradict each other.

    Examples
    --------
    >>> ColumnChoices(drop=("age",), numeric=("age",))
    Traceback (most recent call last):
        ...
    backends.errors.ConfigurationError: column 'age' is in drop and in numeric; remove it from one of them
    """

    drop: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lists = {"drop": self.drop, "columns": self.columns or (), "categorical": self.categorical}
        lists["numeric"] = self.numeric
        pairs = [("drop", "columns"), ("drop", "categorical"), ("drop", "numeric"), ("categorical", "numeric")]
        for first, second in pairs:
            for name in lists[first]:
                if name in lists[second]:
                    raise ConfigurationError(
                        f"column {name!r} is in {first} and in {second}; remove it from one of them"
                    )
        for name in (*self.categorical, *self.numeric):
            if self.columns is not None and name not in self.columns:
                raise ConfigurationError(f"column {name!r} is not in columns; add it there, or remove it")

    def require_columns(self, names: Mapping[str, Any], targets: tuple[str, ...], where: str) -> None:
        """Raise an error if a name is not that of an input column.

        Raises
        ------
        UnknownNameError
            If the table does not have the column.
        ConfigurationError
            If the column is a target.
        """
        for argument in ("drop", "columns", "categorical", "numeric"):
            for name in getattr(self, argument) or ():
                if name in targets:
                    raise ConfigurationError(f"{argument} names {name!r}, which is the target; remove it there")
                if name not in names:
                    problem = str(UnknownNameError.among("column", shortened(name, 80), list(names)))
                    raise UnknownNameError(f"{where}, {argument}: {shortened(problem)}")

    @property
    def named(self) -> set[str]:
        """The columns that the user wants, whatever is in them."""
        return {*(self.columns or ()), *self.categorical, *self.numeric}


def prepare(
    table: Mapping[str, NDArray[Any]],
    rows: NDArray[np.intp],
    choices: ColumnChoices,
    where: str,
    counters: Collection[str] = (),
) -> tuple[Preparation, list[Note]]:
    """Decide which columns of a raw table are used, and how each is read; it depends on the training rows only.

    Parameters
    ----------
    table : mapping of str to ndarray of shape (n,)
        The input columns.
    rows : ndarray of int
        The training rows.
    choices : ColumnChoices
        What the user says about them; the names exist.
    where : str
        The table, for error messages.
    counters : collection of str
        The columns that count the rows of the file.

    Returns
    -------
    preparation : Preparation
    notes : list of Note
        What was left out and why, and which columns are dates.

    Raises
    ------
    DataError
        If no column is left.
    """
    decisions, ambiguous = decide(table, rows, choices, counters)
    return finish_preparation(decisions, ambiguous, where)


Decisions = dict[str, RawColumn | str]
"""For each column of a raw table how it is read, or why it is left out."""


def decide(
    table: Mapping[str, NDArray[Any]],
    rows: NDArray[np.intp],
    choices: ColumnChoices,
    counters: Collection[str] = (),
    *,
    keep_constant: bool = False,
) -> tuple[Decisions, list[Note]]:
    """Decide how each column of a raw table is read; the arguments are those of `prepare`.

    With `keep_constant`, columns and parts of dates that are constant in these rows are kept, since others follow.

    Returns
    -------
    decisions : dict
    ambiguous : list of Note
        The columns of dates of which it is unknown whether the day or the month comes first.
    """
    decisions: Decisions = {}
    ambiguous: list[Note] = []
    for name, column in table.items():
        if name in counters and name not in choices.named and name not in choices.drop:
            decision: RawColumn | str = "it counts the rows"
        else:
            decision = _decide(name, column, rows, choices, keep_constant)
        example = None if name in choices.named else _ambiguous_date(column[rows], decision)
        if example is not None and isinstance(decision, RawColumn):
            text = f"text, because {quoted(example)} may begin with the day or the month; write 2024-12-31"
            ambiguous.append(Note("dates", f"{plain(name)}: {text}"))
        elif example is not None:
            decision = f"dates such as {quoted(example)}, which may begin with the day or the month; write 2024-12-31"
        decisions[name] = decision
    return decisions, ambiguous


def finish_preparation(
    decisions: Mapping[str, RawColumn | str], ambiguous: Sequence[Note], where: str
) -> tuple[Preparation, list[Note]]:
    """Return the preparation for some decisions, and the notes on them; see `prepare`.

    Raises
    ------
    DataError
        If no column is left, or two would have the same name.
    """
    used = [decision for decision in decisions.values() if isinstance(decision, RawColumn)]
    left_out = [(name, decision) for name, decision in decisions.items() if isinstance(decision, str)]
    _require_some(used, left_out, where)
    _require_different_names(used, where)
    notes = [Note("left out", f"{plain(name)} ({reason})") for name, reason in left_out]
    for raw in used:
        if raw.kind == "date":
            written = f" (of {_spoken(raw.date_format)})" if raw.date_format != ISO else ""
            notes.append(Note("dates", f"{plain(raw.name)}: {', '.join(raw.parts)}{written}"))
        elif raw.kind == "time":
            notes.append(Note("dates", f"{plain(raw.name)}: hour"))
    return Preparation(MISSING_MARKS, tuple(used), tuple(left_out)), [*notes, *ambiguous]


def _ambiguous_date(training: NDArray[Any], decision: RawColumn | str) -> str | None:
    """A date of a column that was read as text because it is unknown whether the day or the month comes first."""
    was_text = decision.startswith("text") if isinstance(decision, str) else decision.kind == "text"
    return find_date_format(_text_counts(training), MOSTLY)[1] if was_text and training.dtype.kind == "O" else None


def _spoken(date_format: str) -> str:
    return date_format.replace("%Y", "year").replace("%m", "month").replace("%d", "day")


def _decide(
    name: str, column: NDArray[Any], rows: NDArray[np.intp], choices: ColumnChoices, keep_constant: bool
) -> RawColumn | str:
    """How to read a column, or why it is left out."""
    if name in choices.drop:
        return "as asked"
    if choices.columns is not None and name not in choices.columns:
        return "not among the columns asked for"
    training = column[rows]
    if name in choices.numeric:
        kind: RawKind | None = "number"
    elif name in choices.categorical:
        kind = "boolean" if training.dtype == np.bool_ else "text"
    else:
        kind = kind_of(training)
    if kind is None:
        return "empty"
    date_format = ISO
    if kind == "date" and training.dtype.kind == "O":
        date_format = find_date_format(_text_counts(training), MOSTLY)[0] or ISO
    values, _ = read_values(training, kind, _MARKS, date_format)
    if kind == "date":
        return _decide_date(name, values, date_format, keep_constant)
    if kind in ("number", "time"):
        present = values[~np.isnan(values)]
        if not len(present):
            return "empty" if kind_of(training) is None else "it has no number"
        constant = not keep_constant and (present == present[0]).all()
        return constant_number(present[0]) if constant else RawColumn(name, kind)
    return decide_categories(name, kind, Counter(values.tolist()), choices, keep_constant=keep_constant)


def constant_number(value: float) -> str:
    """The reason to leave out a column of numbers that are all this one."""
    return f"constant: {value:g}"


def decide_categories(
    name: str, kind: RawKind, counts: Counter[Any], choices: ColumnChoices, *, keep_constant: bool = False
) -> RawColumn | str:
    """Decide if a column of text or booleans is used, by how often each value and None occurs in the training rows."""
    n = sum(counts.values())
    counts = counts.copy()
    missing = counts.pop(None, 0)
    if not counts:
        return "empty"
    if len(counts) == 1 and not missing:
        return RawColumn(name, kind) if keep_constant else f"constant: {quoted(next(iter(counts)))}"
    return _decide_text(name, kind, counts, n, missing, choices)


def _decide_date(name: str, dates: NDArray[Any], date_format: str, keep_constant: bool) -> RawColumn | str:
    parts = date_parts(dates[~np.isnat(dates)])
    if not len(parts["elapsed"]):
        return "empty"
    changing = tuple(part for part in DATE_PARTS if keep_constant or (parts[part] != parts[part][0]).any())
    return RawColumn(name, "date", changing, date_format) if changing else f"constant: {dates[~np.isnat(dates)][0]}"


def _decide_text(
    name: str, kind: RawKind, counts: Counter[Any], n: int, missing: int, choices: ColumnChoices
) -> RawColumn | str:
    present = n - missing
    if name not in choices.named and len(counts) > max(_SOME_TEXTS, NEARLY_UNIQUE * present):
        return f"text, {len(counts):,} different values in {counted(present, 'row')}"
    kept = frequent_categories(counts, n)
    if not kept:
        return f"text, {len(counts):,} different values, all of them rare"
    return RawColumn(name, kind)


def counts_rows(name: str, column: NDArray[Any]) -> bool:
    """Return whether a column has the name of a row number, and each value is that of the row before plus 1.

    Examples
    --------
    >>> counts_rows("PassengerId", np.array([1, 2, 3])), counts_rows("age", np.array([1, 2, 3]))
    (True, False)
    """
    named = column.dtype.kind in "iu" and _ROW_NUMBER_NAME.fullmatch(name) is not None
    return named and len(column) > 1 and bool((np.diff(column) == 1).all())


def kind_of(column: NDArray[Any]) -> RawKind | None:
    """Return what a column of a raw table is; None if every value is missing.

    Examples
    --------
    >>> kind_of(np.array(["2024-01-31", "?", "2024-02-29"], object)), kind_of(np.array(["a", "1"], object))
    ('date', 'text')
    """
    if column.dtype.kind in "iuf":
        return None if np.isnan(column.astype(np.float64)).all() else "number"
    if column.dtype.kind in "bM":
        return "boolean" if column.dtype.kind == "b" else None if np.isnat(column).all() else "date"
    counts = _text_counts(column)
    if not counts:
        return None
    if all(isinstance(value, bool) or value is None for value in column.tolist()):
        return "boolean"
    return _kind_of_texts(counts)


def _text_counts(column: NDArray[Any]) -> Counter[str]:
    """How often each value of a column occurs, read as text; without the missing ones."""
    counts = Counter(read_values(column, "text", _MARKS)[0].tolist())
    counts.pop(None, 0)
    return counts


def _kind_of_texts(counts: Counter[str]) -> RawKind:
    n = sum(counts.values())

    def share(texts: list[str]) -> float:
        return sum(counts[text] for text in texts) / n

    numbers = [text for text in counts if parse_number(text) is not None]
    if share(numbers) >= MOSTLY:
        # a few numbers that are repeated beside texts, as in 0, 1, 2, 3+, are categories
        few = len(numbers) < len(counts) and len(numbers) <= FEW_CATEGORIES and n >= _REPEATED * len(counts)
        return "text" if few else "number"
    if find_date_format(counts, MOSTLY)[0] is not None:
        return "date"
    if share([text for text in counts if parse_time(text) is not None]) >= MOSTLY:
        return "time"
    return "text"


def _require_some(used: list[RawColumn], left_out: list[tuple[str, str]], where: str) -> None:
    if used:
        return
    reasons = "; ".join(f"{plain(name)} ({reason})" for name, reason in left_out)
    raise DataError(
        f"{where} has no column to learn from: all are left out: {shortened(reasons, 300)}. Name those to use in "
        "columns, categorical or numeric"
    )


def _require_different_names(used: list[RawColumn], where: str) -> None:
    seen: set[str] = set()
    for column in used:
        for name in column.prepared_names:
            if name in seen:
                raise DataError(
                    f"{where}: a part of a date and another column have the same name, {quoted(name)}; leave out one "
                    "of the columns (drop=..., --drop)"
                )
            seen.add(name)
