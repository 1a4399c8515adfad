"""The header of a CSV or TSV file: the names of its columns."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlp._backends import FileFormatError
from mlp.checks import quoted
from mlp.data.files import MAX_COLUMNS
from mlp.data.reading import SEPARATORS


@dataclass(frozen=True)
class Header:
    """The names of the columns of a table.

    Attributes
    ----------
    names : list of str
        Different names, one a column.
    renamed : dict of str to str
        The names in the file of those columns that are called otherwise in `names`.
    """

    names: list[str]
    renamed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def checked(cls, fields: list[str], separator: str, where: str, raw: bool) -> Header:
        """Check the fields of the first line of a file.

        Parameters
        ----------
        fields : list of str
        separator : str
            The character between them.
        where : str
            The file, for error messages.
        raw : bool
            Give names to columns without one, and others to columns of the same name, as pandas does.

        Raises
        ------
        FileFormatError
            If there is no header, or too many columns; unless `raw`, if a name is empty or occurs twice.

        Examples
        --------
        >>> Header.checked(["a", "", "a"], ",", "'t.csv'", raw=True)
        Header(names=['a', 'Unnamed: 1', 'a.1'], renamed={'Unnamed: 1': '', 'a.1': 'a'})
        """
        if not any(fields):
            raise FileFormatError(f"{where} has no header; its first line must contain the column names")
        _refuse_other_separator(fields, separator, where)
        if len(fields) > MAX_COLUMNS:
            raise FileFormatError(
                f"{where} has {len(fields)} columns, more than the limit of {MAX_COLUMNS}; remove some"
            )
        if raw:
            return cls(*_different_names(fields))
        seen = set()
        for i, name in enumerate(fields, 1):
            if not name:
                raise FileFormatError(
                    f"{where}: column {i} of {len(fields)} has no name in the header; name it, or remove it "
                    "(if pandas wrote its row numbers there: use to_csv(path, index=False))"
                )
            if name in seen:
                raise FileFormatError(
                    f"{where}: column {i} has the same name as another column, {quoted(name)}; rename one"
                )
            seen.add(name)
        return cls(fields)


def _refuse_other_separator(fields: list[str], separator: str, where: str) -> None:
    other = next((character for character in SEPARATORS if len(fields) == 1 and character in fields[0]), None)
    if other:
        raise FileFormatError(
            f"{where}: the header is one name, {quoted(fields[0])}; the fields seem to be separated by {other!r}, "
            f"expected {separator!r} (separator=..., --separator)"
        )


def _different_names(fields: list[str]) -> tuple[list[str], dict[str, str]]:
    """The names as pandas gives them: ``Unnamed: 0`` to a column without one, and ``a.1`` to the second a."""
    named = [name or f"Unnamed: {i}" for i, name in enumerate(fields)]
    taken, seen = set(named), set[str]()
    next_number: dict[str, int] = {}
    names: list[str] = []
    for name in named:
        unique = name
        while unique in seen or (unique != name and unique in taken):
            next_number[name] = next_number.get(name, 0) + 1
            unique = f"{name}.{next_number[name]}"
        seen.add(unique)
        names.append(unique)
    return names, {name: old for name, old in zip(names, fields, strict=True) if name != old}
