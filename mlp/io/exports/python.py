"""Write a network as a Python module that needs only NumPy."""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from mlp._backends import formulas
from mlp._version import __version__
from mlp.data.preprocessing import CategoricalColumn, NumericColumn
from mlp.io.exports.check_rows import CheckRows
from mlp.io.exports.model import Model
from mlp.io.exports.text import aligned, block, filled, numbers, printable, shortest, wrapped


def to_python(model: Model, checks: CheckRows, path: Path) -> str:
    """The module."""
    source = _Formulas(model)
    parts = [
        _heading(model, checks, path),
        "\n".join([*(["import math", ""] if source.needs_erfc else []), "import numpy as np", *source.imports]),
        _classes(model),
        *_weights(model),
        source.constants,
    ]
    functions = [
        source.functions,
        *_encoding(model),
        _outputs(model),
        _predict(model),
        _self_test(model, checks),
    ]
    head = "\n\n".join(part for part in parts if part)
    return "\n\n\n".join(part for part in (head, *functions) if part) + "\n"


# -- formulas ------------------------------------------------------------------------------------------

_EXTRA = {
    "erfc": '''def erfc(z):
    """The complementary error function, which NumPy does not have."""
    return np.array([math.erfc(value) for value in z.flat], z.dtype).reshape(z.shape)''',
    "row_max": """def row_max(z):
    return z.max(axis=-1, keepdims=True)""",
    "row_sum": """def row_sum(z):
    return z.sum(axis=-1, keepdims=True)""",
}


class _Formulas:
    """The source of the activations, and what it needs."""

    def __init__(self, model: Model) -> None:
        self._names: set[str] = set()  # functions of NumPy
        self._constants: dict[str, float] = {}
        self._functions: dict[str, str] = {}
        for name, activation in model.activations.items():
            if name != "identity":
                self._add(activation.forward)

    def _add(self, formula: Callable[..., Any]) -> None:
        assert isinstance(formula, FunctionType)
        for name in formula.__code__.co_names:
            value = formula.__globals__.get(name)
            if name in formulas.NAMES:
                self._names.add(name)
            elif name in formulas.ROW_NAMES:
                self._functions.setdefault(name, _EXTRA[name])
            elif isinstance(value, float):
                self._constants[name] = value
            elif isinstance(value, FunctionType):
                self._add(value)
        source = inspect.getsource(formula).replace(": Any", "").replace(" -> Any", "")
        self._functions.setdefault(formula.__name__, source.rstrip())

    @property
    def needs_erfc(self) -> bool:
        return "erfc" in self._functions

    @property
    def imports(self) -> list[str]:
        return [f"from numpy import {', '.join(sorted(self._names))}"] if self._names else []

    @property
    def constants(self) -> str:
        return "\n".join(f"{name} = {value!r}" for name, value in self._constants.items())

    @property
    def functions(self) -> str:
        return "\n\n\n".join(self._functions.values())


# -- the parts of the file -----------------------------------------------------------------------------


