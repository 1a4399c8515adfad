"""Write a network as a C99 program in one file: it needs only ``math.h``, allocates nothing, and computes in float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp._backends import ConfigurationError
from mlp._version import __version__
from mlp.checks import quoted
from mlp.data.preprocessing import CategoricalColumn, NumericColumn
from mlp.io.exports.c_formulas import c_formulas
from mlp.io.exports.c_names import Names
from mlp.io.exports.check_rows import CheckRows
from mlp.io.exports.model import Model
from mlp.io.exports.text import aligned, enclosed, filled, numbers, printable, shortest, wrapped


def to_c(model: Model, checks: CheckRows, path: Path) -> str:
    """The program; its names begin with that of the file.

    Raises
    ------
    ConfigurationError
        If a number is too large for float32, or the name of a class cannot be a string in C.
    """
    names = Names(model, path)
    model = _in_single_precision(model)
    parts = [
        _heading(model, names, printable(path.name)),
        "#include <math.h>",
        _sizes(model, names),
        *(_row_types(model, names) if model.takes_rows else ()),
        _classes(model, names),
        *_weights(model),
        c_formulas(model),
        *_arithmetic(model),
        *_encoding(model),
        _predict(model, names),
        _predict_pixels(model, names),
        _self_test(model, checks, names),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _in_single_precision(model: Model) -> Model:
    layers = tuple(
        replace(layer, W=_single(layer.W, f"a weight of layer {l}"), b=_single(layer.b, f"a bias of layer {l}"))
        for l, layer in enumerate(model.layers, start=1)
    )
    for values in model.target_scaling or ():
        _single(np.array(values), "a number of target_scaling")
    return replace(model, layers=layers)


def _single(array: NDArray[Any], what: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        value = array.ravel()[int(np.argmin(np.isfinite(single)))]
        raise ConfigurationError(
            f"{what} is {value:g}, which float32 cannot hold, and an export to C computes in float32. Export to .js or "
            ".py, which compute in float64."
        )
    return single


# -- the comment at the start --------------------------------------------------------------------------


def _heading(model: Model, names: Names, name: str) -> str:
    out = _output_name(model)
    if model.takes_rows:
        given = f"struct {names.row} row = {{ {_example_row(names)} }};"
    else:
        given = f"{_number_type(model)} x[{names.inputs}] = {{ ... }};"
    call = f"{names.predict}({'&row' if model.takes_rows else 'x'}, {out});"
    usage = [given, f"float {out}[{names.outputs}];", f"int {'best' if model.task == 'classes' else 'error'} = {call}"]
    if model.task == "classes" and _has_names(model):
        usage.append(f"if (best >= 0) puts({names.classes}[best]);")
    paragraphs = [
        _meaning(model, names),
        _inputs(model, names),
        "To use it, #include this file in one other C file, or copy the declarations to a header. The functions keep "
        "nothing between calls, so threads can share them. Do not compile with -ffast-math, which removes the checks "
        "for NaN.",
    ]
    lines = [
        f"{name}: a multilayer perceptron ({model.summary}) in C99, written by mlp {__version__}.",
        "",
        *(f"    {line}" for line in usage),
    ]
    for paragraph in filter(None, paragraphs):
        lines += ["", *wrapped(paragraph).split("\n")]
    lines += ["", f"To test it:  cc -DSELF_TEST {name} -lm && ./a.out"]
    return "/*\n" + "\n".join(f" * {line}".rstrip() for line in lines) + "\n */"


def _example_row(names: Names) -> str:
    fields = [
        f".{field} = {next(iter(codes.values()), '1.5')}"
        for field, codes in zip(names.fields, names.codes, strict=True)
    ]
    return ", ".join([*fields[:3], *(["..."] if len(fields) > 3 else [])])


def _meaning(model: Model, names: Names) -> str:
    if model.task == "numbers":
        text = f"y receives {model.meaning_of_outputs}. The result of the function is 0"
    else:
        noun = "class" if model.task == "classes" else "label"
        text = f"p[i] is {model.meaning_of_outputs.replace(f'each {noun}', f'{noun} i')}"
        text += f", whose name is {names.classes}[i]" if _has_names(model) else ""
        if model.task == "labels":
            text += "; the label is set if p[i] > 0.5. The result of the function is 0"
        else:
            text += f". The result of the function is the class with the largest {_output_name(model)}[i]"
    wrong = "infinite" if model.columns is not None else "infinite or NaN"
    return f"{text}, or -1 if an input is {wrong}; then the outputs are NaN."


def _inputs(model: Model, names: Names) -> str:
    if model.takes_rows:
        return (
            "A number that is missing is NAN. A category that the training data did not have, and any code that is not "
            "in the enum, sets none of its column's inputs, or the last one if rare categories share it."
        )
    if model.by_position:
        return "The order of the numbers is that of the training data. A number that is missing is NAN."
    if model.input_scale is not None:
        factor = shortest(model.input_scale, np.float32)
        return (
            f"{names.predict_uint8} takes pixels from 0 to 255 and multiplies them by {factor}, as in training. "
            f"{names.predict} takes numbers that are already scaled."
        )
    return ""


# -- declarations and constants ------------------------------------------------------------------------


def _sizes(model: Model, names: Names) -> str:
    inputs = "" if model.takes_rows else f"#define {names.inputs} {model.inputs}\n"
    return f"{inputs}#define {names.outputs} {model.outputs}"


def _row_types(model: Model, names: Names) -> list[str]:
    assert model.columns is not None
    parts, members = [], []
    columns = zip(model.columns, names.fields, names.enums, names.codes, names.unknown, strict=True)
    for column, field, enum, codes, unknown in columns:
        title = printable(column.name)
        if isinstance(column, NumericColumn):
            members.append((f"double {field};", "" if title == field else title))
            continue
        members.append((f"int {field};", f"{title}: enum {enum}"))
        entries = [
            (f"{constant},", "no value" if category is None else printable(category))
            for category, constant in codes.items()
        ]
        if column.rare:
            entries.append((f"{unknown}", "any other value" if None in codes else "any other value; -1 is none"))
        else:
            entries.insert(0, (f"{unknown} = -1,", "any other value" if None in codes else "any other value, or none"))
        parts.append(f"enum {enum} {_commented(entries)};")
    return [*parts, f"struct {names.row} {_commented(members)};"]


def _commented(entries: Iterable[tuple[str, str]]) -> str:
    """Lines in braces, with comments."""
    lines = aligned((text, f"/* {comment} */" if comment else "") for text, comment in entries)
    return "{\n" + "\n".join(f"    {line}" for line in lines) + "\n}"


def _classes(model: Model, names: Names) -> str:
    if not _has_names(model):
        return ""
    strings = list(map(_string, model.classes))
    if all(str(name).isascii() for name in model.classes):
        values = enclosed(strings)
    else:
        shown = map(printable, model.classes)
        values = _commented((f"{string},", text) for string, text in zip(strings, shown, strict=True))
    return f"const char *const {names.classes}[{names.outputs}] = {values};"


def _has_names(model: Model) -> bool:
    """Whether the classes have names other than their numbers."""
    return bool(model.classes) and model.classes != tuple(range(model.outputs))


def _string(value: Any) -> str:
    """A string in ASCII: the bytes of UTF-8 as octal numbers, which end by themselves after three digits."""
    try:
        data = str(value).encode()
    except UnicodeEncodeError:
        data = b"\0"
    if 0 in data:
        raise ConfigurationError(
            f"the class {quoted(value)} cannot be a string in C: it has a null character, or half of a surrogate pair. "
            "Assign other names to net.classes."
        )
    special = {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("?"): "\\?"}  # ?? would begin a trigraph
    characters = (special.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in data)
    return f'"{"".join(characters)}"'


def _weights(model: Model) -> list[str]:
    parts = []
    for l, layer in enumerate(model.layers, start=1):
        n_out = len(layer.b)
        rows = ",\n".join(filled(numbers(row, "f")) for row in layer.W)
        parts.append(
            f"/* Layer {l}: W{l}[i * {n_out} + j] is the weight from input i to unit j. */\n"
            f"static const float W{l}[{layer.W.size}] = {{\n{rows}\n}};\n"
            f"static const float b{l}[{n_out}] = {enclosed(numbers(layer.b, 'f'))};"
        )
    return parts


# -- functions -----------------------------------------------------------------------------------------

_APPLY = """\
static void apply(float (*f)(float), int n, float *z)
{
    for (int k = 0; k < n; k++)
        z[k] = f(z[k]);
}"""

_DENSE = """\
/* y = x W + b */
static void dense(int n_in, int n_out, const float *x, const float *W, const float *b, float *y)
{
    for (int j = 0; j < n_out; j++)
        y[j] = b[j];
    for (int i = 0; i < n_in; i++)
        for (int j = 0; j < n_out; j++)
            y[j] += x[i] * *W++;
}"""

_NUMBER = """\
/* In double precision: a number may have more digits than float keeps. */
static float number(double value, double fill, double shift, double scale)
{
    return (float)(((isnan(value) ? fill : value) - shift) / scale);
}"""

_CLIPPED = """\
/* As a number, and then between -3 and 3. */
static float clipped(double value, double fill, double shift, double scale)
{
    double z = ((isnan(value) ? fill : value) - shift) / scale;
    return (float)(z / hypot(1.0, z / 3.0));
}"""

_ONE_HOT = """\
static void one_hot(int code, int n, float *x)
{
    for (int k = 0; k < n; k++)
        x[k] = k == code ? 1.0f : 0.0f;
}"""


def _arithmetic(model: Model) -> list[str]:
    is_applied = any(not row.rowwise and name != "identity" for name, row in model.activations.items())
    return [_APPLY, _DENSE] if is_applied else [_DENSE]


def _encoding(model: Model) -> list[str]:
    """What the encoding of columns needs."""
    if model.by_position:
        assert model.columns is not None
        arrays = [
            f"static const double {name}[{model.inputs}] = "
            + enclosed(shortest(getattr(column, name.lower()), np.float64) for column in model.columns)
            + ";"
            for name in ("FILL", "SHIFT", "SCALE")
        ]
        return ["/* The scaling of the inputs. */\n" + "\n".join(arrays), *_number_functions(model)]
    kinds = {type(column) for column in model.columns or ()}
    return _number_functions(model) + [_ONE_HOT] * (CategoricalColumn in kinds)


def _number_functions(model: Model) -> list[str]:
    used = {column.clipped for column in model.columns or () if isinstance(column, NumericColumn)}
    return [_NUMBER] * (False in used) + [_CLIPPED] * (True in used)


def _number_function(column: NumericColumn) -> str:
    return "clipped" if column.clipped else "number"


def _predict(model: Model, names: Names) -> str:
    out, widths = _output_name(model), [len(layer.b) for layer in model.layers]
    inputs = "x" if model.columns is None else "inputs"
    last = "y" if model.has_one_output_for_two_classes else out
    layers = [f"h{l}" for l in range(1, len(widths))] + [last]
    sizes = {inputs: model.network_inputs} | dict(zip(layers, widths, strict=True))
    buffers = ", ".join(f"{name}[{size}]" for name, size in sizes.items() if name not in ("x", out))
    blocks = [[f"float {buffers};"] if buffers else [], _encode(model, names)]
    blocks.append([
        f"for (int i = 0; i < {model.network_inputs}; i++) {{",
        f"    if (isfinite({inputs}[i]))",
        "        continue;",
        f"    for (int j = 0; j < {names.outputs}; j++)",
        f"        {out}[j] = NAN;",
        "    return -1;",
        "}",
    ])  # fmt: skip
    blocks.append([])
    for l, (layer, x, y) in enumerate(zip(model.layers, [inputs, *layers], layers, strict=False), start=1):
        blocks[-1].append(f"dense({sizes[x]}, {sizes[y]}, {x}, W{l}, b{l}, {y});")
        function = layer.activation.forward.__name__
        if layer.activation.rowwise:
            blocks[-1].append(f"{function}({sizes[y]}, {y});")
        elif layer.activation.name != "identity":
            blocks[-1].append(f"apply({function}, {sizes[y]}, {y});")
    if model.has_one_output_for_two_classes:
        blocks[-1] += [f"{out}[0] = 1.0f - y[0];", f"{out}[1] = y[0];"]
    if model.target_scaling is not None:
        blocks.append(["/* Back to the units of the targets. */"])
        for j, (shift, scale) in enumerate(zip(*model.target_scaling, strict=True)):
            shift_text, scale_text = (shortest(value, np.float32) + "f" for value in (shift, scale))
            blocks[-1].append(f"{out}[{j}] = {out}[{j}] * {scale_text} + {shift_text};")
    if model.task == "classes":
        blocks.append([
            "int best = 0;",
            f"for (int j = 0; j < {names.outputs}; j++) {{",
            f"    if (isnan({out}[j]))",
            "        return -1;",
            f"    if ({out}[j] > {out}[best])",
            "        best = j;",
            "}",
            "return best;",
        ])  # fmt: skip
    else:
        blocks.append(["return 0;"])
    body = "\n\n".join("\n".join(f"    {line}" for line in block) for block in blocks if block)
    given = f"struct {names.row} *row" if model.takes_rows else f"{_number_type(model)} x[{names.inputs}]"
    return f"int {names.predict}(const {given}, float {out}[{names.outputs}])\n{{\n{body}\n}}"


def _encode(model: Model, names: Names) -> list[str]:
    """Statements that fill the array ``inputs``."""
    if model.by_position:
        first = (model.columns or ())[0]
        assert isinstance(first, NumericColumn)
        function = _number_function(first)  # that of all columns
        return [
            f"for (int i = 0; i < {names.inputs}; i++)",
            f"    inputs[i] = {function}(x[i], FILL[i], SHIFT[i], SCALE[i]);",
        ]
    lines, start = [], 0
    for column, field in zip(model.columns or (), names.fields, strict=True):
        if isinstance(column, NumericColumn):
            values = ", ".join(shortest(value, np.float64) for value in (column.fill, column.shift, column.scale))
            lines.append(f"inputs[{start}] = {_number_function(column)}(row->{field}, {values});")
        else:
            lines.append(f"one_hot(row->{field}, {column.n_outputs}, &inputs[{start}]);")
        start += column.n_outputs
    return lines


def _predict_pixels(model: Model, names: Names) -> str:
    if model.input_scale is None:
        return ""
    out = _output_name(model)
    return f"""\
