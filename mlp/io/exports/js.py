"""Write a network as an ES module of JavaScript, which runs in Node and in browsers, in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlp._backends import ConfigurationError
from mlp._version import __version__
from mlp.data.preprocessing import CategoricalColumn, NumericColumn
from mlp.io.exports.check_rows import CheckRows
from mlp.io.exports.js_formulas import js_formulas
from mlp.io.exports.model import Model
from mlp.io.exports.text import aligned, block, filled, numbers, printable, shortest, wrapped

LARGEST_INTEGER = 2**53
"""Above, a number of JavaScript cannot hold every integer."""

_INDENT = "  "


def to_js(model: Model, checks: CheckRows, path: Path) -> str:
    """The module.

    Raises
    ------
    ConfigurationError
        If a class name is an integer that a number of JavaScript cannot hold.
    """
    parts = [
        _heading(model, checks, printable(path.name)),
        _classes(model),
        *_weights(model),
        js_formulas(model),
        _DENSE,
        *_encoding(model),
        _outputs(model),
        _predict(model),
        _self_test(model, checks),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# -- the parts of the file -----------------------------------------------------------------------------


def _heading(model: Model, checks: CheckRows, name: str) -> str:
    names = ["predict"] if model.task == "numbers" else ["predict", _outputs_name(model)]
    results = {
        "classes": "one of `classes`",
        "labels": "0 or 1 for each of `classes`",
        "numbers": f"{model.meaning_of_outputs}{', in an array' if model.outputs > 1 else ''}",
    }
    usage = [f'import {{ {", ".join(names)} }} from "./{name}";']
    if model.takes_rows:
        usage.append(f"const row = {_row(model, checks.rows[-1], shown=3)};")
    calls = [(f"predict({_given(model)});", f"// {results[model.task]}")]
    if len(names) > 1:
        calls.append((f"{names[1]}({_given(model)});", f"// {model.meaning_of_outputs}, in the order of `classes`"))
    usage += aligned(calls)
    if model.takes_rows:
        inputs = (
            "A value that is missing is null, and a number may also be NaN. A category that the training data did not "
            "have sets none of its column's inputs, or the last one if rare categories share it. An infinite number is "
            "a RangeError."
        )
    else:
        inputs = f"x is an array of {model.inputs} numbers"
        if model.by_position:
            inputs += ", in the order of the training data; one that is missing is null or NaN. "
            inputs += "An infinite one is a RangeError."
        elif model.input_scale is not None:
            inputs += ": pixels from 0 to 255 in a Uint8Array or Uint8ClampedArray, which are multiplied by "
            inputs += f"{shortest(model.input_scale, np.float32)} as in training, or numbers that are already scaled. "
            inputs += "NaN or an infinite one is a RangeError."
        else:
            inputs += ". NaN or an infinite one is a RangeError."
    lines = [
        f"{name}: a multilayer perceptron ({model.summary}) as an ES module, written by mlp {__version__}.",
        "",
        *(f"    {line}" for line in usage),
        "",
        *wrapped(inputs).split("\n"),
        "",
        f"To test it with Node 20.19 or newer:  node {name}",
    ]
    text = "\n".join(f" * {line}".rstrip() for line in lines)
    return "/*\n" + text.replace("*/", "*\\/") + "\n */"  # a string in an example may contain the end of a comment


def _classes(model: Model) -> str:
    if not model.classes:
        return ""
    return f"export const classes = {block(map(_literal, model.classes), '[]', _INDENT)};"


def _weights(model: Model) -> list[str]:
    kind = "Float32Array" if model.dtype == np.float32 else "Float64Array"
    parts = []
    for l, layer in enumerate(model.layers, start=1):
        n_out = len(layer.b)
        rows = ",\n".join(filled(numbers(row), indent=_INDENT) for row in layer.W)
        parts.append(
            f"// Layer {l}: W{l}[i * {n_out} + j] is the weight from input i to unit j.\n"
            f"const W{l} = new {kind}([\n{rows},\n]);\n"
            f"const b{l} = new {kind}({block(numbers(layer.b), '[]', _INDENT)});"
        )
    return parts


_DENSE = """\
/** x W + b */
function dense(x, W, b) {
  const y = Float64Array.from(b);
  let w = 0;
  for (const value of x) {
    for (let j = 0; j < y.length; j++) y[j] += value * W[w++];
  }
  return y;
}"""

_NUMBER = """\
function number(value, name, fill, shift, scale) {
  if (value !== null && typeof value !== "number") {
    throw new TypeError(`${name} is ${value}: give a number, or null if it is missing`);
  }
  if (Math.abs(value) === Infinity) throw new RangeError(`${name} is ${value}: give a finite number`);
  return ((value === null || Number.isNaN(value) ? fill : value) - shift) / scale;
}"""

_CLIPPED = """\
function clipped(value, name, fill, shift, scale) {
  const z = number(value, name, fill, shift, scale);
  return z / Math.hypot(1, z / 3);
}"""

_ONE_HOT = """\
function oneHot(value, name, categories, rare) {
  const type = typeof categories[0];
  if (value !== null && typeof value !== type) {
    throw new TypeError(`${name} is ${value}: give a ${type}, or null if it is missing`);
  }
  const x = categories.map((category) => (category === value ? 1 : 0));
  if (rare) x.push(value !== null && !categories.includes(value) ? 1 : 0);
  return x;
}"""

COLUMN_FUNCTIONS = "\n\n".join((_NUMBER, _CLIPPED, _ONE_HOT))
"""``number``, ``clipped`` and ``oneHot``: the inputs of the network for a value of a column."""


def _number_functions(model: Model) -> list[str]:
    used = {column.clipped for column in model.columns or () if isinstance(column, NumericColumn)}
    return [_NUMBER] * bool(used) + [_CLIPPED] * (True in used)


def _encoding(model: Model) -> list[str]:
    """Functions that make the inputs of the network, ending with ``encode``."""
    if model.takes_rows:
        assert model.columns is not None
        parts, lines = [], []
        for column in model.columns:
            name = _literal(column.name)
            if isinstance(column, NumericColumn):
                values = ", ".join(_number(v) for v in (column.fill, column.shift, column.scale))
                function = "clipped" if column.clipped else "number"
                lines.append(f"    {function}(row[{name}], {name}, {values}),")
            else:
                categories = ", ".join(map(_literal, column.categories))
                lines.append(f"    ...oneHot(row[{name}], {name}, [{categories}], {str(column.rare).lower()}),")
        kinds = {type(column) for column in model.columns}
        parts += _number_functions(model) + [_ONE_HOT] * (CategoricalColumn in kinds)
        return [*parts, "function encode(row) {\n  return [\n" + "\n".join(lines) + "\n  ];\n}"]
    length = (
        f"  if (x.length !== {model.inputs}) "
        f"throw new RangeError(`x has ${{x.length}} numbers, but {model.inputs} are needed`);\n"
    )
    if model.by_position:
        assert model.columns is not None
        arrays = "\n".join(
            f"const {name} = {block((_number(getattr(c, name.lower())) for c in model.columns), '[]', _INDENT)};"
            for name in ("FILL", "SHIFT", "SCALE")
        )
        functions = _number_functions(model)
        function = "clipped" if _CLIPPED in functions else "number"
        encode = f"  return Array.from(x, (value, i) => {function}(value, `x[${{i}}]`, FILL[i], SHIFT[i], SCALE[i]));"
        return [f"// The scaling of the inputs.\n{arrays}", *functions, f"function encode(x) {{\n{length}{encode}\n}}"]
    scaled = ""
    if model.input_scale is not None:
        scaled = (
            "  if (x instanceof Uint8Array || x instanceof Uint8ClampedArray) "
            f"return Float64Array.from(x, (pixel) => {_number(model.input_scale)} * pixel);\n"
        )
    check = "  x.forEach((value, i) => {\n    if (!Number.isFinite(value)) {\n"
    check += "      throw new RangeError(`x[${i}] is ${value}: give a finite number`);\n    }\n  });"
    return [f"function encode(x) {{\n{length}{scaled}{check}\n  return x;\n}}"]


def _outputs(model: Model) -> str:
    """The function ``outputs``: the network."""
    given = _given(model)
    lines = [f"let y = encode({given});"]
    for l, layer in enumerate(model.layers, start=1):
        name = layer.activation.forward.__name__
        text = f"dense(y, W{l}, b{l})"
        if layer.activation.rowwise:
            text = f"{name}({text})"
        elif layer.activation.name != "identity":
            text = f"{text}.map((z) => {name}(z))"
        lines.append(f"y = {text};")
    if model.target_scaling is not None:
        lines.append("// Back to the units of the targets.")
        for name, values in zip(("shift", "scale"), model.target_scaling, strict=True):
            lines.append(f"const {name} = {block(map(_number, values), '[]', _INDENT * 2, _INDENT)};")
        lines.append("y = y.map((value, j) => value * scale[j] + shift[j]);")
    lines.append("return [1 - y[0], y[0]];" if model.has_one_output_for_two_classes else "return Array.from(y);")
    body = "\n".join(f"  {line}" for line in lines)
    export = "" if model.task == "numbers" else "export "
    return f"{export}function {_outputs_name(model)}({given}) {{\n{body}\n}}"


def _predict(model: Model) -> str:
    call = f"{_outputs_name(model)}({_given(model)})"
    result = {
        "classes": f"  const p = {call};\n  return classes[p.indexOf(Math.max(...p))];",
        "labels": f"  return {call}.map((p) => (p > 0.5 ? 1 : 0));",
        "numbers": f"  return {call}[0];" if model.outputs == 1 else f"  return {call};",
    }[model.task]
    return f"export function predict({_given(model)}) {{\n{result}\n}}"


def _self_test(model: Model, checks: CheckRows) -> str:
    kind = "Uint8Array.from" if model.input_scale is not None else ""
    rows = ",\n".join(
        f"{_INDENT}{_row(model, row)}"
        if model.takes_rows
        else f"{_INDENT}{kind}({block(map(_literal, row), '[]', _INDENT * 2, _INDENT)})"
        if kind
        else f"{_INDENT}{block(map(_literal, row), '[]', _INDENT * 2, _INDENT)}"
        for row in checks.rows
    )
    expected = ",\n".join(f"{_INDENT}{block(numbers(row), '[]', _INDENT * 2, _INDENT)}" for row in checks.outputs)
    tolerance = block((f"{value:.3g}" for value in checks.double_tolerance), "[]", _INDENT)
    return f"""\
