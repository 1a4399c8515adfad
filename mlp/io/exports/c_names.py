"""`Names`: the public names of an exported C program, each different, none reserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlp.data.preprocessing import CategoricalColumn
from mlp.io.exports.identifiers import Identifiers, words
from mlp.io.exports.model import Model


class Names:
    """The names of a program; all but the fields of the row begin with the name of the file.

    Attributes
    ----------
    inputs, outputs : str
        Macros: how many numbers the program takes and returns.
    row, predict, predict_uint8, classes : str
        A structure, two functions, and an array.
    fields : list of str
        For each column of a table its field in the row.
    enums : list of str or None
        For each column of categories its type.
    codes : list of dict
        For each column the constant of each category.
    unknown : list of str
        For each column of categories the constant of values that are not a category.
    """

    def __init__(self, model: Model, path: Path) -> None:
        prefix = Identifiers().new(words(path.stem).lower(), "net")
        names, fields = Identifiers(), Identifiers()
        self.inputs, self.outputs = (names.new(f"{prefix}_{what}".upper(), "") for what in ("inputs", "outputs"))
        self.row, self.predict, self.predict_uint8, self.classes = (
            names.new(f"{prefix}_{what}", "") for what in ("row", "predict", "predict_uint8", "classes")
        )
        self.fields: list[str] = []
        self.enums: list[str | None] = []
        self.codes: list[dict[Any, str]] = []
        self.unknown: list[str] = []
        for column in model.columns or ():
            field = fields.new(words(column.name).lower(), "column")
            self.fields.append(field)
            self.enums.append(None)
            self.codes.append({})
            self.unknown.append("")
            if isinstance(column, CategoricalColumn):
                stem = f"{prefix}_{field}".rstrip("_")
                self.enums[-1] = names.new(stem, "")
                self.unknown[-1] = names.new(f"{stem}_unknown".upper(), "")
                for number, category in enumerate(column.categories):
                    word = "missing" if category is None else words(str(category)) or f"category_{number}"
                    self.codes[-1][category] = names.new(f"{stem}_{word}".upper(), "")