int {names.predict_uint8}(const unsigned char pixels[{names.inputs}], float {out}[{names.outputs}])
{{
    float x[{names.inputs}];

    for (int i = 0; i < {names.inputs}; i++)
        x[i] = {shortest(model.input_scale, np.float32)}f * pixels[i];
    return {names.predict}(x, {out});
}}"""


def _output_name(model: Model) -> str:
    return "p" if model.are_probabilities and model.task != "numbers" else "y" if model.task == "numbers" else "score"


def _number_type(model: Model) -> str:
    """Type of the numbers that the program takes in an array."""
    return "double" if model.by_position else "float"


# -- the self-test -------------------------------------------------------------------------------------


def _self_test(model: Model, checks: CheckRows, names: Names) -> str:
    count, function = len(checks.rows), names.predict
    if model.takes_rows:
        rows = _list_of_rows(_check_row(row, names) for row in checks.rows)
        declaration, given = f"struct {names.row} CHECK_ROWS[{count}]", "&CHECK_ROWS[i]"
    else:
        kind = _number_type(model)
        if model.input_scale is not None:
            kind, function = "unsigned char", names.predict_uint8
        rows = _list_of_rows((_check_number(value, kind) for value in row) for row in checks.rows)
        declaration, given = f"{kind} CHECK_ROWS[{count}][{names.inputs}]", "CHECK_ROWS[i]"
    return f"""\