def _heading(model: Model, checks: CheckRows, path: Path) -> str:
    module = path.stem if path.stem.isidentifier() and not keyword.iskeyword(path.stem) else "net"
    given = "table" if model.takes_rows else "X"
    size = "(n,)" if model.outputs == 1 else f"(n, {model.outputs})"
    order = ", in the order of CLASSES"
    results = {
        "classes": [("predict", "the class of each row")],
        "labels": [("predict", f"0 or 1 for each label{order}: an array of shape {size}")],
        "numbers": [("predict", f"{model.meaning_of_outputs} for each row: an array of shape {size}")],
    }[model.task]
    if model.task != "numbers":
        results.append((_outputs_name(model), f"{model.meaning_of_outputs}{order}: an array of shape {size}"))
    usage = aligned((f"{module}.{name}({given}) ", f"# {text}") for name, text in results)
    lines = [
        f"A multilayer perceptron ({model.summary}) in NumPy, written by mlp {__version__}.",
        "",
        f"    import {module}",
        *(f"    {line}" for line in usage),
        "",
        *wrapped(_inputs(model, checks)).split("\n"),
        "",
        f"To test it:  python {printable(path.name)}",
    ]
    return '"""' + "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"\\"\\"') + '\n"""'


def _inputs(model: Model, checks: CheckRows) -> str:
    if model.takes_rows:
        assert model.columns is not None
        shown = ", ".join(
            f"{printable(c.name)!r}: [{_literal(v)}, ...]"
            for c, v in list(zip(model.columns, checks.rows[0], strict=True))[:2]
        )
        return (
            f"The table is a dict or a data frame of columns, such as {{{shown}}}. A value that is missing is None or "
            "NaN. A category that the training data did not have sets none of its column's inputs, or the last one if "
            "rare categories share it. An infinite number is a ValueError."
        )
    text = f"X has shape (n, {model.inputs})"
    if model.by_position:
        return f"{text}, with columns as in training; a number that is missing is NaN. An infinite one is a ValueError."
    if model.input_scale is not None:
        factor = shortest(model.input_scale, np.float32)
        text += f": pixels of type uint8, which are multiplied by {factor} as in training, or numbers already scaled"
    return f"{text}. NaN or an infinite number is a ValueError."


def _classes(model: Model) -> str:
    if not model.classes:
        return ""
    dtype = ", object" if len({type(name) for name in model.classes}) > 1 else ""
    return f"CLASSES = np.array({block(map(_literal, model.classes), '[]')}{dtype})"


def _weights(model: Model) -> list[str]:
    dtype = f"np.{model.dtype}"
    parts = []
    for l, layer in enumerate(model.layers, start=1):
        rows = "\n".join(filled(numbers(row), " ", "") for row in layer.W)
        bias = filled(numbers(layer.b), " ", "")
        n_in, n_out = layer.W.shape
        parts.append(
            f'W{l} = np.array("""\n{rows}\n""".split(), {dtype}).reshape({n_in}, {n_out})\n'
            f'b{l} = np.array("""\n{bias}\n""".split(), {dtype})'
        )
    return parts


_NUMBER = '''def number(values, name, fill, shift, scale):
    """A column of numbers, scaled; a missing one is replaced."""
    values = np.array(values, np.float64)
    if np.isinf(values).any():
        raise ValueError(f"{name} holds infinity; give finite numbers, or NaN for missing")
    return ((np.where(np.isnan(values), fill, values) - shift) / scale)[:, np.newaxis]'''

_CLIPPED = '''def clipped(values, name, fill, shift, scale):
    """A column of numbers, scaled and then smoothly clipped to between -3 and 3."""
    z = number(values, name, fill, shift, scale)
    return z / np.hypot(1, z / 3)'''

_ONE_HOT = '''def one_hot(values, name, categories, rare):
    """A column of categories: 1 in the column of its category, else 0."""
    values = [None if value != value else value for value in np.asarray(values, object).tolist()]
    kind = str if isinstance(categories[0], str) else (bool, np.bool_)
    for value in values:
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} holds {value!r}; give values such as {categories[0]!r}, or None for missing")
    x = np.array([[value == category for category in categories] for value in values], np.float64)
    others = [[value is not None and value not in categories] for value in values]
    return np.hstack([x, np.array(others, np.float64)]) if rare else x'''


def _encoding(model: Model) -> list[str]:
    """Functions that make the inputs of the network, ending with ``encode``."""
    dtype = f"np.{model.dtype}"
    finite = (
        "    if not np.isfinite(x).all():\n"
        '        raise ValueError(f"the inputs of row {np.argmin(np.isfinite(x).all(axis=1))} are not finite")\n'
        "    return x"
    )
    if model.takes_rows:
        assert model.columns is not None
        lines = []
        for column in model.columns:
            name = repr(column.name)
            if isinstance(column, NumericColumn):
                values = f"{column.fill!r}, {column.shift!r}, {column.scale!r}"
                function = "clipped" if column.clipped else "number"
                lines.append(f"        {function}(table[{name}], {name}, {values}),")
            else:
                categories = ", ".join(map(_literal, column.categories))
                lines.append(f"        one_hot(table[{name}], {name}, [{categories}], {column.rare}),")
        kinds = {type(column) for column in model.columns}
        used = {column.clipped for column in model.columns if isinstance(column, NumericColumn)}
        parts = [_NUMBER] * bool(used) + [_CLIPPED] * (True in used) + [_ONE_HOT] * (CategoricalColumn in kinds)
        encode = "    x = np.hstack([\n" + "\n".join(lines) + f"\n    ]).astype({dtype})"
        return [*parts, f"def encode(table):\n{encode}\n{finite}"]
    lines = [
        "X = np.asarray(X)",
        f"if X.ndim != 2 or X.shape[1] != {model.inputs}:",
        f'    raise ValueError(f"X has shape {{X.shape}}, but (n, {model.inputs}) is needed")',
    ]
    if model.by_position:
        assert model.columns is not None
        for name in ("fill", "shift", "scale"):
            lines.append(
                f"{name} = np.array({block((repr(getattr(c, name)) for c in model.columns), '[]', ' ' * 8, '    ')})"
            )
        first = model.columns[0]
        assert isinstance(first, NumericColumn)
        if first.clipped:  # then all are
            lines.append("z = (np.where(np.isnan(X), fill, X) - shift) / scale")
            lines.append(f"x = (z / np.hypot(1, z / 3)).astype({dtype})")
        else:
            lines.append(f"x = ((np.where(np.isnan(X), fill, X) - shift) / scale).astype({dtype})")
    elif model.input_scale is not None:
        lines.append(f"x = X.astype({dtype})")
        lines += ["if X.dtype == np.uint8:", f"    x *= {dtype}({model.input_scale!r})"]
    else:
        lines.append(f"x = X.astype({dtype})")
    body = "\n".join(f"    {line}" for line in lines)
    return [f"def encode(X):\n{body}\n{finite}"]


def _outputs(model: Model) -> str:
    given = "table" if model.takes_rows else "X"
    lines = [f"y = encode({given})"]
    for l, layer in enumerate(model.layers, start=1):
        text = f"y @ W{l} + b{l}"
        name = layer.activation.name
        lines.append(f"y = {text if name == 'identity' else f'{layer.activation.forward.__name__}({text})'}")
    if model.target_scaling is not None:
        lines.append("# Back to the units of the targets.")
        for name, values in zip(("shift", "scale"), model.target_scaling, strict=True):
            lines.append(f"{name} = np.array({block(map(repr, values), '[]', ' ' * 8, ' ' * 4)}, y.dtype)")
        lines.append("y = y * scale + shift")
    lines.append("return np.hstack([1 - y, y])" if model.has_one_output_for_two_classes else "return y")
    body = "\n".join(f"    {line}" for line in lines)
    meaning = model.meaning_of_outputs
    ignore = '@np.errstate(over="ignore")  # the activations are right even if a term overflows\n'
    return f'{ignore}def {_outputs_name(model)}({given}):\n    """{meaning[0].upper()}{meaning[1:]}."""\n{body}'


def _predict(model: Model) -> str:
    given = "table" if model.takes_rows else "X"
    call = f"{_outputs_name(model)}({given})"
    meaning, result = {
        "classes": ("The class of each row.", f"CLASSES[{call}.argmax(axis=1)]"),
        "labels": ("0 or 1 for each label.", f"({call} > 0.5).astype(int)"),
        "numbers": ("The prediction for each row.", f"{call}[:, 0]" if model.outputs == 1 else call),
    }[model.task]
    return f'def predict({given}):\n    """{meaning}"""\n    return {result}'


def _self_test(model: Model, checks: CheckRows) -> str:
    if model.takes_rows:
        assert model.columns is not None
        columns = [
            f"    {column.name!r}: {block(map(_literal, values), '[]', ' ' * 8, '    ')},"
            for column, values in zip(model.columns, zip(*checks.rows, strict=True), strict=True)
        ]
        rows = "CHECK_ROWS = {\n" + "\n".join(columns) + "\n}"
    else:
        listed = ",\n".join(
            f"    {block((_literal(v, 'np.nan') for v in row), '[]', ' ' * 8, '    ')}" for row in checks.rows
        )
        dtype = ", np.uint8" if model.input_scale is not None else ""
        rows = f"CHECK_ROWS = np.array([\n{listed},\n]{dtype})"
    expected = ",\n".join(f"    {block(numbers(row), '[]', ' ' * 8, '    ')}" for row in checks.outputs)
    allowed = checks.single_tolerance if model.dtype == np.float32 else checks.double_tolerance
    tolerance = block((f"{value:.3g}" for value in allowed), "[]")
    return f"""\
{rows}
# What the network computes for them in double precision, and how much an output may differ.
EXPECTED = np.array([
{expected},
])
TOLERANCE = np.array({tolerance})

if __name__ == "__main__":
    y = {_outputs_name(model)}(CHECK_ROWS)
    wrong = ~(np.abs(y - EXPECTED) <= TOLERANCE).all(axis=1)
    if wrong.any():
        raise SystemExit(f"row {{wrong.argmax()}} gives {{y[wrong.argmax()]}} instead of {{EXPECTED[wrong.argmax()]}}")
    print("{len(checks.rows)} check rows: all outputs as expected")"""


def _outputs_name(model: Model) -> str:
    if model.task == "numbers":
        return "outputs"
    return "predict_proba" if model.are_probabilities else "scores"


def _literal(value: Any, missing: str = "None") -> str:
    """A string, number, boolean or missing value."""
    return missing if isinstance(value, float) and math.isnan(value) else repr(value)