// -- self-test ----------------------------------------------------------------------------------------

const CHECK_ROWS = [
{rows},
];
// What the network computes for them in double precision, and how much an output may differ.
const EXPECTED = [
{expected},
];
const TOLERANCE = {tolerance};

function selfTest() {{
  const y = CHECK_ROWS.map((row) => {_outputs_name(model)}(row));
  const isRight = (value, i, j) => Math.abs(value - EXPECTED[i][j]) <= TOLERANCE[j];
  const wrong = y.findIndex((row, i) => !row.every((value, j) => isRight(value, i, j)));
  if (wrong >= 0) throw new Error(`row ${{wrong}} gives ${{y[wrong]}} instead of ${{EXPECTED[wrong]}}`);
  console.log("{len(checks.rows)} check rows: all outputs as expected");
}}

// Only if Node runs this file itself: not in a browser, and not where another file imports it.
const [fs, url] = ["fs", "url"].map((name) => globalThis.process?.getBuiltinModule?.(name));
if (fs?.existsSync(process.argv[1] ?? "")) {{
  if (url.pathToFileURL(fs.realpathSync(process.argv[1])).href === import.meta.url) selfTest();
}}"""


# -- values --------------------------------------------------------------------------------------------


def _outputs_name(model: Model) -> str:
    if model.task == "numbers":
        return "outputs"
    return "predictProba" if model.are_probabilities else "scores"


def _given(model: Model) -> str:
    return "row" if model.takes_rows else "x"


def _row(model: Model, row: list[Any], shown: int | None = None) -> str:
    assert model.columns is not None
    members = [f"{_key(column.name)}: {_literal(v)}" for column, v in zip(model.columns, row, strict=True)]
    if shown is not None and len(members) > shown:
        members = [*members[:shown], "..."]
    return f"{{ {', '.join(members)} }}"


def _key(name: str) -> str:
    if name == "__proto__":
        return '["__proto__"]'  # as a plain key it would set the prototype
    return name if name.isascii() and name.isidentifier() else _literal(name)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _literal(value: Any) -> str:
    """A string, number, boolean or missing value."""
    if value is None or value != value:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(map(_character, value)) + '"'
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ConfigurationError(
            f"the class {value} is larger than {LARGEST_INTEGER}, and numbers of JavaScript cannot hold every such "
            "integer. Name the classes by strings."
        )
    return str(value) if isinstance(value, int) else _number(value)


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable() and character != "<":  # which could end a script in a page
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