#ifdef SELF_TEST
#include <stdio.h>

static const {declaration} = {rows};
/* What the network computes for them in double precision, and how much an output may differ. */
static const double EXPECTED[{count}][{names.outputs}] = {_list_of_rows(map(numbers, checks.outputs))};
static const double TOLERANCE[{names.outputs}] = {enclosed(f"{value:.3g}" for value in checks.single_tolerance)};

int main(void)
{{
    int wrong = 0;

    for (int i = 0; i < {count}; i++) {{
        float y[{names.outputs}];

        {function}({given}, y);
        for (int j = 0; j < {names.outputs}; j++) {{
            if (fabs(y[j] - EXPECTED[i][j]) <= TOLERANCE[j])
                continue;
            printf("row %d, output %d: %.9g instead of %.9g\\n", i, j, y[j], EXPECTED[i][j]);
            wrong = 1;
        }}
    }}
    puts(wrong ? "FAILED" : "{count} check rows: all outputs as expected");
    return wrong;
}}
#endif"""


def _list_of_rows(rows: Iterable[Iterable[str]]) -> str:
    return "{\n" + ",\n".join(f"    {enclosed(row, ' ' * 8, ' ' * 4)}" for row in rows) + "\n}"


def _check_number(value: Any, kind: str) -> str:
    if kind == "unsigned char":
        return str(value)
    return "NAN" if value != value else shortest(value, np.float64) + "f" * (kind == "float")


def _check_row(row: list[Any], names: Names) -> list[str]:
    values = zip(row, names.fields, names.codes, names.unknown, strict=True)
    return [
        f".{field} = {_code(value, codes, unknown) if codes else _check_number(value, 'double')}"
        for value, field, codes, unknown in values
    ]


def _code(value: Any, codes: dict[Any, str], unknown: str) -> str:
    return codes.get(value, "-1" if value is None else unknown)
